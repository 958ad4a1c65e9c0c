"""Tokens to vectors.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from headstart.nn.dropout import Dropout
from headstart.nn.position import places_in_row
from headstart.nn.ragged import Ragged


class ScaledEmbeddings(nn.Module):
    """Token times sqrt(D), plus position (Vaswani et al. 2017, sections 3.4 and 3.5).

    Args:
        token: maps (T,) int64 to (T, D).
        position: maps places (T,) int64 to (T, D).
        dropout: probability in [0, 1) of zeroing an element of the sum.
    """

    def __init__(self, token: nn.Embedding, position: nn.Module, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.token, self.position = token, position
        self.scale = token.embedding_dim**0.5
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Ragged) -> Ragged:
        """Map tokens (T,) int64 to (T, D)."""
        values = self.token(tokens.values) * self.scale + self.position(tokens.layout.positions)
        return tokens.replace(self.dropout(values))


class NormedEmbeddings(nn.Module):
    """Token plus position, normalised (DistilBERT: Sanh et al. 2019, section 3).

    Args:
        token: maps (T,) int64 to (T, D).
        position: maps places (T,) int64 to (T, D).
        norm: maps (T, D) to (T, D).
        dropout: probability in [0, 1) of zeroing an element after the norm.
    """

    def __init__(
        self, token: nn.Embedding, position: nn.Module, *, norm: nn.Module, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.token, self.position = token, position
        self.norm, self.dropout = norm, Dropout(dropout)

    def forward(self, tokens: Ragged) -> Ragged:
        """Map tokens (T,) int64 to (T, D)."""
        values = self.token(tokens.values) + self.position(tokens.layout.positions)
        return tokens.replace(self.dropout(self.norm(values)))


class SegmentedEmbeddings(nn.Module):
    """Token plus segment plus position, normalised (BERT: Devlin et al. 2019, figure 2).

    Args:
        token: maps (T,) int64 to (T, D).
        position: maps places (T,) int64 to (T, D).
        segment: maps (T,) int64, 0 for the first text of a pair and 1 for the second, to (T, D).
        norm: maps (T, D) to (T, D).
        places: maps tokens (T,) int64 to places (T,) int64; by default from 0 in each row.
        dropout: probability in [0, 1) of zeroing an element after the norm.
    """

    def __init__(
        self,
        token: nn.Embedding,
        position: nn.Module,
        segment: nn.Embedding,
        *,
        norm: nn.Module,
        places: Callable[[Ragged], Tensor] = places_in_row,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.token, self.position, self.segment = token, position, segment
        self.places, self.norm, self.dropout = places, norm, Dropout(dropout)

    def forward(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Map tokens (T,) int64, and segments (T,) int64 where there are pairs, to (T, D)."""
        segment = self.segment.weight[0] if segments is None else self.segment(segments)
        values = self.token(tokens.values) + segment + self.position(self.places(tokens))
        return tokens.replace(self.dropout(self.norm(values)))
