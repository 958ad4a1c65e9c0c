"""Prototypical networks (Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot
Learning").

A class is the mean of what the network makes of its rows, and a row is of the class whose mean is
nearest: softmax over -|x - mean|^2. Nothing is trained inside an episode.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from headstart.clock import part
from headstart.data.batches import Batch
from headstart.data.episodes import Episode
from headstart.models.functional import MeansHead, class_means
from headstart.objectives.episodes import EpisodeObjective, Parameters


class ProtoNet(EpisodeObjective):
    """Cross-entropy of the query's rows by their distances to the class means of the support.

    Args:
        propagate: sends a scalar loss back.
    """

    def __init__(self, propagate: Callable[[Tensor], None]) -> None:
        super().__init__(MeansHead(), propagate)

    def backward(self, network: nn.Module, episode: Episode) -> dict[str, float]:
        """Leave the gradients of the loss on the query."""
        support, query = episode.support, episode.query
        assert support.target is not None and query.target is not None
        with part("forward"):
            vectors = network({}, support.inputs, support.segments)
            means = class_means(vectors, support.target, episode.ways)
            asked = network({}, query.inputs, query.segments)
            answers = -(asked[:, None, :] - means[None, :, :]).square().sum(-1)
            loss = self.loss(answers, query.target)
        with part("backward"):
            self.propagate(loss * episode.weight)
        return self.measured(answers, query)

    @torch.no_grad()
    def learned(
        self, network: nn.Module, support: Batch, ways: int, steps: int | None = None
    ) -> Parameters:
        """The class means as a head; there are no steps."""
        assert support.target is not None
        vectors = network({}, support.inputs, support.segments)
        return self.head(lambda: vectors, support.target, ways)
