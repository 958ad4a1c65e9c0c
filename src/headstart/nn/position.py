"""Where a token stands, as a vector.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class LearnedPositions(nn.Embedding):
    """One trained vector for each place, as in BERT and GPT-2.

    `LearnedPositions(max_positions, width)` maps places (T,) int64 to (T, D).
    """


class SinusoidalPositions(nn.Module):
    """Fixed waves of geometrically growing length (Vaswani et al. 2017, section 3.5).

    PE(p, 2i) = sin(p / 10000^(2i / D)) and PE(p, 2i + 1) = cos(p / 10000^(2i / D)).

    Args:
        max_positions: how many places there are.
        width: D, even.
    """

    table: Tensor

    def __init__(self, max_positions: int, width: int) -> None:
        super().__init__()
        if width % 2:
            raise ValueError(f"width must be even, half sines and half cosines; got {width}.")
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
        angles = torch.arange(max_positions)[:, None] * rates
        table = torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)
        self.register_buffer("table", table, persistent=False)

    def forward(self, positions: Tensor) -> Tensor:
        """Map places (T,) int64 to (T, D)."""
        return self.table[positions]
