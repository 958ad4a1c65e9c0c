"""Reading through a memory map without keeping what was read.

A page that was read through a map counts as this process's memory until it is given back, though
the system may drop it at any time. A store that is read row by row, epoch after epoch, would come
to count in full. So readers say what they read, and the map is given back now and then: what is
asked for again is there again, from the system's cache of files as long as that has room for it.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

LARGE = 64 << 20
"""Bytes above which tables and texts are kept in files rather than in memory."""

PIECE = 2 << 20
"""Bytes of text worked on at a time, about, where rows are long; as Python objects, many times so
much."""

RESIDENT = 32 << 20
"""Bytes of one map that stay in memory, about."""

AROUND = 512 << 10
"""Bytes that the system has a process hold round each place that it touches: 64 KB by default, and
whole folios of the cache of files, up to some hundred KB on new kernels."""


def is_large(num_bytes: float) -> bool:
    """Whether so much belongs into a file rather than into memory."""
    return num_bytes > LARGE


def at_once(texts: Sequence[str], most: int) -> int:
    """How many texts to take at a time: `most`, or fewer where they are long and made when taken.

    Args:
        texts: a list, or `Texts`.
        most: of them.
    """
    mean = getattr(texts, "mean_bytes", 0.0)
    return max(1, min(most, int(PIECE / mean))) if mean else most


class Window:
    """Bounds how much of a memory map stays resident.

    Args:
        source: the map; None for what is in memory, of which nothing can be given back.
    """

    def __init__(self, source: mmap.mmap | None) -> None:
        can = hasattr(mmap, "MADV_DONTNEED")  # Windows has no such advice
        self._source = source if can and source is not None and len(source) > RESIDENT else None
        self._read = 0

    @classmethod
    def of(cls, array: Any) -> Window:
        """The window over the map that an array was made from, if it was."""
        while array is not None and not isinstance(array, mmap.mmap):
            array = getattr(array, "base", None)
        return cls(array)

    def read(self, num_bytes: int, places: int = 1) -> None:
        """Note what was read.

        Args:
            num_bytes: in all places together.
            places: how many.
        """
        if self._source is None:
            return
        self._read += num_bytes + places * AROUND
        if self._read > RESIDENT:
            self._read = 0
            self._source.madvise(mmap.MADV_DONTNEED)


class Windows(Window):
    """Over several maps that are read as one.

    Args:
        windows: over each.
    """

    def __init__(self, windows: Sequence[Window]) -> None:
        super().__init__(None)
        self._windows = windows

    def read(self, num_bytes: int, places: int = 1) -> None:
        """Note what was read, of whichever map: none of them keeps more than it may."""
        for window in self._windows:
            window.read(num_bytes, places)


NO_WINDOW = Window(None)
"""Over what is in memory."""


def map_array(file: Path, dtype: type[np.generic], length: int) -> np.ndarray:
    """The numbers in a file, (length,), through a memory map.

    Raises:
        ValueError: the file holds more or fewer.
    """
    expected = length * np.dtype(dtype).itemsize
    found = file.stat().st_size
    if found != expected:
        raise ValueError(f"{file}: holds {found:,} bytes, not {expected:,}")
    if not length:
        return np.empty(0, dtype)
    return np.memmap(file, dtype, mode="r", shape=(length,))
