"""Faults between the keys of a stage that say how it is tuned."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from headstart.recipe.train import adapter_of

OFF: dict[str, Any] = {
    "unfreeze": "at once",
    "fresh_blocks": 0,
    "average": "no",
    "interpolate": 1.0,
    "sharpness": 0.0,
    "mixout": 0.0,
}
"""What each key is where it does nothing."""

BACKBONE_KEYS = ("unfreeze", "fresh_blocks", "interpolate", "mixout")
"""Keys that need a backbone that moves."""

CLASSIFIER_KEYS = ("fresh_blocks", "sharpness", "mixout")
"""Keys that are of a stage with one task, which classifies."""


def tuning_faults(place: str, stage: Mapping[str, Any], episodic: bool) -> Iterator[str]:
    """Faults of a stage's tuning that its types do not tell.

    Args:
        place: of the stage, such as "stage[1]".
        stage: its values.
        episodic: whether it learns from episodes.
    """
    on = [key for key, off in OFF.items() if stage.get(key, off) != off]
    still = _still(stage)
    for key in (key for key in on if key in BACKBONE_KEYS and still):
        yield (
            f'{place}.{key}: is about a backbone that moves; train is {still!r}. Use "all", '
            '"top:N" or patterns, or drop it.'
        )
    task = stage.get("task", "classify")
    kind = task.get("kind") if isinstance(task, Mapping) else task
    for key in (key for key in on if key in CLASSIFIER_KEYS and kind != "classify"):
        yield f"{place}.{key}: is of a stage with one task, which classifies. Drop it."
    for key in on if episodic else ():
        yield f"{place}.{key}: does not go with learning from episodes. Drop one."
    if "average" in on and stage.get("validation"):
        yield (
            f"{place}.average: the mean of many updates is what is left, while validation would "
            "choose one epoch. Drop one."
        )
    if "average_share" in stage and "average" not in on and stage["average_share"] != SHARE:
        yield f'{place}.average_share: is read with average = "swa" or "ema" alone. Drop it.'


SHARE = 0.25
"""Of the updates, that a mean of weights is over, where nothing is said."""


def _still(stage: Mapping[str, Any]) -> str | None:
    """The word for `train` under which no weight of the backbone itself moves."""
    train = stage.get("train", "all")
    if isinstance(train, Mapping):
        if "kind" in train:
            return str(train["kind"])
        return next((word for word in train if adapter_of(str(word)) is not None), None)
    return train if train == "head" or adapter_of(str(train)) is not None else None
