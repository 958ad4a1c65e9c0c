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
from headstart.tasks.hiding import Hidden, Hiding, single_tokens


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
        hide: chooses them.
    """

    vocabulary: int
    mask: int
    special: np.ndarray
    share: float = 0.15
    masked: float = 0.8
    random: float = 0.1
    hide: Hiding = single_tokens

    def prepare(self, batch: Batch, random: np.random.Generator) -> Batch:
        """Hide tokens: `places` (M,) says where, `target` (M,) what stood there.

        Exactly the share of a batch is hidden, rounded, and one token at least; of whole words no
        more than that.
        """
        tokens = batch.inputs.values.numpy()
        able = ~np.isin(tokens, self.special)
        total = int(able.sum())
        if total:
            count = max(1, round(self.share * total))
            hidden = self.hide(batch.inputs, able, count, random)
        else:
            hidden = Hidden(np.empty(0, np.int64), np.empty(0, np.int64))
        shown = self._shown(tokens, hidden, random)
        return replace(
            batch,
            inputs=batch.inputs.replace(torch.from_numpy(shown)),
            places=torch.from_numpy(hidden.places),
            target=torch.from_numpy(tokens[hidden.places]),
        )

    def _shown(self, tokens: np.ndarray, hidden: Hidden, random: np.random.Generator) -> np.ndarray:
        """(T,) the tokens with the hidden ones as the network sees them."""
        shown, places = tokens.copy(), hidden.places
        fate = random.random(int(hidden.fates.max(initial=-1)) + 1)[hidden.fates]
        shown[places[fate < self.masked]] = self.mask
        other = places[(fate >= self.masked) & (fate < self.masked + self.random)]
        words = np.setdiff1d(np.arange(self.vocabulary), self.special)
        shown[other] = random.choice(words, len(other))
        return shown

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy of the hidden tokens, a scalar in nats; 0 where none is."""
        assert batch.target is not None
        logits = network(batch.inputs, batch.segments, batch.places)
        total = F.cross_entropy(logits.float(), batch.target, reduction="sum")
        return total / max(1, len(batch.target))
