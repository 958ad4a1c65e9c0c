"""Small trained modules after the large frozen ones (Houlsby et al. 2019, section 2.1).

Shapes: T tokens of all rows, D width, N width of the bottleneck.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.multihead import Borrowed


class Around(nn.Module):
    """A module around another, whose parts and parameters keep their names.

    Args:
        inner: called by those who build on this; its parts become this module's.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        for name, part in inner.named_children():
            self.add_module(name, part)
        for name, parameter in inner.named_parameters(recurse=False):
            self.register_parameter(name, parameter)
        self._inner = Borrowed(inner)

    @property
    def inner(self) -> Any:
        """What stood here before."""
        return self._inner.module

    def train(self, mode: bool = True) -> Around:
        """Set the mode here and inside."""
        super().train(mode)
        self.inner.train(mode)
        return self


class Bottleneck(nn.Module):
    """x + up(gelu(down(x))); the identity at the start, since `up` is zero.

    Args:
        width: D.
        inner_width: N.
    """

    def __init__(self, width: int, inner_width: int) -> None:
        super().__init__()
        self.down, self.up = nn.Linear(width, inner_width), nn.Linear(inner_width, width)
        nn.init.normal_(self.down.weight, std=1e-2)  # appendix A of the paper
        for zero in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(zero)

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, D) to (T, D)."""
        return values + self.up(F.gelu(self.down(values)))


class Bottlenecked(Around):
    """A bottleneck right after an attention or a feed-forward, before the block adds it.

    Args:
        inner: gives (T, D).
        adapter: maps (T, D) to (T, D).
    """

    def __init__(self, inner: nn.Module, adapter: Bottleneck) -> None:
        super().__init__(inner)
        self.adapter = adapter

    def forward(self, *arguments: Any) -> Tensor:
        """(T, D) of what the inner module takes."""
        return self.adapter(self.inner(*arguments))
