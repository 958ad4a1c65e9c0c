"""Mixout (Lee, Cho and Kang 2020, "Mixout: Effective Regularization to Finetune Large-scale
Pretrained Language Models").

For an update each weight is, with probability p, what it was at the start u; the others are set so
that the expectation stays the weight w (their equation 4):

    mixed = (M * w + (1 - M) * u - p * u) / (1 - p) = u + M * (w - u) / (1 - p)

with M zero with probability p. It is dropout towards the start in place of dropout towards zero.
As in the authors' code the weights of linear maps are mixed, not biases, norms and embeddings; the
dropout of activations, which they put it in the place of, stays as the backbone has it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from headstart.objectives.sharpness import add_back, set_aside
from headstart.objectives.supervised import Objective


class Mixout:
    """Another objective's gradients, by weights some of which are those of the start.

    Args:
        inner: leaves gradients.
        parameters: the weights that are mixed, as they are at the start.
        probability: p, in [0, 1).
    """

    def __init__(
        self, inner: Objective, parameters: Iterable[nn.Parameter], probability: float
    ) -> None:
        self.inner, self.probability = inner, probability
        self.start = [(p, p.detach().clone()) for p in parameters]

    def backward(self, network: nn.Module, batch: Any) -> dict[str, float]:
        """Leave the gradients through the mixed weights."""
        mixed = [(p, start.to(p.device)) for p, start in self.start if p.requires_grad]
        parameters = [parameter for parameter, _ in mixed]
        before = set_aside(parameters)
        masks = [mask(parameter, self.probability) for parameter in parameters]
        kept = [parameter.detach().clone() for parameter in parameters]
        with torch.no_grad():
            for (parameter, start), kept_mask in zip(mixed, masks, strict=True):
                parameter.copy_(start + kept_mask * (parameter - start))
        measured = self.inner.backward(network, batch)
        with torch.no_grad():
            for parameter, weights, kept_mask in zip(parameters, kept, masks, strict=True):
                parameter.copy_(weights)
                if parameter.grad is not None:
                    parameter.grad *= kept_mask
        add_back(parameters, before)
        return measured


def mask(like: Tensor, probability: float) -> Tensor:
    """0 with a probability, else 1 / (1 - probability), in the shape of a tensor."""
    keep = torch.rand_like(like) >= probability
    return keep.to(like.dtype) / (1 - probability)


def linear_weights(module: nn.Module) -> list[nn.Parameter]:
    """The weights of all linear maps in a module."""
    weights = (part.weight for part in module.modules() if isinstance(part, nn.Linear))
    return [weight for weight in weights if isinstance(weight, nn.Parameter)]
