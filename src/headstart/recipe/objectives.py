"""How gradients come about in a stage: the values of its `objective`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from headstart.errors import unknown_name
from headstart.recipe.helped import HELPED, Consistency, Distill, Noise, SelfTrain
from headstart.recipe.train import Lora, adapter_of
from headstart.recipe.values import Values

Count = Annotated[int, Field(ge=1)]


def _listed(value: object) -> object:
    return (value,) if isinstance(value, str) else value


BATCH_TOKENS = 1024
"""A stage's default."""

HeldOut = Annotated[Annotated[float, Field(gt=0, lt=1)] | tuple[str, ...], BeforeValidator(_listed)]
"""A share of what there is, or what is meant by name, one or several."""


class Plain(Values):
    """The task's own loss.

    Attributes:
        kind: "plain".
    """

    kind: Literal["plain"]


class Episodic(Values):
    """What all ways of meta-learning share: small problems of their own, one after the other.

    An episode has some classes (ways), a few labelled rows of each to learn from (shots), and other
    rows of the same classes to be asked about (queries).

    Attributes:
        ways: most classes in an episode; a data set with fewer gives all it has. One data set of
            many classes needs it. Default: all classes of the data set that an episode is from.
        shots: rows of each class to learn from, or several counts of which each episode has one.
        queries: rows of each class to be asked about; at most what a class has left.
        episodes: in an update; their gradients are averaged.
        validation: what is kept apart to choose the best point of training by: a share, or names.
            These are classes where there is one data set, else data sets.
        test: what the result is measured on, likewise; no class of it is seen in training.
        test_episodes: how many episodes measure the result.
    """

    ways: Annotated[int, Field(ge=2)] | None = None
    shots: Count | tuple[Count, ...] = 5
    queries: Count = 15
    episodes: Count = 4
    validation: HeldOut = ()
    test: HeldOut = ()
    test_episodes: Annotated[int, Field(ge=2)] = 600

    @property
    def shot_counts(self) -> tuple[int, ...]:
        """The counts of shots that episodes have."""
        return (self.shots,) if isinstance(self.shots, int) else self.shots


class ProtoNet(Episodic):
    """Nearest class mean (Snell et al. 2017): nothing is trained inside an episode.

    Attributes:
        kind: "protonet".
    """

    kind: Literal["protonet"]


class Inner(Episodic):
    """A few steps of gradient descent inside an episode.

    Attributes:
        inner_steps: on the rows to learn from.
        inner_rate: of these steps; plain gradient descent.
        test_steps: of steps where the model is measured or used. Default: `inner_steps`.
        head: what an episode's head begins as: "means" (of each class; Triantafillou et al. 2020,
            section 3), "learned" (one beginning for all, so that every episode must have as many
            classes), or "generated" from the rows of a class (Bansal et al. 2020).
        permute_labels: whether a class gets any output of the head in an episode, by chance; else
            they are in the order of their names.
    """

    inner_steps: Count = 5
    inner_rate: Annotated[float, Field(gt=0)] = 0.01
    test_steps: Count | None = None
    head: Literal["means", "learned", "generated"] = "means"
    permute_labels: bool = True


class Anil(Inner):
    """The head alone moves inside an episode, the rest around it (Raghu et al. 2020).

    Attributes:
        kind: "anil".
        learn_rates: learn the inner rates too, one for each layer (Meta-SGD: Li et al. 2017).
    """

    kind: Literal["anil"]
    learn_rates: bool = False


class Maml(Inner):
    """A beginning from which a few steps lead far (Finn et al. 2017).

    Attributes:
        kind: "maml", through the steps; "fomaml", as if the steps moved alike from anywhere.
        inner: what moves inside an episode besides the head: "head" (nothing), "all", "lora:N", or
            patterns of names as in `Stage.train`.
        learn_rates: learn the inner rates too, one for each layer (Meta-SGD: Li et al. 2017).
    """

    kind: Literal["maml", "fomaml"]
    inner: str | tuple[str, ...] = "head"
    learn_rates: bool = False


class Reptile(Inner):
    """Steps towards where an episode's steps lead (Nichol et al. 2018).

    Attributes:
        kind: "reptile".
        inner: as in `Maml`; without "all" or patterns there is little to step with.
    """

    kind: Literal["reptile"]
    inner: str | tuple[str, ...] = "all"
    head: Literal["means", "learned"] = "means"


OBJECTIVES: dict[str, type[Values]] = {
    "plain": Plain,
    "maml": Maml,
    "fomaml": Maml,
    "anil": Anil,
    "reptile": Reptile,
    "protonet": ProtoNet,
    **HELPED,
}
"""Each kind of objective with its values."""

EPISODIC = ("maml", "fomaml", "anil", "reptile", "protonet")
"""Kinds that learn from episodes."""


def _from_name(value: object) -> object:
    """A bare name stands for the objective with its defaults."""
    return {"kind": value} if isinstance(value, str) else value


AnyObjective = Annotated[
    Plain | Maml | Anil | Reptile | ProtoNet | Noise | Distill | SelfTrain | Consistency,
    Field(discriminator="kind"),
]
Objective = Annotated[AnyObjective, BeforeValidator(_from_name)]


