"""What comes next, told from what came before (GPT-2: Radford et al. 2019, section 2).

Shapes: B rows, T tokens of all rows, M of them asked for, V words in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.data.batches import Batch


@dataclass(frozen=True)
class CausalLm:
    """Next-token prediction: every token of a row but its first is asked for.

    Rows that are packed behind each other do not see each other, nor is the first token of one
    asked of the last of another, so that packing changes no loss.
    """

    def prepare(self, batch: Batch, random: np.random.Generator) -> Batch:
        """`places` (M,) are all tokens but each row's last, `target` (M,) what follows each."""
        last = batch.inputs.lengths.cumsum(0) - 1
        asked = batch.inputs.values.new_ones(len(batch.inputs.values)).bool()
        asked[last] = False
        places = asked.nonzero().flatten()
        return replace(batch, places=places, target=batch.inputs.values[places + 1])

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy of what follows, a scalar in nats; 0 where nothing does."""
        assert batch.target is not None and batch.places is not None
        logits = network(batch.inputs).values[batch.places]
        total = F.cross_entropy(logits.float(), batch.target, reduction="sum")
        return total / max(1, len(batch.target))
