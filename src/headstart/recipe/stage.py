"""One training phase, as plain values, and what can be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from headstart.errors import unknown_name
from headstart.recipe.helped import WithUnlabelled, helped_faults
from headstart.recipe.objectives import Objective, Plain, learns_from_episodes, objective_faults
from headstart.recipe.several import (
    AnyBalance,
    AnyMix,
    Balance,
    Mix,
    StageTask,
    settled,
    several_faults,
)
from headstart.recipe.tasks import Classify
from headstart.recipe.train import (
    Adapter,
    Bottleneck,
    Lora,
    Prefix,
    Train,
    adapter_of,
    train_faults,
)
from headstart.recipe.tuning import SHARE, tuning_faults
from headstart.recipe.values import Fraction, Rate, Values


class Stage(Values):
    """One training phase: a task, its data, what moves, and for how long.

    Attributes:
        name: for the log and the report.
        task: what is asked; a bare name is the task with its defaults, a list several tasks that
            the backbone learns together, see `Member`.
        objective: how gradients come about; a bare name is the objective with its defaults.
        data: a key of the recipe's data, or several whose rows are read as one. Of several tasks
            each may name its own.
        train: "all", "head", "top:N" (the last N blocks and the head), or ordered patterns with
            rates: {"head" = 1e-3, "blocks.5" = 1e-4}; the first that matches a parameter rules, and
            what none matches stays frozen. "lora:N", "prefix:N" and "adapter:N" add something
            small to the frozen backbone and train it with the head, "bitfit" trains biases and
            head (Ben Zaken et al. 2022); these words may stand among patterns too, where the head
            moves at 1e-3 unless it is named; a table with a `kind` gives an `Adapter` in full.
        epochs: passes over the data. Exactly one of epochs and steps is given.
        steps: optimiser updates.
        learning_rate: peak rate where `train` is a word, for all that moves. Default: 1e-4 for
            "all" and "top:N"; for what is added and "bitfit" 3e-3, for "prefix:N" 3e-2, with their
            head, as for "head", at 1e-3.
        layer_decay: rate of a block = rate of the block above times this (Howard & Ruder 2018).
        schedule: how the rate falls after the warm-up; "slanted" is linear from a 32nd of the peak
            up and down to it again (Howard & Ruder 2018).
        warmup: share of the updates over which the rate rises linearly from 0.
        weight_decay: of AdamW; biases and norms are spared.
        clip: largest norm of the gradient of all moving parameters together; 0 switches it off.
        batch_tokens: tokens in a batch, the unit of work of one update.
        micro_batch_tokens: most tokens that go through the network at once; an update of more
            goes in parts, whose gradients add up to the same. Default: all at once.
        recompute: keep only what enters each block, and compute the rest again for the backward
            pass (Chen et al. 2016): a third more work for a fraction of the memory.
        validation: share of the rows held out, stratified, to choose the best epoch by.
        patience: stop after this many epochs without a better validation score; of several tasks,
            one that has not become better for so long is left out from then on.
        head: "keep" starts from the head of the stage before, "new" from a fresh one; "auto"
            keeps it where both have the same classes.
        unfreeze: "gradual" lets head, blocks from the top, and embeddings begin to move one after
            the other over the first half of the updates (Howard & Ruder 2018).
        fresh_blocks: so many of the last blocks, and a family's pooler, begin with new weights
            (Zhang et al. 2021).
        average: what is left is the mean of the weights: "swa", over the last updates (Izmailov et
            al. 2018), or "ema", over all, the recent ones more.
        average_share: of the updates, that "swa" is over, and after which those of "ema" fade.
        interpolate: what is left is this share of the way from where the stage began to where it
            ended (WiSE-FT: Wortsman et al. 2022).
        sharpness: the gradient is that of the worst place about so far away (SAM's rho: Foret et
            al. 2021); 0 is here.
        mixout: probability that a weight of a linear map of the backbone is, for an update, what it
            was at the start (Lee et al. 2020).
        seed: of this stage's new head, data order and dropout. Default: the recipe's.
        mix: of several tasks, which comes how often; see `Mix`.
        balance: of several tasks, how their gradients become one; see `Balance`.
        compare: of several tasks, what is trained besides when a recipe is run: "alone", each of
            them alone; "each", also all but each, which tells what it is worth to the others; or
            "no".
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.+-]*$")]
    task: StageTask = Classify(kind="classify")
    objective: Objective = Plain(kind="plain")
    data: str | tuple[str, ...]
    train: Train = "all"
    epochs: Annotated[float, Field(gt=0)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1.0)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1.0)] = 1.0
    schedule: Literal["linear", "cosine", "constant", "slanted"] = "linear"
    warmup: Fraction = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(ge=0)] = 1.0
    batch_tokens: Annotated[int, Field(ge=16)] = 1024
    micro_batch_tokens: Annotated[int, Field(ge=16)] | None = None
    recompute: bool = False
    validation: Fraction = 0.0
    patience: Annotated[int, Field(ge=1)] | None = None
    head: Literal["auto", "keep", "new"] = "auto"
    unfreeze: Literal["at once", "gradual"] = "at once"
    fresh_blocks: Annotated[int, Field(ge=0)] = 0
    average: Literal["no", "swa", "ema"] = "no"
    average_share: Annotated[float, Field(gt=0, le=1)] = SHARE
    interpolate: Rate = 1.0
    sharpness: Annotated[float, Field(ge=0)] = 0.0
    mixout: Fraction = 0.0
    seed: Annotated[int, Field(ge=0)] | None = None
    mix: AnyMix = Mix()
    balance: AnyBalance = Balance()
    compare: Literal["alone", "each", "no"] = "alone"

    @model_validator(mode="before")
    @classmethod
    def _settled(cls, values: Any) -> Any:
        """Several tasks know their names and data, and the stage all data they read."""
        return settled(values) if isinstance(values, Mapping) else values

    @property
    def data_names(self) -> tuple[str, ...]:
        """The data sets that are read."""
        return (self.data,) if isinstance(self.data, str) else self.data

    @property
    def unlabelled_names(self) -> tuple[str, ...]:
        """The data sets that its objective reads without their labels."""
        objective = self.objective
        return objective.unlabelled_names if isinstance(objective, WithUnlabelled) else ()

    @property
    def all_names(self) -> tuple[str, ...]:
        """The data sets that are read, with labels or without."""
        return self.data_names + self.unlabelled_names

    @property
    def adapter(self) -> Adapter | None:
        """What the stage adds to the backbone, None where nothing."""
        if isinstance(self.train, Lora | Prefix | Bottleneck):
            return self.train
        words = [self.train] if isinstance(self.train, str) else self.train
        return next((made for word in words if (made := adapter_of(word)) is not None), None)


