"""MAML and first-order MAML (Finn, Abbeel and Levine 2017, "Model-Agnostic Meta-Learning").

For an episode with a support loss s and a query loss q, k steps from the parameters p

    p' = p - rate * grad s(p), and so on

end at p_k, and what is learned is p such that q(p_k) is low. The gradient of q(p_k) by p goes
through the steps, by second derivatives of s; to the first order it is that of q by p_k.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.clock import part
from headstart.data.batches import Batch
from headstart.data.episodes import Episode
from headstart.models.functional import EpisodeHead, outputs
from headstart.nn.attention import kernel
from headstart.objectives.episodes import (
    Ask,
    EpisodeObjective,
    Loss,
    Parameters,
    body_of,
    moved,
    steps_apart,
    steps_through,
    with_gradients,
)


class FirstOrderMaml(EpisodeObjective):
    """The gradient at the end of an episode's steps, taken for that at their beginning.

    Memory does not grow with the number of steps.

    Args:
        parameters: what moves inside an episode besides the head, by name.
        head: makes the head that an episode begins with.
        steps: inside an episode.
        propagate: sends a scalar loss back.
        loss: of outputs against targets.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        head: EpisodeHead,
        steps: int,
        propagate: Callable[[Tensor], None],
        loss: Loss = F.cross_entropy,
    ) -> None:
        super().__init__(head, propagate, loss)
        self.parameters, self.steps = parameters, steps

    def backward(self, network: nn.Module, episode: Episode) -> dict[str, float]:
        """Leave the gradients of the loss on the query after the steps on the support."""
        with part("forward"):
            there = self.end(network, episode)
            query = episode.query
            vectors = network(body_of(there), query.inputs, query.segments)
            loss = self.asked(vectors, there, query)
        with part("backward"):
            self.propagate(loss * episode.weight)
        return self.measured(outputs(vectors, there), query)

    def end(self, network: nn.Module, episode: Episode) -> Parameters:
        """Where an episode's steps lead, as gradients are to see it."""
        start = self.start(network, episode.support, episode.ways)
        rates = self.head.rate_of(list(start))
        ask = self.ask(network, episode.support)
        return moved(start, rates, steps_apart([ask], start, rates, self.steps))

    def start(self, network: nn.Module, support: Batch, ways: int) -> Parameters:
        """Where an episode begins."""
        assert support.target is not None
        body = with_gradients(self.parameters)

        def read() -> Tensor:
            vectors = network(body, support.inputs, support.segments)
            assert isinstance(vectors, Tensor)
            return vectors

        return body | self.head(read, support.target, ways)

    def ask(self, network: nn.Module, batch: Batch) -> Ask:
        """The loss on some rows, by the episode's parameters."""

        def ask(here: Parameters) -> Tensor:
            return self.asked(network(body_of(here), batch.inputs, batch.segments), here, batch)

        return ask

    def learned(
        self, network: nn.Module, support: Batch, ways: int, steps: int | None = None
    ) -> Parameters:
        """Where the steps on the support lead."""
        with torch.no_grad():
            start = self.start(network, support, ways)
        rates = self.head.rate_of(list(start))
        count = self.steps if steps is None else steps
        with torch.no_grad():
            return moved(
                start, rates, steps_apart([self.ask(network, support)], start, rates, count)
            )


class Maml(FirstOrderMaml):
    """The gradient through an episode's steps, as printed.

    Attention has a second derivative in the eager kernel alone, which is in force here.
    """

    def backward(self, network: nn.Module, episode: Episode) -> dict[str, float]:
        """Leave the gradients of the loss on the query, through the steps on the support."""
        with kernel("eager"):
            return super().backward(network, episode)

    def end(self, network: nn.Module, episode: Episode) -> Parameters:
        """Where an episode's steps lead, with the way there."""
        start = self.start(network, episode.support, episode.ways)
        rates = self.head.rate_of(list(start))
        return steps_through(self.ask(network, episode.support), start, rates, self.steps)
