"""Rows with labels and rows without, side by side in an update.

Shapes: B rows, U rows without labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from headstart.data.batches import Batch


@dataclass(frozen=True)
class Beside:
    """What one update sees where unlabelled rows help.

    Attributes:
        labelled: parts of the batch with labels; their weights let every row of an epoch count
            alike.
        unlabelled: parts of the batch without; their weights add up to 1.
        noised: the same rows as `unlabelled`, part by part, some of their tokens others; empty
            where nothing is noised.
    """

    labelled: tuple[Batch, ...]
    unlabelled: tuple[Batch, ...] = ()
    noised: tuple[Batch, ...] = ()

    @property
    def rows(self) -> Tensor:
        """(B,) int64 places of the labelled rows."""
        return torch.cat([batch.rows for batch in self.labelled])

    def to(self, device: torch.device) -> Beside:
        """The same on another device."""
        parts = (self.labelled, self.unlabelled, self.noised)
        return Beside(*(tuple(batch.to(device) for batch in part) for part in parts))


def mean_over(losses: list[float], batches: tuple[Batch, ...]) -> float:
    """The mean over the rows of parts, of each of which the mean is given."""
    rows = [len(batch.rows) for batch in batches]
    return sum(a * b for a, b in zip(losses, rows, strict=True)) / sum(rows)
