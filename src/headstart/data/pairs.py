"""Pairs of texts: two columns of a table, read by a backbone as one row with two segments.

Shapes: N rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np

from headstart.data.examples import Examples, examples
from headstart.data.findings import SHOWN_ROWS, Finding, counted, listed
from headstart.data.pair import Pair
from headstart.data.table import Table
from headstart.data.texts import as_strings
from headstart.errors import DataError, nearest


def read_examples(
    table: Table,
    *,
    text: str | Sequence[str] | None = None,
    label: str | None = None,
    mapping: Mapping[str, str] | None = None,
    require_label: bool = True,
    kinds: Collection[str] = ("classes",),
) -> Examples:
    """Take texts, or pairs where `text` names two columns, out of a table; else as `examples`."""
    if text is None or isinstance(text, str):
        return examples(table, text=text, label=label, mapping=mapping,
                        require_label=require_label, kinds=kinds)  # fmt: skip
    return pair_examples(table, text=text, label=label, mapping=mapping,
                         require_label=require_label, kinds=kinds)  # fmt: skip


def pair_examples(
    table: Table,
    *,
    text: Sequence[str],
    label: str | None = None,
    mapping: Mapping[str, str] | None = None,
    require_label: bool = True,
    keep_empty: bool = False,
    kinds: Collection[str] = ("classes",),
) -> Examples:
    """Take pairs of texts and their labels out of a table.

    Args:
        table: what `read` gave.
        text: the two columns, in the order in which they are read.
        label, mapping, require_label, keep_empty, kinds: as `examples` takes them.

    Raises:
        DataError: as `examples`, or the second column is not there.
    """
    names = table.columns.column_names
    if len(text) != 2 or text[0] == text[1]:
        raise DataError(f"{table.name}, text: a pair is of two columns; got {list(text)}.")
    missing = [name for name in text if name not in names]
    if missing:
        raise DataError(
            [f"{table.name}: has no column {n!r} (--text).{nearest(n, names)}" for n in missing]
        )
    found = examples(table, text=text[0], label=label, mapping=mapping, kinds=kinds,
                     require_label=require_label, keep_empty=keep_empty)  # fmt: skip
    places = np.searchsorted(table.number_all(), found.rows)
    cells = as_strings(table.columns[text[1]].combine_chunks()).to_pylist()
    second = [cells[place] or "" for place in places.tolist()]
    pairs = [Pair(a, b) for a, b in zip(found.texts, second, strict=True)]
    whole = replace(found, texts=pairs)
    empty = [number for number, b in enumerate(second) if not b.strip()]
    if keep_empty or not empty:
        return whole
    rows = found.rows[empty]
    finding = Finding(
        kind="empty texts",
        message=f"{table.name}, column {text[1]!r}: {counted(len(empty), 'row')} without text left "
        f"out ({listed(table.unit, rows)}).",
        count=len(empty),
        rows=tuple(rows[:SHOWN_ROWS].tolist()),
        remedy="Fill them in or remove them.",
    )
    kept = whole.take(np.setdiff1d(np.arange(len(pairs)), empty))
    return replace(kept, findings=(*kept.findings, finding))
