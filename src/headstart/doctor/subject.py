"""A data set as the doctor sees it: its rows, what the user calls them, and who reads it when.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from headstart.data.examples import Examples
from headstart.data.findings import Finding, Severity, fingerprints
from headstart.data.tokens import Tokens

MOST_ROWS = 200_000
"""Rows of a data set that the slower looks are cast at; of more, so many are drawn."""

TEST = "test"
"""Key of the rows that judge; all others are trained on."""

TARGET = "target"
"""Key of the rows that the model is for."""

DETAILED = 1_000
"""Rows of a finding, the first, that something is said of each."""

QUOTED = 60
"""Characters of a text that a detail shows."""


@dataclass(frozen=True)
class Subject:
    """A data set that is looked at.

    Attributes:
        key: its name among the sets looked at, such as "source", "target" or "test".
        rows: N examples.
        named: what the user calls a row, by its number, such as "row 17" or "pos/12_7.txt".
        tokens: its texts as tokens of the planned backbone, where they are known.
        numbered: whether a row's number alone says where it is; else details name each row.
    """

    key: str
    rows: Examples
    named: Callable[[int], str]
    tokens: Tokens | None = None
    numbered: bool = True

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.rows.name

    @cached_property
    def prints(self) -> np.ndarray:
        """(N,) uint64: equal where texts differ in white space alone."""
        return fingerprints(self.rows.texts)

    @cached_property
    def chosen(self) -> np.ndarray:
        """(M,) int64 places of the rows that the slower looks are cast at, ascending."""
        if len(self.rows) <= MOST_ROWS:
            return np.arange(len(self.rows))
        random = np.random.default_rng(0)
        return np.sort(random.choice(len(self.rows), MOST_ROWS, replace=False))

    @cached_property
    def sample(self) -> Examples:
        """The M rows at `chosen`."""
        whole = len(self.chosen) == len(self.rows)
        return self.rows if whole else self.rows.take(self.chosen)

    def drawn(self) -> list[Finding]:
        """What is said where not all rows are looked at in every way."""
        if len(self.chosen) == len(self.rows):
            return []
        return [
            Finding(
                kind="rows drawn",
                message=f"{self.name}: {share_of(len(self.chosen), len(self.rows))} rows, drawn, "
                "were looked at for near-duplicates, damage, scripts and words; all of them for "
                "classes, repeats and leaks.",
                count=len(self.rows) - len(self.chosen),
                remedy="Nothing to do.",
                data=self.key,
            )
        ]

    def row(self, place: int) -> str:
        """What the user calls the row at a place, such as "row 17"."""
        return self.named(int(self.rows.rows[place]))

    def quote(self, place: int) -> str:
        """The beginning of a text, in quotes."""
        return quoted(self.rows.texts[int(place)])

    def finding(
        self,
        kind: str,
        message: str,
        places: np.ndarray,
        *,
        severity: Severity,
        remedy: str,
        details: tuple[str, ...] = (),
        mendable: bool = False,
    ) -> Finding:
        """Something that rows of it have.

        Args:
            message: what was found; the data set's name is put before it.
            places: (K,) of the rows, all of them.
            details: about each of the first of them, or none; what the user calls the row is put
                before it.
        """
        if details or not self.numbered:
            said = details or [""] * len(places[:DETAILED])
            names = [self.row(place) for place in places[: len(said)].tolist()]
            details = tuple(
                f"{name}: {what}" if what else name for name, what in zip(names, said, strict=True)
            )
        return Finding(
            kind=kind,
            message=f"{self.name}: {message}",
            count=len(places),
            rows=tuple(self.rows.rows[places].tolist()),
            remedy=remedy,
            severity=severity,
            data=self.key,
            details=details,
            mendable=mendable,
        )


def quoted(text: str) -> str:
    """The beginning of a text, on one line, in quotes."""
    line = " ".join(text[: 4 * QUOTED].split())
    return f'"{line[:QUOTED]}..."' if len(line) > QUOTED or len(text) > 4 * QUOTED else f'"{line}"'


def by_number(number: int) -> str:
    """ "row 17"."""
    return f"row {number:,}"


def subjects(
    sets: Mapping[str, Examples],
    tokens: Mapping[str, Tokens] | None = None,
    named: Mapping[str, Callable[[int], str]] | None = None,
) -> list[Subject]:
    """The data sets as subjects, in their order.

    Args:
        sets: by key.
        tokens: of each, where known.
        named: what the user calls its rows, where it is not "row 17".
    """
    return [
        Subject(key, rows, (named or {}).get(key, by_number), (tokens or {}).get(key))
        for key, rows in sets.items()
    ]


def target_of(found: list[Subject]) -> Subject | None:
    """The data set that the model is for: "target", or the last that is trained on."""
    trained = [subject for subject in found if subject.key != TEST]
    named = [subject for subject in trained if subject.key == TARGET]
    candidates = named or trained
    return candidates[-1] if candidates else None


def pairs_with_target(found: list[Subject]) -> list[tuple[Subject, Subject]]:
    """(other, target) for each other data set, the test among them."""
    target = target_of(found)
    if target is None:
        return []
    return [(subject, target) for subject in found if subject is not target]


def shortened(finding: Finding, most_rows: int | None) -> Finding:
    """A finding with so many rows at most, and what is said of them."""
    rows, details = finding.rows[:most_rows], finding.details[:most_rows]
    return replace(finding, rows=rows, details=details)


def share_of(count: int, total: int) -> str:
    """ "31 of 1,364 (2.3 %)"."""
    return f"{count:,} of {total:,} ({percent(count / max(total, 1))})"


def percent(share: float) -> str:
    """ "2.3 %", and no 0.0 or 100.0 where it is not so."""
    shown = f"{100 * share:.1f}"
    if shown == "0.0" and share > 0:
        return "under 0.1 %"
    if shown == "100.0" and share < 1:
        return "over 99.9 %"
    return f"{shown} %"
