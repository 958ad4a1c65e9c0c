"""Several tasks at once: the gradients of their losses, made one.

Shapes: K tasks of an update, P shared parameters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headstart.clock import part
from headstart.data.batches import Batch, derive_seed
from headstart.objectives.balance import Balance, History, conflicts
from headstart.tasks.task import Task


@dataclass(frozen=True)
class Portion:
    """What an update asks of one task.

    Attributes:
        task: its name.
        batches: parts of its batch, each prepared; their weights say how much of it each is.
    """

    task: str
    batches: tuple[Batch, ...]


@dataclass(frozen=True)
class Portions:
    """What an update asks of all its tasks."""

    portions: tuple[Portion, ...]

    @property
    def rows(self) -> Tensor:
        """(B,) int64 places of the rows, task after task, each in its own data."""
        return torch.cat([batch.rows for portion in self.portions for batch in portion.batches])

    def to(self, device: torch.device) -> Portions:
        """The same on another device."""
        return Portions(
            tuple(
                Portion(one.task, tuple(batch.to(device) for batch in one.batches))
                for one in self.portions
            )
        )


class One(nn.Module):
    """One task's network within the network of several: what a task is asked with.

    Args:
        network: maps a task's name and what its network reads to its answer.
        task: its name.
    """

    def __init__(self, network: nn.Module, task: str) -> None:
        super().__init__()
        self._ask = partial(network, task)  # not registered: its parameters are the network's

    def forward(self, *inputs: Any) -> Any:
        """What the task's network gives."""
        return self._ask(*inputs)


class MultiTask:
    """Gradients of several tasks' losses, by a balance.

    Args:
        tasks: by name.
        weights: of each task's loss.
        balance: makes one gradient of several.
        shared: the parameters that all tasks move, on which gradients are balanced.
        propagate: sends a scalar loss back; Fabric's, so that any precision and device works.
        history: of losses.
        seed: of what a balance draws.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task],
        weights: Mapping[str, float],
        balance: Balance,
        shared: Sequence[nn.Parameter],
        propagate: Callable[[Tensor], None],
        history: History,
        seed: int = 0,
    ) -> None:
        self.tasks, self.fixed, self.balance = tasks, weights, balance
        self.shared, self.propagate = shared, propagate
        self.history, self.seed = history, seed

    def backward(self, network: nn.Module, batch: Portions) -> dict[str, float]:
        """Leave the balanced gradients; "loss" is the sum, each times its fixed weight."""
        names = [portion.task for portion in batch.portions]
        if self.balance.needs_gradients and len(names) > 1:
            losses, measured = self._balanced(network, batch)
        else:
            weights = self.balance.weights(dict.fromkeys(names, 0.0), self.history)
            if len(names) == 1:
                weights = {names[0]: 1.0}
            losses = {
                one.task: self._send(network, one, weights[one.task] * self.fixed[one.task])
                for one in batch.portions
            }
            adapted = any(weight != 1.0 for weight in weights.values())
            measured = {f"weight {n}": w for n, w in weights.items()} if adapted else {}
        self.history.add(losses)
        total = sum(self.fixed[name] * loss for name, loss in losses.items())
        return {"loss": total, **{f"loss {n}": loss for n, loss in losses.items()}, **measured}

    def state_dict(self) -> dict[str, Any]:
        """What must be known to go on from here."""
        return self.history.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        self.history.load_state_dict(state)

    def _send(self, network: nn.Module, portion: Portion, weight: float) -> float:
        """Add a task's gradients, times a weight. Returns its loss, a mean over its rows."""
        total, rows = 0.0, sum(len(batch.rows) for batch in portion.batches)
        for batch in portion.batches:
            with part("forward"):
                loss = self.tasks[portion.task].loss(One(network, portion.task), batch)
            with part("backward"):
                self.propagate(loss * (batch.weight * weight))
            total += float(loss.detach()) * len(batch.rows) / rows
        return total

    def _balanced(
        self, network: nn.Module, batch: Portions
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Losses, and what was measured of the balance; one task's gradients after the other's."""
        owners = [p for p in network.parameters() if p.requires_grad]
        shared = {id(p) for p in self.shared}
        common = [p for p in owners if id(p) in shared]
        heads = [p for p in owners if id(p) not in shared]
        losses: dict[str, float] = {}
        vectors: list[Tensor] = []
        own: list[list[Tensor | None]] = []
        for one in batch.portions:
            losses[one.task] = self._send(network, one, self.fixed[one.task])
            vectors.append(torch.cat([_dense(p).flatten() for p in common]) if common
                           else torch.zeros(1))  # fmt: skip
            own.append([p.grad for p in heads])
            for parameter in owners:
                parameter.grad = None
        weights = list(self.balance.weights(losses, self.history).values())
        weighted = [w * vector for w, vector in zip(weights, vectors, strict=True)]
        random = np.random.default_rng(derive_seed("balance", self.seed, self.history.steps))
        joined, alphas = self.balance.combine(weighted, random)
        _give(common, joined)
        for parameter, gradients in zip(heads, zip(*own, strict=True), strict=True):
            parts = [g * float(w * a) for g, w, a in zip(gradients, weights, alphas, strict=True)
                     if g is not None]  # fmt: skip
            parameter.grad = torch.stack(parts).sum(0) if parts else None
        factors = (w * a for w, a in zip(weights, alphas.tolist(), strict=True))
        measured = {f"weight {name}": float(f) for name, f in zip(losses, factors, strict=True)}
        return losses, measured | {"conflicts": conflicts(vectors)}


def _dense(parameter: nn.Parameter) -> Tensor:
    """A parameter's gradient, zeros where it has none."""
    gradient = parameter.grad
    if gradient is None:
        return torch.zeros_like(parameter)
    return gradient.to_dense() if gradient.is_sparse else gradient


def _give(parameters: Sequence[nn.Parameter], vector: Tensor) -> None:
    """Leave the parts of one long gradient with their parameters."""
    at = 0
    for parameter in parameters:
        size = parameter.numel()
        parameter.grad = vector[at : at + size].view_as(parameter)
        at += size
