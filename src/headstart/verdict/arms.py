"""The ways of transferring that are compared: each is a recipe, and they share first stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from headstart.errors import RecipeError, unknown_name
from headstart.recipe import Data, MaskedLm, Recipe, Stage
from headstart.training.trainable import BACKBONE_RATE

TITLES = {
    "tfidf": "TF-IDF + logistic",
    "frozen": "frozen + logistic",
    "target": "target only",
    "source": "source only",
    "source+target": "source -> target",
    "random": "random weights",
    "adapt+target": "texts -> target",
    "adapt+source+target": "texts -> source -> target",
    "joint": "source & target",
}
"""Each way, the cheapest first, with its title in the table."""

DEFAULT_ARMS = ("tfidf", "frozen", "target", "source", "source+target")

BASELINES = ("tfidf", "frozen")
"""Ways that scikit-learn fits, in seconds."""

PREFERRED = (
    "adapt+source+target",
    "joint",
    "source+target",
    "source",
    "adapt+target",
    "target",
    "frozen",
    "random",
    "tfidf",
)
"""Among ways that cannot be told apart the first is kept: what learned from more data."""

ALL = "all"
"""What all sources together are called, where there are several."""

TEXTS, UNLABELLED = "texts", "unlabelled"
"""Data sets that are read without labels: the target's own texts, and more of the kind."""

RESERVED = ("target", "test", TEXTS, UNLABELLED)
"""Data sets that are no source."""


@dataclass(frozen=True)
class Arm:
    """One way to get a model for the target.

    Attributes:
        name: as in `--arms`.
        title: as in the table.
        recipes: one for each seed.
        uses_target: whether target labels are trained on.
        way: the key of `TITLES` that it is one of.
        sources: the data sets it learns from besides the target.
    """

    name: str
    title: str
    recipes: tuple[Recipe, ...]
    uses_target: bool
    way: str
    sources: tuple[str, ...]

    @property
    def kind(self) -> Literal["stages", "frozen", "tfidf"]:
        """What fits it: stages of headstart, or scikit-learn on features of one kind."""
        if self.way == "frozen":
            return "frozen"
        return "tfidf" if self.way == "tfidf" else "stages"

    @property
    def rank(self) -> int:
        """Place among `PREFERRED`."""
        return PREFERRED.index(self.way)


SOURCE = Stage(name="source", data="source", epochs=2)
"""Trained once for all arms, label counts and seeds: with a seed of its own."""


def tune_epochs(labels: int) -> float:
    """Passes over the target's labels: few labels need more passes to be learned at all."""
    return float(min(10, max(3, round(1536 / max(labels, 1)))))


def tune_rate(labels: int) -> float:
    """Peak rate of fine-tuning a model that has learned from the source.

    A handful of labels can only pull it astray, so it moves gently; with a thousand and more it
    moves as freely as without a source.
    """
    return min(BACKBONE_RATE, max(2e-5, 2e-5 * labels / 400))


def tune_tokens(labels: int) -> int:
    """Tokens in a batch: small enough for a few updates in each pass over few labels."""
    return 256 if labels < 1000 else 512


def target_stage(labels: int) -> Stage:
    """Fine-tune everything on the target's labels alone."""
    epochs, tokens = tune_epochs(labels), tune_tokens(labels)
    return Stage(name="target", data="target", epochs=epochs, batch_tokens=tokens)


def tune_stage(labels: int) -> Stage:
    """Fine-tune everything on the target's labels, from what the source taught."""
    epochs, tokens, rate = tune_epochs(labels), tune_tokens(labels), tune_rate(labels)
    return Stage(name="tune", data="target", epochs=epochs, batch_tokens=tokens, learning_rate=rate)


ADAPT = Stage(name="adapt", task=MaskedLm(kind="masked-lm"), data=TEXTS, epochs=3)
"""The target's own language first, no label needed (Gururangan et al. 2020, arXiv 2004.10964)."""

ADAPT_ROWS = 6000
"""Few texts are read more often, until so many were seen."""

MOST_ADAPT_EPOCHS = 20


def adapt_stage(texts: int, unlabelled: bool) -> Stage:
    """Learn the target's language from its texts, and from others like them where there are."""
    epochs = float(min(MOST_ADAPT_EPOCHS, max(3, round(ADAPT_ROWS / max(texts, 1)))))
    data = (TEXTS, UNLABELLED) if unlabelled else TEXTS
    return ADAPT.model_copy(update={"data": data, "epochs": epochs})


PROBE = Stage(name="probe", data="target", train="head", epochs=20, batch_tokens=512)
"""The classic second step: the encoder frozen, the head trained; costs one forward pass."""


