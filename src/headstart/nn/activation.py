"""What stands between the two maps of a feed-forward.

Shapes: T tokens of all rows, F inner width.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from headstart.nn.dropout import Dropout


class DroppedActivation(nn.Module):
    """An activation, then dropout: between the two maps, where T5 and BART have it.

    Args:
        activation: elementwise.
        dropout: probability in [0, 1) of zeroing an element.
    """

    def __init__(self, activation: Callable[[Tensor], Tensor], dropout: float) -> None:
        super().__init__()
        self.activation, self.dropout = activation, Dropout(dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, F) to (T, F)."""
        return self.dropout(self.activation(values))
