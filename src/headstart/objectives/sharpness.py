"""Sharpness-aware minimisation (Foret, Kleiner, Mobahi and Neyshabur 2021, "Sharpness-Aware
Minimization for Efficiently Improving Generalization").

The gradient is taken not at the weights w but at w + rho * g / |g|, where g is the gradient at w:
about the worst place so near (their equation 2). It takes twice the time. Of an update that goes
through the network in pieces each has a worst place of its own (their section 4.1, m-sharpness).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from headstart.objectives.supervised import Objective


class Sharpness:
    """Another objective's gradients, at the worst place nearby.

    Args:
        inner: leaves gradients.
        rho: how far away, in the norm over all parameters that move.
    """

    def __init__(self, inner: Objective, rho: float) -> None:
        self.inner, self.rho = inner, rho

    def backward(self, network: nn.Module, batch: Any) -> dict[str, float]:
        """Leave the gradients of the worst place; what is measured is measured at the weights."""
        parameters = [p for p in network.parameters() if p.requires_grad]
        before = set_aside(parameters)
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):  # both passes drop out the same
            measured = self.inner.backward(network, batch)
        kept = self._climb(parameters)
        self.inner.backward(network, batch)
        with torch.no_grad():
            for parameter, weights in kept:
                parameter.copy_(weights)
        add_back(parameters, before)
        return measured

    @torch.no_grad()
    def _climb(self, parameters: Sequence[nn.Parameter]) -> list[tuple[nn.Parameter, Tensor]]:
        """Go to the worst place and forget the gradients; where the weights were."""
        moved = [(p, p.grad) for p in parameters if p.grad is not None]
        kept = [(p, p.detach().clone()) for p, _ in moved]
        lengths = [_values(gradient).norm() for _, gradient in moved]
        norm = torch.stack(lengths).norm() if lengths else torch.zeros(())
        step = self.rho / float(norm) if float(norm) > 0 else 0.0
        for parameter, gradient in moved:
            parameter.add_(gradient, alpha=step)
            parameter.grad = None
        return kept


def _values(gradient: Tensor) -> Tensor:
    return gradient.coalesce().values() if gradient.is_sparse else gradient


def set_aside(parameters: Sequence[nn.Parameter]) -> list[Tensor | None]:
    """Take the gradients that earlier pieces of an update left."""
    before = [parameter.grad for parameter in parameters]
    for parameter in parameters:
        parameter.grad = None
    return before


def add_back(parameters: Sequence[nn.Parameter], before: Sequence[Tensor | None]) -> None:
    """Add what was set aside."""
    for parameter, gradient in zip(parameters, before, strict=True):
        if gradient is not None:
            parameter.grad = gradient if parameter.grad is None else parameter.grad + gradient
