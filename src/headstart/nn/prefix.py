"""Trained keys and values before each text's own (prefix tuning: Li & Liang 2021, section 4).

The tokens of a text then stand N places further on, as if N others had been read before them; so
does `transformers` with a cache, and a prefix that PEFT trained means the same here.

Shapes: B rows, T tokens of all rows, D width, W width of all heads' keys, N length of the prefix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headstart.nn.adapters import Around
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.ragged import Layout, Ragged


class Prefix(nn.Module):
    """Keys and values that every text reads.

    Args:
        key: (N, W).
        value: (N, W).
    """

    def __init__(self, key: Tensor, value: Tensor) -> None:
        super().__init__()
        self.key, self.value = nn.Parameter(key), nn.Parameter(value)


class PrefixAttention(Around):
    """Self-attention that also looks at a prefix.

    Args:
        inner: the attention; its maps are taken over, not copied.
        prefix: what is read first.
    """

    def __init__(self, inner: MultiHeadAttention, prefix: Prefix) -> None:
        super().__init__(inner)
        self.prefix = prefix

    def forward(self, x: Ragged, memory: Ragged) -> Tensor:
        """Return (T, D) in the layout of `x`.

        Args:
            x: (T, D).
            memory: `x` itself: a prefix stands before the text that asks.
        """
        assert memory is x, "a prefix is for self-attention"
        x = Ragged(x.values, later(x.layout, len(self.prefix.key)))
        key, value = self.inner.remember(x)
        return self.inner.look(
            self.inner.ask(x), after(self.prefix.key, key), after(self.prefix.value, value)
        )


class LaterEmbeddings(Around):
    """Embeddings of tokens that stand some places further on.

    Args:
        inner: maps tokens (T,) int64 to (T, D).
        length: N.
    """

    def __init__(self, inner: nn.Module, length: int) -> None:
        super().__init__(inner)
        self.length = length

    def forward(self, tokens: Ragged, *more: Tensor | None) -> Ragged:
        """Map tokens (T,) int64 to (T, D), in their layout."""
        moved = Ragged(tokens.values, later(tokens.layout, self.length))
        return tokens.replace(self.inner(moved, *more).values)


def later(layout: Layout, length: int) -> Layout:
    """The same rows, `length` places further on."""

    def make() -> Layout:
        assert layout.starts is None, "rows that go on from others take no prefix"
        starts = torch.full((layout.num_rows,), length, device=layout.device)
        return Layout(layout.lengths, layout.device, starts)

    return layout.once(("later", length), make)


def after(prefix: Tensor, text: Ragged) -> Ragged:
    """Each row of a text (T, W) behind the same prefix (N, W): N + L tokens from place 0."""

    def make() -> tuple[Layout, Tensor]:
        length = len(prefix)
        longer = Layout(text.lengths + length, text.layout.device)
        place = longer.positions
        from_text = place + text.layout.offsets[longer.rows]
        return longer, torch.where(place < length, place, from_text)

    longer, index = text.layout.once(("after", len(prefix)), make)
    values = torch.cat([prefix.to(text.values.dtype), text.values])
    return Ragged(values.index_select(0, index), longer)
