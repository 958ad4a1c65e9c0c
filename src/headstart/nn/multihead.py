"""Multi-head attention as a module: the linear maps around `attend`.

What families add is composed, not switched on: a placement turns queries and keys by their places
(rotary), a relative bias adds to their products (T5).

Shapes: B rows, Tq and Tk tokens of all rows (queries, keys), Lq and Lk tokens in the longest row,
D width, H heads of queries, G heads of keys and values, d width of a head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from headstart.nn.attention import Form, attend, attention_weights
from headstart.nn.ragged import Layout, Ragged

Relative = Callable[[Layout, Layout], Tensor | None]
"""Layouts of queries and keys to what is added to their products, see `attend`."""


class Unplaced(nn.Module):
    """Heads stay as they are: their places are in what they were made from."""

    def forward(self, values: Tensor, layout: Layout) -> Tensor:
        """Map (T, heads, d), in a layout, to the same shape."""
        return values


class Borrowed:
    """A module that another one owns: called here, saved and moved there.

    A module kept in an attribute would be registered, and its parameters saved, once for each
    block that uses it.
    """

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __call__(self, *arguments: Any) -> Any:
        """What the module gives."""
        return self.module(*arguments)


def unbiased(queries: Layout, keys: Layout) -> None:
    """Nothing is added to the products of queries and keys."""


class MultiHeadAttention(nn.Module):
    """Queries from one text look at the keys of the same text or of another.

    `forward` is `ask`, `remember` and `look` in one. Whoever reads a text bit by bit keeps what
    `remember` gave, and asks again (`headstart.generation`).

    Args:
        width: D.
        form: heads, what is seen, scale, and dropout while training.
        head_width: d. Default: D / H.
        bias: whether the maps to queries, keys and values add one.
        output_bias: whether the last map adds one. Default: as `bias`.
        place_queries: maps (T, H, d) in a layout to the same shape.
        place_keys: maps (T, G, d) in a layout to the same shape.
        relative: what is added to the products; `Borrowed` where blocks share it.
    """

    def __init__(
        self,
        width: int,
        form: Form,
        *,
        head_width: int | None = None,
        bias: bool = True,
        output_bias: bool | None = None,
        place_queries: nn.Module | None = None,
        place_keys: nn.Module | None = None,
        relative: Relative = unbiased,
    ) -> None:
        super().__init__()
        if head_width is None and width % form.num_heads:
            raise ValueError(
                f"width must be a multiple of num_heads={form.num_heads}; got {width}."
            )
        self._form, self.head_width = form, head_width or width // form.num_heads
        queries, keys = form.num_heads * self.head_width, form.key_heads * self.head_width
        self.query = nn.Linear(width, queries, bias)
        self.key = nn.Linear(width, keys, bias)
        self.value = nn.Linear(width, keys, bias)
        self.output = nn.Linear(queries, width, bias if output_bias is None else output_bias)
        self.place_queries = place_queries or Unplaced()
        self.place_keys = place_keys or Unplaced()
        self.relative = relative

    def forward(self, x: Ragged, memory: Ragged) -> Tensor:
        """Return (Tq, D) in the layout of `x`.

        Args:
            x: (Tq, D) what asks.
            memory: (Tk, D) what is looked at; `x` itself for self-attention.
        """
        return self.look(self.ask(x), *self.remember(memory))

    def ask(self, x: Ragged) -> Ragged:
        """Queries (Tq, H * d) of (Tq, D)."""
        return self.placed(self.place_queries, self.query(x.values), x.layout)

    def remember(self, memory: Ragged) -> tuple[Ragged, Ragged]:
        """Keys and values, each (Tk, G * d), of (Tk, D)."""
        keys = self.placed(self.place_keys, self.key(memory.values), memory.layout)
        return keys, memory.replace(self.value(memory.values))

    def look(self, query: Ragged, key: Ragged, value: Ragged) -> Tensor:
        """(Tq, D) from queries (Tq, H * d), keys and values (Tk, G * d)."""
        bias = self.relative(query.layout, key.layout)
        return self.output(attend(query, key, value, self.form, bias))

    @property
    def form(self) -> Form:
        """As given, its dropout only while training."""
        return self._form if self.training else replace(self._form, dropout=0.0)

    @property
    def dropout(self) -> float:
        """Probability of zeroing an attention probability while training."""
        return self._form.dropout

    def weights(self, x: Ragged, memory: Ragged) -> Tensor:
        """How much each query looks at each key, (B, H, Lq, Lk): see `attention_weights`."""
        query, (key, _) = self.ask(x), self.remember(memory)
        bias = self.relative(query.layout, key.layout)
        return attention_weights(query, key, self.form, bias)

    def placed(self, place: nn.Module, values: Tensor, layout: Layout) -> Ragged:
        """Queries or keys (T, heads * d) in a layout, put in their places."""
        placed = place(torch.unflatten(values, 1, (-1, self.head_width)), layout)
        return Ragged(placed.flatten(1), layout)
