"""The feed-forward half of a block (Vaswani et al. 2017, section 3.3).

Shapes: T tokens of all rows, D width, F inner width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.dropout import Dropout


def gelu_tanh(x: Tensor) -> Tensor:
    """The tanh form of GELU (Hendrycks and Gimpel 2016, section 2), elementwise."""
    return F.gelu(x, approximate="tanh")


class FeedForward(nn.Module):
    """narrow(activation(widen(x))), each token on its own.

    Args:
        width: D.
        inner_width: F.
        activation: elementwise.
        bias: whether the two linear maps add one.
        dropout: probability in [0, 1) of zeroing an element of what comes out; 0 where the block
            does it.
    """

    def __init__(
        self,
        width: int,
        inner_width: int,
        *,
        activation: Callable[[Tensor], Tensor] = F.gelu,
        bias: bool = True,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.widen = nn.Linear(width, inner_width, bias)
        self.narrow = nn.Linear(inner_width, width, bias)
        self.activation, self.dropout = activation, Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, D) to (T, D)."""
        return self.dropout(self.narrow(self.activation(self.widen(values))))


class GatedFeedForward(nn.Module):
    """narrow(activation(gate(x)) * widen(x)), each token on its own (Shazeer 2020).

    GEGLU with a GELU, as in T5 v1.1 and ModernBERT; SwiGLU with a SiLU, as in Llama.

    Args:
        width: D.
        inner_width: F.
        activation: elementwise.
        bias: whether the three linear maps add one.
        dropout: probability in [0, 1) of zeroing an element of what `narrow` reads.
    """

    def __init__(
        self,
        width: int,
        inner_width: int,
        *,
        activation: Callable[[Tensor], Tensor],
        bias: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.gate = nn.Linear(width, inner_width, bias)
        self.widen = nn.Linear(width, inner_width, bias)
        self.narrow = nn.Linear(inner_width, width, bias)
        self.activation, self.dropout = activation, Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, D) to (T, D)."""
        inner = self.activation(self.gate(values)) * self.widen(values)
        return self.narrow(self.dropout(inner))
