"""Whether two data sets are of one kind: a classifier that cannot tell them apart says yes.

Half of the rows of both teach a logistic regression on frozen vectors which data set a row is of;
its accuracy on the other half is 1/2, up to chance, if both come from one distribution (Lopez-Paz
and Oquab 2017, "Revisiting Classifier Two-Sample Tests", ICLR; arXiv 1610.06545). So that repeats
teach nothing, a text counts once.

Shapes: K rows of both data sets.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.data.findings import Finding
from headstart.doctor.subject import TEST, percent
from headstart.doctor.vectors import Vectors, classifier
from headstart.evaluation.intervals import Interval, interval

LEAST_ROWS = 20
STRENGTH = 0.1
CERTAIN = 0.01
"""Chance that rows of one distribution would be told apart as well, below which it is no chance."""

TOLD = 0.55
"""Lower bound of the accuracy from which a difference is large enough to matter."""


@dataclass(frozen=True)
class TwoSamples:
    """How well two data sets are told apart.

    Attributes:
        data: key of the one.
        target: key of the other.
        accuracy: on rows that taught nothing, with its 95 % interval; 1/2 is chance.
        chance: probability of as much or more if both were of one distribution (binomial).
        num_rows: rows that it was measured on.
    """

    data: str
    target: str
    accuracy: Interval
    chance: float
    num_rows: int


def two_samples(one: Vectors, other: Vectors) -> TwoSamples | None:
    """Test whether two data sets are of one distribution; None where they have too few rows."""
    from scipy.stats import binomtest

    sides = [_once(one), _once(other)]
    size = min(len(side) for side in sides) // 2 * 2
    if size < LEAST_ROWS:
        return None
    random = np.random.default_rng(0)
    chosen = [side[random.permutation(len(side))[:size]] for side in sides]
    half = size // 2
    truth = np.repeat([0, 1], half)
    judge = classifier(STRENGTH)
    judge.fit(np.concatenate([rows[:half] for rows in chosen]), truth)
    said = judge.predict(np.concatenate([rows[half:] for rows in chosen]))
    right = int((said == truth).sum())
    return TwoSamples(
        data=one.subject.key,
        target=other.subject.key,
        accuracy=interval("accuracy", said, truth),
        chance=float(binomtest(right, len(truth), 0.5, alternative="greater").pvalue),
        num_rows=len(truth),
    )


def two_sample_findings(found: TwoSamples, one: Vectors, other: Vectors) -> list[Finding]:
    """Test rows that are of another kind than the target's."""
    if found.data != TEST or found.chance > CERTAIN or found.accuracy.low < TOLD:
        return []
    return [Finding(
        kind="test rows of another kind",
        message=f"{one.subject.name} and {other.subject.name} are told apart: a classifier on "
        f"frozen vectors is right about {_points(found.accuracy)} of their rows, where 50 % is "
        "chance.",
        count=len(one.subject.rows), data=found.data, severity="warning",
        remedy="Draw test rows as the target's were, or know that the figures are of another kind "
        "of text.",
    )]  # fmt: skip


def turned_labels(source: Vectors, target: Vectors) -> list[Finding]:
    """Two classes whose names are the same and whose texts are the other way round."""
    classes = source.subject.rows.classes
    if classes != target.subject.rows.classes or len(classes) != 2:
        return []
    if min(np.bincount(v.codes, minlength=2).min() for v in (source, target)) < LEAST_ROWS // 2:
        return []
    said = classifier(STRENGTH).fit(source.values, source.codes).predict(target.values)
    right = interval("accuracy", said, target.codes)
    if right.high >= 0.5:
        return []
    turned = ",".join(f"{a}={b}" for a, b in zip(classes, classes[::-1], strict=True))
    return [Finding(
        kind="labels turned round",
        message=f"{source.subject.name} and {target.subject.name}: what learned the classes on the "
        f"source, from frozen vectors, is right about {_points(right)} of the target's rows, less "
        "than by chance: the labels seem to mean the opposite.",
        count=len(source.subject.rows), data=source.subject.key, severity="harmful",
        remedy=f"Look at some rows of both; if it is so: --source-map {turned}",
    )]  # fmt: skip


def _once(vectors: Vectors) -> np.ndarray:
    """(K', D) one row of each text."""
    return vectors.values[np.sort(np.unique(vectors.prints, return_index=True)[1])]


def _points(accuracy: Interval) -> str:
    low, high = 100 * accuracy.low, 100 * accuracy.high
    return f"{percent(accuracy.value)} [{low:.1f}, {high:.1f}]"
