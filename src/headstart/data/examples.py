"""Texts and labels out of a table, checked."""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa

from headstart.data.columns import find_columns
from headstart.data.content import shorten
from headstart.data.findings import SHOWN, SHOWN_ROWS, Finding, counted, listed
from headstart.data.labels import Labels
from headstart.data.mapped import at_once
from headstart.data.numbers import check_numbers
from headstart.data.table import Table
from headstart.data.texts import BLOCK, Texts, as_strings
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
        texts: N texts: a list, or, where they would fill the memory, `Texts`, which are read as
            they are asked for.
        labels: N labels, or None where none are known.
        rows: (N,) int64 number of each text's row, as the user counts (`Table.number`).
        findings: what was noticed and done on the way here.
        whole: what these are a part of, where its frozen features are to serve all its parts; else
            None.
        places: (N,) int64, where in `whole` each of these stands; None without.
    """

    name: str
    texts: Sequence[str]
    labels: Sequence[str] | None
    rows: np.ndarray
    findings: tuple[Finding, ...] = ()
    whole: Examples | None = None
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The distinct labels, sorted."""
        return Labels.of(self.labels or ()).names

    @property
    def texts_digest(self) -> str:
        """SHA-256 over the texts, in their order, wherever they are kept."""
        return self._digests[0]

    @property
    def digest(self) -> str:
        """SHA-256 over texts and labels, in their order."""
        return self._digests[1]

    @cached_property
    def _digests(self) -> tuple[str, str]:
        digest = hashlib.sha256()
        step = at_once(self.texts, BLOCK)
        for start in range(0, len(self), step):
            digest.update(b"".join(map(_framed, self.texts[start : start + step])))
        of_texts = digest.hexdigest()
        digest.update(_framed("\0labels\0"))
        framed = {name: _framed(name) for name in self.classes}
        for start in range(0, len(self.labels or ()), BLOCK):
            labels = (self.labels or ())[start : start + BLOCK]
            digest.update(b"".join(framed[label] for label in labels))
        return of_texts, digest.hexdigest()

    def take(self, indices: Sequence[int] | np.ndarray) -> Examples:
        """The examples at the given places, in that order."""
        places = np.asarray(indices, dtype=np.int64)
        texts, labels = self.texts, self.labels
        some = texts.take(places).settled() if isinstance(texts, Texts) else _taken(texts, places)
        if labels is not None:
            labels = labels.take(places) if isinstance(labels, Labels) else _taken(labels, places)
        return Examples(self.name, some, labels, self.rows[places], self.findings)

    def part(self, indices: Sequence[int] | np.ndarray) -> Examples:
        """As `take`, but what is frozen is computed for all of these, once for every part."""
        places = np.asarray(indices, dtype=np.int64)
        return replace(self.take(places), whole=self, places=places)


def joined(sets: Sequence[Examples]) -> Examples:
    """Several data sets as one, one behind the other; labels are kept where all have them.

    Texts that are kept in files stay there, so that no more of them need fit into memory than of
    one data set.
    """
    if len(sets) == 1:
        return sets[0]
    labels: Sequence[str] | None = None
    if all(one.labels is not None for one in sets):
        labels = Labels.joined([Labels.of(one.labels or ()) for one in sets])
    parts = [one.texts for one in sets]
    mapped = any(isinstance(part, Texts) for part in parts)
    return Examples(
        name=" + ".join(one.name for one in sets),
        texts=Texts.joined(parts) if mapped else [text for part in parts for text in part],
        labels=labels,
        rows=np.concatenate([one.rows for one in sets]),
        findings=tuple(finding for one in sets for finding in one.findings),
    )


def _framed(text: str) -> bytes:
    """A text behind its length, so that no two lists of texts look alike."""
    encoded = text.encode("utf-8", "surrogatepass")
    return len(encoded).to_bytes(8, "little") + encoded


def _taken(values: Sequence[str], places: np.ndarray) -> list[str]:
    return [values[place] for place in places.tolist()]


def examples(
    table: Table,
    *,
    text: str | None = None,
    label: str | None = None,
    mapping: Mapping[str, str] | None = None,
    require_label: bool = True,
    keep_empty: bool = False,
    kinds: Collection[str] = ("classes",),
) -> Examples:
    """Take texts and labels out of a table.

    Args:
        table: what `read` gave.
        text: the text column; guessed when only one can be meant.
        label: the label column, likewise.
        mapping: renames labels; rows with other labels are left out, and that is reported.
        require_label: whether labels are needed; without, none are looked for.
        keep_empty: whether rows without text stay (as empty texts) or are left out.
        kinds: what the labels must be able to serve as: "classes", "numbers".

    Raises:
        DataError: columns cannot be told, labels are missing, of one class or most likely ids, or
            a text is far too long.
    """
    text, label = find_columns(table, text, label, need_label=require_label)
    mapping = {_name(key): name for key, name in (mapping or {}).items()}
    texts = Texts(_cells(table, text), table.window)
    filled, faults = _look(table, text, texts)
    labels = None if label is None else _labels(table, label)
    if labels is not None:
        faults += _missing(table, label, labels)
    if faults:
        raise DataError(faults)
    kept, findings = np.ones(len(texts), dtype=bool), list(table.findings)
    if labels is not None and mapping:
        kept, found = _mapped_rows(table, labels, mapping)
        findings += found
        labels = Labels([mapping.get(name, name) for name in labels.names], labels.codes)
    if not keep_empty:
        kept, found = _filled_rows(table, text, filled, kept)
        findings += found
    rows = None if kept.all() else np.flatnonzero(kept)
    if rows is not None:
        texts, labels = texts.take(rows), None if labels is None else labels.take(rows)
    numbered = table.number_all(rows)
    if labels is not None and "numbers" in kinds:
        check_numbers(f"{table.name}, column {label!r}", labels, numbered, table.unit)
    if labels is not None and "classes" in kinds:
        _check_classes(table, label, labels)
    return Examples(table.name, texts.settled(), labels, numbered, tuple(findings))


