"""Texts and labels out of a table, checked."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headstart.data.columns import find_columns
from headstart.data.content import shorten
from headstart.data.findings import SHOWN, SHOWN_ROWS, Finding, counted, listed
from headstart.data.table import Table
from headstart.errors import DataError

MOST_CHARACTERS = 1_000_000
MOST_CLASSES = 1_000
WHOLE = re.compile(r"^(-?\d+)\.0+$")
NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass(frozen=True)
class Examples:
    """Texts with their labels.

    Attributes:
        name: what messages call them.
        texts: N texts.
        labels: N labels, or None where none are known.
        rows: (N,) int64 number of each text's row, as the user counts (`Table.number`).
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
    text, label = find_columns(table, text, label, need_label=require_label)
    mapping = {_name(key): name for key, name in (mapping or {}).items()}
    texts = ["" if t is None else t for t in _strings(table, text).to_pylist()]
    faults = _too_long(table, text, texts)
    labels = None if label is None else _labels(table, label)
    if labels is not None:
        faults += _missing(table, label, labels)
    if faults:
        raise DataError(faults)
    rows, findings = np.arange(len(texts)), list(table.findings)
    if labels is not None and mapping:
        rows, found = _mapped_rows(table, labels, mapping)
        findings += found
        labels = [mapping.get(name, name) for name in labels]
    if not keep_empty:
        rows, found = _filled_rows(table, text, texts, rows)
        findings += found
    chosen = rows.tolist()
    kept = None if labels is None else [labels[row] for row in chosen]
    if kept is not None:
        _check_classes(table, label, kept)
    return Examples(
        table.name, [texts[row] for row in chosen], kept, _numbers(table, rows), tuple(findings)
    )


def _numbers(table: Table, rows: np.ndarray) -> np.ndarray:
    """Row numbers as the user counts, of rows counted from 0."""
    return np.array([table.number(row) for row in rows.tolist()], dtype=np.int64)


