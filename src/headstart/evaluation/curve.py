"""The label curve: a metric against the number of labels, and how many labels the source saves.

What labels alone would have been needed to match an arm with the source is read off the curve of
the arm without it, which is drawn straight between its points over the logarithm of the labels and
held to rise (pooled where chance makes it fall: isotonic regression, Barlow, Bartholomew, Bremner
and Brunk 1972). Its interval holds the numbers of labels around that at which the two arms cannot
be told apart: the test of `evaluation.intervals` inverted, as Fieller 1954 ("Some problems in
interval estimation", Journal of the Royal Statistical Society B 16, 175) did for a ratio. So rows
and seeds count as they do everywhere, a curve that is never reached gives an interval that is open,
and no few seeds are resampled. tests/evaluation/test_curve.py simulates what it covers, and
resamples rows and seeds as a check.

Shapes: K points, S seeds, N test rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.intervals import Interval, contrast, share_interval
from headstart.evaluation.scores import Scores

Floats = NDArray[np.float64]
STEPS = 16
"""Places looked at between two points of the curve."""


@dataclass(frozen=True)
class CurvePoint:
    """An arm trained on so many labels.

    Attributes:
        labels: target rows trained on.
        scores: of S seeds on N test rows, the same rows at each point and for each arm
            (`evaluation.scores.score`).
    """

    labels: int
    scores: Scores


@dataclass(frozen=True)
class LabelsSaved:
    """What the source is worth in labels.

    Attributes:
        labels: target labels of the arm with the source.
        worth: labels with which the arm without the source matches it; None where it never does,
            or always did.
        low: lower bound of `worth`, 0 where it lies below what was measured.
        high: upper bound; None where it lies above what was measured.
        least: fewest labels that the arm without the source was measured with.
        most: most labels.
        reached: "within" what was measured, "above" it (the source is worth more than `most`) or
            "below" (less than `least`).
    """

    labels: int
    worth: float | None
    low: float
    high: float | None
    least: int
    most: int
    reached: Literal["within", "above", "below"]

    @property
    def saved(self) -> float | None:
        """Labels that need not be made; below 0 where the source costs some; None as `worth`."""
        return None if self.worth is None else self.worth - self.labels

    def sentence(self, source: str = "source") -> str:
        """Say it: "64 labels plus the films are worth 410 [300, 560] labels alone."

        Args:
            source: what the source is called, after "the".
        """
        what = f"{self.labels:,} labels plus the {source}" if self.labels else f"The {source} alone"
        verb = "are" if self.labels else "is"
        if self.reached == "above":
            more = "" if self.low >= self.most else f" [at least {_rounded(self.low)}]"
            return f"{what} {verb} worth more than {self.most:,} labels alone{more}."
        if self.reached == "below":
            upper = self.least if self.high is None else max(self.high, self.least)
            more = "" if upper <= self.least else f" [at most {_rounded(upper)}]"
            return f"{what} {verb} worth fewer than {self.least:,} labels alone{more}."
        assert self.worth is not None, "within what was measured"
        low = _rounded(self.low) if self.low > 0 else f"fewer than {self.least:,}"
        high = f"more than {self.most:,}" if self.high is None else _rounded(self.high)
        return f"{what} {verb} worth {_rounded(self.worth)} [{low}, {high}] labels alone."

    def to_values(self) -> dict[str, Any]:
        """As plain values, which verdict.json holds, with `saved` and the sentence."""
        return vars(self).copy() | {"saved": self.saved, "sentence": self.sentence()}


def _rounded(labels: float) -> str:
    """Labels as one says them: no more than two figures are known of what is not counted."""
    step = 1 if labels < 100 else 10 ** (len(str(int(labels))) - 2)
    return f"{round(labels / step) * step:,}"


def labels_saved(
    with_source: CurvePoint, without_source: Sequence[CurvePoint], *, level: float = 0.95
) -> LabelsSaved:
    """How many labels alone match the source with a few.

    Args:
        with_source: the arm with the source at one number of labels, 0 and up.
        without_source: K points, 2 at least, of the arm without it, with 1 label at least; seed k
            of a point is paired with seed k of the others where there are equally many.
        level: share of intervals that shall hold the true number.

    Raises:
        ValueError: there are fewer than two points, two of the same number, or one without labels.
    """
    points = _in_order(without_source)
    counts = np.array([point.labels for point in points])
    rising = pooled([point.scores for point in points])
    goal = with_source.scores
    places, found = _along(counts, rising, goal, level)
    apart, lows, highs = (np.array([getattr(f, side) for f in found])
                          for side in ("value", "low", "high"))  # fmt: skip
    worth, reached, at = _crossing(places, apart)
    low, high = 0.0, None
    ahead, behind = np.flatnonzero(lows[: at + 1] > 0), np.flatnonzero(highs[at:] < 0)
    if len(ahead):
        low = _edge(places, lows, int(ahead[-1]) + 1)
    if len(behind):
        high = _edge(places, highs, at + int(behind[0]))
    return LabelsSaved(with_source.labels, worth, low, high, int(counts[0]), int(counts[-1]),
                       reached)  # fmt: skip


def _in_order(points: Sequence[CurvePoint]) -> list[CurvePoint]:
    """Points by their labels, 1 and up and no two alike."""
    ordered = sorted(points, key=lambda point: point.labels)
    counts = [point.labels for point in ordered]
    if len(set(counts)) < 2 or len(set(counts)) < len(counts) or counts[0] < 1:
        raise ValueError(
            f"a curve takes 2 or more different numbers of labels, 1 and up; got {counts}."
        )
    return ordered


def pooled(curve: Sequence[Scores]) -> list[list[tuple[float, Scores]]]:
    """Scores that rise along a curve: where the means fall, neighbours share their average.

    Args:
        curve: K scores in the order of their labels.

    Returns:
        For each of K points the weighted parts it is made of, as `contrast` takes them.
    """
    from sklearn.isotonic import isotonic_regression

    fitted = isotonic_regression([scores.mean for scores in curve])
    group = np.cumsum(np.diff(fitted, prepend=fitted[0]) > 1e-12)
    members = [np.flatnonzero(group == number).tolist() for number in group]
    return [[(1 / len(places), curve[place]) for place in places] for places in members]


def _along(
    counts: NDArray[np.int64],
    rising: list[list[tuple[float, Scores]]],
    goal: Scores,
    level: float,
) -> tuple[Floats, list[Interval]]:
    """How far the goal is above the curve at places along it, and these numbers of labels."""
    places, found = [], []
    for number in range(len(counts) - 1):
        last = number == len(counts) - 2
        for share in np.linspace(0, 1, STEPS + 1)[: STEPS + last]:
            ends = ((1 - share, rising[number]), (share, rising[number + 1]))
            parts = [(-end * weight, scores) for end, point in ends for weight, scores in point
                     if end]  # fmt: skip
            found.append(contrast([(1.0, goal), *parts], level=level))
            logs = np.log(counts[[number, number + 1]].astype(np.float64))
            places.append(float(np.exp((1 - share) * logs[0] + share * logs[1])))
    places[::STEPS] = counts.astype(float).tolist()  # to the last bit
    return np.array(places), found


def _crossing(
    places: Floats, apart: Floats
) -> tuple[float | None, Literal["within", "above", "below"], int]:
    """Where a falling line first reaches 0, whether it does, and the place nearest to that."""
    if apart[0] < -1e-12:
        return None, "below", 0
    if apart[-1] > 1e-12:
        return None, "above", len(apart) - 1
    first = int(np.argmax(apart <= 1e-12))
    return _edge(places, apart, first), "within", first


def _edge(places: Floats, line: Floats, after: int) -> float:
    """Where a line crosses 0 between a place and the one before it, straight over the logarithm.

    Before the first place and after the last one there is nothing to look between.
    """
    if after in (0, len(places)):
        return float(places[min(after, len(places) - 1)])
    high, low = line[after - 1], line[after]
    share = float(np.clip(high / (high - low), 0, 1)) if high != low else 1.0
    return float(np.exp((1 - share) * np.log(places[after - 1]) + share * np.log(places[after])))


def describe_curve(points: Sequence[CurvePoint]) -> list[dict[str, float | int]]:
    """Plain values of each point, by their labels: labels, mean, low, high, seeds."""
    values = []
    for point in sorted(points, key=lambda point: point.labels):
        found = share_interval(point.scores)
        values.append({"labels": point.labels, "mean": found.value, "low": found.low,
                       "high": found.high, "seeds": point.scores.num_seeds})  # fmt: skip
    return values
