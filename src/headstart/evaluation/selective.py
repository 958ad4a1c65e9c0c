"""Answering only where the model is sure: how right it then is, and how sure one must be.

A model may keep silent on its least sure rows. Coverage is the share of rows it answers, risk the
share of its answers that are wrong (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017, "Selective
Classification for Deep Neural Networks"). The area under the curve of risk over all coverages,
AURC, sums up how well a model knows what it does not know (Geifman, Uziel and El-Yaniv 2019).

"The surest 80 %" is a share of all rows there could be, so how sure a row must be is itself known
from the test rows only. The intervals count that in: a row's pull has a term for the threshold that
it moves.

Shapes: S seeds, N rows, C classes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.intervals import Interval, share_interval
from headstart.evaluation.scores import Scores

Reals = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class RiskCoverage:
    """Risk at every coverage, for one model.

    Attributes:
        coverage: (N,) 1 / N, 2 / N, ..., 1.
        risk: (N,) share of wrong answers among that many surest rows; among equally sure rows each
            is taken to be as wrong as they are on average.
        threshold: (N,) least confidence that is answered.
    """

    coverage: NDArray[np.float64]
    risk: NDArray[np.float64]
    threshold: NDArray[np.float64]

    @property
    def area(self) -> float:
        """The mean of the risks: AURC, in [0, 1]."""
        return float(self.risk.mean())


def risk_coverage(confidence: Reals, right: NDArray[np.bool_]) -> RiskCoverage:
    """The curve of one model.

    Args:
        confidence: (N,) how sure the model is of each answer, such as its largest probability.
        right: (N,) whether the answer is the true one.

    Raises:
        ValueError: the shapes do not fit, or there is no row.
    """
    sure, hits = _two(confidence, right)
    order, level = _levels(sure[0])
    wrong = 1.0 - _shared(hits[0][order], level)
    answered = np.arange(1, len(order) + 1)
    return RiskCoverage(answered / len(order), wrong.cumsum() / answered, sure[0][order])


def selective_accuracy(
    confidence: Reals, right: NDArray[np.bool_], share: float = 0.8, *, level: float = 0.95
) -> Interval:
    """How often answers are right when only the surest rows are answered.

    Args:
        confidence: (S, N) how sure each seed's model is; (N,) is taken as one seed.
        right: (S, N) whether its answer is the true one.
        share: of the rows that are answered, above 0 and at most 1.
        level: share of intervals that shall hold the true value.

    Raises:
        ValueError: the shapes do not fit, there is no row, or `share` is not in (0, 1].
    """
    if not 0 < share <= 1:
        raise ValueError(f"share must be above 0 and at most 1, got {share}.")
    sure, hits = _two(confidence, right)
    found = [_surest(s, h, share) for s, h in zip(sure, hits, strict=True)]
    values, pulls = (np.array(part) for part in zip(*found, strict=True))
    return share_interval(Scores(values, pulls, share * sure.shape[1]), level=level)


def threshold_for(confidence: Reals, share: float = 0.8) -> float:
    """How sure (N,) rows must be at the least, so that about `share` of them are answered.

    To be set on rows that are not judged by, such as out-of-fold ones.
    """
    kept = max(1, round(share * len(confidence)))
    return float(np.sort(np.asarray(confidence, dtype=np.float64))[len(confidence) - kept])


def risk_area(confidence: Reals, right: NDArray[np.bool_], *, level: float = 0.95) -> Interval:
    """AURC with an interval, 0 being best; arguments as in `selective_accuracy`.

    Raises:
        ValueError: the shapes do not fit, or there is no row.
    """
    sure, hits = _two(confidence, right)
    found = [_area(s, h) for s, h in zip(sure, hits, strict=True)]
    values, pulls = (np.array(part) for part in zip(*found, strict=True))
    return share_interval(Scores(values, pulls, sure.shape[1]), level=level)


def describe_selective(
    confidence: Reals, right: NDArray[np.bool_], *, share: float = 0.8, num_points: int = 101
) -> dict[str, Any]:
    """What a report shows: accuracy at `share`, AURC, and the first seed's curve.

    Args:
        confidence: (S, N) or (N,).
        right: (S, N) or (N,).
        share: of the rows that are answered.
        num_points: points of the curve at most.

    Returns:
        Plain values: "share", "accuracy" and "all" (of the share and of all rows) and "area", as
        value, low, high; "curve", coverage and risk and threshold of each point.
    """
    sure, hits = _two(confidence, right)
    curve = risk_coverage(sure[0], hits[0] > 0)
    num_rows = sure.shape[1]
    places = np.unique(np.linspace(0, num_rows - 1, min(num_points, num_rows)).round().astype(int))
    lines = zip(curve.coverage[places], curve.risk[places], curve.threshold[places], strict=True)
    return {
        "share": share,
        "accuracy": vars(selective_accuracy(sure, hits > 0, share)).copy(),
        "all": vars(selective_accuracy(sure, hits > 0, 1.0)).copy(),
        "area": vars(risk_area(sure, hits > 0)).copy(),
        "curve": [
            {"coverage": float(c), "risk": float(r), "threshold": float(t)} for c, r, t in lines
        ],
    }


def _two(
    confidence: Reals, right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as (S, N) reals."""
    sure = np.atleast_2d(np.asarray(confidence, dtype=np.float64))
    hits = np.atleast_2d(np.asarray(right, dtype=np.float64))
    if sure.shape != hits.shape or sure.ndim != 2 or not sure.size:
        raise ValueError(
            "confidence and right must both be (S, N) with S and N at least 1; got "
            f"{np.shape(confidence)} and {np.shape(right)}."
        )
    return sure, hits


