"""Hidden tokens, told from those around them (BERT: Devlin et al. 2019, section 3.1).

Shapes: B rows, T tokens of all rows, M of them hidden, V words in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.data.batches import Batch


@dataclass(frozen=True)
class MaskedLm:
    """Masked language modelling, the masks drawn anew each time a text is seen (Liu et al. 2019).

    Attributes:
        vocabulary: V.
        mask: the token that hides another.
        special: (S,) tokens that are never hidden, nor shown in place of another.
        share: of the tokens that can be hidden.
        masked: of the hidden ones, shown as `mask`.
        random: of the hidden ones, shown as some other word; what is left is shown as it is.
    """

    vocabulary: int
    mask: int
    special: np.ndarray
    share: float = 0.15
    masked: float = 0.8
    random: float = 0.1

    def prepare(self, batch: Batch, random: np.random.Generator) -> Batch:
        """Hide tokens: `places` (M,) says where, `target` (M,) what stood there.

        Exactly the share of a batch is hidden, rounded, and one token at least.
        """
        tokens = batch.inputs.values.numpy()
        able = np.flatnonzero(~np.isin(tokens, self.special))
        count = min(len(able), max(1, round(self.share * len(able))))
        places = np.sort(random.choice(able, count, replace=False))
        shown = self._shown(tokens, places, random)
        return replace(
            batch,
            inputs=batch.inputs.replace(torch.from_numpy(shown)),
            places=torch.from_numpy(places),
            target=torch.from_numpy(tokens[places]),
        )

    def _shown(
        self, tokens: np.ndarray, places: np.ndarray, random: np.random.Generator
    ) -> np.ndarray:
        """(T,) the tokens with the hidden ones as the network sees them."""
        shown = tokens.copy()
        fate = random.random(len(places))
        shown[places[fate < self.masked]] = self.mask
        other = places[(fate >= self.masked) & (fate < self.masked + self.random)]
        words = np.setdiff1d(np.arange(self.vocabulary), self.special)
        shown[other] = random.choice(words, len(other))
        return shown

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy of the hidden tokens, a scalar in nats."""
        assert batch.target is not None
        logits = network(batch.inputs, batch.segments, batch.places)
        return F.cross_entropy(logits.float(), batch.target)
