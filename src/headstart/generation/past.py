"""What attentions remember of rows that go on, so that no token is read twice.

Keys and values lie padded, and rows end together: shorter ones have a gap in front. So a new token
is one column, the same in every row, and what a row no longer sees is cut off as a view.

Shapes: B rows, N ways on of each (beams; else 1), R = B * N, L columns in use, C there is room for,
H heads of queries, G heads of keys and values, d width of a head, D width.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from headstart.generation.thin import Thin
from headstart.nn.attention import Form, mix
from headstart.nn.multihead import MultiHeadAttention, unbiased
from headstart.nn.ragged import Layout, Ragged

MOST_PIECES, LEAST_ROWS, WORTH = 4, 4, 8
"""Rows are read in so many pieces at most, of so many rows at least, where it saves one of them so
many columns: measured on a CPU."""


NARROW = 1024
"""Width of what three maps read up to which they are joined."""


@dataclass(frozen=True)
class Piece:
    """Rows side by side, and the columns of theirs that are read.

    Attributes:
        rows: of all R.
        start: the first column in which one of them has a token.
        added: (R', 1, 1, C) 0 for a token and -inf in a gap, None where they have none behind
            `start`.
    """

    rows: slice
    start: int
    added: Tensor | None


class Columns:
    """Where the tokens of R rows lie in padded columns.

    Args:
        lengths: (B,) int64 on the CPU, tokens of each row. Little is read in vain where rows of
            about the same length stand side by side.
        room: how many columns can be added.
        device: where masks live.
        num_beams: N.
    """

    def __init__(
        self, lengths: Tensor, room: int, device: torch.device, num_beams: int = 1
    ) -> None:
        self.used = int(lengths.max())
        self.capacity = self.used + room
        self.num_beams, self.device = num_beams, device
        self.gaps = self.used - lengths
        self.pieces = self._pieces()

    def keep(self, order: Tensor) -> None:
        """Go on with the rows (B',) int64 alone."""
        self.gaps = self.gaps[order.cpu()]
        self.pieces = self._pieces()

    @property
    def start(self) -> int:
        """The first column in which a row has a token."""
        return int(self.gaps.min())

    def _pieces(self) -> list[Piece]:
        size = max(-(-len(self.gaps) // MOST_PIECES), LEAST_ROWS)
        starts = [int(gaps.min()) for gaps in torch.split(self.gaps, size)]
        bounds = [0]
        for place in range(1, len(starts)):
            if abs(starts[place] - starts[place - 1]) >= WORTH:
                bounds.append(place * size)
        bounds.append(len(self.gaps))
        return [self._piece(first, last) for first, last in pairwise(bounds)]

    def _piece(self, first: int, last: int) -> Piece:
        gaps = self.gaps[first:last]
        rows, start = slice(first * self.num_beams, last * self.num_beams), int(gaps.min())
        if bool((gaps == start).all()):
            return Piece(rows, start, None)
        gaps = gaps.repeat_interleave(self.num_beams)[:, None]
        outside = torch.arange(self.capacity) < gaps
        added = torch.zeros(outside.shape).masked_fill_(outside, -math.inf)
        return Piece(rows, start, added[:, None, None, :].to(self.device))


class Past:
    """Keys and values of one attention, in the columns of all attentions of its kind.

    Args:
        columns: shared by all layers.
        form: of the attention.
    """

    def __init__(self, columns: Columns, form: Form) -> None:
        self.columns, self.heads = columns, form.key_heads
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
        columns, rows = self.columns, x.split()
        width = x.values.shape[1] // self.heads
        shape = (len(rows), columns.num_beams, self.heads, columns.capacity, width)
        buffer = x.values.new_empty(shape)
        for ways, row in zip(buffer, rows, strict=True):
            start = columns.used - len(row)
            ways[:, :, :start] = 0  # a weight of nothing times what is no number is no number
            ways[:, :, start : columns.used] = row.view(len(row), self.heads, width).transpose(0, 1)
        return buffer.flatten(0, 1)

    def _moved(self, buffer: Tensor, num_rows: int, holes: Tensor, movers: Tensor) -> Tensor:
        grouped = torch.unflatten(buffer, 0, (-1, self.columns.num_beams))
        columns = slice(self.columns.start, self.columns.used)
        grouped[holes, :, :, columns] = grouped[movers, :, :, columns]
        return grouped[:num_rows].flatten(0, 1)


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
        self.read = at_once(attention)
        self.form = _folded(attention)
        self.bias = self._bias(past.columns.capacity, past.keys.device)

    def forward(self, x: Ragged, memory: Ragged) -> Tensor:
        """(R, D) from the new tokens (R, D); `memory` is `x`."""
        queries, keys, values = self.read(x)
        self.past.append(keys.values, values.values)
        return self.attention.output(
            look_back(queries.values, self.past, self.form, self.bias, self.attention.form.reach)
        )

    def _bias(self, capacity: int, device: torch.device) -> Tensor | None:
        """(1, G, H / G, C) what a token adds to keys at and before its own place; the last for
        itself."""
        query = Layout([1], device, torch.tensor([capacity - 1]))
        bias = self.attention.relative(query, Layout([capacity], device))
        return None if bias is None else bias.view(1, self.form.num_heads, -1, capacity)


def at_once(attention: MultiHeadAttention) -> Callable[[Ragged], tuple[Ragged, Ragged, Ragged]]:
    """What makes queries, keys and values of the same tokens: in one product where that is faster.

    Three small products cost a CPU more than one of their size. The joined weights are a copy, so
    wide maps, which gain nothing, are left as they are.
    """
    maps: list[nn.Module] = [attention.query, attention.key, attention.value]
    thin = [m for m in maps if isinstance(m, Thin) and m.weight.shape[1] <= NARROW]
    if len(thin) < len(maps) or len({m.bias is None for m in thin}) > 1:
        return lambda x: (attention.ask(x), *attention.remember(x))
    joined = Thin.joined(thin)
    sizes = [len(m.weight) for m in thin]

    def read(x: Ragged) -> tuple[Ragged, Ragged, Ragged]:
        query, key, value = joined(x.values).split(sizes, 1)
        return (
            attention.placed(attention.place_queries, query, x.layout),
            attention.placed(attention.place_keys, key, x.layout),
            x.replace(value),
        )

    return read


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
        queries = self.attention.ask(x).values
        return self.attention.output(look_back(queries, self.past, self.form))


def _folded(attention: MultiHeadAttention) -> Form:
    """G heads of which each holds the queries that share keys, as if of several tokens."""
    return Form(attention.form.key_heads, scale=attention.form.scale)


def look_back(
    queries: Tensor, past: Past, form: Form, bias: Tensor | None = None, reach: int | None = None
) -> Tensor:
    """What queries of one token a row find in what is kept.

    Args:
        queries: (R, H * d).
        past: of R rows, or of B, each for N queries in turn.
        form: with the queries that share keys folded.
        bias: (1, G, H / G, C), what the last column in use adds to those at and before it.
        reach: how many columns before the last one are seen; None: all.

    Returns:
        (R, H * d), heads side by side.
    """
    columns = past.columns
    near = 0 if reach is None else columns.used - 1 - reach
    turns = len(queries) // len(past.keys)
    mixed = []
    for piece in columns.pieces:
        seen = slice(max(piece.start, near), columns.used)
        added = None if piece.added is None else piece.added[..., seen]
        if bias is not None:
            near_bias = bias[..., seen.start - seen.stop :]
            added = near_bias if added is None else near_bias + added
        asked = queries[piece.rows.start * turns : piece.rows.stop * turns]
        keys, values = (x[piece.rows, :, seen] for x in (past.keys, past.values))
        mixed.append(_mix(asked, keys, values, form, added))
    return mixed[0] if len(mixed) == 1 else torch.cat(mixed)


def _mix(queries: Tensor, keys: Tensor, values: Tensor, form: Form, added: Tensor | None) -> Tensor:
    """(R, H * d) from queries likewise, which keys (B, G, L, d) R / B rows in turn share."""
    num_rows, num_heads, _, width = keys.shape
    folded = queries.view(num_rows, -1, num_heads, queries.shape[1] // num_heads // width, width)
    shape = folded.shape
    folded = folded.transpose(1, 2).flatten(2, 3).contiguous()
    mixed = mix(folded, keys, values, form, added)
    mixed = mixed.view(num_rows, num_heads, shape[1], shape[3], width).transpose(1, 2)
    return mixed.reshape(queries.shape)
