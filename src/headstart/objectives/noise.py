"""Answers that stay the same under noise beside the embeddings.

R3F (Aghajanyan et al. 2021, "Better Fine-Tuning by Reducing Representational Collapse", section
2.3): to the task's loss is added, times a weight, the symmetric divergence between the answers with
and without noise z on the embeddings,

    KL(p(x) || p(x + z)) + KL(p(x + z) || p(x)),

z normal or uniform. With steps above 0, z is first moved to where the divergence is larger: the
smoothness-inducing part of SMART (Jiang et al. 2020, section 2.1), whose steps go up the gradient,
scaled to length one in the largest element of each row, and stay within the size of the noise.
Here z is added to what the embeddings give, norm and positions included.

Shapes: B rows, T tokens of all rows, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.clock import part
from headstart.data.batches import Batch
from headstart.nn.ragged import Ragged
from headstart.tasks.classify import Classify


class NoisedAnswers:
    """The task's loss and how much noise changes the answers.

    Args:
        task: classifies.
        propagate: sends a scalar loss back.
        width: D.
        weight: of the divergence.
        size: standard deviation of normal noise, or the largest uniform.
        normal: whether noise is normal, else uniform.
    """

    def __init__(
        self,
        task: Classify,
        propagate: Callable[[Tensor], None],
        width: int,
        *,
        weight: float,
        size: float,
        normal: bool = False,
    ) -> None:
        self.task, self.propagate, self.width = task, propagate, width
        self.weight, self.size, self.normal = weight, size, normal

    def backward(self, network: Any, batch: Batch) -> dict[str, float]:
        """Leave the gradients of both."""
        with part("forward"):
            logits = network(batch.inputs, batch.segments)
            loss = self.task.loss_of(logits, batch.target)
            noise = self.noise(network, batch, logits)
            noised = network.noised(batch.inputs, batch.segments, noise)
            change = symmetric_divergence(logits, noised)
        with part("backward"):
            self.propagate((loss + self.weight * change) * batch.weight)
        return {"loss": float(loss.detach()), "change by noise": float(change.detach())}

    def noise(self, network: Any, batch: Batch, logits: Tensor) -> Tensor:
        """(T, D) what is added to the embeddings."""
        return self.drawn(batch.inputs)

    def drawn(self, inputs: Ragged) -> Tensor:
        """(T, D) noise from torch's random state."""
        shape, device = (inputs.layout.total, self.width), inputs.values.device
        if self.normal:
            return torch.randn(shape, device=device) * self.size
        return (torch.rand(shape, device=device) * 2 - 1) * self.size


class WorstNoise(NoisedAnswers):
    """Noise that was moved to where answers change more.

    Args:
        steps: how many.
        step_size: of each.
        The others are those of `NoisedAnswers`.
    """

    def __init__(self, *arguments: Any, steps: int, step_size: float, **values: Any) -> None:
        super().__init__(*arguments, **values)
        self.steps, self.step_size = steps, step_size

    def noise(self, network: Any, batch: Batch, logits: Tensor) -> Tensor:
        """(T, D) noise after the steps; no gradient is left by them."""
        noise, known = self.drawn(batch.inputs), logits.detach()
        for _ in range(self.steps):
            noise = noise.requires_grad_()
            noised = network.noised(batch.inputs, batch.segments, noise)
            (up,) = torch.autograd.grad(symmetric_divergence(known, noised), noise)
            largest = up.abs().amax(1, keepdim=True).clamp_min(1e-12)
            moved = noise.detach() + self.step_size * up / largest
            noise = moved.clamp(-self.size, self.size)
        return noise


def symmetric_divergence(a: Tensor, b: Tensor) -> Tensor:
    """KL(a || b) + KL(b || a) of logits (B, C), a scalar: the mean over the rows, in nats."""
    log_a, log_b = F.log_softmax(a.float(), -1), F.log_softmax(b.float(), -1)
    return ((log_a.exp() - log_b.exp()) * (log_a - log_b)).sum(-1).mean()
