"""A backbone that gives a vector for each text.

Shapes: B texts, T tokens of all texts, D width.
"""

from __future__ import annotations

from torch import Tensor, nn

from headstart.models.backbone import Backbone
from headstart.models.chain import Chain
from headstart.models.network import POOLS
from headstart.nn.ragged import Ragged


class Embedder(Chain):
    """Texts to vectors: a backbone and a pooling without weights.

    Args:
        backbone: maps tokens (T,) int64 to (T, D).
        pooling: a name in `POOLS`.
    """

    def __init__(self, backbone: Backbone, pooling: str) -> None:
        super().__init__(backbone)
        self.pooling = pooling
        self.pool: nn.Module = POOLS[pooling]()

    def forward(self, tokens: Ragged) -> Tensor:
        """Vectors (B, D) of texts, from tokens (T,) int64."""
        return self.pool(self.backbone(tokens))
