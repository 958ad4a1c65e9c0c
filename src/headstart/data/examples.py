"""Texts and labels out of a table, checked."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headstart.data.files import SHOWN
from headstart.data.findings import Finding
from headstart.data.table import Table
from headstart.errors import DataError, nearest

TEXT_NAMES = ("text", "review", "sentence", "content", "body", "comment", "reviewtext",
              "review_text", "review_body", "description", "message", "document")  # fmt: skip
LABEL_NAMES = ("label", "sentiment", "class", "category", "target", "stars", "star", "rating",
               "polarity", "labels", "y")  # fmt: skip
MOST_CHARACTERS = 1_000_000
MOST_CLASSES = 1_000


@dataclass(frozen=True)
class Examples:
    """Texts with their labels.

    Attributes:
        name: what messages call them.
        texts: N texts.
        labels: N labels, or None where none are known.
        rows: (N,) int64 row of each text in its table.
        findings: what was noticed and done on the way here.
    """

    name: str
    texts: list[str]
    labels: list[str] | None
    rows: np.ndarray
    findings: tuple[Finding, ...] = ()

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The distinct labels, sorted."""
        return tuple(sorted(set(self.labels or ())))

    @cached_property
    def digest(self) -> str:
        """SHA-256 over texts and labels, in their order."""
        digest = hashlib.sha256()
        for value in (*self.texts, "\0labels\0", *(self.labels or ())):
            encoded = value.encode("utf-8", "surrogatepass")
            digest.update(len(encoded).to_bytes(8, "little") + encoded)
        return digest.hexdigest()

    def take(self, indices: Sequence[int] | np.ndarray) -> Examples:
        """The examples at the given places, in that order."""
        labels = None if self.labels is None else [self.labels[i] for i in indices]
        rows = self.rows[np.asarray(indices, dtype=np.int64)]
        return replace(self, texts=[self.texts[i] for i in indices], labels=labels, rows=rows)


def examples(
    table: Table,
    *,
    text: str | None = None,
    label: str | None = None,
    mapping: Mapping[str, str] | None = None,
    require_label: bool = True,
    keep_empty: bool = False,
) -> Examples:
    """Take texts and labels out of a table.

    Args:
        table: what `read` gave.
        text: the text column; guessed when only one can be meant.
        label: the label column, likewise.
        mapping: renames labels; rows with other labels are left out, and that is reported.
        require_label: whether labels are needed; without, none are looked for.
        keep_empty: whether rows without text stay (as empty texts) or are left out.

    Raises:
        DataError: columns cannot be told, labels are missing, of one class or most likely ids, or
            a text is far too long.
    """
    label = _label_column(table, label) if require_label else None
    text = _text_column(table, text, label)
    texts = ["" if t is None else t for t in as_strings(table.columns[text]).to_pylist()]
    _check_lengths(table, text, texts)
    rows = np.arange(len(texts))
    findings = list(table.findings)
    labels = _labels(table, label) if label else None
    if labels is not None and mapping:
        rows, findings = _map(table, labels, mapping, findings)
    if not keep_empty:
        rows, findings = _drop_empty(table, text, texts, rows, findings)
    chosen = rows.tolist()
    found = None if labels is None else [mapped(labels[r], mapping) for r in chosen]
    if found is not None:
        _check_classes(table, label or "", found)
    return Examples(table.name, [texts[r] for r in chosen], found, rows, tuple(findings))


def mapped(label: str | None, mapping: Mapping[str, str] | None) -> str:
    """A label as it is called from here on."""
    assert label is not None
    return mapping[label] if mapping else label


def as_strings(column: Any) -> Any:
    """A column as text: whole numbers without a point, truth as "true" and "false"."""
    kind = column.type
    if pa.types.is_floating(kind):
        values = [None if v is None or v != v else f"{v:.0f}" if v.is_integer() else repr(v)
                  for v in column.to_pylist()]  # fmt: skip
        return pa.array(values, pa.string())
    if pa.types.is_string(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return pc.cast(column, pa.string())
    return pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())


def _labels(table: Table, column: str) -> list[str | None]:
    """Labels as text, "1.0" as "1".

    Raises:
        DataError: some are missing; says which rows.
    """
    values = as_strings(table.columns[column]).to_pylist()
    missing = [i for i, value in enumerate(values) if value is None or not value.strip()]
    if missing:
        places = ", ".join(str(i + table.first) for i in missing[:SHOWN])
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise DataError(
            f"{table.name}, column {column!r}: {len(missing):,} labels are missing ({table.unit}s "
            f"{places}{more}). Fill them in, or take these rows out; rows without a label can serve "
            "as unlabelled text in a file of their own."
        )
    return [re.sub(r"^(-?\d+)\.0+$", r"\1", value.strip()) for value in values]


def _map(
    table: Table, labels: list[str | None], mapping: Mapping[str, str], findings: list[Finding]
) -> tuple[np.ndarray, list[Finding]]:
    kept = np.array([i for i, value in enumerate(labels) if value in mapping], dtype=np.int64)
    dropped = Counter(str(value) for value in labels if value not in mapping)
    if not len(kept):
        raise DataError(
            f"{table.name}: the map {dict(mapping)} fits none of its labels: "
            f"{sorted(dropped)[:10]}. Write them as they stand in the data."
        )
    if dropped:
        said = ", ".join(f"{name!r} ({count:,})" for name, count in dropped.most_common(SHOWN))
        findings = [*findings, Finding(
            kind="unmapped labels",
            message=f"{table.name}: rows whose label the map leaves out were dropped: {said}.",
            count=sum(dropped.values()),
            remedy="Add these labels to the map if the rows should count.",
        )]  # fmt: skip
    return kept, findings