def learns_from_episodes(stage: Mapping[str, Any]) -> bool:
    """Whether a stage's values ask for meta-learning."""
    objective = _from_name(stage.get("objective", "plain"))
    return isinstance(objective, Mapping) and objective.get("kind") in EPISODIC


def inner_of(objective: Episodic) -> tuple[str, ...]:
    """What moves inside an episode besides the head, as words and patterns; () for nothing."""
    if not isinstance(objective, Maml | Reptile):
        return ()
    inner = (objective.inner,) if isinstance(objective.inner, str) else objective.inner
    return tuple(word for word in inner if word != "head")


def objective_faults(place: str, stage: Mapping[str, Any]) -> Iterator[str]:
    """Faults of a stage's `objective` that its types do not tell.

    Args:
        place: of the stage, such as "stage[1]".
        stage: its values.
    """
    objective = _from_name(stage.get("objective", "plain"))
    if not learns_from_episodes(stage):
        return
    assert isinstance(objective, Mapping)
    where = f"{place}.objective"
    task = stage.get("task", "classify")
    kind = task.get("kind", "classify") if isinstance(task, Mapping) else task
    if kind != "classify":
        yield f"{place}.task: {objective['kind']} learns to tell classes apart; use classify."
    if stage.get("epochs") is not None:
        yield f"{place}.epochs: episodes are drawn without end, so there are no epochs. Set steps."
    if stage.get("validation"):
        yield f"{place}.validation: classes are held out, not rows. Set {where}.validation."
    if stage.get("patience") is not None and not objective.get("validation"):
        yield f"{where}.validation: patience needs it. Give a share, or names."
    yield from _unread_faults(place, stage)
    yield from _data_faults(where, stage.get("data"), objective)
    yield from _inner_faults(place, stage, objective)


def _unread_faults(place: str, stage: Mapping[str, Any]) -> Iterator[str]:
    """Keys that stages with rows read, and episodes do not."""
    if stage.get("batch_tokens", BATCH_TOKENS) != BATCH_TOKENS:
        yield f"{place}.batch_tokens: an update is of episodes. Set {place}.objective.episodes."
    if stage.get("micro_batch_tokens") is not None:
        yield f"{place}.micro_batch_tokens: episodes go through the network whole. Leave it out."
    if stage.get("head", "auto") != "auto":
        yield f"{place}.head: each episode has a head of its own: {place}.objective.head. Drop it."
    task = stage.get("task")
    for key in ("class_weights", "label_smoothing"):
        if isinstance(task, Mapping) and task.get(key):
            yield f"{place}.task.{key}: has no part in episodes. Leave it out."


def _data_faults(where: str, data: object, objective: Mapping[str, Any]) -> Iterator[str]:
    sets = [str(name) for name in data] if isinstance(data, (list, tuple)) else []
    if len(sets) < 2 and objective.get("ways") is None:
        yield f"{where}.ways: one data set needs it: how many of its classes an episode has."
    named: dict[str, str] = {}
    for key in ("validation", "test"):
        names = objective.get(key)
        for name in map(str, names) if isinstance(names, (list, tuple)) else ():
            if len(sets) > 1 and name not in sets:
                yield unknown_name(f"{where}.{key}", "data set of the stage", name, sets)
            if name in named:
                yield f"{where}.{key}: {name!r} is named in {named[name]} already. Keep one."
            named[name] = key
    if len(sets) > 1 and set(named) >= set(sets):
        yield f"{where}: every data set is held out, so that none is left to learn from."


def _inner_faults(
    place: str, stage: Mapping[str, Any], objective: Mapping[str, Any]
) -> Iterator[str]:
    where = f"{place}.objective.inner"
    inner = objective.get("inner", ())
    words = [inner] if isinstance(inner, str) else inner
    words = [str(word) for word in words] if isinstance(words, (list, tuple)) else []
    for word in words:
        if re.fullmatch(r"[a-z]+:\w*", word) and not _lora(word):
            yield unknown_name(where, "word", word, ("head", "all", "lora:N"))
            continue
        try:
            re.compile(word)
        except re.error as error:
            yield f"{where}: {word!r} is not a regular expression: {error}."
    yield from _adapter_faults(place, stage, [word for word in words if _lora(word)])
    moving = [word for word in words if word != "head"] or objective.get("kind") == "reptile"
    if stage.get("recompute") and moving:
        yield f"{place}.recompute: cannot be where a backbone moves inside episodes. Leave it out."


def _adapter_faults(place: str, stage: Mapping[str, Any], inner: list[str]) -> Iterator[str]:
    """What a stage adds to its backbone must be what moves inside, or at least be mergeable."""
    train = stage.get("train", "all")
    words = [train] if isinstance(train, str) else list(train) if isinstance(train, Mapping) else []
    added = [str(word) for word in words if adapter_of(str(word)) is not None]
    if "kind" in words:
        added = [str(train["kind"])]
    for word in added:
        if word.partition(":")[0] != "lora":
            yield f"{place}.train: {word!r} cannot be merged after episodes. Use lora:8."
        elif inner and word not in inner:
            yield (
                f"{place}.objective.inner: {inner[0]!r} does not go with {word!r} in train. Give "
                "both the same word."
            )
    if len(inner) > 1:
        yield f"{place}.objective.inner: one thing may be added, not {' and '.join(inner)}."


def _lora(word: str) -> bool:
    return isinstance(adapter_of(word), Lora)
