"""What attentions remember of rows that go on, so that no token is read twice.

Keys and values lie padded, and rows end together: shorter ones have a gap in front. So a new token
is one column, the same in every row, and what a row no longer sees is cut off as a view.

Shapes: B rows, N ways on of each (beams; else 1), R = B * N, L columns in use, C there is room for,
H heads of queries, G heads of keys and values, d width of a head, D width.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from headstart.nn.attention import Form, mix
from headstart.nn.multihead import MultiHeadAttention, unbiased
from headstart.nn.ragged import Layout, Ragged


class Columns:
    """Where the tokens of B rows lie in padded columns.

    Args:
        lengths: (B,) int64 on the CPU, tokens of each row.
        room: how many columns can be added.
        device: where the mask lives.
    """

    def __init__(self, lengths: Tensor, room: int, device: torch.device) -> None:
        self.used = int(lengths.max())
        self.capacity = self.used + room
        self.gaps = (self.used - lengths).to(device)
        self._refresh()

    def keep(self, order: Tensor) -> None:
        """Go on with the rows (B',) int64 alone."""
        self.gaps = self.gaps[order]
        self._refresh()

    def _refresh(self) -> None:
        self.start = int(self.gaps.min())
        inside = torch.arange(self.capacity, device=self.gaps.device) >= self.gaps[:, None]
        uniform = bool((self.gaps == self.start).all())
        added = torch.zeros_like(inside, dtype=torch.float32).masked_fill_(~inside, -math.inf)
        self._added = None if uniform else added[:, None, None, :]

    def seen(self, reach: int | None) -> slice:
        """The columns that the last one sees: (L',) of those in use."""
        first = 0 if reach is None else self.used - 1 - reach
        return slice(max(first, self.start), self.used)

    def added(self, columns: slice) -> Tensor | None:
        """(B, 1, 1, L') 0 for a token and -inf in a gap, None where there are none."""
        return None if self._added is None else self._added[..., columns]


class Past:
    """Keys and values of one attention, in the columns of all attentions of its kind.

    Args:
        columns: shared by all layers.
        num_beams: N, in how many ways each row goes on.
        form: of the attention.
    """

    def __init__(self, columns: Columns, num_beams: int, form: Form) -> None:
        self.columns, self.num_beams, self.heads = columns, num_beams, form.key_heads
        self.keys = self.values = torch.empty(0)

    def fill(self, keys: Ragged, values: Ragged) -> None:
        """Take (T, G * d) of B rows, and let each go on in N ways."""
        self.keys, self.values = self._filled(keys), self._filled(values)

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Take (R, G * d), one token a row, as the last column in use."""
        for buffer, new in ((self.keys, keys), (self.values, values)):
            buffer.select(2, self.columns.used - 1).copy_(new.view(len(new), self.heads, -1))

    def keep(self, num_rows: int, holes: Tensor, movers: Tensor) -> None:
        """Go on with the first rows alone, after some were moved there.

        Args:
            num_rows: how many stay.
            holes: int64, those of them that leave.
            movers: int64, rows behind that take their places.
        """
        self.keys, self.values = (
            self._moved(x, num_rows, holes, movers) for x in (self.keys, self.values)
        )

    def reorder(self, parents: Tensor, start: int) -> None:
        """Let each of R ways on continue another of its row, (R,) int64, from a column on."""
        columns = slice(start, self.columns.used)
        for buffer in (self.keys, self.values):
            buffer[:, :, columns] = buffer[:, :, columns].index_select(0, parents)

    def _filled(self, x: Ragged) -> Tensor:
        layout, columns = x.layout, self.columns
        heads = layout.once(("from the right", id(columns)), lambda: _from_the_right(layout))
        padded = x.values.new_zeros(layout.num_rows * layout.longest, x.values.shape[1])
        padded.index_copy_(0, heads, x.values)
        padded = padded.view(layout.num_rows, 1, layout.longest, self.heads, -1).transpose(2, 3)
        shape = (layout.num_rows, self.num_beams, self.heads, columns.capacity, padded.shape[-1])
        buffer = x.values.new_empty(shape)
        buffer[..., : layout.longest, :] = padded
        return buffer.flatten(0, 1)

    def _moved(self, buffer: Tensor, num_rows: int, holes: Tensor, movers: Tensor) -> Tensor:
        grouped = torch.unflatten(buffer, 0, (-1, self.num_beams))
        columns = slice(self.columns.start, self.columns.used)
        grouped[holes, :, :, columns] = grouped[movers, :, :, columns]
        return grouped[:num_rows].flatten(0, 1)


def _from_the_right(layout: Layout) -> Tensor:
    """(T,) int64: the place of each token in (B * L) padded columns, rows ending together."""
    ends = torch.arange(1, layout.num_rows + 1, device=layout.device) * layout.longest
    after = layout.lengths.to(layout.device)[layout.rows] - layout.positions
    return ends[layout.rows] - after


class Reading(nn.Module):
    """An attention that looks as ever, and keeps what it looked at.

    Args:
        attention: whose keys and values are kept.
        past: where.
    """

    def __init__(self, attention: MultiHeadAttention, past: Past) -> None:
        super().__init__()
        self.attention, self.past = attention, past

    def forward(self, x: Ragged, memory: Ragged) -> Tensor:
        """(T, D) from (T, D) and a memory of as many rows."""
        keys, values = self.attention.remember(memory)
        self.past.fill(keys, values)
        return self.attention.look(self.attention.ask(x), keys, values)


class GoingOn(nn.Module):
    """A causal attention of one token a row to itself and all before it.

    Args:
        attention: what is added to its products depends on the distance alone.
        past: what it read so far; it takes the new tokens up.
    """

    def __init__(self, attention: MultiHeadAttention, past: Past) -> None:
        super().__init__()
        self.attention, self.past = attention, past
        self.form, self.reach = _folded(attention), attention.form.reach
        self.bias = self._bias(past.columns)

    def forward(self, x: Ragged, memory: Ragged) -> Tensor:
        """(R, D) from the new tokens (R, D); `memory` is `x`."""
        keys, values = self.attention.remember(x)
        past = self.past
        past.append(keys.values, values.values)
        seen = past.columns.seen(self.reach)
        added = past.columns.added(seen)
        if added is not None and past.num_beams > 1:
            added = added.repeat_interleave(past.num_beams, 0)
        if self.bias is not None:
            bias = self.bias[..., seen.start - seen.stop :]
            added = bias if added is None else added + bias
        queries = self.attention.ask(x).values
        mixed = _mix(queries, past.keys[:, :, seen], past.values[:, :, seen], self.form, added)
        return self.attention.output(mixed)

    def _bias(self, columns: Columns) -> Tensor | None:
        """(1, G, H / G, C) what a token adds to keys at and before its own place; the last for
        itself."""
        last = torch.tensor([columns.capacity - 1])
        device = columns.gaps.device
        query, keys = Layout([1], device, last), Layout([columns.capacity], device)
        bias = self.attention.relative(query, keys)
        if bias is None:
            return None
        return bias.view(1, self.form.num_heads, -1, columns.capacity)


class LookingBack(nn.Module):
    """An attention of one token a row to a memory that was read before.

    Args:
        attention: adds nothing to its products.
        past: of the memory, once for all ways on of a row.
    """

    def __init__(self, attention: MultiHeadAttention, past: Past) -> None:
        super().__init__()
        assert attention.relative is unbiased, "no family adds a bias between two texts"
        self.attention, self.past, self.form = attention, past, _folded(attention)

    def forward(self, x: Ragged, memory: Ragged) -> Tensor:
        """(R, D) from the new tokens (R, D); what was kept of `memory` stands for it."""
        columns = self.past.columns
        seen = columns.seen(None)
        keys, values = self.past.keys[:, :, seen], self.past.values[:, :, seen]
        queries = self.attention.ask(x).values
        return self.attention.output(_mix(queries, keys, values, self.form, columns.added(seen)))


def _folded(attention: MultiHeadAttention) -> Form:
    """G heads of which each holds the queries that share keys, as if of several tokens."""
    return Form(attention.form.key_heads, scale=attention.form.scale)


def _mix(queries: Tensor, keys: Tensor, values: Tensor, form: Form, added: Tensor | None) -> Tensor:
    """(R, H * d) from queries likewise, which keys (B, G, L, d) R / B rows in turn share."""
    num_rows, num_heads, _, width = keys.shape
    folded = queries.view(num_rows, -1, num_heads, queries.shape[1] // num_heads // width, width)
    shape = folded.shape
    folded = folded.transpose(1, 2).flatten(2, 3)
    mixed = mix(folded, keys, values, form, added)
    mixed = mixed.view(num_rows, num_heads, shape[1], shape[3], width).transpose(1, 2)
    return mixed.reshape(queries.shape)
