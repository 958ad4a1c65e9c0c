"""Labels as codes: a name is kept once, however many rows bear it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

BLOCK = 10_000


class Labels(Sequence[str]):
    """N labels, equal to the list of their names.

    Args:
        names: of the codes; two codes may have the same name, and not all need occur.
        codes: (N,) whole numbers, places in `names`.

    Attributes:
        names: the distinct labels that occur, sorted.
        codes: (N,) places in `names`, unsigned, of as few bytes as they need.
    """

    names: tuple[str, ...]
    codes: np.ndarray

    def __init__(self, names: Sequence[str], codes: np.ndarray) -> None:
        counts = np.bincount(codes, minlength=len(names))
        self.names = tuple(sorted({names[code] for code in np.flatnonzero(counts).tolist()}))
        place = {name: number for number, name in enumerate(self.names)}
        kind = np.min_scalar_type(max(0, len(self.names) - 1))
        self.codes = np.array([place.get(name, 0) for name in names], dtype=kind)[codes]

    @classmethod
    def of(cls, labels: Sequence[str]) -> Labels:
        """The same labels, as codes if they are not."""
        if isinstance(labels, Labels):
            return labels
        names = list(dict.fromkeys(labels))
        place = {name: number for number, name in enumerate(names)}
        codes = np.fromiter((place[label] for label in labels), np.int32, len(labels))
        return cls(names, codes)

    @classmethod
    def joined(cls, parts: Sequence[Labels]) -> Labels:
        """The labels of several, one behind the other."""
        names = [name for part in parts for name in part.names]
        starts = np.cumsum([0, *(len(part.names) for part in parts)])
        codes = [part.codes.astype(np.int64) + start
                 for part, start in zip(parts, starts, strict=False)]  # fmt: skip
        return cls(names, np.concatenate(codes))

    def __len__(self) -> int:
        return len(self.codes)

    @overload
    def __getitem__(self, place: int) -> str: ...

    @overload
    def __getitem__(self, place: slice) -> list[str]: ...

    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self.names[code] for code in self.codes[place].tolist()]
        return self.names[self.codes[place]]

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BLOCK):
            yield from self[start : start + BLOCK]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Labels):
            return self.names == other.names and np.array_equal(self.codes, other.codes)
        if isinstance(other, list):
            return len(self) == len(other) and self[:] == other
        return NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Labels({len(self):,} of {list(self.names[:5])})"

    @property
    def counts(self) -> dict[str, int]:
        """How many rows bear each label, by name."""
        counts = np.bincount(self.codes, minlength=len(self.names))
        return dict(zip(self.names, counts.tolist(), strict=True))

    def take(self, places: Sequence[int] | np.ndarray) -> Labels:
        """The labels at the given places, in that order."""
        return Labels(self.names, self.codes[np.asarray(places, dtype=np.int64)])
