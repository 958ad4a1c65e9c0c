"""Reptile (Nichol, Achiam and Schulman 2018, "On First-Order Meta-Learning Algorithms").

There is no loss gradient: an episode's steps lead from the parameters p to p_k, and p - p_k stands
for a gradient (their section 2), to be used by any optimiser. What makes it more than training on
everything is that gradients of different mini-batches of an episode meet (their section 5.1), so
the steps see support and query in turn.
"""

from __future__ import annotations

import torch
from torch import nn

from headstart.clock import part
from headstart.data.episodes import Episode
from headstart.models.functional import BIAS, WEIGHT, LearnedHead
from headstart.objectives.episodes import Parameters, moved, steps_apart
from headstart.objectives.maml import FirstOrderMaml


class Reptile(FirstOrderMaml):
    """Leaves in `.grad` how far an episode's steps led, times minus one.

    Arguments are those of `FirstOrderMaml`.
    """

    def backward(self, network: nn.Module, episode: Episode) -> dict[str, float]:
        """Leave displacements; what is measured is measured on the query after the steps.

        The query is also trained on, so that its loss says how well the steps go, and no more.
        """
        with torch.no_grad(), part("forward"):
            start = self.start(network, episode.support, episode.ways)
        rates = self.head.rate_of(list(start))
        asks = [self.ask(network, batch) for batch in (episode.support, episode.query)]
        with part("backward"), torch.no_grad():
            summed = steps_apart(asks, start, rates, self.steps)
            there = moved(start, rates, summed)
            for name, parameter in self.learning().items():
                displacement = rates[name] * summed[name] * episode.weight
                before = parameter.grad
                parameter.grad = displacement if before is None else before + displacement
        return self.measured(self.answers(network, there, episode.query), episode.query)

    def learning(self) -> Parameters:
        """What every episode begins with and what learns from where it ends, by name."""
        own = dict(self.parameters)
        if isinstance(self.head, LearnedHead):
            own |= {WEIGHT: self.head.start.weight, BIAS: self.head.start.bias}
        return {name: tensor for name, tensor in own.items() if tensor.requires_grad}
