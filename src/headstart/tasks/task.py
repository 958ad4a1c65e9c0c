"""What every task offers, supervised or not."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from torch import Tensor, nn

from headstart.data.batches import Batch


class Task(Protocol):
    """What is asked of a backbone.

    A task is plain values: what it needs of a network's parameters is in the network.
    """

    def prepare(self, batch: Batch, random: np.random.Generator) -> Batch:
        """What the network is shown of some rows, and what it must answer.

        Called ahead of the update, in a thread: it draws from `random` alone, which is a function
        of the stage's seed and the step.
        """
        ...

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """A scalar in nats, the mean over what the prepared batch asks for."""
        ...
