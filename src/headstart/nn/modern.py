"""The block of ModernBERT.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from torch import nn

from headstart.nn.dropout import Dropout
from headstart.nn.ragged import Ragged


class AttentionDropoutBlock(nn.Module):
    """x + update(norm(x)), twice, with dropout of the attention's update alone.

    Warner et al. 2024 (https://arxiv.org/abs/2412.13663), section 2.1.

    Args:
        attention: takes (T, D) twice, what asks and what is looked at; gives (T, D).
        feed_forward: maps (T, D) to (T, D).
        norm_1: applied to what the attention reads; `nn.Identity` in the first block, whose input
            the embeddings have normalised.
        norm_2: applied to what the feed-forward reads.
        dropout: probability in [0, 1) of zeroing an element of the attention's update.
    """

    def __init__(
        self,
        attention: nn.Module,
        feed_forward: nn.Module,
        *,
        norm_1: nn.Module,
        norm_2: nn.Module,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.norm_1 = attention, norm_1
        self.feed_forward, self.norm_2 = feed_forward, norm_2
        self.dropout = Dropout(dropout)

    def forward(self, x: Ragged) -> Ragged:
        """Map (T, D) to (T, D)."""
        read = x.replace(self.norm_1(x.values))
        values = x.values + self.dropout(self.attention(read, read))
        return x.replace(values + self.feed_forward(self.norm_2(values)))
