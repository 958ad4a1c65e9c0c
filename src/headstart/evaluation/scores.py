"""A metric of each seed, and how each test row pulls at it: what every interval is made from.

A metric that is a smooth function of means over rows moves, when row i weighs a little more, by
that row's pull (its influence function: Hampel 1974, Journal of the American Statistical
Association 69, 383). The mean of the squared pulls, over N, is the variance of the metric when the
rows are drawn again (the infinitesimal jackknife: Efron 1982, "The Jackknife, the Bootstrap and
Other Resampling Plans", section 6.3), without drawing any.

Shapes: S seeds, N test rows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Metric = Literal["accuracy", "macro_f1", "balanced_accuracy"]
Classes = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Scores:
    """A metric of each seed, and how each row pulls at it.

    Attributes:
        values: (S,) the metric.
        pulls: (S, N) N times the change of the metric when a row weighs 1 / N more; means are 0.
        num_rows: N, or fewer where the metric rests on fewer rows.
    """

    values: NDArray[np.float64]
    pulls: NDArray[np.float64]
    num_rows: float

    @property
    def num_seeds(self) -> int:
        """S."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """The mean over seeds."""
        return float(self.values.mean())

    def times(self, factor: float) -> Scores:
        """The metric times a number."""
        return Scores(factor * self.values, factor * self.pulls, self.num_rows)

    def plus(self, other: Scores) -> Scores:
        """The sum with another metric of the same seeds and rows, seed by seed."""
        return Scores(self.values + other.values, self.pulls + other.pulls, self.num_rows)


def row_means(values: NDArray[np.floating[Any] | np.bool_]) -> Scores:
    """The mean over rows of any value that each row has by itself, such as its loss.

    Args:
        values: (S, N); (N,) is taken as one seed.

    Raises:
        ValueError: there is no row, or the shape is another.
    """
    rows = np.atleast_2d(np.asarray(values, dtype=np.float64))
    if rows.ndim != 2 or not rows.size:
        raise ValueError(f"values must be (S, N) with S and N at least 1; got {rows.shape}.")
    means = rows.mean(1)
    return Scores(means, rows - means[:, None], rows.shape[1])


def score(metric: Metric, predictions: Classes, truth: Classes) -> Scores:
    """Score the predictions of S seeds.

    Args:
        metric: "accuracy"; "macro_f1", the mean of F1 over the classes that occur; or
            "balanced_accuracy", the mean over the classes that are true of some row of the share
            of its rows that is found.
        predictions: (S, N) predicted class; (N,) is taken as one seed.
        truth: (N,) true class.

    Raises:
        ValueError: the shapes do not fit, there is no row, or the metric is unknown.
    """
    predictions, truth = np.atleast_2d(predictions), np.asarray(truth)
    if truth.ndim != 1 or predictions.shape[1:] != truth.shape or not predictions.size:
        raise ValueError(
            "predictions must be (S, N) and truth (N,) with S and N at least 1; got "
            f"{predictions.shape} and {truth.shape}."
        )
    if metric == "accuracy":
        return row_means(predictions == truth)
    if metric == "macro_f1":
        return _macro_f1(predictions, truth)
    if metric == "balanced_accuracy":
        return _balanced_accuracy(predictions, truth)
    raise ValueError(
        f"metric must be 'accuracy', 'macro_f1' or 'balanced_accuracy', got {metric!r}."
    )


def class_scores(predictions: Classes, truth: Classes, place: int) -> dict[str, Scores]:
    """Precision, recall and F1 of one class, each a ratio of two means over rows.

    Args:
        predictions: (S, N) predicted class; (N,) is taken as one seed.
        truth: (N,) true class.
        place: the class.

    Returns:
        By name; a ratio without rows below its line is 0 and known from no row.
    """
    found = np.atleast_2d(predictions) == place
    true = np.broadcast_to(np.asarray(truth) == place, found.shape)
    right = (found & true).astype(np.float64)
    return {
        "precision": _ratio(right, found.astype(np.float64)),
        "recall": _ratio(right, true.astype(np.float64)),
        "f1": _ratio(2 * right, found.astype(np.float64) + true),
    }


def _ratio(over: NDArray[np.float64], under: NDArray[np.float64]) -> Scores:
    """The ratio of two means over rows, (S, N) each; its pulls are its derivative."""
    below = under.mean(1, keepdims=True)
    weight = np.divide(1.0, below, where=below > 0, out=np.zeros_like(below))
    values = over.mean(1, keepdims=True) * weight
    rows = float((under > 0).sum(1).mean())
    return Scores(values[:, 0], (over - values * under) * weight, rows)


def _macro_f1(predictions: Classes, truth: Classes) -> Scores:
    """F1 of class c is 2 right_c / (predicted_c + true_c); its pulls are its derivative."""
    num_rows, num_classes = len(truth), int(max(predictions.max(), truth.max())) + 1
    true = np.bincount(truth, minlength=num_classes) / num_rows
    values, pulls = [], []
    for predicted in predictions:
        right = predicted == truth
        share = np.bincount(predicted, minlength=num_classes) / num_rows + true
        occurs = share > 0
        weight = np.divide(1.0, share, where=occurs, out=np.zeros(num_classes))
        f1 = 2 * weight * np.bincount(truth[right], minlength=num_classes) / num_rows
        pull = 2 * right * weight[truth] - (f1 * weight)[predicted] - (f1 * weight)[truth]
        values.append(f1.sum() / occurs.sum())
        pulls.append(pull / occurs.sum())
    return Scores(np.array(values), np.array(pulls), _rows_of_rarest(true, num_rows))


def _balanced_accuracy(predictions: Classes, truth: Classes) -> Scores:
    """Recall of class c is right_c / true_c; classes of no row have none."""
    num_rows, true = len(truth), np.bincount(truth) / len(truth)
    occurs = true > 0
    weight = np.divide(1.0, true, where=occurs, out=np.zeros(len(true))) / occurs.sum()
    values, pulls = [], []
    for predicted in predictions:
        right = predicted == truth
        recall = np.divide(np.bincount(truth[right], minlength=len(true)), num_rows * true,
                           where=occurs, out=np.zeros(len(true)))  # fmt: skip
        values.append(recall.sum() / occurs.sum())
        pulls.append((right - recall[truth]) * weight[truth])
    return Scores(np.array(values), np.array(pulls), _rows_of_rarest(true, num_rows))


def _rows_of_rarest(true: NDArray[np.float64], num_rows: int) -> float:
    """Rows that a mean over classes rests on: as many of each class as the rarest has."""
    return float(true[true > 0].min() * num_rows * (true > 0).sum())
