"""The plain objective: ask, compare with the answer, send the loss back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from headstart.clock import part
from headstart.data.batches import Batch
from headstart.tasks.task import Task


class Objective(Protocol):
    """How gradients come about. The loop zeroes them, calls `backward`, clips and steps.

    An objective leaves gradients in `.grad` of the parameters that move. It need not have a loss:
    Reptile writes a displacement there.
    """

    def backward(self, network: nn.Module, batch: Any) -> dict[str, float]:
        """Leave gradients in `.grad`; return measurements, "loss" (a mean over rows) among them."""
        ...


@runtime_checkable
class Remembers(Protocol):
    """An objective that must know something of the updates before to go on after a stop."""

    def state_dict(self) -> dict[str, Any]:
        """What that is, as plain values and tensors."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        ...


class Supervised:
    """Gradients of a task's loss, every row of an epoch weighing alike.

    Args:
        task: gives the loss of a network on a batch.
        propagate: sends a scalar loss back; Fabric's, so that any precision and device works.
    """

    def __init__(self, task: Task, propagate: Callable[[Tensor], None]) -> None:
        self.task = task
        self.propagate = propagate

    def backward(self, network: nn.Module, batch: Batch) -> dict[str, float]:
        """Leave the gradients of the mean loss over the batch."""
        with part("forward"):
            loss = self.task.loss(network, batch)
        with part("backward"):
            self.propagate(loss * batch.weight)
        return {"loss": float(loss.detach())}
