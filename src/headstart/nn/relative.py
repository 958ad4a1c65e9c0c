"""How far a key stands from a query, as a number added to their product (T5).

Shapes: B rows, H heads, Lq and Lk tokens in the longest row (queries, keys).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headstart.nn.ragged import Layout


def distance_buckets(
    distances: Tensor, *, both_ways: bool, num_buckets: int, max_distance: int
) -> Tensor:
    """Sort distances into buckets, near ones alone and far ones together.

    Raffel et al. 2020 (https://arxiv.org/abs/1910.10683), section 2.1: half of the buckets hold one
    distance each, the others ranges that grow logarithmically.

    Args:
        distances: int64, place of the key less place of the query; any shape.
        both_ways: whether keys behind the query have buckets of their own, half of them all; else
            they share the one of distance 0.
        num_buckets: how many buckets there are, see `RelativeBias`.
        max_distance: from which distance on all share the last bucket, see `RelativeBias`.

    Returns:
        int64, 0 to `num_buckets` - 1, in the shape of `distances`.
    """
    behind: Tensor | int = 0
    if both_ways:
        num_buckets //= 2
        behind = (distances > 0).long() * num_buckets
        distances = distances.abs()
    else:
        distances = -distances.clamp(max=0)
    near = num_buckets // 2
    growth = (distances.clamp(min=near).float() / near).log() / math.log(max_distance / near)
    far = near + (growth * (num_buckets - near)).long()
    return behind + torch.where(distances < near, distances, far.clamp(max=num_buckets - 1))


class RelativeBias(nn.Module):
    """One trained number for each head and each bucket of distances.

    Args:
        num_heads: H.
        both_ways: whether queries look at keys behind them too, as in an encoder.
        num_buckets: how many buckets there are, 4 or more, 2 or more where not both ways.
        max_distance: from which distance on all share the last bucket; above the number of
            distances that have a bucket each, a quarter or half of the buckets.
    """

    def __init__(
        self, num_heads: int, *, both_ways: bool, num_buckets: int, max_distance: int
    ) -> None:
        super().__init__()
        alone = num_buckets // (4 if both_ways else 2)
        if alone < 1 or max_distance <= alone:
            raise ValueError(
                f"{num_buckets} buckets give {alone} distances one each; that must be 1 or more, "
                f"and below max_distance={max_distance}."
            )
        self.table = nn.Embedding(num_buckets, num_heads)
        self.both_ways, self.max_distance = both_ways, max_distance

    def forward(self, queries: Layout, keys: Layout) -> Tensor:
        """(1, H, Lq, Lk), or (B, H, Lq, Lk) where rows start at places of their own."""
        if queries is keys:
            key = ("distance buckets", self.both_ways, self.table.num_embeddings, self.max_distance)
            buckets = keys.once(key, lambda: self._buckets(queries, keys))
        else:
            buckets = self._buckets(queries, keys)
        return self.table(buckets).permute(0, 3, 1, 2).contiguous()

    def _buckets(self, queries: Layout, keys: Layout) -> Tensor:
        """(1 or B, Lq, Lk) int64."""
        places = keys.padded_positions[:, None, :] - queries.padded_positions[:, :, None]
        return distance_buckets(
            places,
            both_ways=self.both_ways,
            num_buckets=self.table.num_embeddings,
            max_distance=self.max_distance,
        )
