"""Texts that occur more than once: in a data set, under two labels, in training and test rows.

Texts are the same if they differ in white space alone.

Shapes: N rows.
"""

from __future__ import annotations

import numpy as np

from headstart.data.findings import Finding, contradicting, counted
from headstart.data.labels import Labels
from headstart.doctor.subject import DETAILED, TEST, Subject, share_of

WARNED = 0.01
"""Share of rows from which repeats are more than a note."""


def repeats(subject: Subject) -> list[Finding]:
    """Rows that say again, with the same label, what an earlier row says."""
    _, first, which = np.unique(_with_labels(subject), return_index=True, return_inverse=True)
    later = np.flatnonzero(first[which] != np.arange(len(which)))
    if not len(later):
        return []
    total = len(subject.rows)
    test = subject.key == TEST
    return [subject.finding(
        "repeated texts",
        f"{share_of(len(later), total)} rows repeat an earlier row, text and label.",
        later,
        severity="warning" if len(later) >= WARNED * total else "note",
        remedy="Take them out where the rows come from: each counts as a row of its own."
        if test else "Keep one of each, as --fix does: what is repeated weighs more.",
        details=tuple(f"as {subject.row(p)}" for p in first[which[later[:DETAILED]]].tolist()),
        mendable=not test,
    )]  # fmt: skip


def contradictions(subject: Subject) -> list[Finding]:
    """Rows with the text of an earlier row and another label than there."""
    if subject.rows.labels is None:
        return []
    wrong = contradicting(subject.rows, subject.prints)
    if not len(wrong):
        return []
    later, details = _under_another_label(subject, wrong)
    texts = counted(len(np.unique(subject.prints[wrong])), "text")
    return [subject.finding(
        "contradicting labels",
        f"{share_of(len(later), len(subject.rows))} rows have the text of an earlier row, and "
        f"another label ({texts} with more than one label, in {len(wrong):,} rows).",
        later, severity="warning", details=details,
        remedy="Decide which label is right, and remove the other rows; or, if a text may have "
        "several labels, they are no classes to tell apart.",
    )]  # fmt: skip


def leaks(found: list[Subject]) -> list[Finding]:
    """Rows of a data set whose text is in another one, in the test above all."""
    findings = []
    trained = [subject for subject in found if subject.key != TEST]
    for test in (subject for subject in found if subject.key == TEST):
        for subject in trained:
            findings += _leak(subject, test)
    for place, first in enumerate(trained):
        for second in trained[place + 1 :]:
            findings += _shared(first, second)
    return findings


def _with_labels(subject: Subject) -> np.ndarray:
    """(N,) uint64: equal where text and label are the same."""
    if subject.rows.labels is None:
        return subject.prints
    codes = Labels.of(subject.rows.labels).codes.astype(np.uint64)
    return subject.prints ^ (codes * np.uint64(0x9E3779B97F4A7C15))


def _under_another_label(subject: Subject, wrong: np.ndarray) -> tuple[np.ndarray, tuple[str, ...]]:
    """Places of rows whose text an earlier row has under another label, and both labels."""
    labels = subject.rows.labels
    assert labels is not None
    before: dict[int, dict[str, int]] = {}  # of each text the first row with each label
    places: list[int] = []
    details: list[str] = []
    for place in wrong.tolist():
        label, rows = labels[place], before.setdefault(int(subject.prints[place]), {})
        other = next((row for name, row in rows.items() if name != label), None)
        rows.setdefault(label, place)
        if other is not None:
            places.append(place)
            if len(details) == DETAILED:
                continue
            details.append(f"{label!r}, but {subject.row(other)} is {labels[other]!r}: "
                           f"{subject.quote(place)}")  # fmt: skip
    return np.array(places, dtype=np.int64), tuple(details)


def _in_other(subject: Subject, other: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Places of the rows whose text is in another data set too, and of one row there for each."""
    there, first = np.unique(other.prints, return_index=True)
    if not len(there):
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
    at = np.minimum(np.searchsorted(there, subject.prints), len(there) - 1)
    places = np.flatnonzero(there[at] == subject.prints)
    return places, first[at[places]]


def _leak(subject: Subject, test: Subject) -> list[Finding]:
    places, partners = _in_other(subject, test)
    if not len(places):
        return []
    touched = int(np.isin(test.prints, subject.prints).sum())
    return [subject.finding(
        "duplicates of test rows",
        f"{share_of(len(places), len(subject.rows))} training rows have the text of a test row; "
        f"{share_of(touched, len(test.rows))} rows of {test.name} are known so.",
        places, severity="harmful", mendable=True,
        remedy="headstart leaves these rows out of training by itself; other programs would learn "
        "the test by heart. --fix writes the training rows without them.",
        details=_details(subject, test, places, partners),
    )]  # fmt: skip


def _shared(subject: Subject, other: Subject) -> list[Finding]:
    places, partners = _in_other(subject, other)
    if not len(places):
        return []
    return [subject.finding(
        f"duplicates of {other.key} rows",
        f"{share_of(len(places), len(subject.rows))} rows have the text of a row of {other.key}, "
        f"{other.name}.",
        places, severity="note",
        remedy="Nothing to do; such rows count in both.",
        details=_details(subject, other, places, partners),
    )]  # fmt: skip


def _details(
    subject: Subject, other: Subject, places: np.ndarray, partners: np.ndarray
) -> tuple[str, ...]:
    mine, theirs = subject.rows.labels, other.rows.labels
    details = []
    first = (places[:DETAILED].tolist(), partners[:DETAILED].tolist())
    for place, partner in zip(*first, strict=True):
        labels = ""
        if mine is not None and theirs is not None and mine[place] != theirs[partner]:
            labels = f" ({mine[place]!r} here, {theirs[partner]!r} there)"
        details.append(f"as {other.key} {other.row(partner)}{labels}: {subject.quote(place)}")
    return tuple(details)
