"""The ways of transferring that are compared: each is a recipe, and they share first stages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.errors import RecipeError, unknown_name
from headstart.recipe import Data, Recipe, Stage
from headstart.training.trainable import BACKBONE_RATE

TITLES = {
    "target": "target only",
    "source": "source only",
    "source+target": "source -> target",
}


@dataclass(frozen=True)
class Arm:
    """One way to get a model for the target.

    Attributes:
        name: as in `--arms`.
        title: as in the table.
        recipes: one for each seed.
        uses_target: whether target labels are trained on.
    """

    name: str
    title: str
    recipes: tuple[Recipe, ...]
    uses_target: bool


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


PROBE = Stage(name="probe", data="target", train="head", epochs=20, batch_tokens=512)
"""The classic second step: the encoder frozen, the head trained; costs one forward pass."""


def stages_of(arm: str, labels: int) -> tuple[Stage, ...]:
    """The stages of an arm by name.

    On the target every arm takes the same steps, the head first and then everything (Kumar et al.
    2022, arXiv 2202.10054), so that arms differ in the source alone.
    """
    return {
        "target": (PROBE, target_stage(labels)),
        "source": (SOURCE,),
        "source+target": (SOURCE, PROBE, tune_stage(labels)),
    }[arm]


def parse_arms(arms: str | Sequence[str]) -> tuple[str, ...]:
    """Check the names of the arms asked for.

    Raises:
        RecipeError: a name is unknown, or given twice, or there is none.
    """
    names = tuple(a.strip() for a in (arms.split(",") if isinstance(arms, str) else arms))
    faults = [unknown_name("arms", "way", name, TITLES) for name in names if name not in TITLES]
    faults += [
        f"arms: {n!r} is given twice." for n in sorted({n for n in names if names.count(n) > 1})
    ]
    if faults or not names:
        raise RecipeError(faults or "arms: none is given. Known: " + ", ".join(TITLES) + ".")
    return names


def build_arms(
    names: Sequence[str], common: Recipe, *, labels: int, label_limit: int | None, seeds: int
) -> tuple[Arm, ...]:
    """Make the recipes of the arms.

    Args:
        names: which arms.
        common: backbone, pooling, length and data that all share.
        labels: target rows that are trained on.
        label_limit: how many are drawn from those there are; None uses all.
        seeds: repeats of what is trained on the target; each draws its own labels.
    """
    arms = []
    for name in names:
        stages = stages_of(name, labels)
        uses_target = any(stage.data == "target" for stage in stages)
        recipes = tuple(
            _recipe(common, stages, seed, label_limit)
            for seed in range(seeds if uses_target else 1)
        )
        arms.append(Arm(name, TITLES[name], recipes, uses_target))
    return tuple(arms)


def _recipe(
    common: Recipe, stages: tuple[Stage, ...], seed: int, label_limit: int | None
) -> Recipe:
    fixed = tuple(s.model_copy(update={"seed": 0}) if s.data == "source" else s for s in stages)
    used = {stage.data for stage in fixed} | {common.test}
    data: dict[str, Data] = {k: v for k, v in common.data.items() if k in used}
    if "target" in data and "target" in {s.data for s in fixed}:
        data["target"] = data["target"].model_copy(update={"labels": label_limit})
    return common.model_copy(update={"stage": fixed, "seed": seed, "data": data})
