"""What the ways of learning from episodes share: a few steps of gradient descent inside one.

An objective here leaves gradients for the one loop as any other does, and besides can do what it
trains for: `learned` makes a classifier of a few labelled rows.

Shapes: B rows, S and Q rows of an episode's support and query, D width, N classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.data.batches import Batch
from headstart.data.episodes import Episode
from headstart.models.functional import EpisodeHead, outputs

Parameters = dict[str, Tensor]
"""What an episode has of its own, by name: its head, and what else moves inside it."""

Loss = Callable[[Tensor, Tensor], Tensor]
"""Maps outputs (B, N) and targets (B,) to a scalar; cross-entropy where nothing else is said."""

Ask = Callable[[Parameters], Tensor]
"""The loss, a scalar, by parameters."""


class EpisodeObjective(ABC):
    """Learning from episodes. `network` is always a `models.functional.Functional`.

    Args:
        head: makes the head that an episode begins with.
        propagate: sends a scalar loss back; Fabric's, so that any precision and device works.
        loss: of outputs against targets.
    """

    def __init__(
        self, head: EpisodeHead, propagate: Callable[[Tensor], None], loss: Loss = F.cross_entropy
    ) -> None:
        self.head, self.propagate, self.loss = head, propagate, loss

    @abstractmethod
    def backward(self, network: nn.Module, episode: Episode) -> dict[str, float]:
        """Leave gradients in `.grad`; return the loss on the query, and what else was measured."""

    @abstractmethod
    def learned(
        self, network: nn.Module, support: Batch, ways: int, steps: int | None = None
    ) -> Parameters:
        """What an episode's rows make of the network, without gradients.

        Args:
            network: in eval mode.
            support: S rows with their classes.
            ways: N.
            steps: of gradient descent. Default: as in training.
        """

    @torch.no_grad()
    def answers(self, network: nn.Module, parameters: Parameters, query: Batch) -> Tensor:
        """Outputs (Q, N) by what was learned."""
        vectors = network(body_of(parameters), query.inputs, query.segments)
        return outputs(vectors, parameters)

    def asked(self, vectors: Tensor, parameters: Parameters, batch: Batch) -> Tensor:
        """The loss of an episode's head on vectors (B, D)."""
        assert batch.target is not None
        return self.loss(outputs(vectors, parameters), batch.target)

    def measured(self, answers: Tensor, query: Batch) -> dict[str, float]:
        """The loss on the query, and the share of right answers where classes were asked for."""
        assert query.target is not None
        found = {"loss": float(self.loss(answers.detach(), query.target))}
        if not query.target.is_floating_point():
            right = answers.detach().argmax(-1) == query.target
            found["accuracy"] = float(right.float().mean())
        return found


def body_of(parameters: Parameters) -> Parameters:
    """What an episode has of its own in the body: all but its head."""
    return {name: tensor for name, tensor in parameters.items() if not name.startswith("head.")}


def steps_through(
    ask: Ask, start: Parameters, rates: Mapping[str, Tensor], steps: int
) -> Parameters:
    """Gradient descent that gradients can go through: memory grows with each step.

    Args:
        ask: the loss to descend.
        start: where to begin.
        rates: a scalar for each parameter.
        steps: how many.
    """
    here = with_gradients(start)
    for _ in range(steps):
        gradients = torch.autograd.grad(
            ask(here), list(here.values()), create_graph=True, materialize_grads=True
        )
        here = {
            name: tensor - rates[name] * gradient
            for (name, tensor), gradient in zip(here.items(), gradients, strict=True)
        }
    return here


def steps_apart(
    asks: Sequence[Ask], start: Parameters, rates: Mapping[str, Tensor], steps: int
) -> Parameters:
    """What plain gradient descent adds up: the sum of the gradients of its steps, by parameter.

    It ends at start - rate * sum. Each step's memory is free before the next begins.

    Args:
        asks: losses to descend, in turn.
        start: where to begin.
        rates: a scalar for each parameter.
        steps: how many.
    """
    summed = {name: torch.zeros_like(tensor) for name, tensor in start.items()}
    for ask in islice(cycle(asks), steps):
        here = {name: (tensor.detach() - rates[name].detach() * summed[name]).requires_grad_()
                for name, tensor in start.items()}  # fmt: skip
        with torch.enable_grad():
            gradients = torch.autograd.grad(ask(here), list(here.values()), materialize_grads=True)
        for name, gradient in zip(here, gradients, strict=True):
            summed[name] += gradient
    return summed


def moved(
    start: Parameters, rates: Mapping[str, Tensor], summed: Mapping[str, Tensor]
) -> Parameters:
    """Where gradient descent ends: start - rate * sum of its gradients.

    Gradients go back to start and rate as if the sum were a constant: that is first-order MAML.
    """
    return {name: tensor - rates[name] * summed[name] for name, tensor in start.items()}


def with_gradients(tensors: Mapping[str, Tensor]) -> Parameters:
    """The same tensors; those that stay as they are in training can move in an episode too."""
    return {
        name: tensor if tensor.requires_grad else tensor.detach().requires_grad_()
        for name, tensor in tensors.items()
    }
