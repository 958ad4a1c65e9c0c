"""Dropout (Srivastava et al. 2014) that does not slow a CPU down.

torch draws a 64-bit number for each element, one after the other: in a small Transformer that was
measured at a tenth of a training step, and at far more once products run in bfloat16. Here one
such number serves four elements, which is 3 to 4 times faster.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STEPS = 2**16  # a probability is one of so many


def dropout(values: Tensor, probability: float) -> Tensor:
    """Zero each element with a probability, and scale the others to keep the expected value.

    Args:
        values: any shape.
        probability: in [0, 1); on a CPU rounded to a multiple of 1 / 65,536.

    Returns:
        As `values`, in shape and dtype.
    """
    if not probability:
        return values
    if values.device.type != "cpu":
        return F.dropout(values, probability)
    zeroed = round(probability * STEPS)
    count = values.numel()
    drawn = torch.empty(-(-count // 4), dtype=torch.int64).random_(-(2**63), None)
    keep = drawn.view(torch.int16)[:count].view(values.shape) >= zeroed - STEPS // 2
    return values * keep.to(values.dtype).mul_(STEPS / (STEPS - zeroed))


class Dropout(nn.Module):
    """Dropout while training, nothing in eval mode.

    Args:
        p: probability in [0, 1) of zeroing an element.
    """

    def __init__(self, p: float = 0.0) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"p must be at least 0 and below 1; got {p}.")
        self.p = p

    def forward(self, values: Tensor) -> Tensor:
        """Map any shape to the same shape."""
        return dropout(values, self.p) if self.training else values

    def extra_repr(self) -> str:
        """The probability, for printing."""
        return f"p={self.p}"
