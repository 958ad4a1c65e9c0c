"""Heads that are normalised before they are placed.

Shapes: T tokens of all rows, d width of a head.
"""

from __future__ import annotations

from torch import Tensor, nn

from headstart.nn.ragged import Layout


class NormedPlacement(nn.Module):
    """place(norm(head)), each head on its own, so that no product of two grows without bound.

    Henry et al. 2020 (https://arxiv.org/abs/2010.04245) and, with an RMS norm, Qwen3 (Yang et al.
    2025, https://arxiv.org/abs/2505.09388, section 2).

    Args:
        norm: maps (..., d) to the same shape.
        place: maps (T, heads, d) in a layout to the same shape.
    """

    def __init__(self, norm: nn.Module, place: nn.Module) -> None:
        super().__init__()
        self.norm, self.place = norm, place

    def forward(self, values: Tensor, layout: Layout) -> Tensor:
        """Map (T, heads, d), in a layout, to the same shape."""
        placed: Tensor = self.place(self.norm(values), layout)
        return placed
