"""Tokens to vectors where an encoder and its decoder may read the same table.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from headstart.nn.dropout import Dropout
from headstart.nn.multihead import Borrowed
from headstart.nn.position import places_in_row
from headstart.nn.ragged import Ragged

Words = nn.Module | Borrowed
"""Maps (T,) int64 to (T, D); `Borrowed` where the table is another's."""


class WordEmbeddings(nn.Module):
    """The token alone: its place is told to the attention (T5: Raffel et al. 2020, section 2.1).

    Args:
        token: maps (T,) int64 to (T, D).
        dropout: probability in [0, 1) of zeroing an element.
    """

    def __init__(self, token: Words, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.token, self.dropout = token, Dropout(dropout)

    def forward(self, tokens: Ragged) -> Ragged:
        """Map tokens (T,) int64 to (T, D)."""
        values: Tensor = self.token(tokens.values)
        return tokens.replace(self.dropout(values))


class PlacesFrom:
    """Places counted from a number other than 0, as BART's are from 2.

    Args:
        first: the place of a row's first token.
    """

    def __init__(self, first: int) -> None:
        self.first = first

    def __call__(self, tokens: Ragged) -> Tensor:
        """Map tokens (T,) int64 to places (T,) int64."""
        return tokens.layout.positions + self.first


class PlacedEmbeddings(nn.Module):
    """Token times a factor, plus position, normalised (BART: Lewis et al. 2020, section 2).

    Args:
        token: maps (T,) int64 to (T, D).
        position: maps places (T,) int64 to (T, D).
        norm: maps (T, D) to (T, D); `nn.Identity` where there is none.
        scale: what the token's vector is multiplied by.
        places: maps tokens (T,) int64 to places (T,) int64.
        dropout: probability in [0, 1) of zeroing an element after the norm.
    """

    def __init__(
        self,
        token: Words,
        position: nn.Module,
        *,
        norm: nn.Module,
        scale: float = 1.0,
        places: Callable[[Ragged], Tensor] = places_in_row,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.token, self.position, self.norm = token, position, norm
        self.scale, self.places, self.dropout = scale, places, Dropout(dropout)

    def forward(self, tokens: Ragged) -> Ragged:
        """Map tokens (T,) int64 to (T, D)."""
        values = self.token(tokens.values) * self.scale + self.position(self.places(tokens))
        return tokens.replace(self.dropout(self.norm(values)))


class HalvedWaves(nn.Module):
    """The waves of Vaswani et al. 2017, section 3.5: all sines, then all cosines, as Marian has it.

    Args:
        max_positions: how many places there are.
        width: D.
    """

    def __init__(self, max_positions: int, width: int) -> None:
        super().__init__()
        places = torch.arange(max_positions, device="cpu", dtype=torch.float64)
        element = torch.arange(width, device="cpu", dtype=torch.float64)
        angles = places[:, None] / 10_000.0 ** (2 * (element // 2) / width)
        table = torch.cat([angles[:, 0::2].sin(), angles[:, 1::2].cos()], 1)
        self._table = table.float()  # no buffer: it is computed, and never loaded

    def forward(self, positions: Tensor) -> Tensor:
        """Map places (T,) int64 to (T, D)."""
        if self._table.device != positions.device:
            self._table = self._table.to(positions.device)
        return self._table[positions]
