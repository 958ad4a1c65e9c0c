"""Low-rank updates of linear maps (LoRA: Hu et al. 2021, section 4.1).

A frozen weight W and a trained product beside it: y = W x + scale * B A x. A module here takes the
place of an `nn.Linear` and keeps its very weight and bias under their names, so whatever finds
parameters by name goes on finding them.

Shapes: T tokens of all rows, I and O width going in and coming out, R rank.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.nn.dropout import Dropout
from headstart.nn.multihead import Borrowed


class LowRank(nn.Module):
    """scale * B A x, zero at the start: B is, and A is drawn as a linear map's weight.

    Args:
        down: A, (R, I).
        up: B, (O, R).
        scale: alpha / R in the paper.
        dropout: probability in [0, 1) of zeroing an element of x while training.
    """

    def __init__(self, down: Tensor, up: Tensor, scale: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)
        self.scale, self.dropout = scale, Dropout(dropout)

    @classmethod
    def drawn(cls, linear: nn.Linear, rank: int, scale: float, dropout: float) -> LowRank:
        """A new update for a linear map, from torch's random state."""
        weight = linear.weight
        down = torch.empty(rank, weight.shape[1], device=weight.device)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        return cls(down, torch.zeros(weight.shape[0], rank, device=weight.device), scale, dropout)

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, I) to (T, O)."""
        return F.linear(F.linear(self.dropout(values), self.down), self.up) * self.scale

    def delta(self) -> Tensor:
        """What the update adds to the weight, (O, I)."""
        return (self.up @ self.down) * self.scale

    def extra_repr(self) -> str:
        """Rank and scale, for printing."""
        return f"rank={len(self.down)}, scale={self.scale:g}"


class LoraLinear(nn.Module):
    """W x + b + update(x).

    Args:
        linear: its weight (O, I) and bias (O,) are taken over, not copied.
        update: maps (T, I) to (T, O).
    """

    def __init__(self, linear: nn.Linear, update: LowRank) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.lora, self._linear = update, Borrowed(linear)

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, I) to (T, O)."""
        return F.linear(values, self.weight, self.bias) + self.lora(values)

    def plain(self) -> nn.Linear:
        """The linear map that stood here, without the update."""
        return _linear(self._linear)

    def merged(self) -> nn.Linear:
        """A linear map with a weight of its own that gives the same in eval mode."""
        return _reweighted(self.plain(), self.merged_weight())

    def merged_weight(self) -> Tensor:
        """The weight (O, I) of the linear map that gives the same."""
        return self.weight + self.lora.delta()


class DoraLinear(nn.Module):
    """Direction by a low-rank update, length by a vector (DoRA: Liu et al. 2024, equation 5).

    Row for row, magnitude / |W + scale * B A| * (W + scale * B A) x + b. The length of the
    direction takes no gradient, as section 4.3 has it. Dropout acts on what the update reads alone.

    Args:
        linear: its weight (O, I) and bias (O,) are taken over, not copied.
        update: maps (T, I) to (T, O).
        magnitude: (O,); None: the lengths of W's rows, so that a zero update changes nothing.
    """

    def __init__(self, linear: nn.Linear, update: LowRank, magnitude: Tensor | None = None) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias
        self.lora, self._linear = update, Borrowed(linear)
        lengths = torch.linalg.norm(linear.weight.detach(), dim=1)
        self.lora_magnitude = nn.Parameter(lengths if magnitude is None else magnitude)

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, I) to (T, O)."""
        direction = F.linear(values, self.weight) + self.lora(values)
        turned = self._lengths() * direction
        return turned if self.bias is None else turned + self.bias

    def plain(self) -> nn.Linear:
        """The linear map that stood here, without the update."""
        return _linear(self._linear)

    def merged(self) -> nn.Linear:
        """A linear map with a weight of its own that gives the same in eval mode."""
        return _reweighted(self.plain(), self.merged_weight())

    def merged_weight(self) -> Tensor:
        """The weight (O, I) of the linear map that gives the same."""
        return self._lengths()[:, None] * (self.weight + self.lora.delta())

    def _lengths(self) -> Tensor:
        """(O,) what a row of the direction is multiplied by."""
        direction = (self.weight + self.lora.delta()).detach()
        return self.lora_magnitude / torch.linalg.norm(direction, dim=1)


def _linear(borrowed: Borrowed) -> nn.Linear:
    assert isinstance(borrowed.module, nn.Linear)
    return borrowed.module


def _reweighted(linear: nn.Linear, weight: Tensor) -> nn.Linear:
    """A linear map with another weight and the same bias."""
    shared: dict[int, Any] = {id(linear.weight): nn.Parameter(weight.detach())}
    shared |= {} if linear.bias is None else {id(linear.bias): linear.bias}
    return copy.deepcopy(linear, shared)
