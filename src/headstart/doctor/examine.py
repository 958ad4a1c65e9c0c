"""What is wrong with data sets, found by counting alone: no model, seconds for 100,000 rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from headstart.data.examples import Examples
from headstart.data.findings import SHOWN_ROWS, Finding, Severity, length_findings
from headstart.data.tokens import Tokens
from headstart.doctor.classes import balance, schemes, spellings
from headstart.doctor.damage import damage
from headstart.doctor.languages import apart, odd_rows
from headstart.doctor.reading import Reading, read_texts
from headstart.doctor.repeats import contradictions, leaks, repeats
from headstart.doctor.shift import Shift, shift_findings, shifts
from headstart.doctor.subject import Subject, shortened, subjects
from headstart.doctor.twins import near_duplicates

ORDER: tuple[Severity, ...] = ("harmful", "warning", "note")
"""The worst first."""


def examine(
    sets: Mapping[str, Examples],
    *,
    tokens: Mapping[str, Tokens] | None = None,
    max_length: int | None = None,
    most_rows: int | None = SHOWN_ROWS,
) -> list[Finding]:
    """Look for everything that can be found without a model.

    Classes of few rows, spelled differently, or other than the target's; repeated texts, texts
    under two labels, training rows that are tested, exactly or nearly; mojibake, HTML, lost
    characters; rows in other scripts or languages; other words, lengths or class shares than the
    target's. Of a data set of more than 200,000 rows the slower looks see so many, drawn.

    Args:
        sets: data sets by key. "test" is judged by, "target" is what the model is for (without,
            the last that is trained on); all others are trained on.
        tokens: their texts as tokens, where they are known, to tell what is cut.
        max_length: tokens of a text at most; needed with `tokens`.
        most_rows: row numbers that a finding keeps; None keeps all.

    Returns:
        The findings, the worst first; each names its data set by key in `data`.
    """
    found = subjects(sets, tokens)
    findings, _, _ = look(found, max_length)
    return [shortened(finding, most_rows) for finding in findings]


def look(
    found: list[Subject],
    max_length: int | None = None,
    told: Callable[[], object] = lambda: None,
) -> tuple[list[Finding], list[Reading], list[Shift]]:
    """All findings with all their rows, the worst first; and what was read on the way.

    Args:
        max_length: tokens of a text at most.
        told: called after each data set.
    """
    findings: list[Finding] = []
    readings = []
    for subject in found:
        readings.append(read_texts(subject))
        findings += subject.drawn() + balance(subject) + spellings(subject)
        findings += repeats(subject) + contradictions(subject)
        findings += damage(subject) + odd_rows(subject, readings[-1])
        if subject.tokens is not None and max_length is not None:
            findings += cut_texts(subject, max_length)
        told()
    findings += schemes(found) + leaks(found) + near_duplicates(found, readings)
    measured = shifts(found, readings)
    findings += apart(found, readings) + shift_findings(found, measured)
    return worst_first(findings), readings, measured


def worst_first(findings: list[Finding]) -> list[Finding]:
    """The harmful ones, then warnings, then notes; else in their order."""
    return sorted(findings, key=lambda finding: ORDER.index(finding.severity))


def cut_texts(subject: Subject, max_length: int) -> list[Finding]:
    """What cutting texts to a length would lose."""
    assert subject.tokens is not None
    found = length_findings(
        subject.name, subject.tokens, max_length, subject.rows.rows, most_rows=None
    )
    return [replace(finding, data=subject.key) for finding in found]
