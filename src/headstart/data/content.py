"""What a reader of a file gives, and how values of any kind become the columns of a table."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from headstart.data.findings import Finding
from headstart.data.mapped import Window
from headstart.errors import DataError

SHOWN = 5

Place = Callable[[int], str]
"""Says where row i came from, for messages."""


@dataclass(frozen=True)
class Content:
    """The rows of a file.

    Attributes:
        columns: the cells, by column name.
        numbers: (N,) int64 number of each row, as its user counts.
        unit: what its user calls a row.
        findings: what the reader noticed and did.
        window: over the map that the columns are read through, where there is one.
    """

    columns: pa.Table
    numbers: np.ndarray
    unit: str
    findings: tuple[Finding, ...] = ()
    window: Window = field(default_factory=lambda: Window(None))


@dataclass(frozen=True)
class Pieces:
    """The rows of a file as they are read, some thousand at a time.

    Attributes:
        pieces: cells and (N,) int64 numbers of the rows of each piece, one or more of them, all of
            the same columns; what is wrong with the file is raised on the way.
        unit: what its user calls a row.
        findings: what the reader noticed and did.
    """

    pieces: Iterator[tuple[pa.Table, np.ndarray]]
    unit: str
    findings: tuple[Finding, ...] = ()

    def whole(self) -> Content:
        """All rows, in memory.

        Raises:
            DataError: the file is not what it should be.
        """
        tables, numbers = zip(*self.pieces, strict=True)
        return Content(pa.concat_tables(tables), np.concatenate(numbers), self.unit, self.findings)


def shorten(faults: list[str], more: str = "faults") -> list[str]:
    """The first few of many faults, and how many there are besides."""
    rest = len(faults) - SHOWN
    return faults[:SHOWN] + ([f"... and {rest:,} more {more}."] if rest > 0 else [])


def objects_table(rows: Sequence[Mapping[Any, Any]], name: str, place: Place) -> pa.Table:
    """Rows as mappings to a table; a key that a row lacks is missing there.

    Raises:
        DataError: the rows have no keys, or texts that are no Unicode.
    """
    names = list(dict.fromkeys(key for row in rows for key in row))
    if not names:
        raise DataError(f"{name}: its rows have no columns.")
    twice = sorted({str(n) for n in names if [str(m) for m in names].count(str(n)) > 1})
    if twice:
        raise DataError(f"{name}: has columns {twice} more than once. Rename them.")
    return pa.table({str(key): to_array([row.get(key) for row in rows], place) for key in names})


def to_array(values: list[Any], place: Place) -> Any:
    """Values as an arrow array; values of mixed kinds become text, NaN and NA are missing.

    Raises:
        DataError: a text holds half a character, which UTF-8 cannot express; says which rows.
    """
    try:
        return pa.array(values, from_pandas=True)
    except UnicodeEncodeError:
        raise DataError(_half_characters(values, place)) from None
    except (pa.ArrowException, OverflowError, TypeError, ValueError):
        pass
    try:
        return to_texts(values)
    except UnicodeEncodeError:
        raise DataError(_half_characters(values, place)) from None


def to_texts(values: list[Any]) -> Any:
    """Values of any kinds as an arrow array of texts; NaN and NA are missing.

    Raises:
        UnicodeEncodeError: a text holds half a character.
    """
    return pa.array([None if _missing(v) else str(v) for v in values], pa.string())


def _missing(value: Any) -> bool:
    pandas = loaded_pandas()
    return (
        value is None
        or (pandas is not None and (value is pandas.NA or value is pandas.NaT))
        or (isinstance(value, (float, np.floating)) and bool(value != value))
    )


def loaded_pandas() -> Any | None:
    """pandas, where somebody has imported it: only then can what it makes be given.

    Importing it takes half a second, which who reads files should not wait for.
    """
    return sys.modules.get("pandas")


def _half_characters(values: list[Any], place: Place) -> list[str]:
    faults = []
    for row, value in enumerate(values):
        try:
            str(value).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(str(value)[error.start]):04x}"
            faults.append(
                f"{place(row)}: holds half a character ({half}, a lone surrogate), as text has "
                "that was cut within an emoji. Remove it, in Python with "
                "text.encode('utf-8', 'replace').decode()."
            )
    return shorten(faults, "such rows")
