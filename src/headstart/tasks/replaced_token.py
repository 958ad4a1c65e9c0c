"""Replaced tokens, told from the text's own (ELECTRA: Clark et al. 2020).

Shapes: B rows, T tokens of all rows, M of them hidden, V words in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.data.batches import Batch
from headstart.tasks.masked_lm import MaskedLm


@dataclass(frozen=True)
class DrawnBatch(Batch):
    """A batch with hidden tokens, and what words are drawn by in their place.

    Attributes:
        chances: (M,) float32 in [0, 1).
    """

    chances: Tensor | None = None

    def to(self, device: torch.device) -> DrawnBatch:
        """The same batch on another device."""
        moved = super().to(device)
        assert isinstance(moved, DrawnBatch) and self.chances is not None
        return replace(moved, chances=self.chances.to(device))


@dataclass(frozen=True)
class ReplacedToken:
    """A generator says words in the place of hidden ones, and each token is judged.

    Attributes:
        hiding: chooses what is hidden, and shows all of it as the mask (section 2).
        weight: of the judging in the sum; it is of one bit, the generator's loss of many (section
            2; 50 in appendix A).
    """

    hiding: MaskedLm
    weight: float = 50.0

    def prepare(self, batch: Batch, random: np.random.Generator) -> DrawnBatch:
        """Hide tokens as masked-lm does, and draw a number for each."""
        hidden = self.hiding.prepare(batch, random)
        assert hidden.target is not None
        chances = torch.from_numpy(random.random(len(hidden.target), dtype=np.float32))
        values = {field.name: getattr(hidden, field.name) for field in fields(hidden)}
        return DrawnBatch(**values, chances=chances)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """The generator's mean cross-entropy of the hidden tokens and, times the weight, the mean
        of the judging over all tokens, a scalar in nats.

        A token that the generator got right counts as the text's own.
        """
        assert isinstance(batch, DrawnBatch) and batch.target is not None
        assert batch.places is not None
        logits, words, judged = network(batch.inputs, batch.segments, batch.places, batch.chances)
        told = F.cross_entropy(logits.float(), batch.target, reduction="sum")
        replaced = torch.zeros_like(judged, dtype=torch.float32)
        replaced[batch.places] = (words != batch.target).float()
        found = F.binary_cross_entropy_with_logits(judged.float(), replaced)
        return told / max(1, len(batch.target)) + self.weight * found
