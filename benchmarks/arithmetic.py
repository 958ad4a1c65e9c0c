"""What fine-tuning must compute, and how fast this machine multiplies matrices.

Shapes: T tokens of a batch, D width, I inner width of a feed-forward, L tokens of a row.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Sizes:
    """What the arithmetic of a plain Transformer encoder depends on.

    Attributes:
        width: D.
        inner: I.
        blocks: how many blocks.
    """

    width: int
    inner: int
    blocks: int

    @property
    def parameters(self) -> int:
        """Elements of all matrices in the blocks: four of attention, two of the feed-forward.

        Biases and norms, embeddings and the head are left out: together they are under 1 % of the
        arithmetic.
        """
        return self.blocks * (4 * self.width**2 + 2 * self.width * self.inner)


def training_flops(sizes: Sizes, lengths: Iterable[int]) -> int:
    """Floating-point operations of one pass of training over rows of the given lengths.

    Counted as model FLOPs are (Chowdhery et al. 2022, PaLM, appendix B): what the network says must
    be computed on real tokens, whatever an implementation computes besides; no padding.

        matrices    a token meets each parameter in one multiplication and one addition going
                    forward, and in twice as many going back (gradients of input and of weight):
                    6 * parameters for each token
        attention   in each block a row of L tokens is multiplied twice (queries with keys, weights
                    with values), each L * L * D multiplications and additions: 4 * L**2 * D
                    forward, twice as many back, 12 * L**2 * D for each row and block

    Args:
        lengths: tokens in each row, special ones counted.
    """
    rows = [int(length) for length in lengths]
    matrices = 6 * sizes.parameters * sum(rows)
    return matrices + sum(12 * length**2 * sizes.width * sizes.blocks for length in rows)


def matrix_rate(sizes: Sizes, tokens: int, dtype: torch.dtype, rounds: int = 15) -> float:
    """FLOP/s of torch.mm on the very products of a block, forward and back: a median.

    Args:
        tokens: T.
        dtype: of both factors.
        rounds: how often all products are computed.
    """
    work = [
        (a, b, torch.empty(a.shape[0], b.shape[1], dtype=dtype))
        for a, b in _products(sizes, tokens, dtype)
    ]
    flops = sum(2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b, _ in work)
    seconds = []
    for _ in range(rounds + 2):
        start = time.perf_counter()
        for a, b, out in work:
            torch.mm(a, b, out=out)
        seconds.append(time.perf_counter() - start)
    return flops / statistics.median(seconds[2:])  # the first two warm up


def _products(
    sizes: Sizes, tokens: int, dtype: torch.dtype
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The factors of each product of a block: y = x W', dx = dy W, dW = dy' x."""
    width, inner = sizes.width, sizes.inner
    for incoming, outgoing in [(width, width)] * 4 + [(width, inner), (inner, width)]:
        weight = torch.randn(outgoing, incoming).to(dtype)
        x, dy = torch.randn(tokens, incoming).to(dtype), torch.randn(tokens, outgoing).to(dtype)
        yield x, weight.t()
        yield dy, weight
        yield dy.t(), x