def as_strings(column: Any) -> Any:
    """A column as text: whole numbers without a point, truth as "true" and "false"."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return as_strings(column.cast(kind.value_type))
    if pa.types.is_floating(kind):
        return pa.array([_number(value) for value in column.to_pylist()], pa.string())
    castable = (pa.types.is_string, pa.types.is_integer, pa.types.is_boolean, pa.types.is_binary,
                pa.types.is_large_string, pa.types.is_large_binary)  # fmt: skip
    if any(is_kind(kind) for is_kind in castable):
        return pc.cast(column, pa.large_string())
    return pa.array([None if v is None else str(v) for v in column.to_pylist()], pa.string())


def _strings(table: Table, column: str) -> Any:
    """A column of a table as text.

    Raises:
        DataError: its cells hold lists or objects, or bytes that are not UTF-8.
    """
    cells = table.columns[column]
    if pa.types.is_nested(cells.type):
        raise DataError(
            f"{table.name}, column {column!r}: holds {cells.type}, where each row needs one text "
            "or label. Take one value of each, or name another column with --text or --label."
        )
    try:
        return as_strings(cells)
    except pa.ArrowInvalid:
        raise DataError(
            f"{table.name}, column {column!r}: holds bytes that are not UTF-8. Decode them first."
        ) from None


def _name(label: str) -> str:
    """A label as it is called everywhere: without blanks around it, "1.0" as "1"."""
    return WHOLE.sub(r"\1", str(label).strip())


def _number(value: float | None) -> str | None:
    if value is None or math.isnan(value):
        return None
    return f"{value:.0f}" if value.is_integer() else repr(value)


def _labels(table: Table, column: str) -> list[str]:
    """Labels as text, without blanks around them, "1.0" as "1"; "" where one is missing."""
    encoded = pc.dictionary_encode(_strings(table, column))
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    names = [_name(name) for name in encoded.dictionary.to_pylist()]
    indices = encoded.indices.fill_null(len(names)).to_pylist()
    names.append("")
    return [names[index] for index in indices]


def _missing(table: Table, column: str | None, labels: list[str]) -> list[str]:
    missing = np.array([row for row, name in enumerate(labels) if not name], dtype=np.int64)
    if not len(missing):
        return []
    return [
        f"{table.name}, column {column!r}: {counted(len(missing), 'label')} missing "
        f"({listed(table.unit, _numbers(table, missing))}). Fill them in, or take these rows out: "
        "they can serve as unlabelled text in a file of their own."
    ]


def _too_long(table: Table, column: str, texts: list[str]) -> list[str]:
    long = [row for row, text in enumerate(texts) if len(text) > MOST_CHARACTERS]
    faults = [
        f"{table.place(row)}, column {column!r}: holds a text of {len(texts[row]):,} characters; "
        f"at most {MOST_CHARACTERS:,} are taken. It is probably a whole file in one cell, as an "
        "unclosed quote makes it. Mend or split it."
        for row in long
    ]
    return shorten(faults, "such texts")


def _mapped_rows(
    table: Table, labels: list[str], mapping: Mapping[str, str]
) -> tuple[np.ndarray, list[Finding]]:
    """Rows whose label is in the map, and what the map leaves out."""
    known = np.array([name in mapping for name in labels])
    dropped = Counter(name for name in labels if name not in mapping)
    if not known.any():
        raise DataError(
            f"{table.name}: the map {dict(mapping)} fits none of its labels: "
            f"{_some(set(dropped))}. Write them as they stand in the data."
        )
    if not dropped:
        return np.flatnonzero(known), []
    said = ", ".join(f"{_short(name)} ({count:,})" for name, count in dropped.most_common(SHOWN))
    finding = Finding(
        kind="unmapped labels",
        message=f"{table.name}: {counted(dropped.total(), 'row')} left out, as the map names "
        f"no class for the label: {said}.",
        count=dropped.total(),
        rows=tuple(_numbers(table, np.flatnonzero(~known)[:SHOWN_ROWS]).tolist()),
        remedy="Add these labels to the map if the rows should count.",
    )
    return np.flatnonzero(known), [finding]


def _filled_rows(
    table: Table, column: str, texts: list[str], rows: np.ndarray
) -> tuple[np.ndarray, list[Finding]]:
    """Those of the rows that have a text."""
    filled = np.array([bool(texts[row].strip()) for row in rows.tolist()], dtype=bool)
    if filled.all():
        return rows, []
    empty = _numbers(table, rows[~filled])
    if not filled.any():
        raise DataError(
            f"{table.name}, column {column!r}: {counted(len(empty), 'row')}, none with a text. Is "
            "it the right column (--text)?"
        )
    finding = Finding(
        kind="empty texts",
        message=f"{table.name}: {counted(len(empty), 'row')} without text left out "
        f"({listed(table.unit, empty)}).",
        count=len(empty),
        rows=tuple(empty[:SHOWN_ROWS].tolist()),
        remedy="Fill them in or remove them.",
    )
    return rows[filled], [finding]


def _check_classes(table: Table, column: str | None, labels: list[str]) -> None:
    counts = Counter(labels)
    place = f"{table.name}, column {column!r}"
    if len(counts) < 2:
        raise DataError(
            f"{place}: all {counted(len(labels), 'label')} are {_short(labels[0])}; telling apart "
            "takes 2 or more classes. Is it the right column (--label), and are all rows there?"
        )
    if len(counts) > MOST_CLASSES or (len(counts) > 20 and len(counts) > len(labels) / 2):
        shown = ", ".join(_short(name) for name in list(counts)[:SHOWN])
        raise DataError(
            f"{place}: holds {len(counts):,} classes in {len(labels):,} rows ({shown}, ...), so it "
            f"is probably an id or a free text. At most {MOST_CLASSES:,} classes are taken. Name "
            f"the label column with --label; there are: {', '.join(table.columns.column_names)}."
        )


def check_labels(source: Examples, target: Examples) -> None:
    """Check that a model of the source can answer in the target's words.

    Raises:
        DataError: the classes differ; says which, and how to write a map.
    """
    theirs, ours = set(source.classes), set(target.classes)
    if ours == theirs:
        return
    shared = sorted(ours & theirs)
    if shared:
        said = "; ".join(
            f"{owner} has classes that the {other} lacks: {_some(extra)}"
            for owner, other, extra in (
                (f"the source ({source.name})", "target", theirs - ours),
                (f"the target ({target.name})", "source", ours - theirs),
            )
            if extra
        )
        side = "source" if theirs - ours else "target"
        remedy = (
            "Rename them, or leave their rows out by a map of the others, for example "
            f"--{side}-map {','.join(f'{name}={name}' for name in shared[:6])}"
        )
    else:
        said = (
            f"source {source.name} and target {target.name} share no class: "
            f"the source has {_some(theirs)}, the target {_some(ours)}"
        )
        remedy = f"Rename one side's, for example {_example_map(theirs, ours)}"
    raise DataError(
        f"labels: {said}. {remedy}; or compare only ways that train a new head: "
        "--arms target,source+target."
    )


def _some(names: set[str]) -> str:
    rest = len(names) - 8
    shown = ", ".join(_short(name) for name in sorted(names, key=_in_order)[:8])
    return shown + (f" and {rest:,} more" if rest > 0 else "")


def _short(name: str) -> str:
    """A label in quotes; what is no label but a whole text is cut."""
    return repr(name if len(name) <= 40 else name[:40] + "...")


def _in_order(name: str) -> tuple[float, str]:
    """Numbers by their size, then words by the alphabet."""
    return (float(name), name) if NUMBER.fullmatch(name) else (math.inf, name)


def _example_map(source: set[str], target: set[str]) -> str:
    """An option that renames numbers to the other side's words, or the target's words."""
    numbers = all(NUMBER.fullmatch(name) for name in source)
    side, old, new = ("source", source, target) if numbers else ("target", target, source)
    before, after = sorted(old, key=_in_order), sorted(new, key=_in_order)
    if len(before) % 2 and len(before) > len(after) == 2:
        del before[len(before) // 2]  # three stars are neither
    pairs = [
        f"{name}={after[min(place * len(after) // len(before), len(after) - 1)]}"
        for place, name in enumerate(before)
    ]
    return f"--{side}-map {','.join(pairs[:10])}"
