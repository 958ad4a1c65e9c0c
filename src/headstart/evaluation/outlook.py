"""What more labels would bring: the label curve carried on, with what is not known of it.

Errors fall with the number of labels n about as a power, down to a floor (Hestness et al. 2017,
"Deep Learning Scaling is Predictable, Empirically"; Viering and Loog 2023, "The Shape of Learning
Curves: a Review", IEEE Transactions on Pattern Analysis and Machine Intelligence 45, 7799):

    error(n) = floor + height * n ** -power

A handful of noisy points fits many such curves. So none is chosen: every curve counts by how well
it goes with the points (Bayes), before them any floor from 0, any height from 0 and any power from
0.02 to 1 being as likely, and the interval holds 95 % of what these curves foretell. Points lie
together above or below the curve, as they share their test rows; that, and chance over seeds, is in
their covariance. tests/evaluation/test_outlook.py simulates what the intervals cover.

With fewest labels there is a region of mere guessing that follows no power (Hestness et al. 2017,
figure 6). Points are left out from that end while the rest does not fit; where four that fit are
not left, or seeds and sizes are too few, nothing is foretold and the reason is said instead.

Shapes: K points, S seeds, N test rows, D draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.curve import CurvePoint
from headstart.evaluation.intervals import Interval, paid_by_rows
from headstart.evaluation.scores import Scores

Floats = NDArray[np.float64]

FACTORS = (2.0, 4.0)
POWERS = np.linspace(0.02, 1.0, 50)
DRAWS = 200
"""Floors and heights drawn for each power; the same ones at each call."""

LEAST_POINTS, LEAST_SPAN = 4, 8
MISFIT = 0.01
"""A fit as bad as this share of chance fits or worse is none."""

WIDE = 0.1
"""An interval of a gain that is wider says too little to buy by: 10 points."""


@dataclass(frozen=True)
class Expected:
    """What so many labels are expected to give.

    Attributes:
        labels: how many, those there are included.
        value: the metric.
        gain: of the metric, over the labels there are.
    """

    labels: int
    value: Interval
    gain: Interval


@dataclass(frozen=True)
class Outlook:
    """The label curve carried on.

    Attributes:
        labels: the most that were measured.
        expected: at each number asked for; empty where nothing can be foretold.
        reason: why nothing can be, else "".
        used: numbers of labels whose points were fitted.
        power: of the fitted curves, median and 95 % interval; None where nothing can be foretold.
    """

    labels: int
    expected: tuple[Expected, ...]
    reason: str
    used: tuple[int, ...]
    power: Interval | None

    @property
    def sentence(self) -> str:
        """Say what more labels would bring, or that it cannot be told."""
        if not self.expected:
            return f"What more labels would bring cannot be told: {self.reason}"
        said = ", ".join(f"{labels.labels:,} {_points(labels.gain)}" for labels in self.expected)
        wide = self.expected[0].gain.high - self.expected[0].gain.low > WIDE
        doubt = " That is too wide to buy by: more seeds or more test rows would narrow it."
        return (
            f"In place of {self.labels:,} labels, so many are expected to bring, in points: "
            f"{said}.{doubt if wide else ''}"
        )

    def to_values(self) -> dict[str, Any]:
        """As plain values, which verdict.json holds."""
        return {
            "labels": self.labels,
            "expected": [
                {"labels": e.labels, "value": vars(e.value).copy(), "gain": vars(e.gain).copy()}
                for e in self.expected
            ],
            "reason": self.reason,
            "used": list(self.used),
            "power": None if self.power is None else vars(self.power).copy(),
            "sentence": self.sentence,
        }


def _points(gain: Interval) -> str:
    return f"{100 * gain.value:+.1f} [{100 * gain.low:.1f}, {100 * gain.high:.1f}]"


def outlook(
    points: Sequence[CurvePoint], factors: Sequence[float] = FACTORS, *, level: float = 0.95
) -> Outlook:
    """Foretell a metric at more labels than there are.

    Args:
        points: of one arm at different numbers of labels, 1 and up, on the same N test rows; of a
            metric in [0, 1] whose best is 1.
        factors: times as many labels as the most there are.
        level: share of intervals that shall hold the true value.

    Raises:
        ValueError: there is no point, or two of the same number.
    """
    ordered = sorted(points, key=lambda point: point.labels)
    counts = [point.labels for point in ordered]
    if not counts or len(set(counts)) < len(counts) or counts[0] < 1:
        raise ValueError(f"a curve takes different numbers of labels, 1 and up; got {counts}.")
    reason = _too_little(ordered)
    while not reason:
        fit = _Fit.of(ordered)
        if fit.chance >= MISFIT:
            return _foretold(fit, factors, level)
        ordered = ordered[1:]
        if _too_little(ordered):
            reason = "the points lie on no power of the number of labels."
    return Outlook(counts[-1], (), reason, (), None)


def _too_little(points: Sequence[CurvePoint]) -> str:
    """Why so many points cannot be carried on, or ""."""
    counts = [point.labels for point in points]
    if len(points) < LEAST_POINTS or counts[-1] < LEAST_SPAN * counts[0]:
        return (
            f"it takes {LEAST_POINTS} numbers of labels or more, the most {LEAST_SPAN} times the "
            f"fewest; there are {', '.join(f'{count:,}' for count in counts)}."
        )
    if min(point.scores.num_seeds for point in points) < 2:
        return "it takes 2 seeds or more, to tell chance from a curve."
    return ""


@dataclass(frozen=True)
class _Fit:
    """Curves that go with the points.

    Attributes:
        counts: (K,) labels of the points.
        floor: (D,) of each curve.
        height: (D,) likewise.
        power: (D,) likewise.
        weight: (D,) of each curve, summing to 1.
        chance: share of chance fits that are as bad as the best or worse.
    """

    counts: Floats
    floor: Floats
    height: Floats
    power: Floats
    weight: Floats
    chance: float

    @classmethod
    def of(cls, points: Sequence[CurvePoint]) -> _Fit:
        """Fit K points, of whose powers each is taken in turn: the rest is linear and Gaussian."""
        from scipy.linalg import solve_triangular
        from scipy.stats import chi2

        counts = np.array([float(point.labels) for point in points])
        errors = np.array([1 - point.scores.mean for point in points])
        root = np.linalg.cholesky(_covariance(points))
        falling = (counts / counts[0])[None] ** -POWERS[:, None]  # 1 at the first point
        target = solve_triangular(root, errors, lower=True)
        ones = solve_triangular(root, np.ones_like(counts), lower=True)
        slopes = solve_triangular(root, falling.T, lower=True).T
        drawn = np.random.default_rng(0).normal(size=(DRAWS, 2))
        curves, logs, misfits = [], [], []
        for slope in slopes:
            design = np.stack([ones, slope], 1)
            spread = np.linalg.inv(design.T @ design)
            best = spread @ design.T @ target
            misfit = float(((target - design @ best) ** 2).sum())
            curves.append(best + drawn @ np.linalg.cholesky(spread).T)
            logs.append(-misfit / 2 + np.linalg.slogdet(spread)[1] / 2)
            misfits.append(misfit)
        floor, height = np.concatenate(curves).T
        log_weight = np.repeat(logs, DRAWS)
        weight = np.exp(log_weight - log_weight.max()) * ((floor >= 0) & (height >= 0))
        power = np.repeat(POWERS, DRAWS)
        chance = float(chi2.sf(min(misfits), len(points) - 3)) if weight.sum() > 0 else 0.0
        return cls(counts, floor, height, power, weight / max(weight.sum(), 1e-300), chance)

    def gain(self, labels: float) -> Floats:
        """(D,) by how much each curve falls from the last point to so many labels."""
        first, last = self.counts[0], self.counts[-1]
        return self.height * ((last / first) ** -self.power - (labels / first) ** -self.power)

    def error(self, labels: float) -> Floats:
        """(D,) of each curve at so many labels."""
        return self.floor + self.height * (labels / self.counts[0]) ** -self.power

    def interval(self, values: Floats, level: float) -> Interval:
        """The median of (D,) values and the bounds that leave equal shares of weight outside."""
        order = np.argsort(values)
        below = self.weight[order].cumsum() - self.weight[order] / 2
        tail = (1 - level) / 2
        low, value, high = np.interp([tail, 0.5, 1 - tail], below, values[order])
        return Interval(float(value), float(low), float(high))


def _covariance(points: Sequence[CurvePoint]) -> Floats:
    """(K, K) of the points' errors: of the rows that they share, of their seeds, and of both.

    Seeds move points in two ways: a seed may be lucky at every number of labels, as its draws of
    labels are nested, and at each number by itself. The first is known from S seeds; the second is
    held to fall with the number of labels, so that neighbours share what they know. Either counts
    for more the fewer seeds it is known from, as Student's t does; and the first is not taken off
    the second, which errs on the side of caution.
    """
    from sklearn.isotonic import isotonic_regression

    pulls = np.stack([point.scores.pulls.mean(0) for point in points])
    num_points, num_rows = pulls.shape
    rows = pulls @ pulls.T / num_rows / max(1, num_rows - 1)
    alone = np.array([_seeds(point.scores) for point in points])
    num_seeds = min(point.scores.num_seeds for point in points)
    together = [Scores(point.scores.values[:num_seeds] / num_points,
                       point.scores.pulls[:num_seeds] / num_points, num_rows)
                for point in points]  # fmt: skip
    lucky = max(0.0, _seeds(reduce(Scores.plus, together)) - alone.sum() / num_points**2)
    own = np.maximum(isotonic_regression(alone, increasing=False), 0)
    lucky, own = lucky * _doubt(num_seeds - 1), own * _doubt(num_seeds - 1)
    # One row's worth to spare, as in `evaluation.intervals`.
    return np.asarray(rows + lucky + np.diag(own + 1 / num_rows**2))


def _seeds(scores: Scores) -> float:
    """Variance of the mean over seeds that is not chance over rows; below 0 by chance."""
    return float(scores.values.var(ddof=1)) / scores.num_seeds - paid_by_rows(scores)


def _doubt(freedom: int) -> float:
    """By how much a variance known with so many degrees of freedom is to count for more."""
    from scipy.special import ndtri, stdtrit

    return float((stdtrit(freedom, 0.975) / ndtri(0.975)) ** 2)


def _foretold(fit: _Fit, factors: Sequence[float], level: float) -> Outlook:
    most = int(fit.counts[-1])
    expected = []
    for factor in factors:
        labels = round(factor * most)
        error = fit.interval(fit.error(labels), level)
        value = Interval(1 - error.value, 1 - error.high, 1 - error.low)
        expected.append(Expected(labels, value, fit.interval(fit.gain(labels), level)))
    used = tuple(int(count) for count in fit.counts)
    return Outlook(most, tuple(expected), "", used, fit.interval(fit.power, level))
