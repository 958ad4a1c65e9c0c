"""Attention in which what a token says and where it stands are apart (He et al. 2021, section 3.1).

A score has up to three terms: a query's content with a key's content; a query's content with how
far away the key is ("c2p"); a key's content with how far away the query is ("p2c"). Distances have
vectors of their own, the same for all blocks. The first term is `attend`'s; the others are the bias
that it adds. (https://arxiv.org/abs/2006.03654)

A term is one product of all tokens with each bucket of distances that they can meet, out of which
every pair takes its own: no vector is kept for a pair.

Shapes: B rows, T tokens of all rows, L tokens in the longest row, D width, H heads, d width of a
head, K buckets of distances on either side, S buckets that a row of L tokens can meet.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import reduce

import torch
from torch import Tensor, nn

from headstart.nn.attention import Form, attend, attention_weights, heads
from headstart.nn.dropout import Dropout
from headstart.nn.ragged import Layout, Ragged


@dataclass(frozen=True)
class Distances:
    """Which bucket a distance falls into: near ones have their own each, far ones share.

    The paper's equation 3 has a bucket for each distance; DeBERTa-v2 and v3 share the far ones as
    T5 does (Raffel et al. 2020, section 2.1): up to K / 2 each has its own, and from there buckets
    grow with the logarithm.

    Attributes:
        num_buckets: K.
        furthest: the distance at which the last bucket begins; all beyond fall into it.
        shared: whether far distances share; `furthest` is then above K / 2 + 1.
    """

    num_buckets: int
    furthest: int
    shared: bool = True

    def __call__(self, distances: Tensor) -> Tensor:
        """Map how far a key stands before its query, int64, to buckets 0 to 2 K - 1."""
        steps = self._shared(distances) if self.shared else distances
        return (steps + self.num_buckets).clamp(0, 2 * self.num_buckets - 1)

    def reach(self, longest: int) -> int:
        """S / 2: how many buckets on either side of the middle a row of `longest` tokens meets."""
        # A graph has symbols.
        reach: int = torch.sym_min(  # type: ignore[no-untyped-call]
            longest * self._growth, self.num_buckets
        )
        return reach

    def slots(self, layout: Layout) -> Tensor:
        """(L, L) int64, 0 to S - 1: the bucket of each query's distance from each key."""

        def make() -> Tensor:
            places = torch.arange(layout.longest, device=layout.device)
            first = self.num_buckets - self.reach(layout.longest)
            return self(places[:, None] - places[None, :]) - first

        slots: Tensor = layout.once(("distances", self), make)
        return slots

    @property
    def _growth(self) -> int:
        """A bucket is at most so many times its distance from the middle; 1 in what is published.

        log(1 + x) <= x, so behind K / 2 a step of one place is at most so many buckets.
        """
        if not self.shared:
            return 1
        near = self.num_buckets // 2
        return max(1, math.ceil((near - 1) / near / math.log((self.furthest - 1) / near)))

    def _shared(self, distances: Tensor) -> Tensor:
        near, away = self.num_buckets // 2, distances.abs()
        # In float32 and in this order: rounded elsewhere, a distance would change its bucket.
        whole = torch.log(torch.tensor((self.furthest - 1) / near))
        far = torch.ceil(torch.log(away.clamp(min=near) / near) / whole * (near - 1)).long() + near
        return torch.where(away <= near, distances, far * distances.sign())


class DistanceVectors(nn.Module):
    """A trained vector for each bucket of distances.

    Args:
        num_buckets: K.
        width: D.
        norm: maps (S, D) to (S, D); `nn.Identity` where there is none.
    """

    def __init__(self, num_buckets: int, width: int, norm: nn.Module) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(2 * num_buckets, width), norm

    def forward(self, reach: int) -> Tensor:
        """Vectors (2 * reach, D) of the buckets around the middle."""
        middle = self.table.num_embeddings // 2
        vectors: Tensor = self.norm(self.table.weight[middle - reach : middle + reach])
        return vectors


class NoVectors(nn.Module):
    """Nothing is added."""

    def forward(self, indices: Tensor) -> Tensor:
        """Map (T,) int64 to a zero."""
        return torch.zeros((), device=indices.device)


