"""Where classes are unequal: how much likelier than it looks a class must be held to be.

A model trained on few rows of a class answers with it too seldom for macro-F1 and for balanced
accuracy, which count every class alike. An offset for each class, added to log p before the best is
taken, mends that without training again; for two classes it is a threshold other than 1/2.

Three ways are tried: no offsets; one number for all, offset = -tau log(share of the class) (logit
adjustment: Menon, Jayasumana, Rawat, Jain, Veit and Kumar 2021, "Long-tail learning via logit
adjustment"); and a free offset for each class, climbed one at a time with an exact search over all
places where an answer changes (for F1 the best threshold is data's own: Lipton, Elkan and Narayanan
2014, "Optimal Thresholding of Classifiers to Maximize F1 Measure"). Free offsets fit chance where
rows are few, so the ways are compared on rows that their offsets were not tuned on, in folds inside
the rows given, and offsets are kept only if they then gain more than one standard error over none
(the rule of Breiman, Friedman, Olshen and Stone 1984, "Classification and Regression Trees",
section 3.4.3).

Rows that judge must not be among those given: give out-of-fold probabilities of the training rows.

Shapes: S repeats, N rows, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headstart.data.draw import stratified_order
from headstart.evaluation.intervals import Interval, difference, share_interval
from headstart.evaluation.scores import Classes, Metric, Scores, score

Reals = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Way = Literal["none", "prior", "free"]

TAUS = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
FOLDS, REPEATS, SWEEPS = 5, 3, 10
MANY_ROWS = 5_000
"""With more, once through the folds is enough."""

ONE_STANDARD_ERROR = math.erf(math.sqrt(0.5))
"""Share of a normal distribution within one standard deviation, 0.683."""


@dataclass(frozen=True)
class Offsets:
    """What is added to log p of each class before the best is taken.

    Attributes:
        values: (C,) offsets, of mean 0; all 0 where none is worth keeping.
        way: "none", "prior" or "free".
        metric: what they were tuned for.
        before: the metric without offsets.
        after: the metric with them, on rows that they were not tuned on.
        num_rows: N rows they were tuned on.
    """

    values: tuple[float, ...]
    way: Way
    metric: Metric
    before: Interval
    after: Interval
    num_rows: int

    def predict(self, probabilities: Reals) -> Classes:
        """The class (...,) of probabilities (..., C)."""
        return _answers(_logs(probabilities), np.array(self.values))

    @property
    def threshold(self) -> float | None:
        """For two classes, the probability of the second from which on it is answered."""
        if len(self.values) != 2:
            return None
        return 1 / (1 + math.exp(self.values[1] - self.values[0]))


def tune_offsets(
    probabilities: Reals, truth: Classes, metric: Metric = "macro_f1", *, seed: int = 0
) -> Offsets:
    """Tune offsets on rows that the model was not trained on and that do not judge.

    Args:
        probabilities: (N, C), or (S, N, C) of S models for the same rows, such as out-of-fold ones
            of repeated folds.
        truth: (N,) true class.
        metric: what to make large.
        seed: of the folds.

    Raises:
        ValueError: the shapes do not fit, or there is no row.
    """
    logs = _logs(probabilities)
    logs = logs[None] if logs.ndim == 2 else logs
    if logs.ndim != 3 or logs.shape[1] != len(truth) or not logs.size:
        raise ValueError(
            "probabilities must be (N, C) or (S, N, C) and truth (N,) with N at least 1; got "
            f"{np.shape(probabilities)} and {np.shape(truth)}."
        )
    ways: dict[Way, Callable[[Floats, Classes, Metric], Floats]] = {"prior": _prior, "free": _free}
    none = _mean(score(metric, _answers(logs, np.zeros(logs.shape[2])), truth))
    found: dict[Way, Scores] = {
        way: _mean(score(metric, _held_out(tune, logs, truth, metric, seed), truth))
        for way, tune in ways.items()
    }
    worth = [w for w in found if difference(found[w], none, level=ONE_STANDARD_ERROR).low > 0]
    way: Way = max(worth, key=lambda w: found[w].mean, default="none")
    before = share_interval(none)
    if way == "none":
        zeros = (0.0,) * logs.shape[2]
        return Offsets(zeros, way, metric, before, before, len(truth))
    values = ways[way](logs, truth, metric)
    after = share_interval(found[way])
    return Offsets(tuple(values.tolist()), way, metric, before, after, len(truth))


def _held_out(
    tune: Callable[[Floats, Classes, Metric], Floats],
    logs: Floats,
    truth: Classes,
    metric: Metric,
    seed: int,
) -> Classes:
    """Answers (R * S, N) of R repeats, each with offsets tuned on rows of other folds."""
    num_repeats = REPEATS if len(truth) <= MANY_ROWS else 1
    answers = np.empty((num_repeats, *logs.shape[:2]), dtype=np.int64)
    for repeat in range(num_repeats):
        fold = np.empty(len(truth), dtype=np.int64)
        fold[stratified_order(truth.tolist(), seed + repeat)] = np.arange(len(truth)) % FOLDS
        for number in range(FOLDS):
            held = fold == number
            if held.all() or not held.any():
                offsets = np.zeros(logs.shape[2])
            else:
                offsets = tune(logs[:, ~held], truth[~held], metric)
            answers[repeat][:, held] = _answers(logs[:, held], offsets)
    return answers.reshape(-1, len(truth))


def _mean(scores: Scores) -> Scores:
    """Repeats of the same rows as one: folds are chance that more of them take away."""
    return Scores(scores.values.mean(keepdims=True), scores.pulls.mean(0)[None], scores.num_rows)


def _logs(probabilities: Reals) -> Floats:
    p = np.asarray(probabilities, dtype=np.float64)
    return np.log(np.maximum(p, np.finfo(np.float64).tiny))


def _answers(logs: Floats, offsets: Floats) -> Classes:
    return np.asarray((logs + offsets).argmax(-1), dtype=np.int64)


def _centred(offsets: Floats) -> Floats:
    return offsets - offsets.mean()


def _prior(logs: Floats, truth: Classes, metric: Metric) -> Floats:
    """The best of `TAUS` and 0, the smaller where they are as good; zeros without such a gain."""
    count = np.bincount(truth, minlength=logs.shape[2])
    shares = np.maximum(count, 0.5) / count.sum()
    candidates = [_centred(-tau * np.log(shares)) for tau in (0.0, *TAUS)]
    values = [score(metric, _answers(logs, offsets), truth).mean for offsets in candidates]
    return candidates[int(np.argmax(values))]


def _free(logs: Floats, truth: Classes, metric: Metric) -> Floats:
    """An offset for each class, climbed from the best single number one class at a time."""
    offsets = _prior(logs, truth, metric)
    flat, true = logs.reshape(-1, logs.shape[2]), np.tile(truth, len(logs))
    present = np.unique(truth)
    best = -math.inf
    for _ in range(SWEEPS):
        before = best
        for place in present.tolist():
            offsets[place], best = _climb(flat, true, offsets, place, metric)
        if best <= before + 1e-9:
            break
    return _centred(offsets)


def _climb(
    logs: Floats, truth: Classes, offsets: Floats, place: int, metric: Metric
) -> tuple[float, float]:
    """The best offset of one class, the others staying, and the metric there.

    As the offset rises, rows change from their best other class to this one, in an order that is
    known; the metric is followed through all N + 1 places.
    """
    shifted = logs + offsets
    own, shifted[:, place] = logs[:, place], -np.inf
    other = shifted.argmax(1)
    turn = shifted.max(1) - own  # the row is this class's where the offset is above
    order = np.argsort(turn, kind="stable")
    turn, other, truth = turn[order], other[order], truth[order]
    values = _along(other, truth, place, logs.shape[1], metric)
    edges = np.concatenate([[turn[0] - 1], (turn[1:] + turn[:-1]) / 2, [turn[-1] + 1]])
    possible = np.concatenate([[True], turn[1:] > turn[:-1], [True]])
    best = values[possible].max()
    candidates = edges[possible][values[possible] >= best - 1e-12]
    nearest = candidates[np.abs(candidates - offsets[place]).argmin()]
    return float(nearest), float(best)


def _along(other: Classes, truth: Classes, place: int, num_classes: int, metric: Metric) -> Floats:
    """(N + 1,) the metric after the first 0, 1, ..., N rows have changed from `other` to `place`.

    It is summed over the classes of `truth`; dividing by their number changes no comparison.
    """
    true = np.bincount(truth, minlength=num_classes)
    gained = np.cumsum(truth == place)
    steps = np.arange(1, len(truth) + 1)
    mine = _worth(gained, steps, true[place], metric)
    # Each other class loses its rows one after another: followed class by class.
    group = np.argsort(other, kind="stable")
    starts = np.concatenate([[True], np.diff(other[group]) != 0])
    lost = np.zeros(len(truth))
    start_value = 0.0
    for rows in np.split(group, np.flatnonzero(starts)[1:]):
        theirs = int(other[rows[0]])
        hits = np.concatenate([[0], np.cumsum((truth[rows] == theirs)[::-1])])[::-1]
        answers = np.arange(len(rows), -1, -1)
        values = _worth(hits, answers, true[theirs], metric)
        lost[rows] = np.diff(values)
        start_value += values[0]
    return np.concatenate([[start_value], start_value + np.cumsum(lost) + mine])


def _worth(hits: Classes, answers: Classes, true: int, metric: Metric) -> Floats:
    """What a class adds to the metric with so many answers, so many of them right."""
    if metric == "accuracy":
        return hits.astype(np.float64)
    if true == 0:
        return np.zeros(len(hits))
    return 2 * hits / (answers + true) if metric == "macro_f1" else hits / true
