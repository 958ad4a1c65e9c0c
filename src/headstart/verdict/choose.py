"""Which way is kept: chosen by cross-validation among labelled training rows, never by test rows.

Shapes: S repeats, N rows of the target that are trained on, A ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]

RULE = (
    "The way with the highest accuracy in cross-validation inside the labelled training rows; "
    "among ways within one standard error of it, the one that learned from more data. No test row "
    "takes part."
)
FOLDS_RULE = (
    "The way with the highest accuracy over all folds; among ways within one standard error of it, "
    "the one that learned from more data. Its accuracy is told by rows that had no say: those of a "
    "fold, when the other folds choose."
)
NO_RULE = (
    "Too few labels to cross-validate: of the ways compared, the one that learned from most data. "
    "No test row takes part."
)
ONE_RULE = "A single way was asked for."
LAST_RULE = "The last stage is what the recipe is for."


@dataclass(frozen=True)
class Choice:
    """What cross-validation says.

    Attributes:
        best: the way chosen.
        equal: ways within one standard error of the most accurate, itself among them.
        accuracy: of each way, over the rows that it was not trained on.
    """

    best: str
    equal: tuple[str, ...]
    accuracy: dict[str, float]


def choose(predictions: Mapping[str, Classes], truth: Classes, preferred: Sequence[str]) -> Choice:
    """Choose a way by predictions for rows that it was not trained on.

    The difference to the most accurate way is taken row by row, so that what is hard for both does
    not count; one standard error of its mean is what chance alone does in a third of cases
    (Breiman, Friedman, Olshen and Stone 1984, section 3.4.3, who take the simplest within it).

    Args:
        predictions: (N,) or (S, N) of each way.
        truth: (N,) class of each row.
        preferred: the ways, the one to take among equals first.
    """
    right = {name: (np.atleast_2d(p) == truth).mean(0) for name, p in predictions.items()}
    accuracy = {name: float(r.mean()) for name, r in right.items()}
    top = max((n for n in preferred if n in right), key=lambda name: accuracy[name])
    equal = [
        name for name in preferred if name in right and _within_one_error(right[top] - right[name])
    ]
    return Choice(equal[0], tuple(equal), accuracy)


def _within_one_error(differences: NDArray[np.float64]) -> bool:
    """Whether the mean of (N,) differences is at most one standard error."""
    error = differences.std() / np.sqrt(max(1, len(differences) - 1))
    return bool(differences.mean() <= error)


def honest(
    predictions: Mapping[str, Classes],
    truth: Classes,
    fold: NDArray[np.int64],
    preferred: Sequence[str],
) -> Classes:
    """Predictions (S, N) of whichever way the other folds choose.

    Whoever picks the best of many by the rows that also judge it thinks too well of it. Here the
    rows of a fold are answered by the way chosen without them (after Varma and Simon 2006, BMC
    Bioinformatics 7:91; the models are not trained anew).

    Args:
        predictions: (S, N) of each way, each row by a model that did not see it.
        truth: (N,) class of each row.
        fold: (S, N) fold of each row in each repeat.
        preferred: as in `choose`.
    """
    answers = np.empty_like(next(iter(predictions.values())))
    for repeat, folds in enumerate(fold):
        for number in np.unique(folds):
            here = folds == number
            others = {name: p[repeat : repeat + 1, ~here] for name, p in predictions.items()}
            best = choose(others, truth[~here], preferred).best
            answers[repeat, here] = predictions[best][repeat, here]
    return answers
