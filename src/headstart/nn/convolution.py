"""Convolution over the tokens of a text, beside attention.

Shapes: B rows, T tokens of all rows, L tokens in the longest row, D width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from headstart.nn.dropout import Dropout
from headstart.nn.ragged import Ragged


class TokenConvolution(nn.Module):
    """activation(filter(x)): each token with its neighbours; beyond a text's ends is nothing.

    Args:
        width: D.
        size: how many tokens the filter reads, odd.
        groups: into how many parts the width is cut, each filtered on its own.
        activation: elementwise.
        dropout: probability in [0, 1) of zeroing an element of what is filtered.
    """

    def __init__(
        self,
        width: int,
        size: int,
        *,
        groups: int = 1,
        activation: Callable[[Tensor], Tensor],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if size % 2 == 0:
            raise ValueError(f"size must be odd, a token in the middle; got {size}.")
        self.filter = nn.Conv1d(width, width, size, padding=size // 2, groups=groups)
        self.activation, self.dropout = activation, Dropout(dropout)

    def forward(self, x: Ragged) -> Tensor:
        """Map (T, D) to (T, D)."""
        # A layout may leave anything behind the end of a row.
        padded = x.padded().masked_fill(~x.layout.mask[:, :, None], 0)
        filtered = x.layout.pack(self.filter(padded.transpose(1, 2)).transpose(1, 2))
        return self.activation(self.dropout(filtered))


class ConvolvedBlock(nn.Module):
    """A post-norm block with a convolution beside it: norm(block(x) + convolution(x)).

    The first block of DeBERTa-v2's larger models; none of its papers prints it.

    Args:
        attention: takes (T, D) twice, what asks and what is looked at; gives (T, D).
        feed_forward: maps (T, D) to (T, D).
        convolution: maps (T, D) to (T, D).
        norms: three, in the order of the updates.
        dropout: probability in [0, 1) of zeroing an element of the first two updates.
    """

    def __init__(
        self,
        attention: nn.Module,
        feed_forward: nn.Module,
        convolution: nn.Module,
        *,
        norms: tuple[nn.Module, nn.Module, nn.Module],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.feed_forward = attention, feed_forward
        self.convolution = convolution
        self.norm_1, self.norm_2, self.norm_3 = norms
        self.dropout = Dropout(dropout)

    def forward(self, x: Ragged) -> Ragged:
        """Map (T, D) to (T, D)."""
        values = self.norm_1(x.values + self.dropout(self.attention(x, x)))
        values = self.norm_2(values + self.dropout(self.feed_forward(values)))
        return x.replace(self.norm_3(values + self.convolution(x)))