def _cells(table: Table, column: str) -> Any:
    """A column of a table that can be read as text.

    Raises:
        DataError: its cells hold lists or objects.
    """
    cells = table.columns[column]
    if pa.types.is_nested(cells.type):
        raise DataError(
            f"{table.name}, column {column!r}: holds {cells.type}, where each row needs one text "
            "or label. Take one value of each, or name another column with --text or --label."
        )
    return cells


def _not_utf8(table: Table, column: str) -> DataError:
    return DataError(
        f"{table.name}, column {column!r}: holds bytes that are not UTF-8. Decode them first."
    )


def _look(table: Table, column: str, texts: Texts) -> tuple[np.ndarray, list[str]]:
    """Which of the N texts are more than white space, (N,) bool, and which are far too long.

    Raises:
        DataError: the column holds bytes that are not UTF-8.
    """
    filled = np.empty(len(texts), dtype=bool)
    faults: list[str] = []
    try:
        step = at_once(texts, BLOCK)
        for start in range(0, len(texts), step):
            some = texts[start : start + step]
            filled[start : start + step] = [bool(text.strip()) for text in some]
            long = [row for row, text in enumerate(some) if len(text) > MOST_CHARACTERS]
            faults += [
                f"{table.place(start + row)}, column {column!r}: holds a text of "
                f"{len(some[row]):,} characters; at most {MOST_CHARACTERS:,} are taken. It is "
                "probably a whole file in one cell, as an unclosed quote makes it. Mend or split "
                "it."
                for row in long
            ]
    except pa.ArrowInvalid:
        raise _not_utf8(table, column) from None
    return filled, shorten(faults, "such texts")


def _name(label: str) -> str:
    """A label as it is called everywhere: without blanks around it, "1.0" as "1"."""
    return WHOLE.sub(r"\1", str(label).strip())


def _labels(table: Table, column: str) -> Labels:
    """Labels as text, without blanks around them, "1.0" as "1"; "" where one is missing.

    Raises:
        DataError: as `_cells`, or the column holds bytes that are not UTF-8.
    """
    cells = _cells(table, column)
    names, places, codes = [""], {"": 0}, []
    for piece in cells.chunks if isinstance(cells, pa.ChunkedArray) else [cells]:
        try:
            encoded = as_strings(piece).dictionary_encode()
        except pa.ArrowInvalid:
            raise _not_utf8(table, column) from None
        found = [_name(name) for name in encoded.dictionary.to_pylist()]
        names += dict.fromkeys(name for name in found if name not in places)
        places |= {name: number for number, name in enumerate(names[len(places) :], len(places))}
        here = np.array([*(places[name] for name in found), 0], dtype=np.int32)
        codes.append(here[encoded.indices.fill_null(len(found)).to_numpy()])
        table.window.read(encoded.nbytes)
    return Labels(names, np.concatenate(codes))


def _missing(table: Table, column: str | None, labels: Labels) -> list[str]:
    if "" not in labels.names:
        return []
    missing = np.flatnonzero(labels.codes == labels.names.index(""))
    return [
        f"{table.name}, column {column!r}: {counted(len(missing), 'label')} missing "
        f"({listed(table.unit, table.number_all(missing))}). Fill them in, or take these rows out: "
        "they can serve as unlabelled text in a file of their own."
    ]


def _mapped_rows(
    table: Table, labels: Labels, mapping: Mapping[str, str]
) -> tuple[np.ndarray, list[Finding]]:
    """Which rows have a label that is in the map, (N,) bool, and what the map leaves out."""
    known = np.array([name in mapping for name in labels.names])[labels.codes]
    dropped = Counter({n: count for n, count in labels.counts.items() if n not in mapping})
    if not known.any():
        raise DataError(
            f"{table.name}: the map {dict(mapping)} fits none of its labels: "
            f"{_some(set(dropped))}. Write them as they stand in the data."
        )
    if not dropped:
        return known, []
    said = ", ".join(f"{_short(name)} ({count:,})" for name, count in dropped.most_common(SHOWN))
    finding = Finding(
        kind="unmapped labels",
        message=f"{table.name}: {counted(dropped.total(), 'row')} left out, as the map names "
        f"no class for the label: {said}.",
        count=dropped.total(),
        rows=tuple(table.number_all(np.flatnonzero(~known)[:SHOWN_ROWS]).tolist()),
        remedy="Add these labels to the map if the rows should count.",
    )
    return known, [finding]


def _filled_rows(
    table: Table, column: str, filled: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, list[Finding]]:
    """Those of the rows that have a text, all three as (N,) bool of the table's N rows."""
    kept = rows & filled
    if (kept == rows).all():
        return rows, []
    empty = table.number_all(np.flatnonzero(rows & ~filled))
    if not kept.any():
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
    return kept, [finding]


def _check_classes(table: Table, column: str | None, labels: Labels) -> None:
    names, place = labels.names, f"{table.name}, column {column!r}"
    if len(names) < 2:
        raise DataError(
            f"{place}: all {counted(len(labels), 'label')} are {_short(names[0])}; telling apart "
            "takes 2 or more classes. Is it the right column (--label), and are all rows there?"
        )
    if len(names) > MOST_CLASSES or (len(names) > 20 and len(names) > len(labels) / 2):
        first = dict.fromkeys(labels[:BLOCK])
        shown = ", ".join(_short(name) for name in list(first)[:SHOWN])
        raise DataError(
            f"{place}: holds {len(names):,} classes in {len(labels):,} rows ({shown}, ...), so it "
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
