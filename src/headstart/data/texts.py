"""Texts of a column, made as they are asked for."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headstart.data.mapped import NO_WINDOW, Window, Windows, at_once, is_large

BLOCK = 10_000
"""Texts made at a time where all are asked for one after another."""

VIEWS = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}
"""Kinds of which arrow cannot take single cells, with those of which it can."""


class Texts(Sequence[str]):
    """N texts of a column, each made when it is asked for, equal to their list.

    A missing text is empty. A slice is a list; who goes through all should do so by slices of some
    thousand.

    Args:
        column: an arrow column, in memory or mapped, or a list of its pieces.
        window: over the map that the column is read through.
        rows: (N,) which rows of the column, in which order; None takes all.

    Attributes:
        mean_bytes: of a text, over the whole column.
    """

    mean_bytes: float

    def __init__(self, column: Any, window: Window, rows: np.ndarray | None = None) -> None:
        pieces = column.chunks if isinstance(column, pa.ChunkedArray) else column
        pieces = pieces if isinstance(pieces, list) else [pieces]
        self._pieces = [
            piece.cast(VIEWS[str(piece.type)]) if str(piece.type) in VIEWS else piece
            for piece in pieces
        ]
        self._ends = np.cumsum([len(piece) for piece in self._pieces], dtype=np.int64)
        self._window = window
        total = sum(map(len, self._pieces))
        kind = np.int32 if total < 2**31 else np.int64
        self._rows = None if rows is None else np.asarray(rows).astype(kind)
        self._length = total if rows is None else len(rows)
        self.mean_bytes = sum(piece.nbytes for piece in self._pieces) / max(1, total)

    @classmethod
    def joined(cls, parts: Sequence[Sequence[str]]) -> Texts:
        """All texts of several sequences, one behind the other; what is in files stays there."""
        every = [
            part if isinstance(part, Texts) else cls(pa.array(part, pa.large_string()), NO_WINDOW)
            for part in parts
        ]
        starts = np.cumsum([0, *(sum(map(len, part._pieces)) for part in every)])
        rows = [
            start + (np.arange(len(part)) if part._rows is None else part._rows.astype(np.int64))
            for start, part in zip(starts, every, strict=False)
        ]
        window = Windows([part._window for part in every])
        return cls([piece for part in every for piece in part._pieces], window,
                   np.concatenate(rows))  # fmt: skip

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        """A text, or a list of texts.

        Raises:
            IndexError: there is no such text.
            pyarrow.ArrowInvalid: bytes that are not UTF-8.
        """
        if isinstance(place, slice):
            start, stop, step = place.indices(self._length)
            return self._read(np.arange(start, stop, step))
        where = place + self._length if place < 0 else place
        if not 0 <= where < self._length:
            raise IndexError(f"there are {self._length} texts; asked for {place}")
        return self._read(np.array([where]))[0]

    def __iter__(self) -> Iterator[str]:
        step = at_once(self, BLOCK)
        for start in range(0, self._length, step):
            yield from self[start : start + step]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (list, Texts)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Texts({len(self):,}, of about {self.num_bytes / 1e6:,.0f} MB)"

    @property
    def num_bytes(self) -> float:
        """Of all texts, about."""
        return self.mean_bytes * self._length

    def take(self, places: Sequence[int] | np.ndarray) -> Texts:
        """The texts at the given places, in that order; nothing is copied."""
        places = np.asarray(places, dtype=np.int64)
        rows = places if self._rows is None else self._rows[places]
        return Texts(self._pieces, self._window, rows)

    def settled(self) -> Sequence[str]:
        """A list where that takes little memory, else these."""
        return self if is_large(self.num_bytes) else self[:]

    def _read(self, places: np.ndarray) -> list[str]:
        rows = places if self._rows is None else self._rows[places]
        pieces = np.searchsorted(self._ends, rows, side="right")
        if len(rows) and (pieces == pieces[0]).all():
            return self._of_piece(int(pieces[0]), rows)
        texts = np.empty(len(rows), dtype=object)
        for piece in np.unique(pieces).tolist():
            here = pieces == piece
            texts[here] = self._of_piece(piece, rows[here])
        return texts.tolist()

    def _of_piece(self, number: int, rows: np.ndarray) -> list[str]:
        """Texts of one piece of the column."""
        piece = self._pieces[number]
        first = int(self._ends[number]) - len(piece)
        if len(rows) > 1 and (np.diff(rows) == 1).all():
            cells, touched = piece.slice(int(rows[0]) - first, len(rows)), len(rows)
        else:
            cells, touched = piece.take(pa.array(rows - first)), len(piece)
        strings = pc.fill_null(as_strings(cells), "")
        self._window.read(int(self.mean_bytes * touched))
        return strings.to_numpy(zero_copy_only=False).tolist()


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


def _number(value: float | None) -> str | None:
    if value is None or math.isnan(value):
        return None
    return f"{value:.0f}" if value.is_integer() else repr(value)
