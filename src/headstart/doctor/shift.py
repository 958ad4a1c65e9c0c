"""How far two data sets are apart, by counting: words, lengths, classes.

Shapes: M rows looked at, C classes.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from headstart.data.findings import Finding, Severity
from headstart.data.labels import Labels
from headstart.doctor.reading import Reading
from headstart.doctor.subject import TEST, Subject, pairs_with_target, percent

SHOWN = 8
LITTLE = 0.7
"""Share of the target's words below which a source knows too few of them."""

LONGER = 2.0
"""How many times as long texts must be, by their medians, to be told."""

PRIOR = 0.1
"""Total variation of the classes' shares from which they differ."""

CERTAIN = 0.001
"""Probability that chance alone does as much, below which it is no chance."""


@dataclass(frozen=True)
class Shift:
    """How a data set differs from the target.

    Attributes:
        data: key of the data set.
        target: key of the target.
        known_words: share of the target's running words that the data set has too.
        unknown: frequent words of the target that it lacks, the commonest first.
        median_words: of a text, here and in the target.
        prior_distance: total variation between the classes' shares, 0 to 1; None where they have
            other classes, or none.
        prior_chance: probability of so great a distance if both were drawn from the same rows
            (chi-squared test); None likewise.
    """

    data: str
    target: str
    known_words: float
    unknown: tuple[str, ...]
    median_words: tuple[float, float]
    prior_distance: float | None
    prior_chance: float | None


def shifts(found: list[Subject], readings: list[Reading]) -> list[Shift]:
    """How each data set differs from the target."""
    read = {subject.key: reading for subject, reading in zip(found, readings, strict=True)}
    return [
        _shift(subject, target, read[subject.key], read[target.key])
        for subject, target in pairs_with_target(found)
    ]


def shift_findings(found: list[Subject], measured: list[Shift]) -> list[Finding]:
    """What of it is worth telling."""
    names = {subject.key: subject for subject in found}
    findings = []
    for shift in measured:
        subject, target = names[shift.data], names[shift.target]
        if shift.known_words < LITTLE:
            findings.append(_words(shift, subject, target))
        here, there = (max(1.0, words) for words in shift.median_words)
        if max(here / there, there / here) >= LONGER:
            findings.append(Finding(
                kind="different lengths",
                message=f"{subject.name}: half of its texts have up to {here:,.0f} words, half of "
                f"{target.name}'s up to {there:,.0f}.",
                count=len(subject.rows), data=subject.key,
                severity="warning" if subject.key == TEST else "note",
                remedy="Test rows should be drawn as those that the model will meet."
                if subject.key == TEST else "Nothing to do; the model learns another length.",
            ))  # fmt: skip
        findings += _priors(shift, subject, target)
    return findings


def _shift(subject: Subject, target: Subject, mine: Reading, its: Reading) -> Shift:
    unknown = Counter({w: n for w, n in its.vocabulary.items() if w not in mine.vocabulary})
    total = its.vocabulary.total()
    distance, chance = _prior_distance(subject, target)
    return Shift(
        data=subject.key,
        target=target.key,
        known_words=1 - unknown.total() / total if total else 1.0,
        unknown=tuple(word for word, _ in unknown.most_common(SHOWN)),
        median_words=(_median(mine.num_words), _median(its.num_words)),
        prior_distance=distance,
        prior_chance=chance,
    )


def _median(values: np.ndarray) -> float:
    return float(np.median(values)) if len(values) else 0.0


def _prior_distance(subject: Subject, target: Subject) -> tuple[float | None, float | None]:
    """Total variation between the shares of the classes, and the chance of as much."""
    if subject.rows.labels is None or target.rows.labels is None:
        return None, None
    if set(subject.rows.classes) != set(target.rows.classes):
        return None, None
    from scipy.stats import chi2_contingency

    counts = np.array([
        [Labels.of(each.rows.labels).counts[name] for name in target.rows.classes]
        for each in (subject, target)
        if each.rows.labels is not None
    ])  # fmt: skip
    shares = counts / counts.sum(1, keepdims=True)
    chance = float(chi2_contingency(counts, correction=False).pvalue)
    return float(np.abs(shares[0] - shares[1]).sum() / 2), chance


def _words(shift: Shift, subject: Subject, target: Subject) -> Finding:
    severity: Severity = "warning" if shift.known_words < LITTLE - 0.2 else "note"
    return Finding(
        kind="few words in common",
        message=f"{subject.name} has {percent(shift.known_words)} of the running words of "
        f"{target.name}; it lacks {', '.join(shift.unknown)}.",
        count=len(subject.rows),
        data=subject.key,
        severity=severity,
        remedy="Expect less of this source; reading the target's own texts first, without labels "
        "(masked-lm), teaches its words.",
    )


def _priors(shift: Shift, subject: Subject, target: Subject) -> list[Finding]:
    distance, chance = shift.prior_distance, shift.prior_chance
    if distance is None or chance is None or distance < PRIOR or chance > CERTAIN:
        return []
    shares = []
    for each in (subject, target):
        labels = Labels.of(each.rows.labels or ())
        most = max(labels.counts, key=lambda name: labels.counts[name])
        shares.append(f"{each.name}: {percent(labels.counts[most] / len(labels))} {most!r}")
    test = subject.key == TEST
    return [Finding(
        kind="different class shares",
        message=f"{shares[0]}; {shares[1]}. {percent(distance)} of the rows would have to change "
        "class for the shares to be equal.",
        count=len(subject.rows), data=subject.key, severity="warning" if test else "note",
        remedy="Draw the test rows as they will come, or train with class weights."
        if test else "Nothing to do; training on the target takes its shares.",
    )]  # fmt: skip
