"""Tokenised texts, in memory or in files.

Shapes: N texts, T tokens of all texts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from headstart.errors import DataError


@dataclass(frozen=True)
class Tokens:
    """N tokenised texts, or pairs of texts.

    Attributes:
        values: (T,) int32 token ids, text after text.
        offsets: (N + 1,) int64: text i is values[offsets[i]] up to values[offsets[i + 1]].
        full_lengths: (N,) int64 tokens before anything was cut.
        segments: (T,) int32: 0 or 1, which text of a pair a token is of, as the family numbers
            them; None for single texts.
    """

    values: np.ndarray
    offsets: np.ndarray
    full_lengths: np.ndarray
    segments: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.full_lengths)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64 tokens of each text."""
        return np.diff(self.offsets)

    @property
    def cut_rows(self) -> int:
        """How many texts were cut."""
        return int((self.full_lengths > self.lengths).sum())

    @property
    def cut_tokens(self) -> int:
        """How many tokens were cut."""
        return int((self.full_lengths - self.lengths).sum())


class Rows:
    """Rows of tokens as they come, none of them empty.

    Args:
        filler: what an empty row becomes.
        start: number of the first row, for messages.
    """

    def __init__(self, filler: int | None, start: int) -> None:
        self._filler, self._start = filler, start
        self._ids: list[list[int]] = []
        self._segments: list[Sequence[int]] = []
        self._full: list[int] = []

    def add(self, ids: list[int], full: int, segments: Sequence[int] = ()) -> None:
        """Add a row.

        Args:
            ids: what is left of it.
            full: how many tokens it had.
            segments: of its tokens, where it is a pair.

        Raises:
            DataError: it is empty, and there is nothing to put in its place.
        """
        if not ids:
            if self._filler is None:
                raise DataError(
                    f"text {self._start + len(self._full)} (from 0): is empty, and the tokenizer "
                    "has no bos, eos, pad or unk token to put in its place. Leave the row out, or "
                    'set "eos_token" in tokenizer_config.json.'
                )
            ids, segments, full = [self._filler], [0], 1
        self._ids.append(ids)
        self._segments.append(segments)
        self._full.append(full)

    def tokens(self, *, paired: bool = False) -> Tokens:
        """All rows so far."""
        lengths = [0, *(len(ids) for ids in self._ids)]
        return Tokens(
            values=np.fromiter(chain.from_iterable(self._ids), np.int32),
            offsets=np.cumsum(np.array(lengths, np.int64)),
            full_lengths=np.array(self._full, np.int64),
            segments=np.fromiter(chain.from_iterable(self._segments), np.int32) if paired else None,
        )


def joined(pieces: Iterable[Tokens], *, paired: bool = False) -> Tokens:
    """The tokens of all pieces, one piece after another."""
    empty = np.empty(0, np.int32)
    listed = [Tokens(empty, np.zeros(1, np.int64), np.empty(0, np.int64), empty), *pieces]
    lengths = np.concatenate([piece.lengths for piece in listed])
    return Tokens(
        values=np.concatenate([piece.values for piece in listed]),
        offsets=np.concatenate([[0], np.cumsum(lengths)]),
        full_lengths=np.concatenate([piece.full_lengths for piece in listed]),
        segments=np.concatenate([_segments(piece) for piece in listed]) if paired else None,
    )


def _segments(piece: Tokens) -> np.ndarray:
    assert piece.segments is not None
    return piece.segments
