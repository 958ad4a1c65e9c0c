"""What is left of a stage: the mean of its late weights, or a point on the way back.

Stochastic weight averaging (Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and
Better Generalization") leaves the mean over the last updates, an exponential mean the recent ones
with fading weight (Polyak and Juditsky 1992), and WiSE-FT (Wortsman et al. 2022, "Robust
Fine-tuning of Zero-shot Models") a point between where a stage began and where it ended.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headstart.training.companion import Companion


def moving_parameters(network: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that take gradients, by name."""
    return {name: p for name, p in network.named_parameters() if p.requires_grad}


class Averaging(Companion, ABC):
    """Leaves a mean of the weights after late updates.

    Args:
        network: its parameters that take gradients are averaged.
        settle: brings weights to the present that an optimiser left behind; called before each
            look at them.
    """

    def __init__(self, network: nn.Module, settle: Callable[[], None]) -> None:
        self.parameters = moving_parameters(network)
        self.settle = settle
        self.means: dict[str, Tensor] = {}
        self.count = 0

    @abstractmethod
    def weight(self, step: int) -> float:
        """How far the mean goes towards the weights after an update, counted from 0."""

    @torch.no_grad()
    def after(self, step: int) -> None:
        """Take the weights after an update into the mean."""
        weight = self.weight(step)
        if not weight:
            return
        self.settle()
        self.count += 1
        if not self.means:
            self.means = {name: p.detach().clone() for name, p in self.parameters.items()}
        else:
            means = [self.means[name] for name in self.parameters]
            torch._foreach_lerp_(means, [p.detach() for p in self.parameters.values()], weight)

    @torch.no_grad()
    def finish(self) -> None:
        """Put the mean in the weights' place."""
        for name, mean in self.means.items():
            self.parameters[name].copy_(mean)

    def state_dict(self) -> dict[str, Any]:
        """The mean so far, and of how many."""
        return {"means": self.means, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        self.count = state["count"]
        self.means = {
            name: mean.to(self.parameters[name].device) for name, mean in state["means"].items()
        }


class LastMean(Averaging):
    """The plain mean over the last updates (SWA).

    Izmailov et al. take the weights once an epoch; few labels have short epochs, so here it is
    every update.

    Args:
        network: as in `Averaging`.
        settle: likewise.
        total: updates of the stage.
        share: of the updates, the last ones, that are averaged; at least one is.
    """

    def __init__(
        self, network: nn.Module, settle: Callable[[], None], total: int, share: float
    ) -> None:
        super().__init__(network, settle)
        self.first = total - max(1, round(share * total))

    def weight(self, step: int) -> float:
        """One over how many there are with it; 0 before the last share begins."""
        return 1 / (self.count + 1) if step >= self.first else 0.0


class FadingMean(Averaging):
    """The exponential mean over all updates (EMA).

    Args:
        network: as in `Averaging`.
        settle: likewise.
        total: updates of the stage.
        share: of the updates: after so many, the weight of an update has fallen to 1 / e. Before,
            it is the plain mean, so that the beginning weighs no more than what follows.
    """

    def __init__(
        self, network: nn.Module, settle: Callable[[], None], total: int, share: float
    ) -> None:
        super().__init__(network, settle)
        self.horizon = max(1.0, share * total)

    def weight(self, step: int) -> float:
        """The plain mean's while it is larger, then one over the horizon."""
        return max(1 / (self.count + 1), 1 / self.horizon)


class Interpolation(Companion):
    """Leaves start + share * (end - start) of every parameter that takes gradients.

    Args:
        network: as it is at the start.
        share: in [0, 1]; 0 leaves the start, 1 the end, bit for bit.
    """

    def __init__(self, network: nn.Module, share: float) -> None:
        self.parameters, self.share = moving_parameters(network), share
        self.start = {name: p.detach().clone() for name, p in self.parameters.items()}

    @torch.no_grad()
    def finish(self) -> None:
        """Go back part of the way."""
        for name, parameter in self.parameters.items():
            start = self.start[name].to(parameter.device)
            parameter.copy_(torch.lerp(start, parameter, self.share))
