"""Batches of packed tokens, cut by a token budget, in an order that can be found again.

Shapes: N rows of a data set, B rows of a batch, T tokens of a batch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from headstart.data.mapped import Window
from headstart.nn.ragged import Layout, Ragged

WINDOW = 16
"""Batches cut from one length-sorted window: many waste little padding, few keep order random."""

READ_ROWS = 1 << 16
"""Rows sorted by length together where all are read once: enough to waste no padding, and near each
other in a file."""


@dataclass(frozen=True)
class Batch:
    """What one update sees.

    Attributes:
        inputs: T tokens int64, or T vectors where the first parts of the network were cached.
        rows: (B,) int64, index of each row in its data set.
        target: (B,) int64 class of each row, or its float32 number, or (M,) what a self-supervised
            task asks for; None where nothing is known.
        segments: (T,) int64, which text of a pair each token is of; None for single texts.
        places: (M,) int64 in the packed tokens, where a self-supervised task asks; else None.
        partner: what a decoder reads, or the other one of a pair; else None.
        weight: rows here over rows in an average batch. Batches are cut by tokens, so one of long
            texts holds few rows: weighed by this, a mean over it lets every row count alike.
    """

    inputs: Ragged
    rows: Tensor
    target: Tensor | None = None
    segments: Tensor | None = None
    places: Tensor | None = None
    partner: Ragged | None = None
    weight: float = 1.0

    @property
    def num_tokens(self) -> int:
        """Tokens in all rows."""
        return self.inputs.layout.total

    def to(self, device: torch.device) -> Batch:
        """The same batch on another device."""
        movable = (self.target, self.segments, self.places)
        target, segments, places = (m if m is None else m.to(device) for m in movable)
        partner = None if self.partner is None else self.partner.to(device)
        return replace(self, inputs=self.inputs.to(device), target=target, segments=segments,
                       places=places, partner=partner)  # fmt: skip


@dataclass(frozen=True)
class RaggedStore:
    """All rows of a data set, packed row after row.

    Attributes:
        values: (sum of lengths, ...) token ids or vectors, in memory or memory-mapped.
        offsets: (N + 1,) int64: row i is values[offsets[i]] up to values[offsets[i + 1]].
        segments: (sum of lengths,) which text of a pair each token is of; None for single texts.
    """

    values: np.ndarray
    offsets: np.ndarray
    segments: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64 values in each row."""
        return np.diff(self.offsets)

    @cached_property
    def _window(self) -> Window:
        return Window.of(self.values)

    def gather(self, rows: np.ndarray) -> Ragged:
        """Pack the given rows, in the given order. Whole numbers become int64."""
        places, lengths = self._places(rows)
        packed = np.take(self.values, places, axis=0)
        self._window.read(packed.nbytes, places=len(lengths))
        if not np.issubdtype(packed.dtype, np.floating):
            packed = packed.astype(np.int64)
        return Ragged(torch.from_numpy(packed), Layout(torch.from_numpy(lengths)))

    def gather_segments(self, rows: np.ndarray) -> Tensor | None:
        """(T,) int64 segments of the given rows, packed as `gather` packs; None without pairs."""
        if self.segments is None:
            return None
        return torch.from_numpy(self.segments[self._places(rows)[0]].astype(np.int64))

    def _places(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(T,) where the values of the given rows lie, and (B,) how many each has."""
        starts = self.offsets[rows]
        lengths = self.offsets[np.asarray(rows) + 1] - starts
        ends = np.cumsum(lengths)
        return np.repeat(starts - ends + lengths, lengths) + np.arange(ends[-1]), lengths


@dataclass(frozen=True)
class StorePart:
    """Some rows of a store, read where they lie.

    Attributes:
        store: of all rows.
        places: (N,) int64, which of them, in which order.
    """

    store: RaggedStore
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.places)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64 values in each row."""
        return self.store.lengths[self.places]

    def gather(self, rows: np.ndarray) -> Ragged:
        """Pack the given rows, in the given order. Whole numbers become int64."""
        return self.store.gather(self.places[rows])

    def gather_segments(self, rows: np.ndarray) -> Tensor | None:
        """(T,) int64 segments of the given rows, packed as `gather` packs; None without pairs."""
        return self.store.gather_segments(self.places[rows])


Store = RaggedStore | StorePart


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from what a random choice depends on; the same on every machine."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def cut(order: np.ndarray, lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Cut rows, in the given order, into the fewest batches of about equally many tokens.

    No batch holds more than `batch_tokens` plus half of its first and half of its last row: an even
    cut spares the loop a last batch of a few rows whose noisy step would count as much as any.
    """
    tokens = lengths[order].astype(np.int64)
    total = int(tokens.sum())
    num_batches = -(-total // batch_tokens)
    middles = 2 * np.cumsum(tokens) - tokens  # in half tokens, so that it stays whole
    group = middles * num_batches // (2 * total)
    return np.split(order, np.flatnonzero(np.diff(group)) + 1)


def plan_epoch(lengths: np.ndarray, batch_tokens: int, seed: int) -> list[np.ndarray]:
    """Rows of each batch of one epoch, each row once.

    Rows are shuffled, sorted by length inside windows of about `WINDOW` batches, cut by the token
    budget, and the batches shuffled: little padding, an order close to random, and the same
    again from the same seed.

    Args:
        lengths: (N,) tokens in each row.
        batch_tokens: tokens in a batch.
        seed: of the order.
    """
    random = np.random.default_rng(seed)
    order = random.permutation(len(lengths))
    num_windows = max(1, round(int(lengths.sum()) / (batch_tokens * WINDOW)))
    batches: list[np.ndarray] = []
    for window in np.array_split(order, num_windows):
        by_length = window[np.argsort(lengths[window], kind="stable")]
        batches += cut(by_length, lengths, batch_tokens)
    return [batches[i] for i in random.permutation(len(batches))]


def plan_reading(lengths: np.ndarray, batch_tokens: int) -> list[np.ndarray]:
    """Rows of each batch for reading every row once, with the least padding.

    The longest come first, of each `READ_ROWS` rows.
    """
    batches: list[np.ndarray] = []
    for start in range(0, len(lengths), READ_ROWS):
        by_length = np.argsort(-lengths[start : start + READ_ROWS], kind="stable")
        batches += cut(start + by_length, lengths, batch_tokens)
    return batches


def take(store: Store, rows: np.ndarray, target: Sequence[int] | np.ndarray | None = None) -> Batch:
    """Build the batch of the given rows.

    Args:
        store: of N rows.
        rows: (B,) which.
        target: (N,) class, or number, of every row of the store.
    """
    chosen = None if target is None else torch.as_tensor(np.asarray(target)[rows])
    if chosen is not None and not chosen.is_floating_point():
        chosen = chosen.long()
    return Batch(store.gather(rows), torch.from_numpy(np.asarray(rows)), chosen,
                 store.gather_segments(rows))  # fmt: skip