class DisentangledEmbeddings(nn.Module):
    """Token plus what else is said of it, normalised; and the vectors of distances beside.

    Args:
        token: maps (T,) int64 to (T, D).
        position: maps places (T,) int64 to (T, D).
        segment: maps (T,) int64, 0 for the first text of a pair and 1 for the second, to (T, D).
        distance: read by the attention of every block, and by nothing here.
        norm: maps (T, D) to (T, D).
        dropout: probability in [0, 1) of zeroing an element after the norm.
    """

    def __init__(
        self,
        token: nn.Embedding,
        position: nn.Module,
        segment: nn.Module,
        *,
        distance: DistanceVectors,
        norm: nn.Module,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.token, self.position, self.segment = token, position, segment
        self.distance, self.norm, self.dropout = distance, norm, Dropout(dropout)

    def forward(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Map tokens (T,) int64, and segments (T,) int64 where there are pairs, to (T, D)."""
        segments = torch.zeros_like(tokens.values) if segments is None else segments
        values = self.token(tokens.values) + self.position(tokens.layout.positions)
        return tokens.replace(self.dropout(self.norm(values + self.segment(segments))))


class SharedMap(nn.Module):
    """Distances are mapped as contents are, as in DeBERTa-v2 and v3."""

    def forward(self, distances: Tensor, contents: nn.Module) -> Tensor:
        """Map (S, D) to (S, H * d) by the map that contents go through."""
        mapped: Tensor = contents(distances)
        return mapped


class OwnMap(nn.Module):
    """Distances have a map of their own, as in the paper.

    Args:
        width: D, and also H * d.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(width, width)

    def forward(self, distances: Tensor, contents: nn.Module) -> Tensor:
        """Map (S, D) to (S, H * d), whatever contents go through."""
        mapped: Tensor = self.map(distances)
        return mapped


@dataclass(frozen=True, eq=False)
class Contents:
    """What a self-attention has made of its tokens, and what it made it with.

    Attributes:
        queries: (B, H, L, d), scaled.
        keys: (B, H, L, d), scaled.
        query_map: maps (T, D) to (T, H * d).
        key_map: likewise.
    """

    queries: Tensor
    keys: Tensor
    query_map: nn.Module
    key_map: nn.Module


class ContentToPosition(nn.Module):
    """How well a key's distance answers what its query asks for; the paper's "c2p".

    Args:
        project: maps (S, D), given the map of keys, to (S, H * d).
    """

    def __init__(self, project: nn.Module) -> None:
        super().__init__()
        self.project = project

    def forward(self, contents: Contents, distances: Tensor, slots: Tensor) -> Tensor:
        """Scores (B, H, L, L) from vectors (S, D) and `Distances.slots`."""
        products = contents.queries @ _columns(self.project(distances, contents.key_map), contents)
        return products.gather(-1, slots.expand(*products.shape[:2], -1, -1))


class PositionToContent(nn.Module):
    """How well a key answers what its distance asks for; the paper's "p2c".

    Args:
        project: maps (S, D), given the map of queries, to (S, H * d).
    """

    def __init__(self, project: nn.Module) -> None:
        super().__init__()
        self.project = project

    def forward(self, contents: Contents, distances: Tensor, slots: Tensor) -> Tensor:
        """Scores (B, H, L, L) from vectors (S, D) and `Distances.slots`."""
        products = contents.keys @ _columns(self.project(distances, contents.query_map), contents)
        by_key = products.gather(-1, slots.T.expand(*products.shape[:2], -1, -1))
        return by_key.transpose(-1, -2)


class DisentangledAttention(nn.Module):
    """Tokens of a text look at each other, by content and by distance.

    score(i, j) = (q_i . k_j + terms) / sqrt((1 + number of terms) * d), the paper's equation 4.

    Args:
        width: D.
        form: heads, and dropout while training; its scale is not read.
        terms: "c2p", "p2c" or both.
        vectors: maps half of S to (S, D); `Borrowed` where blocks share it.
        distances: buckets.
        vector_dropout: probability in [0, 1) of zeroing an element of `vectors`.
    """

    def __init__(
        self,
        width: int,
        form: Form,
        *,
        terms: Mapping[str, nn.Module],
        vectors: Callable[[int], Tensor],
        distances: Distances,
        vector_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if width % form.num_heads:
            raise ValueError(
                f"width must be a multiple of num_heads={form.num_heads}; got {width}."
            )
        self.scale = ((1 + len(terms)) * width / form.num_heads) ** -0.5
        self._form = replace(form, scale=self.scale)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width)
        self.value, self.output = nn.Linear(width, width), nn.Linear(width, width)
        self.terms, self.vectors, self.distances = nn.ModuleDict(terms), vectors, distances
        self.vector_dropout = Dropout(vector_dropout)

    def forward(self, x: Ragged, memory: Ragged) -> Tensor:
        """Return (T, D) in the layout of `x`.

        Args:
            x: (T, D).
            memory: `x` itself; distances are within a text.
        """
        query, key = self._asked(x)
        value = x.replace(self.value(x.values))
        mixed: Tensor = self.output(attend(query, key, value, self.form, self.bias(query, key)))
        return mixed

    def bias(self, query: Ragged, key: Ragged) -> Tensor:
        """What distances add to the scaled products of (T, H * d) queries and keys, (B, H, L, L).

        What stands behind the end of a row means nothing.
        """
        queries, keys = (heads(x, self._form.num_heads) * self.scale for x in (query, key))
        contents = Contents(queries, keys, self.query, self.key)
        vectors = self.vector_dropout(self.vectors(self.distances.reach(query.layout.longest)))
        slots = self.distances.slots(query.layout)
        terms = (term(contents, vectors, slots) for term in self.terms.values())
        return reduce(torch.add, terms)

    @property
    def form(self) -> Form:
        """As given, with its scale; its dropout only while training."""
        return self._form if self.training else replace(self._form, dropout=0.0)

    @property
    def dropout(self) -> float:
        """Probability of zeroing an attention probability while training."""
        return self._form.dropout

    def weights(self, x: Ragged, memory: Ragged) -> Tensor:
        """How much each query looks at each key, (B, H, L, L): see `attention_weights`."""
        query, key = self._asked(x)
        return attention_weights(query, key, self.form, self.bias(query, key))

    def _asked(self, x: Ragged) -> tuple[Ragged, Ragged]:
        """Queries and keys, each (T, H * d)."""
        return x.replace(self.query(x.values)), x.replace(self.key(x.values))


def _columns(vectors: Tensor, contents: Contents) -> Tensor:
    """(S, H * d) to (H, d, S), as tokens (B, H, L, d) are multiplied with."""
    _, num_heads, _, width = contents.keys.shape
    return torch.unflatten(vectors, 1, (num_heads, width)).permute(1, 2, 0)