def _levels(sure: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The surest row first, and for each place in that order the number of its confidence."""
    order = np.argsort(-sure, kind="stable")
    return order, np.cumsum(np.diff(sure[order], prepend=sure[order][0]) != 0)


def _shared(values: NDArray[np.float64], level: NDArray[np.int64]) -> NDArray[np.float64]:
    """(N,) each value as the mean of those of its level."""
    return (np.bincount(level, values) / np.bincount(level))[level]


def _surest(
    sure: NDArray[np.float64], hits: NDArray[np.float64], share: float
) -> tuple[float, NDArray[np.float64]]:
    """Accuracy of one seed on the surest rows, and the pulls (N,) of all rows at it."""
    num_rows, wanted = len(sure), share * len(sure)
    order, level = _levels(sure)
    shared = _shared(hits[order], level)
    whole = min(math.floor(wanted + 1e-9), num_rows)
    part = wanted - whole if whole < num_rows else 0.0
    last = shared[whole] if part else 0.0
    value = float(shared[:whole].sum() + part * last) / wanted
    # A row that is surer than the last answered one takes its place, so it counts against how
    # right the rows near the threshold are.
    near = round(math.sqrt(num_rows)) + 1
    around = shared[max(0, whole - near) : whole + near]
    edge = float(around.mean()) if share < 1 else 0.0
    answered = np.zeros(num_rows)
    answered[order[:whole]] = 1.0
    pulls = (answered * (hits - edge)) / share - (value - edge)
    return value, pulls - pulls.mean()


def _area(
    sure: NDArray[np.float64], hits: NDArray[np.float64]
) -> tuple[float, NDArray[np.float64]]:
    """AURC of one seed, and the pulls (N,) of all rows at it.

    AURC is the mean of wrong_i * sum over k >= rank_i of 1 / k, so about of -wrong_i * log(S_i)
    with S_i the share of rows that are at least as sure; a row moves it by its own term and, being
    surer than others, by moving their S.
    """
    num_rows = len(sure)
    order, level = _levels(sure)
    wrong = 1.0 - _shared(hits[order], level)
    weight = (1.0 / np.arange(num_rows, 0, -1)).cumsum()[::-1]  # of each rank
    value = float(wrong @ weight) / num_rows
    covered = np.arange(1, num_rows + 1) / num_rows
    own = (1.0 - hits[order]) * _shared(weight, level)
    below = (wrong / covered)[::-1].cumsum()[::-1] / num_rows  # what this row is surer than
    pulls = np.empty(num_rows)
    pulls[order] = own - below
    return value, pulls - pulls.mean()
