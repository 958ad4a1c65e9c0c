"""Gradual unfreezing (Howard and Ruder 2018, "Universal Language Model Fine-tuning for Text
Classification", section 3.3): the last layer moves first, then the next one below with it.

They unfreeze a layer an epoch. Epochs are few on many rows and many on few, so here the layers
begin to move at equal distances over the first half of the updates, and all move in the second.
"""

from __future__ import annotations

from torch import nn

from headstart.models.chain import Chain
from headstart.training.companion import Companion

SHARE = 0.5
"""Of the updates, by the end of which everything moves."""


class GradualUnfreezing(Companion):
    """Lets the parts of a network move one after the other, from the top.

    First what a task puts on the backbone, with the final map; then block after block; last the
    embeddings. What is still to come takes no gradient and stays in eval mode, so that it is
    bit-identical until then.

    Args:
        network: its parameters that take gradients are those that will move.
        total: updates of the stage.
    """

    def __init__(self, network: Chain, total: int) -> None:
        self.network = network
        self.groups = groups_from_the_top(network)
        self.starts = [int(total * SHARE * k / len(self.groups)) for k in range(len(self.groups))]
        self._moving = len(self.groups)

    def before(self, step: int) -> None:
        """Let move whatever has begun to by this update."""
        begun = sum(start <= step for start in self.starts)
        if begun != self._moving:
            self._let_move(begun)

    def finish(self) -> None:
        """Everything that was to move is called moving, also where patience was over before."""
        self._let_move(len(self.groups))

    def _let_move(self, count: int) -> None:
        for number, group in enumerate(self.groups):
            for parameter in group:
                parameter.requires_grad_(number < count)
        self.network.pin_frozen_parts()
        self._moving = count


def groups_from_the_top(network: Chain) -> list[list[nn.Parameter]]:
    """The parameters that take gradients: what is on the backbone, each block, the embeddings."""
    parts = []
    for part in range(network.depth - 1):
        modules = network.part_modules(part)
        parts.append([p for m in modules for p in m.parameters() if p.requires_grad])
    below = {id(parameter) for group in parts for parameter in group}
    above = [p for p in network.parameters() if p.requires_grad and id(p) not in below]
    return [group for group in [above, *reversed(parts)] if group]
