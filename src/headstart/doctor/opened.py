"""A data set opened for the doctor: rows that training would refuse are findings here, not errors.

Shapes: N rows of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart.data.columns import find_columns
from headstart.data.examples import Examples, examples
from headstart.data.findings import Finding
from headstart.data.mapped import at_once
from headstart.data.table import Table, read
from headstart.data.texts import Texts
from headstart.doctor.subject import DETAILED, Subject, share_of

BLOCK = 10_000
REPLACED = ("empty texts", "unreadable characters")
"""Kinds of findings on the way that the doctor tells with all their rows."""


@dataclass(frozen=True)
class Opened:
    """A data set as it was given, and as it is trained on.

    Attributes:
        key: "source", "target" or "test".
        given: a path, a frame, or what else `read` takes.
        table: all its N rows.
        text: name of the text column.
        label: name of the label column.
        rows: those with a text and a label, mapped.
        findings: what was noticed on the way, all rows of each.
    """

    key: str
    given: Any
    table: Table
    text: str
    label: str
    rows: Examples
    findings: tuple[Finding, ...]

    @property
    def named(self) -> Callable[[int], str]:
        """What the user calls a row, by its number."""
        places = self.table.places
        if places is None:
            return lambda number: f"{self.table.unit} {number:,}"
        numbers = self.table.number_all()
        by_number = {int(number): places[row] for row, number in enumerate(numbers.tolist())}
        return lambda number: by_number[number]

    @property
    def subject(self) -> Subject:
        """For looking at."""
        return Subject(self.key, self.rows, self.named, numbered=self.table.places is None)

    def texts(self) -> Texts:
        """All N texts."""
        return Texts(self.table.columns[self.text], self.table.window)

    def labels(self) -> Texts:
        """All N labels, as they stand; "" where one is missing."""
        return Texts(self.table.columns[self.label], self.table.window)


def open_set(
    key: str,
    given: Any,
    *,
    text: str | None,
    label: str | None,
    mapping: Mapping[str, str] | None,
) -> Opened:
    """Read a data set, leaving out rows without a label or a text, which become findings.

    Raises:
        DataError: it cannot be read, its columns cannot be told, no label is there, or all are the
            same.
    """
    table = read(given, name=key)
    text, label = find_columns(table, text, label, need_label=True)
    assert label is not None, "labels were asked for"
    labelled = filled(Texts(table.columns[label], table.window))
    kept = _taken(table, labelled) if labelled.any() else table
    rows = examples(kept, text=text, label=label, mapping=mapping)
    findings = [replace(f, data=key) for f in rows.findings if f.kind not in REPLACED]
    findings += _missing(key, table, ~labelled, "missing labels")
    with_text = filled(Texts(table.columns[text], table.window))
    findings += _missing(key, table, labelled & ~with_text, "empty texts")
    return Opened(key, given, table, text, label, rows, tuple(findings))


def filled(texts: Texts) -> np.ndarray:
    """(N,) bool: which texts are more than white space."""
    found = np.empty(len(texts), dtype=bool)
    step = at_once(texts, BLOCK)
    for start in range(0, len(texts), step):
        found[start : start + step] = [bool(t.strip()) for t in texts[start : start + step]]
    return found


def _taken(table: Table, kept: np.ndarray) -> Table:
    """Some rows of a table, called as before."""
    if kept.all():
        return table
    rows = np.flatnonzero(kept)
    places = table.places
    return replace(
        table,
        columns=table.columns.take(rows),
        numbers=table.number_all(rows),
        places=None if places is None else [places[row] for row in rows.tolist()],
    )


def _missing(key: str, table: Table, missing: np.ndarray, kind: str) -> list[Finding]:
    if not missing.any():
        return []
    rows = np.flatnonzero(missing)
    labels = kind == "missing labels"
    return [Finding(
        kind=kind,
        message=f"{table.name}: {share_of(len(rows), len(table))} rows have no "
        f"{'label' if labels else 'text'}.",
        count=len(rows), rows=tuple(table.number_all(rows).tolist()), data=key,
        severity="harmful" if labels else "note", mendable=not labels,
        remedy="Training refuses the file: fill them in, or move these rows to a file of "
        "unlabelled texts." if labels else "They are left out of training; --fix takes them out.",
        details=()
        if table.places is None
        else tuple(table.places[row] for row in rows[:DETAILED].tolist()),
    )]  # fmt: skip
