"""Where a token stands, as a number and as a vector.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headstart.nn.ragged import Ragged


def places_in_row(tokens: Ragged) -> Tensor:
    """The place of each token in its row from 0, (T,) int64."""
    return tokens.layout.positions


class PlacesAfterPadding:
    """Places as RoBERTa counts them, from `padding_token` + 1.

    Liu et al. 2019 do not print it; it is what their fairseq does. A padding token, as when a
    text spells one out, stands at `padding_token` itself, and those behind it do not count it.

    Args:
        padding_token: the token that rows are padded with elsewhere.
    """

    def __init__(self, padding_token: int) -> None:
        self.padding_token = padding_token

    def __call__(self, tokens: Ragged) -> Tensor:
        """Map tokens (T,) int64 to places (T,) int64."""
        real = (tokens.values != self.padding_token).long()
        count = real.cumsum(0)
        before = (count - real).index_select(0, tokens.layout.offsets[:-1])
        return (count - before[tokens.layout.rows]) * real + self.padding_token


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
