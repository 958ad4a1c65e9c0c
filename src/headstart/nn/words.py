"""Tokens to vectors where an encoder and its decoder may read the same table.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from headstart.nn.dropout import Dropout
from headstart.nn.multihead import Borrowed
from headstart.nn.ragged import Ragged

Words = nn.Embedding | Borrowed
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
