"""The classes: how many rows each has, and whether those of two data sets are the same words."""

from __future__ import annotations

import numpy as np

from headstart.data.examples import check_labels
from headstart.data.findings import Finding, counted
from headstart.data.labels import Labels
from headstart.doctor.subject import TEST, Subject, percent, target_of
from headstart.errors import DataError

FEW = 8
"""Rows of a class below which next to nothing can be learned, or judged, of it."""

UNEVEN, VERY_UNEVEN = 3.0, 10.0
"""How many times the commonest class has the rows of the rarest, to be told and to be warned of."""

SHOWN = 6

TRUE = {"1", "true", "yes", "y", "positive", "pos", "good", "+"}
FALSE = {"0", "-1", "false", "no", "n", "negative", "neg", "bad", "-"}
"""Words that mostly mean the same of two classes, without case."""


def balance(subject: Subject) -> list[Finding]:
    """Classes of few rows, and classes of very different size."""
    if subject.rows.labels is None:
        return []
    labels = Labels.of(subject.rows.labels)
    counts = sorted(labels.counts.items(), key=lambda item: item[1])
    findings = []
    few = [(name, count) for name, count in counts if count < FEW]
    if few:
        shown = ", ".join(f"{name!r} ({count})" for name, count in few[:SHOWN])
        more = f" and {len(few) - SHOWN} more" if len(few) > SHOWN else ""
        places = np.flatnonzero(np.isin(labels.codes, [labels.names.index(n) for n, _ in few]))
        findings.append(subject.finding(
            "small classes",
            f"{counted(len(few), 'class')} of fewer than {FEW} rows: {shown}{more}.",
            places, severity="warning",
            remedy="Label more rows of them, join them with others by a map, or leave them out.",
        ))  # fmt: skip
    (rarest, least), (commonest, most) = counts[0], counts[-1]
    if most >= UNEVEN * least:
        findings.append(Finding(
            kind="uneven classes",
            message=f"{subject.name}: {commonest!r} has {most:,} rows "
            f"({percent(most / len(labels))}), {rarest!r} {least:,}. Always saying {commonest!r} "
            f"is right {percent(most / len(labels))} of the time.",
            count=len(labels), data=subject.key,
            severity="warning" if most >= VERY_UNEVEN * least else "note",
            remedy="Judge by macro-F1 rather than accuracy; in a recipe, class_weights = "
            '"balanced" lets rare classes weigh as much.',
        ))  # fmt: skip
    return findings


def spellings(subject: Subject) -> list[Finding]:
    """Classes whose names differ in case alone: most likely one class."""
    if subject.rows.labels is None:
        return []
    labels = Labels.of(subject.rows.labels)
    alike: dict[str, list[str]] = {}
    for name in labels.names:
        alike.setdefault(" ".join(name.casefold().split()), []).append(name)
    findings = []
    for names in alike.values():
        if len(names) == 1:
            continue
        kept = max(names, key=lambda name: labels.counts[name])
        codes = [labels.names.index(name) for name in names if name != kept]
        shown = ", ".join(f"{name!r} ({labels.counts[name]:,})" for name in names)
        findings.append(subject.finding(
            "label spellings",
            f"the labels {shown} differ in case or blanks alone, and count as classes of their "
            "own.",
            np.flatnonzero(np.isin(labels.codes, codes)), severity="harmful",
            remedy=f"Join them: {_map_option(subject.key, labels.names, names, kept)}",
        ))  # fmt: skip
    return findings


def schemes(found: list[Subject]) -> list[Finding]:
    """Whether the classes of every data set are those of the target."""
    target = target_of(found)
    if target is None or target.rows.labels is None:
        return []
    findings = []
    for subject in found:
        if subject is target or subject.rows.labels is None:
            continue
        if subject.key == TEST:
            findings += _test_classes(subject, target)
        else:
            findings += _scheme(subject, target)
    return findings


def _scheme(source: Subject, target: Subject) -> list[Finding]:
    """How the classes of a source and of the target differ, if they do."""
    theirs, ours = source.rows.classes, target.rows.classes
    if set(theirs) == set(ours):
        return []
    how, pairs = _same_meaning(theirs, ours)
    if pairs:
        said = f"{how}: the source has {_shown(theirs)}, the target {_shown(ours)}"
        listed = ",".join(f"{old}={new}" for old, new in pairs.items())
        remedy = f"If they mean the same, say so: --source-map {listed}"
    else:
        said = f"the source has {_shown(theirs)}, the target {_shown(ours)}"
        remedy = _said_by_check(source, target)
    return [Finding(
        kind="label schemes",
        message=f"{source.name} and {target.name}: their classes do not match; {said}.",
        count=len(source.rows), data=source.key, severity="harmful", remedy=remedy,
    )]  # fmt: skip


def _same_meaning(theirs: tuple[str, ...], ours: tuple[str, ...]) -> tuple[str, dict[str, str]]:
    """How two lists of classes most likely say the same, and which is which; or nothing."""
    plain = {name.casefold(): name for name in ours}
    if len(plain) == len(ours) and {name.casefold() for name in theirs} == set(plain):
        return "they differ in case alone", {n: plain[n.casefold()] for n in theirs}
    if len(theirs) == len(ours) == 2:
        sides = [{_polarity(name): name for name in names} for names in (theirs, ours)]
        if all(set(side) == {True, False} for side in sides):
            return "they are two words for the same, as it seems", {
                sides[0][side]: sides[1][side] for side in (False, True)
            }
    return "", {}


def _polarity(name: str) -> bool | None:
    plain = name.casefold()
    return True if plain in TRUE else False if plain in FALSE else None


def _said_by_check(source: Subject, target: Subject) -> str:
    """The remedy that refusing such classes would name."""
    try:
        check_labels(source.rows, target.rows)
    except DataError as error:
        return str(error).rsplit("labels: ", 1)[-1].partition(". ")[2]
    raise AssertionError("classes that differ are refused")


def _test_classes(test: Subject, target: Subject) -> list[Finding]:
    """Classes that only one of test and target has."""
    ours, theirs = set(target.rows.classes), set(test.rows.classes)
    labels = Labels.of(test.rows.labels or ())
    findings = []
    if theirs - ours:
        codes = [labels.names.index(name) for name in sorted(theirs - ours)]
        findings.append(test.finding(
            "unknown test classes",
            f"its rows hold classes that no target row has: {_shown(sorted(theirs - ours))}.",
            np.flatnonzero(np.isin(labels.codes, codes)), severity="harmful",
            remedy="Map them, or leave these rows out.",
        ))  # fmt: skip
    if ours - theirs:
        findings.append(Finding(
            kind="untested classes",
            message=f"{test.name}: has no row of {_shown(sorted(ours - theirs))}, which the target "
            "has: nothing will be known of them.",
            count=len(ours - theirs), data=test.key, severity="warning",
            remedy="Add test rows of them.",
        ))  # fmt: skip
    return findings


def _map_option(key: str, names: tuple[str, ...], alike: list[str], kept: str) -> str:
    pairs = ",".join(f"{name}={kept if name in alike else name}" for name in names)
    return f"--{'source' if key == 'source' else 'target'}-map '{pairs}'"


def _shown(names: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
    return ", ".join(repr(name) for name in names[:SHOWN]) + more