def stage_faults(place: str, stage: Mapping[str, Any], known: list[str]) -> Iterator[str]:
    """Faults between the keys of a stage, and between it and the data sets that are known."""
    stage = settled(stage)
    several = isinstance(stage.get("task"), (list, tuple))
    if several:
        yield from several_faults(place, stage, known)
    yield from _lone_faults(place, stage, several)
    data = None if several else stage.get("data")
    names = [data] if isinstance(data, str) else data if isinstance(data, (list, tuple)) else []
    for name in names:
        if isinstance(name, str) and name not in known:
            yield unknown_name(f"{place}.data", "data set", name, known)
    if len(set(map(str, names))) < len(names) or (not names and isinstance(data, (list, tuple))):
        yield f"{place}.data: must name one data set or more, each once; got {list(names)}."
    lengths = [key for key in ("epochs", "steps") if stage.get(key) is not None]
    if len(lengths) != 1:
        found = "both" if lengths else "neither"
        yield f"{place}: exactly one of epochs and steps must be given; found {found}."
    yield from train_faults(place, stage)
    yield from objective_faults(place, stage)
    yield from helped_faults(place, stage, known)
    yield from tuning_faults(place, stage, learns_from_episodes(stage))
    watched = stage.get("validation") or learns_from_episodes(stage)
    if stage.get("patience") is not None and not watched:
        yield f"{place}.patience: needs rows to watch. Set validation, for example 0.1."


def _lone_faults(place: str, stage: Mapping[str, Any], several: bool) -> Iterator[str]:
    """Keys that need several tasks, and words for `train` that several tasks cannot serve."""
    train = stage.get("train", "all")
    words = [train] if isinstance(train, str) else train if isinstance(train, Mapping) else []
    added = [w for w in words if isinstance(w, str) and adapter_of(w) is not None]
    task = stage.get("task")
    kind = task.get("kind", "classify") if isinstance(task, Mapping) else task or "classify"
    if (several or kind != "classify") and (added or "kind" in words):
        yield (
            f"{place}.train: {added[0] if added else train} is trained with a classifier alone. "
            'Use "all", "head", "top:N", "bitfit" or patterns.'
        )
    tasks = task if isinstance(task, (list, tuple)) else [task]
    kinds = [one.get("kind") if isinstance(one, Mapping) else one for one in tasks]
    if "contrast" in kinds and stage.get("micro_batch_tokens") is not None:
        yield (
            f"{place}.micro_batch_tokens: contrast tells a text from all others of its batch, so "
            "that it cannot go through the network in parts. Drop it; where memory is short, set "
            "recompute = true, or batch_tokens lower."
        )
    for key in () if several else ("mix", "balance", "compare"):
        if key in stage and stage[key] != DEFAULTS[key]:
            yield f"{place}.{key}: is of several tasks, and the stage has one. Drop it."


DEFAULTS = {
    "mix": Mix().model_dump(),
    "balance": Balance().model_dump(),
    "compare": "alone",
}
"""What a stage of one task holds where nothing was said."""
