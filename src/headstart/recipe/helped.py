"""Objectives that add something to a classifier's loss: a teacher, unlabelled rows, or noise."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from headstart.errors import unknown_name
from headstart.recipe.train import adapter_of
from headstart.recipe.values import Fraction, Rate, Values

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class Noise(Values):
    """Answers that stay the same under noise on the embeddings.

    Attributes:
        kind: "r3f" (Aghajanyan et al. 2021); "smart", where the noise is moved to where answers
            change more (Jiang et al. 2020).
        weight: of the symmetric divergence between the answers with and without noise.
        size: standard deviation of normal noise, or the largest uniform.
        noise: "uniform" or "normal".
        steps: of "smart".
        step_size: of each.
    """

    kind: Literal["r3f", "smart"]
    weight: Weight = 1.0
    size: Positive = 1e-5
    noise: Literal["uniform", "normal"] = "uniform"
    steps: Annotated[int, Field(ge=1)] = 1
    step_size: Positive = 1e-5


class WithUnlabelled(Values):
    """What objectives share that read rows without labels.

    Attributes:
        unlabelled: keys of the recipe's data that are read without labels.
        ratio: tokens of unlabelled rows in an update over those of labelled ones.
    """

    unlabelled: str | tuple[str, ...] = ()
    ratio: Positive = 1.0

    @property
    def unlabelled_names(self) -> tuple[str, ...]:
        """The data sets that are read without labels."""
        return (self.unlabelled,) if isinstance(self.unlabelled, str) else self.unlabelled


class Distill(WithUnlabelled):
    """Learning from a teacher (Hinton et al. 2015), on unlabelled rows too where there are.

    Attributes:
        kind: "distill".
        teacher: a folder that headstart left, with a model of the same classes.
        labels: weight of the loss with the labels.
        logits: of the divergence from the teacher's answers.
        temperature: that both answers are softened by.
        hidden: weight of the squared difference of hidden states (Sun et al. 2019; Jiao et al.
            2020); both must be of one width.
        attention: of the divergence of what the last blocks look at (MiniLM: Wang et al. 2020).
        relations: of the divergence of how the values of the last blocks relate (likewise).
    """

    kind: Literal["distill"]
    teacher: str
    labels: Weight = 1.0
    logits: Weight = 1.0
    temperature: Positive = 2.0
    hidden: Weight = 0.0
    attention: Weight = 0.0
    relations: Weight = 0.0


class SelfTrain(WithUnlabelled):
    """Learning from what the model said of unlabelled rows before the stage (Vu et al. 2021).

    Attributes:
        kind: "self-train".
        weight: of the loss with pseudo-labels.
        threshold: least probability of the best class; 0 takes all rows.
        soft: learn the probabilities, not the best class.
    """

    kind: Literal["self-train"]
    weight: Weight = 1.0
    threshold: Rate = 0.0
    soft: bool = False


class Consistency(WithUnlabelled):
    """Rows whose tokens were noised are answered as the rows themselves (UDA: Xie et al. 2020).

    Attributes:
        kind: "consistency".
        weight: of the divergence.
        temperature: that the answer to the row itself is sharpened by.
        threshold: least probability of its best class, for the row to count.
        noise: probability of a token to become another one.
    """

    kind: Literal["consistency"]
    weight: Weight = 1.0
    temperature: Positive = 0.4
    threshold: Fraction = 0.8
    noise: Annotated[float, Field(gt=0, lt=1)] = 0.1


HELPED: dict[str, type[Values]] = {
    "r3f": Noise,
    "smart": Noise,
    "distill": Distill,
    "self-train": SelfTrain,
    "consistency": Consistency,
}
"""Each kind with its values."""


def helped_faults(place: str, stage: Mapping[str, Any], known: list[str]) -> Iterator[str]:
    """Faults of such an objective that its types do not tell.

    Args:
        place: of the stage, such as "stage[1]".
        stage: its values.
        known: names of data sets.
    """
    given = stage.get("objective")
    objective = {"kind": given} if isinstance(given, str) else given
    if not isinstance(objective, Mapping) or objective.get("kind") not in HELPED:
        return
    kind, where = str(objective["kind"]), f"{place}.objective"
    task = stage.get("task", "classify")
    asked = task.get("kind", "classify") if isinstance(task, Mapping) else task
    if asked != "classify":
        yield f"{place}.task: {kind} is for one task that classifies; use classify."
    yield from _name_faults(place, where, kind, objective, stage, known)
    if kind == "r3f":
        for key, value in (("steps", 1), ("step_size", 1e-5)):
            if objective.get(key, value) != value:
                yield f"{where}.{key}: is read by smart alone. Drop it, or use smart."
    if kind == "self-train" and (stage.get("head") == "new" or place.endswith("[0]")):
        yield (
            f"{where}: self-train learns from what the head of the stage before says. Train one in "
            'a stage before, on the same classes, and leave head = "new" out.'
        )
    train = stage.get("train", "all")
    words = [train] if isinstance(train, str) else list(train) if isinstance(train, Mapping) else []
    if kind in ("r3f", "smart") and any(adapter_of(str(w)) or w == "kind" for w in words):
        yield f'{place}.train: {kind} moves the backbone itself. Use "all" or "top:N".'


def _name_faults(
    place: str,
    where: str,
    kind: str,
    objective: Mapping[str, Any],
    stage: Mapping[str, Any],
    known: list[str],
) -> Iterator[str]:
    named = objective.get("unlabelled", ())
    names = [named] if isinstance(named, str) else named if isinstance(named, (list, tuple)) else ()
    if kind in ("self-train", "consistency") and not names:
        yield f"{where}.unlabelled: {kind} needs rows without labels. Name a data set of them."
    data = stage.get("data")
    read = [data] if isinstance(data, str) else data or ()
    for name in map(str, names):
        if name not in known:
            yield unknown_name(f"{where}.unlabelled", "data set", name, known)
        elif name in read:
            yield f"{where}.unlabelled: {name!r} is read with its labels already. Name another."
