"""A backbone with what is put on it, as a chain of parts that can be frozen from the front.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from typing import Self

from torch import nn

from headstart.models.backbone import Backbone


class Chain(nn.Module):
    """Whatever trains: a backbone, and what a task puts on it.

    The parts are 0, the embeddings; 1 to N, the blocks; N + 1, the final map. What a task puts on
    the backbone comes behind them.

    Args:
        backbone: maps tokens (T,) int64 to (T, D).
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self._pinned: list[nn.Module] = []

    @property
    def depth(self) -> int:
        """How many parts there are."""
        return len(self.backbone.blocks) + 2

    def part_modules(self, part: int) -> list[nn.Module]:
        """The modules that own the parameters of a part, 0 to `depth` - 1."""
        if part == 0:
            return self.backbone.embedding_modules()
        if part == self.depth - 1:
            return [self.backbone.finish]
        return [self.backbone.blocks[part - 1]]

    def further_parts(self) -> list[nn.Module]:
        """Modules behind the parts that stay in eval mode where nothing in them moves."""
        return []

    def moves(self, part: int) -> bool:
        """Whether a parameter of the part takes a gradient."""
        return _moves(self.part_modules(part))

    def pin_frozen_parts(self) -> None:
        """Keep parts in which nothing moves in eval mode from here on, whatever `train` says."""
        parts = [self.part_modules(part) for part in range(self.depth)]
        parts += [[module] for module in self.further_parts()]
        self._pinned = [module for modules in parts if not _moves(modules) for module in modules]
        self.train(self.training)

    def recompute(self, again: bool) -> None:
        """Whether blocks are computed again for the backward pass, to the same values."""
        self.backbone.recompute(again)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but the pinned parts, which stay in eval mode."""
        super().train(mode)
        for module in self._pinned:
            module.eval()
        return self


def _moves(modules: list[nn.Module]) -> bool:
    return any(p.requires_grad for module in modules for p in module.parameters())
