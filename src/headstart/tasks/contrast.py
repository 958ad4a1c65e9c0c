"""Texts that belong together, found among the others of a batch (SimCSE: Gao et al. 2021).

Shapes: B rows, T tokens of all rows, D width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.data.batches import Batch
from headstart.nn.ragged import Layout, Ragged

TEMPERATURE = 0.05


@dataclass(frozen=True)
class Contrast:
    """A text is told from the others of its batch by its vector.

    A single text goes through the network twice, and dropout makes it two (section 3). Of a pair
    the second text is what belongs to the first (section 4, without hard negatives).

    Attributes:
        temperature: that the cosines are divided by.
    """

    temperature: float = TEMPERATURE

    def prepare(self, batch: Batch, random: np.random.Generator) -> Batch:
        """`partner` is what belongs to the inputs: their pairs, or they themselves.

        Pairs come as rows of both texts, whose `segments` are 0 and 1.
        """
        if batch.segments is None:
            return replace(batch, partner=batch.inputs)
        first, second = (_side(batch.inputs, batch.segments == side) for side in (0, 1))
        return replace(batch, inputs=first, partner=second, segments=None)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy of each text's own partner among all of the batch, in nats.

        It is 0 for a batch of one row, and ln B where nothing is told apart.
        """
        assert batch.partner is not None
        vectors = F.normalize(network(_both(batch.inputs, batch.partner)).float(), dim=1)
        first, second = vectors.chunk(2)
        own = torch.arange(len(first), device=first.device)
        return F.cross_entropy(first @ second.T / self.temperature, own)


def _side(rows: Ragged, of_it: Tensor) -> Ragged:
    """The tokens of one text of each pair."""
    lengths = torch.zeros_like(rows.lengths).index_add(0, rows.layout.rows, of_it.long())
    return Ragged(rows.values[of_it], Layout(lengths))


def _both(first: Ragged, second: Ragged) -> Ragged:
    """All rows of one batch behind all of another, (T1 + T2,)."""
    lengths = torch.cat([first.lengths, second.lengths])
    return Ragged(torch.cat([first.values, second.values]), Layout(lengths, first.values.device))
