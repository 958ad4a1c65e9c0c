"""Runs that learned nothing: found by their loss, and started again from another seed.

Fine-tuning a Transformer on few rows now and then ends where it began (Mosbach, Andriushchenko and
Klakow 2021, arXiv 2006.04884). Such a run says nothing about what it was to measure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from headstart.data.batches import derive_seed
from headstart.data.labels import Labels
from headstart.recipe import Recipe, Stage

RESTARTS = 2
"""How often a run is started again."""

MOVED = 0.95
"""A loss that ends above this share of the classes' entropy did not move."""

LAST_SHARE = 0.1
"""Share of the log that tells how the loss ended."""


def entropy(labels: Sequence[str]) -> float:
    """Loss in nats of who knows how frequent each class is, and nothing of any row."""
    counts = np.array(list(Labels.of(labels).counts.values()), dtype=np.float64)
    share = counts / counts.sum()
    return float(-(share * np.log(share)).sum())


def final_loss(log: Sequence[Mapping[str, Any]]) -> float:
    """Mean loss over the last tenth of a stage's log."""
    losses = [point["loss"] for point in log]
    return float(np.mean(losses[-max(1, round(LAST_SHARE * len(losses))) :]))


def collapsed(
    log: Sequence[Mapping[str, Any]], labels: Sequence[str], predicted: Callable[[], np.ndarray]
) -> bool:
    """Whether a stage learned nothing.

    Args:
        log: of the stage, with a loss in each point.
        labels: of the rows that it was trained on.
        predicted: gives the classes it predicts for such rows; asked only where its loss leaves
            it open whether it names one class alone.
    """
    loss, most = final_loss(log), max(Labels.of(labels).counts.values()) / len(labels)
    if loss >= MOVED * entropy(labels):
        return True
    # Who gives one class to all rows gives each row of another less than a half: log 2 or more.
    if loss < (1 - most) * np.log(2):
        return False
    return len(np.unique(predicted())) < 2


def learns_all(stage: Stage) -> bool:
    """Whether a stage is one that can collapse: it moves the backbone, and reads labels."""
    return stage.train != "head" and stage.task.kind == "classify"


def again(recipe: Recipe, first: int, attempt: int) -> Recipe:
    """The recipe with other seeds from stage number `first` on; the labels drawn are the same."""
    stages = []
    for number, stage in enumerate(recipe.stage):
        if number >= first:
            own = recipe.seed if stage.seed is None else stage.seed
            seed = derive_seed("restart", own, attempt) % 2**31
            stage = stage.model_copy(update={"seed": seed})
        stages.append(stage)
    return recipe.model_copy(update={"stage": tuple(stages)})
