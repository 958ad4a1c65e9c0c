"""A backbone with a pooling and a head: texts in, logits out.

Shapes: B texts, T tokens of all texts, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from headstart.models.backbone import Backbone
from headstart.models.chain import Chain
from headstart.nn.dropout import Dropout
from headstart.nn.ragged import Layout, Ragged


class Cls(nn.Module):
    """The first token speaks for the text."""

    def forward(self, x: Ragged) -> Tensor:
        """Map (T, D) to (B, D)."""
        return x.first()


class Mean(nn.Module):
    """The mean over all tokens of the text."""

    def forward(self, x: Ragged) -> Tensor:
        """Map (T, D) to (B, D)."""
        return x.mean()


class Last(nn.Module):
    """The last token speaks for the text: to a causal backbone, only it has seen all of it."""

    def forward(self, x: Ragged) -> Tensor:
        """Map (T, D) to (B, D)."""
        return x.last()


class Pooler(nn.Module):
    """activation(dense(first token)), a family's own pooling.

    Args:
        width: D.
        activation: elementwise; tanh in BERT and RoBERTa, ReLU in DistilBERT.
        dropout: probability in [0, 1) of zeroing an element of what is read, as RoBERTa does.
    """

    def __init__(
        self,
        width: int,
        *,
        activation: Callable[[Tensor], Tensor] = torch.tanh,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.dropout, self.dense = Dropout(dropout), nn.Linear(width, width)
        self.activation = activation

    def forward(self, x: Ragged) -> Tensor:
        """Map (T, D) to (B, D)."""
        return self.activation(self.dense(self.dropout(x.first())))


POOLS: dict[str, type[nn.Module]] = {"cls": Cls, "mean": Mean, "last": Last}
"""Poolings without weights, by the name that a recipe gives them."""


class Network(Chain):
    """Backbone, pooling, dropout, head; also as a chain of parts, so that what is frozen can be
    computed once and kept.

    The parts are 0, the embeddings; 1 to N, the blocks; N + 1, the final map with the pooling.
    Dropout and head come behind the parts and are never kept.

    Args:
        backbone: maps tokens (T,) int64 to (T, D).
        pool: maps (T, D) to (B, D).
        head: maps (B, D) to (B, C).
        dropout: probability in [0, 1) of zeroing an element of what the head reads.
    """

    def __init__(
        self, backbone: Backbone, pool: nn.Module, head: nn.Module, dropout: float
    ) -> None:
        super().__init__(backbone)
        self.pool, self.head = pool, head
        self.dropout = Dropout(dropout)

    def part_modules(self, part: int) -> list[nn.Module]:
        """The modules that own the parameters of a part, 0 to `depth` - 1."""
        last = part == self.depth - 1
        return [*super().part_modules(part), *([self.pool] if last else [])]

    def prefix(self, tokens: Ragged, segments: Tensor | None, depth: int) -> Ragged:
        """Output of the first `depth` parts, 1 to `self.depth`.

        Args:
            tokens: (T,) int64.
            segments: (T,) int64 where there are pairs, else None.
            depth: how many parts to compute; with 0 the tokens come back as they are.

        Returns:
            (T, D), or after the last part B rows of one token each, (B, D).
        """
        if depth == 0:
            return tokens
        return self._run(self.backbone.embed(tokens, segments), 1, depth)

    def suffix(self, x: Ragged, depth: int, segments: Tensor | None = None) -> Tensor:
        """Logits (B, C) from the output of the first `depth` parts.

        Args:
            x: what `prefix` gave for the same depth.
            depth: 0 to `self.depth`.
            segments: (T,) int64; read only with depth 0.
        """
        return self.head(self.vectors(x, depth, segments))

    def vectors(self, x: Ragged, depth: int, segments: Tensor | None = None) -> Tensor:
        """What the head reads, (B, D), from the output of the first `depth` parts; see `suffix`."""
        x = self.prefix(x, segments, 1) if depth == 0 else x
        return self.dropout(self._run(x, max(depth, 1), self.depth).values)

    def forward(self, tokens: Ragged, segments: Tensor | None = None) -> Tensor:
        """Logits (B, C) of tokens (T,) int64, with segments (T,) int64 where there are pairs."""
        return self.suffix(tokens, 0, segments)

    def _run(self, x: Ragged, start: int, stop: int) -> Ragged:
        """Parts `start` up to, not including, `stop`; `start` is at least 1."""
        pooled = self.depth - 1
        x = self.backbone.run(x, start - 1, min(stop, pooled) - 1)
        if start <= pooled < stop:
            vectors = self.pool(x.replace(self.backbone.finish(x.values)))
            x = Ragged(vectors, Layout([1] * len(vectors), vectors.device))
        return x
