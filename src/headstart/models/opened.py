"""A network that can be asked for more than its logits: what happens inside, or beside its input.

Shapes: B rows, T tokens of all rows, D width, C classes, H heads, L tokens in the longest row, d
width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

from torch import Tensor, nn

from headstart.models.network import Network
from headstart.nn.attention import watched
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.ragged import Ragged


class Seen:
    """What was seen inside a network while it read.

    A plain class: Lightning Fabric takes dataclasses apart on their way through a module.

    Args:
        logits: (B, C).
        states: (T, D) the output of each block.
        attention: (B, H, L, L) weights of the last block.
        values: (T, H * d) values of the last block's attention.
    """

    def __init__(
        self, logits: Tensor, states: Sequence[Tensor], attention: Tensor, values: Ragged
    ) -> None:
        self.logits, self.states = logits, tuple(states)
        self.attention, self.values = attention, values


class Opened(nn.Module):
    """A network, whole; its other methods are forward passes too.

    Args:
        network: backbone, pooling, dropout and head.
        precision: what the other methods are computed in; whoever calls `forward` sees to it
            there.
    """

    def __init__(
        self,
        network: Network,
        precision: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        super().__init__()
        self.network, self.precision = network, precision

    def forward(self, tokens: Ragged, segments: Tensor | None = None) -> Tensor:
        """Logits (B, C) of tokens (T,)."""
        logits: Tensor = self.network(tokens, segments)
        return logits

    def noised(self, tokens: Ragged, segments: Tensor | None, noise: Tensor) -> Tensor:
        """Logits (B, C) where noise (T, D) is added to what the embeddings give."""
        with self.precision():
            x = self.network.prefix(tokens, segments, 1)
            return self.network.suffix(x.replace(x.values + noise.to(x.values.dtype)), 1)

    def see(self, tokens: Ragged, segments: Tensor | None = None) -> Seen:
        """Logits, and what was seen on the way to them."""
        blocks = self.network.backbone.blocks
        states: list[Tensor] = []
        weights: list[Tensor] = []
        values: list[Tensor] = []
        hooks = [b.register_forward_hook(lambda *given: states.append(given[2].values))
                 for b in blocks]  # fmt: skip
        attention = last_attention(self.network)
        hooks.append(attention.value.register_forward_hook(lambda *given: values.append(given[2])))
        try:
            with watched(weights.append), self.precision():
                logits = self.network(tokens, segments)
        finally:
            for hook in hooks:
                hook.remove()
        return Seen(logits, states, weights[-1], tokens.replace(values[-1]))


def last_attention(network: Network) -> MultiHeadAttention:
    """The attention of the last block.

    Raises:
        ValueError: it is not made of queries, keys and values alone, as in most families.
    """
    inside = network.backbone.blocks[-1].modules()
    found = [module for module in inside if isinstance(module, MultiHeadAttention)]
    if len(found) != 1:
        raise ValueError(f"a {network.backbone.family} has no attention that can be looked into")
    return found[0]
