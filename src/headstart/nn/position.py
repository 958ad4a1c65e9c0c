"""Where a token stands, as a number and as a vector.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headstart.nn.ragged import Layout, Ragged


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
        rows = tokens.layout.rows
        count = count - before[rows]
        count = count if tokens.layout.starts is None else count + tokens.layout.starts[rows]
        return count * real + self.padding_token


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


def rotary_rates(width: int, base: float = 10_000.0) -> Tensor:
    """How fast each pair of a head turns, base^(-2i / width) (Su et al. 2021, section 3.2.2).

    Args:
        width: d, even: how many elements of a head turn.
        base: the slowest pair turns by about 1 / base radians a place.

    Returns:
        (d / 2,) radians a place, float32 on the CPU.
    """
    powers = torch.arange(0, width, 2, device="cpu").float() / width
    return 1.0 / base**powers


class Rotary(nn.Module):
    """Turns each pair of a head's elements by an angle that grows with the place.

    Su et al. 2021 (https://arxiv.org/abs/2104.09864), section 3.4.2; the product of a turned query
    and a turned key depends on how far apart they are. Pairs are element i with element i + d / 2,
    as GPT-NeoX and Llama have it.

    Args:
        rates: (d / 2,) radians a place, see `rotary_rates`; elements of a head behind d stay.
        factor: what the turned elements are multiplied by (YaRN: Peng et al. 2023).
    """

    def __init__(self, rates: Tensor, factor: float = 1.0) -> None:
        super().__init__()
        self.rates, self.factor = rates, factor
        self._key = ("rotary", factor, *rates.tolist())

    def forward(self, values: Tensor, layout: Layout) -> Tensor:
        """Map (T, heads, width) in a layout to the same shape."""
        cosines, sines = layout.once(self._key, lambda: self._waves(layout))
        half = cosines.shape[-1]
        first, second, rest = (
            values[..., :half],
            values[..., half : 2 * half],
            values[..., 2 * half :],
        )
        turned = (first * cosines - second * sines, second * cosines + first * sines)
        return torch.cat([x.to(values.dtype) for x in (*turned, rest)], -1)

    def _waves(self, layout: Layout) -> tuple[Tensor, Tensor]:
        """Cosines and sines of each token's angles, (T, 1, d / 2) float32."""
        angles = layout.positions.float()[:, None, None] * self.rates.to(layout.device)
        return angles.cos() * self.factor, angles.sin() * self.factor