def stages_of(
    way: str, labels: int, sources: Sequence[str] = ("source",), adapt: Stage = ADAPT
) -> tuple[Stage, ...]:
    """The stages of a way.

    On the target every way takes the same steps, the head first and then everything (Kumar et al.
    2022, arXiv 2202.10054), so that ways differ in what came before alone. What scikit-learn fits
    has the stage that comes nearest to it.

    Args:
        way: a key of `TITLES`.
        labels: target rows that are trained on.
        sources: data sets that the source stage reads.
        adapt: the stage on texts alone.
    """
    source = _reading(SOURCE, tuple(sources))
    joint = _reading(SOURCE, (*sources, "target")).model_copy(update={"name": "joint"})
    target, tune = (PROBE, target_stage(labels)), (PROBE, tune_stage(labels))
    return {
        "tfidf": (PROBE,),
        "frozen": (PROBE,),
        "target": target,
        "random": target,
        "source": (source,),
        "source+target": (source, *tune),
        "adapt+target": (adapt, *target),
        "adapt+source+target": (adapt, source, *tune),
        "joint": (joint, *tune),
    }[way]


def _reading(stage: Stage, names: tuple[str, ...]) -> Stage:
    """The stage on other data."""
    data = names[0] if len(names) == 1 else names
    return stage if data == stage.data else stage.model_copy(update={"data": data})


def reads_source(way: str) -> bool:
    """Whether a way learns from a source."""
    return "source" in way or way == "joint"


def expanded(sources: Sequence[str] = ("source",)) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Every arm there can be: its name, with its way and the sources that it learns from.

    With several sources, each of them takes the place of the word source, and so do all together.
    """
    arms: dict[str, tuple[str, tuple[str, ...]]] = {}
    several = len(sources) > 1
    for way in TITLES:
        if not reads_source(way):
            arms[way] = (way, ())
            continue
        for name in sources:
            arms[_named(way, name) if several else way] = (way, (name,))
        if several:
            arms[_named(way, ALL)] = (way, tuple(sources))
    return arms


def _named(way: str, source: str) -> str:
    """A way with a source's own name in it."""
    return way.replace("source", source) if "source" in way else f"{way}:{source}"


def parse_arms(arms: str | Sequence[str], sources: Sequence[str] = ("source",)) -> tuple[str, ...]:
    """Check the names of the arms asked for.

    Args:
        arms: names, in a text with commas between them or one by one. With several sources,
            "source" in a name stands for each of them and for all together.
        sources: names of the sources.

    Raises:
        RecipeError: a name is unknown, or given twice, or there is none.
    """
    names = tuple(a.strip() for a in (arms.split(",") if isinstance(arms, str) else arms))
    there = expanded(sources)
    known = {**there, **dict.fromkeys(TITLES)}
    faults = [unknown_name("arms", "way", name, known) for name in names if name not in known]
    faults += [
        f"arms: {n!r} is given twice." for n in sorted({n for n in names if names.count(n) > 1})
    ]
    if faults or not names:
        raise RecipeError(faults or "arms: none is given. Known: " + ", ".join(known) + ".")
    asked = [[n] if n in there else [a for a, (way, _) in there.items() if way == n] for n in names]
    return tuple(dict.fromkeys(name for group in asked for name in group))


def title_of(way: str, sources: Sequence[str], several: bool) -> str:
    """What an arm is called in the table."""
    if not several or not sources:
        return TITLES[way]
    return TITLES[way].replace("source", sources[0] if len(sources) == 1 else "all sources")


def build_arms(
    names: Sequence[str],
    common: Recipe,
    *,
    labels: int,
    label_limit: int | None,
    seeds: int,
    adapt: Stage | None = None,
) -> tuple[Arm, ...]:
    """Make the recipes of the arms.

    Args:
        names: which arms.
        common: backbone, pooling, length and data that all share.
        labels: target rows that are trained on.
        label_limit: how many are drawn from those there are; None uses all.
        seeds: repeats of what is trained on the target; each draws its own labels.
        adapt: the stage on texts alone, as `adapt_stage` gives it.
    """
    sources = tuple(name for name in common.data if name not in RESERVED) or ("source",)
    there = expanded(sources)
    arms = []
    for name in names:
        way, own = there[name]
        stages = stages_of(way, labels, own or ("source",), adapt or ADAPT)
        uses_target = any("target" in stage.data_names for stage in stages)
        recipes = tuple(
            _recipe(common, stages, seed, label_limit)
            for seed in range(seeds if uses_target else 1)
        )
        title = title_of(way, own, len(sources) > 1)
        arms.append(Arm(name, title, recipes, uses_target, way, own))
    return tuple(arms)


def _recipe(
    common: Recipe, stages: tuple[Stage, ...], seed: int, label_limit: int | None
) -> Recipe:
    """What reads no target label is trained once, for all seeds."""
    fixed = tuple(
        s if "target" in s.data_names else s.model_copy(update={"seed": 0}) for s in stages
    )
    read = {name for stage in fixed for name in stage.data_names}
    data: dict[str, Data] = {k: v for k, v in common.data.items() if k in read | {common.test}}
    if "target" in read:
        data["target"] = data["target"].model_copy(update={"labels": label_limit})
    return common.model_copy(update={"stage": fixed, "seed": seed, "data": data})
