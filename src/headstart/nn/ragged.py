"""The only batch shape: all tokens of a batch, packed, and where each row ends.

Shapes: B rows in a batch, T tokens in all rows together, L tokens in the longest row, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor


class Layout:
    """Which of T packed tokens belongs to which row. Made once a batch, shared by every layer.

    Args:
        lengths: (B,) tokens in each row, each at least 1.
        device: where the index tensors live.
        starts: (B,) int64, the place of each row's first token, where rows go on from tokens that
            were read before (generation); None: every row begins at place 0.
    """

    def __init__(
        self,
        lengths: Sequence[int] | Tensor,
        device: torch.device | str = "cpu",
        starts: Tensor | None = None,
    ) -> None:
        self.lengths = torch.as_tensor(lengths, dtype=torch.int64)  # on CPU: read without a sync
        if self.lengths.ndim != 1 or not len(self.lengths) or int(self.lengths.min()) < 1:
            raise ValueError(f"lengths must be 1 or more rows of 1 or more tokens, got {lengths}.")
        self.device = torch.device(device)
        self.num_rows = len(self.lengths)
        self.total = int(self.lengths.sum())
        self.longest = int(self.lengths.max())
        self.uniform = self.num_rows * self.longest == self.total
        self.starts = None if starts is None else starts.to(self.device)
        self._memory: dict[Hashable, Any] = {}

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What depends on the layout alone, made by the first layer that asks.

        Args:
            key: tells it from everything else that is kept.
            make: makes it, without gradients: it outlives a backward pass.
        """
        if key not in self._memory:
            self._memory[key] = make()
        return self._memory[key]

    @cached_property
    def offsets(self) -> Tensor:
        """(B + 1,) int64: row b is tokens offsets[b] up to offsets[b + 1]."""
        ends = torch.cumsum(self.lengths, 0)
        return torch.cat([ends.new_zeros(1), ends]).to(self.device)

    @cached_property
    def rows(self) -> Tensor:
        """(T,) int64: the row of each token."""
        return torch.repeat_interleave(torch.arange(self.num_rows), self.lengths).to(self.device)

    @cached_property
    def positions(self) -> Tensor:
        """(T,) int64: the place of each token in its row, from 0 or from where the row starts."""
        places = self._places
        return places if self.starts is None else places + self.starts[self.rows]

    @cached_property
    def padded_positions(self) -> Tensor:
        """(B, L) int64, or (1, L) where all rows start at 0: `positions`, on after a row's end."""
        places = torch.arange(self.longest, device=self.device)[None, :]
        return places if self.starts is None else places + self.starts[:, None]

    @cached_property
    def ends(self) -> Tensor:
        """(B,) int64: the place behind each row's last token."""
        lengths = self.lengths.to(self.device)
        return lengths if self.starts is None else lengths + self.starts

    @cached_property
    def _places(self) -> Tensor:
        """(T,) int64: the index of each token among its row's."""
        return torch.arange(self.total, device=self.device) - self.offsets[self.rows]

    @cached_property
    def mask(self) -> Tensor:
        """(B, L) bool: True where a padded batch holds a token."""
        places = torch.arange(self.longest, device=self.device)
        return places < self.lengths.to(self.device)[:, None]

    @cached_property
    def _slots(self) -> Tensor:
        """(T,) int64: the place of each token in the flattened (B * L) padded batch."""
        return self.rows * self.longest + self._places

    def to(self, device: torch.device | str) -> Layout:
        """The same rows on another device."""
        return Layout(self.lengths, device, self.starts)

    def pad(self, values: Tensor) -> Tensor:
        """(T, ...) packed to (B, L, ...) padded with zeros."""
        shape = values.shape[1:]
        if self.uniform:
            return values.reshape(self.num_rows, self.longest, *shape)
        padded = values.new_zeros(self.num_rows * self.longest, *shape)
        padded.index_copy_(0, self._slots, values)  # in place: no second copy of the padded batch
        return padded.view(self.num_rows, self.longest, *shape)

    def pack(self, padded: Tensor) -> Tensor:
        """(B, L, ...) padded to (T, ...) packed: the inverse of `pad`."""
        flat = padded.flatten(0, 1)
        return flat if self.uniform else flat.index_select(0, self._slots)


class Ragged:
    """Rows of unequal length without padding. Never changed once made.

    A plain class: Lightning Fabric takes dataclasses apart on their way through a module.

    Args:
        values: (T, ...) the tokens of all rows, row after row.
        layout: where each row lies.
    """

    def __init__(self, values: Tensor, layout: Layout) -> None:
        if values.shape[0] != layout.total:  # a graph's shape has no len
            raise ValueError(
                f"values must hold {layout.total} tokens, one for each in lengths; "
                f"got {len(values)}."
            )
        self.values, self.layout = values, layout

    @classmethod
    def from_rows(cls, rows: Sequence[Tensor]) -> Ragged:
        """Pack rows, each (L_b, ...)."""
        return cls(torch.cat(list(rows)), Layout([len(row) for row in rows], rows[0].device))

    @classmethod
    def from_padded(cls, padded: Tensor, lengths: Sequence[int] | Tensor) -> Ragged:
        """Pack (B, L, ...) whose rows end in padding after `lengths` tokens."""
        layout = Layout(lengths, padded.device)
        return cls(layout.pack(padded[:, : layout.longest]), layout)

    @property
    def lengths(self) -> Tensor:
        """(B,) int64 on CPU: tokens in each row."""
        return self.layout.lengths

    def replace(self, values: Tensor) -> Ragged:
        """The same rows with other values, (T, ...)."""
        return Ragged(values, self.layout)

    def padded(self) -> Tensor:
        """(B, L, ...) with zeros after the end of each row."""
        return self.layout.pad(self.values)

    def split(self) -> list[Tensor]:
        """One (L_b, ...) tensor for each row."""
        return list(torch.split(self.values, self.lengths.tolist()))

    def first(self) -> Tensor:
        """(B, ...) the first token of each row."""
        return self.values.index_select(0, self.layout.offsets[:-1])

    def last(self) -> Tensor:
        """(B, ...) the last token of each row."""
        return self.values.index_select(0, self.layout.offsets[1:] - 1)

    def mean(self) -> Tensor:
        """(B, D) the mean over the tokens of each row, from (T, D)."""
        sums = self.values.new_zeros(self.layout.num_rows, self.values.shape[1])
        sums = sums.index_add(0, self.layout.rows, self.values)
        return sums / self.lengths.to(sums)[:, None]

    def to(self, device: torch.device | str) -> Ragged:
        """The same rows on another device."""
        return Ragged(self.values.to(device), self.layout.to(device))
