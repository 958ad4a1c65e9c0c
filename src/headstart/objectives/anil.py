"""ANIL: the head alone moves inside an episode (Raghu et al. 2020, "Rapid Learning or Feature
Reuse?").

The rest of the network sees each row once, whatever the number of steps, and learns through what
the head reads. So second derivatives are those of the head alone, and any attention will do.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.clock import part
from headstart.data.batches import Batch
from headstart.data.episodes import Episode
from headstart.models.functional import EpisodeHead, outputs
from headstart.objectives.episodes import (
    Ask,
    EpisodeObjective,
    Loss,
    Parameters,
    moved,
    steps_apart,
    steps_through,
)


class Anil(EpisodeObjective):
    """MAML with the head alone inside.

    Args:
        head: makes the head that an episode begins with.
        steps: inside an episode.
        propagate: sends a scalar loss back.
        loss: of outputs against targets.
    """

    def __init__(
        self,
        head: EpisodeHead,
        steps: int,
        propagate: Callable[[Tensor], None],
        loss: Loss = F.cross_entropy,
    ) -> None:
        super().__init__(head, propagate, loss)
        self.steps = steps

    def backward(self, network: nn.Module, episode: Episode) -> dict[str, float]:
        """Leave the gradients of the loss on the query, through the head's steps."""
        support, query = episode.support, episode.query
        with part("forward"):
            learning = network({}, support.inputs, support.segments)
            there = self.end(learning, support, episode.ways)
            vectors = network({}, query.inputs, query.segments)
            loss = self.asked(vectors, there, query)
        with part("backward"):
            self.propagate(loss * episode.weight)
        return self.measured(outputs(vectors, there), query)

    def end(self, vectors: Tensor, support: Batch, ways: int) -> Parameters:
        """Where the head's steps lead, with the way there."""
        assert support.target is not None
        start = self.head(lambda: vectors, support.target, ways)
        rates = self.head.rate_of(list(start))
        return steps_through(self.ask(vectors, support), start, rates, self.steps)

    def ask(self, vectors: Tensor, batch: Batch) -> Ask:
        """The loss of an episode's head on what the network makes of some rows."""

        def ask(here: Parameters) -> Tensor:
            return self.asked(vectors, here, batch)

        return ask

    @torch.no_grad()
    def learned(
        self, network: nn.Module, support: Batch, ways: int, steps: int | None = None
    ) -> Parameters:
        """Where the head's steps on the support lead."""
        assert support.target is not None
        vectors = network({}, support.inputs, support.segments)
        start = self.head(lambda: vectors, support.target, ways)
        rates = self.head.rate_of(list(start))
        ask, count = self.ask(vectors, support), self.steps if steps is None else steps
        return moved(start, rates, steps_apart([ask], start, rates, count))


class FirstOrderAnil(Anil):
    """First-order MAML with the head alone inside."""

    def end(self, vectors: Tensor, support: Batch, ways: int) -> Parameters:
        """Where the head's steps lead, taken for constant but for the beginning."""
        assert support.target is not None
        start = self.head(lambda: vectors, support.target, ways)
        rates = self.head.rate_of(list(start))
        ask = self.ask(vectors.detach(), support)
        return moved(start, rates, steps_apart([ask], start, rates, self.steps))