def _drop_empty(
    table: Table, column: str, texts: list[str], rows: np.ndarray, findings: list[Finding]
) -> tuple[np.ndarray, list[Finding]]:
    empty = np.array([r for r in rows.tolist() if not texts[r].strip()], dtype=np.int64)
    if not len(empty):
        return rows, findings
    if len(empty) == len(rows):
        raise DataError(f"{table.name}, column {column!r}: all {len(rows):,} texts are empty.")
    finding = Finding(
        kind="empty texts",
        message=f"{table.name}: {len(empty):,} rows without text were left out.",
        count=len(empty),
        rows=tuple((empty[:20] + table.first).tolist()),
        remedy="Fill them in or remove them.",
    )
    return np.setdiff1d(rows, empty), [*findings, finding]


def _check_lengths(table: Table, column: str, texts: list[str]) -> None:
    row, longest = max(enumerate(texts), key=lambda item: len(item[1]), default=(0, ""))
    if len(longest) > MOST_CHARACTERS:
        raise DataError(
            f"{table.place(row)}, column {column!r}: holds a text of {len(longest):,} characters; at "
            f"most {MOST_CHARACTERS:,} are taken. It is probably a whole file in one cell, as an "
            "unclosed quote makes it. Mend or split it."
        )


def _check_classes(table: Table, column: str, labels: list[str]) -> None:
    counts = Counter(labels)
    place = f"{table.name}, column {column!r}"
    if len(counts) < 2:
        raise DataError(
            f"{place}: all {len(labels):,} labels are {labels[0]!r}; telling apart takes 2 or more "
            "classes. Is it the right column (--label), and are all rows there?"
        )
    if len(counts) > MOST_CLASSES or (len(counts) > 20 and len(counts) > len(labels) / 2):
        shown = ", ".join(repr(name) for name in list(counts)[:SHOWN])
        raise DataError(
            f"{place}: holds {len(counts):,} classes in {len(labels):,} rows ({shown}, ...), so it is "
            f"probably an id or a free text. At most {MOST_CLASSES:,} classes are taken. Name the "
            f"label column with --label; there are: {', '.join(table.columns.column_names)}."
        )


def _text_column(table: Table, asked: str | None, label: str | None) -> str:
    names = table.columns.column_names
    if asked is not None:
        return _asked(table, asked, "text")
    if table.text is not None:
        return table.text
    known = [n for n in names if n.lower() in TEXT_NAMES and n != label]
    if len(known) == 1:
        return known[0]
    rest = [n for n in names if n != label]
    if len(rest) == 1:
        return rest[0]
    raise _ask(table, "text", known)


def _label_column(table: Table, asked: str | None) -> str:
    names = table.columns.column_names
    if asked is not None:
        return _asked(table, asked, "label")
    if table.label is not None:
        return table.label
    known = [n for n in names if n.lower() in LABEL_NAMES]
    if len(known) == 1:
        return known[0]
    texts = [n for n in names if n.lower() in TEXT_NAMES]
    if not known and len(names) == 2 and len(texts) == 1:
        return next(n for n in names if n not in texts)
    raise _ask(table, "label", known)


def _asked(table: Table, name: str, what: str) -> str:
    if name not in table.columns.column_names:
        raise DataError(
            f"{table.name}: has no column {name!r} (asked for as the {what} column)."
            f"{nearest(name, table.columns.column_names)} {_columns(table)}"
        )
    return name


def _ask(table: Table, what: str, candidates: list[str]) -> DataError:
    found = f"{candidates} could each be it" if candidates else "none has a name that says so"
    return DataError(
        f"{table.name}: which is the {what} column? {found[0].upper()}{found[1:]}. "
        f"Name it with --{what} COLUMN ({what}= in Python or a recipe). {_columns(table)}"
    )


def _columns(table: Table) -> str:
    """The columns there are, with a value of each."""
    first = table.columns.slice(0, 1).to_pydict()
    shown = (f"{name} (such as {str(values[0] if values else '')[:30]!r})"
             for name, values in first.items())  # fmt: skip
    return f"Its columns: {', '.join(shown)}."


def check_labels(source: Examples, target: Examples) -> None:
    """Check that a model of the source can answer in the target's words.

    Raises:
        DataError: the classes differ; says which, and how to write a map.
    """
    ours, theirs = set(target.classes), set(source.classes)
    if ours == theirs:
        return
    shared = sorted(ours & theirs)
    said = f"share only {shared}" if shared else "share no class"
    option = "target" if all(re.fullmatch(r"-?\d+", c) for c in ours - theirs) else "source"
    old = sorted((ours if option == "target" else theirs) - set(shared))
    new = sorted((theirs if option == "target" else ours) - set(shared)) or shared
    example = ",".join(f"{name}={new[min(i * len(new) // len(old), len(new) - 1)]}"
                       for i, name in enumerate(old[:6])) if old else ""  # fmt: skip
    write = f"Rename one side's, for example --{option}-map {example}" if example else (
        f"Leave the others out with --{'source' if theirs > ours else 'target'}-map "
        + ",".join(f"{c}={c}" for c in shared))  # fmt: skip
    raise DataError(
        f"source {source.name} and target {target.name} {said}: the source has "
        f"{list(source.classes)[:8]}, the target {list(target.classes)[:8]}. {write}; or compare only "
        "ways that train a new head: --arms target,source+target."
    )
