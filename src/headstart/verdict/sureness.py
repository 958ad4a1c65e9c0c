"""How sure the winner may be of its answers: temperature, thresholds, what the surest are worth.

All that is fitted is fitted to labelled rows that the model was not trained on and that do not
judge. With folds, where the same rows do both, each fold is judged by what the others fit.

Shapes: S repeats, N judged rows, M rows to fit on, C classes.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.calibration import (
    describe_calibration,
    fit_temperature,
    probabilities_of,
)
from headstart.evaluation.selective import describe_selective
from headstart.evaluation.thresholds import tune_offsets
from headstart.tasks.temperature import Temperature

MOST_CLASSES = 20
"""Thresholds are tuned for up to so many classes."""

Reals = NDArray[np.float64]
Classes = NDArray[np.int64]


def sureness(
    judged: Reals,
    truth: Classes,
    unseen: Reals,
    unseen_truth: Classes,
    fold: Classes | None = None,
) -> dict[str, Any]:
    """What verdict.json says of how sure the winner is.

    Args:
        judged: (S, N, C) logits of the judged rows; the first of them is described.
        truth: (N,) class of each.
        unseen: (S', M, C) logits of rows to fit on; M may be 0.
        unseen_truth: (M,) class of each.
        fold: (N,) fold of each judged row, where they are also the rows to fit on.
    """
    logits = judged[0]
    temperature = fit_temperature(unseen, unseen_truth) if len(unseen_truth) else None
    if temperature is None or fold is None:
        calibration = describe_calibration(logits, truth, temperature)
        scaled = logits / (temperature.value if temperature else 1.0)
    else:
        scaled = _by_other_folds(logits, truth, fold)
        calibration = describe_calibration(logits, truth)
        calibration["after"] = describe_calibration(scaled, truth)["before"]
        calibration["temperature"] = temperature.to_values()
    sure = probabilities_of(scaled)
    values: dict[str, Any] = {
        "calibration": calibration,
        "selective": describe_selective(sure.max(-1), sure.argmax(-1) == truth),
        "offsets": None,
    }
    if len(unseen_truth) and logits.shape[1] <= MOST_CLASSES:
        found = tune_offsets(probabilities_of(unseen, temperature), unseen_truth)
        values["offsets"] = asdict(found) | {"values": list(found.values)}
    return values


def temperature_in(values: dict[str, Any]) -> Temperature | None:
    """The temperature that `sureness` found."""
    found = values["calibration"]["temperature"]
    return None if found is None else Temperature.from_values(found)


def _by_other_folds(logits: Reals, truth: Classes, fold: Classes) -> Reals:
    """(N, C) logits of each fold over the temperature that the other folds fit."""
    scaled = np.empty_like(logits)
    for number in np.unique(fold):
        here = fold == number
        scaled[here] = logits[here] / fit_temperature(logits[~here], truth[~here]).value
    return scaled
