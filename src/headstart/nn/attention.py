"""Multi-head attention over ragged rows (Vaswani et al. 2017, section 3.2).

softmax(Q K^T / sqrt(d)) V in every head, heads side by side, then W^O. One call, `attend`, with
three kernels behind it:

    sdpa     torch's fused attention; pads inside, because its input is rectangular
    eager    the formula as printed; it has a second derivative
    varlen   packed rows as they are, no padding at all; CUDA in half precision

Shapes: B rows, Tq and Tk tokens of all rows (queries, keys), Lq and Lk tokens in the longest row,
H heads of queries, G heads of keys and values (H a multiple of G), d width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.nn.dropout import dropout
from headstart.nn.ragged import Layout, Ragged


@cache
def varlen_attention() -> Callable[..., Tensor | tuple[Tensor, ...]] | None:
    """torch's attention over packed rows; None before torch 2.10.

    Looked for when first needed: importing it takes a second, and only CUDA has a use for it.
    """
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    return varlen_attn


@dataclass(frozen=True)
class Form:
    """What an attention is, apart from its weights.

    Attributes:
        num_heads: H.
        num_key_heads: G, where several heads of queries share keys and values (Ainslie et al.
            2023); None: each has its own.
        causal: a query sees the keys at its own place and before; rows of queries and keys must
            then end at the same place.
        reach: how many places away a key may be to be seen; None: any.
        scale: what a product of query and key is multiplied by; None: 1 / sqrt(d).
        dropout: probability in [0, 1) of zeroing an attention probability, as BERT does it.
    """

    num_heads: int
    num_key_heads: int | None = None
    causal: bool = False
    reach: int | None = None
    scale: float | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.num_heads % self.key_heads:
            raise ValueError(
                f"num_heads must be a multiple of num_key_heads={self.num_key_heads}; "
                f"got {self.num_heads}."
            )

    @property
    def key_heads(self) -> int:
        """G."""
        return self.num_heads if self.num_key_heads is None else self.num_key_heads


Kernel = Callable[[Ragged, Ragged, Ragged, Form, "Tensor | None"], Tensor]


def attend(
    query: Ragged, key: Ragged, value: Ragged, form: Form, bias: Tensor | None = None
) -> Tensor:
    """Mix values by how well their keys answer each query, in the kernel in force.

    Args:
        query: (Tq, H * d).
        key: (Tk, G * d), as many rows as `query`.
        value: (Tk, G * d), in the layout of `key`.
        form: heads, what is seen, scale and dropout.
        bias: broadcastable to (B, H, Lq, Lk), added to the scaled products; None adds nothing.

    Returns:
        (Tq, H * d) in the layout of `query`, heads side by side.

    Raises:
        ValueError: causal, and rows of queries and keys end at different places.
    """
    _check_causal(query.layout, key.layout, form.causal)
    chosen = _CHOSEN.get()
    run = KERNELS[_fastest(query, form, bias) if chosen == "auto" else chosen]
    return run(query, key, value, form, bias)


@contextmanager
def kernel(name: str) -> Iterator[None]:
    """Compute attention with one kernel inside a `with` block.

    Args:
        name: "sdpa", "eager", "varlen" or "auto". The default, auto, takes the fastest: varlen
            where the device, the precision and the lack of dropout allow it, eager for dropout on
            a CPU, else sdpa.
    """
    if name != "auto" and name not in KERNELS:
        raise ValueError(f"kernel must be one of auto, {', '.join(KERNELS)}; got {name!r}.")
    token = _CHOSEN.set(name)
    try:
        yield
    finally:
        _CHOSEN.reset(token)


@contextmanager
def watched(look: Callable[[Tensor], None]) -> Iterator[None]:
    """Compute attention by the eager kernel inside a `with` block, and show what it weighs by.

    Args:
        look: is given the weights (B, H, Lq, Lk) of each attention, in the order in which they are
            computed, before dropout; gradients flow through them.
    """
    token = _LOOK.set(look)
    try:
        with kernel("eager"):
            yield
    finally:
        _LOOK.reset(token)


def attention_weights(query: Ragged, key: Ragged, form: Form, bias: Tensor | None = None) -> Tensor:
    """softmax(Q K^T * scale + bias) without dropout, (B, H, Lq, Lk) float32.

    Zero where a key is not seen; what stands in the rows of queries behind the end of theirs means
    nothing.
    """
    with torch.autocast(query.values.device.type, enabled=False):
        queries = heads(query, form.num_heads).float()
        keys = _shared(heads(key, form.key_heads).float(), form)
        scores = (queries * _scale(queries, form)) @ keys.transpose(-1, -2)
        added = visibility(query.layout, key.layout, form, torch.float32)
        for term in (bias, added):  # added, because filling would keep the mask for the backward
            scores = scores if term is None else scores + term
        return scores.softmax(-1)


def mix(queries: Tensor, keys: Tensor, values: Tensor, form: Form, added: Tensor | None) -> Tensor:
    """torch's fused attention on padded heads.

    Args:
        queries: (B, H, Lq, d).
        keys: (B, G, Lk, d).
        values: (B, G, Lk, d).
        form: read for scale and dropout only.
        added: broadcastable to (B, H, Lq, Lk), added to the scaled products; see `visibility`.

    Returns:
        (B, H, Lq, d).
    """
    return F.scaled_dot_product_attention(
        queries,
        _shared(keys, form),
        _shared(values, form),
        added,
        form.dropout,
        scale=form.scale,
    )


def heads(x: Ragged, num_heads: int) -> Tensor:
    """(T, num_heads * d) packed to (B, num_heads, L, d) padded."""
    padded = x.padded()
    return padded.view(*padded.shape[:2], num_heads, -1).transpose(1, 2)


def visibility(
    queries: Layout, keys: Layout, form: Form, dtype: torch.dtype = torch.float32
) -> Tensor | None:
    """0 where a query sees a key and -inf where not, broadcastable to (B, H, Lq, Lk).

    None: all see all. A query behind the end of its row sees something, so that no softmax is over
    nothing: what comes of it is thrown away, and a NaN would come back in the gradient.
    """
    _check_causal(queries, keys, form.causal)

    def make() -> Tensor | None:
        seen = _seen(queries, keys, form)
        if seen is None:
            return None
        return torch.zeros_like(seen, dtype=dtype).masked_fill_(~seen, -math.inf)

    if queries is not keys:
        return make()
    return keys.once(("visibility", form.causal, form.reach, dtype), make)


def _seen(queries: Layout, keys: Layout, form: Form) -> Tensor | None:
    """Bool, broadcastable to (B, H, Lq, Lk): which key a query sees. None: all see all."""
    inside = None if keys.uniform else keys.mask[:, None, None, :]
    if not form.causal and form.reach is None:
        return inside
    distance = queries.padded_positions[:, None, :, None] - keys.padded_positions[:, None, None, :]
    seen = distance.abs() <= (keys.longest if form.reach is None else form.reach)
    if form.causal:  # a row's padding comes after all its queries, so this hides it
        seen = seen & (distance >= 0)
    elif inside is not None:
        seen = seen & inside
    if form.reach is not None and not queries.uniform:
        seen = seen | ~queries.mask[:, None, :, None]
    return seen


def _eager(query: Ragged, key: Ragged, value: Ragged, form: Form, bias: Tensor | None) -> Tensor:
    weights = attention_weights(query, key, form, bias)
    _LOOK.get()(weights)
    weights = dropout(weights, form.dropout)
    with torch.autocast(query.values.device.type, enabled=False):
        mixed = weights @ _shared(heads(value, form.key_heads).float(), form)
    return packed(mixed, query.layout).to(query.values.dtype)


def _sdpa(query: Ragged, key: Ragged, value: Ragged, form: Form, bias: Tensor | None) -> Tensor:
    queries = heads(query, form.num_heads)
    keys, values = (heads(x, form.key_heads) for x in (key, value))
    device, dtype = queries.device.type, queries.dtype
    # The backward of fused attention in bfloat16 was measured 15 times slower than in float32 on
    # CPUs, whatever they gain on products.
    exact = device == "cpu" and dtype != torch.float32
    if exact:
        queries, keys, values = queries.float(), keys.float(), values.float()
    with torch.autocast(device, enabled=torch.is_autocast_enabled(device) and not exact):
        if _plainly_causal(query.layout, key.layout, form) and bias is None:
            keys, values = _shared(keys, form), _shared(values, form)
            mixed = F.scaled_dot_product_attention(
                queries, keys, values, None, form.dropout, is_causal=True, scale=form.scale
            )
        else:
            bias = None if bias is None else bias.to(queries.dtype)  # one made in bfloat16
            added = _sum(visibility(query.layout, key.layout, form, queries.dtype), bias)
            mixed = mix(queries, keys, values, form, added)
    return packed(mixed, query.layout).to(dtype)


def _varlen(query: Ragged, key: Ragged, value: Ragged, form: Form, bias: Tensor | None) -> Tensor:
    varlen_attn = varlen_attention()
    assert varlen_attn is not None, "this torch has no torch.nn.attention.varlen"
    assert not form.dropout and bias is None, "varlen knows no dropout and no bias"
    queries = query.values.view(query.layout.total, form.num_heads, -1)
    keys, values = (x.values.view(x.layout.total, form.key_heads, -1) for x in (key, value))
    reach = -1 if form.reach is None else form.reach
    mixed = varlen_attn(
        queries,
        keys,
        values,
        query.layout.offsets.int(),
        key.layout.offsets.int(),
        query.layout.longest,
        key.layout.longest,
        scale=form.scale,
        window_size=(reach, 0 if form.causal else reach),
        enable_gqa=form.key_heads != form.num_heads,
    )
    assert isinstance(mixed, Tensor), "only the mix was asked for"
    return mixed.flatten(1)


KERNELS: dict[str, Kernel] = {"sdpa": _sdpa, "eager": _eager, "varlen": _varlen}
_CHOSEN: ContextVar[str] = ContextVar("attention_kernel", default="auto")


def _unseen(weights: Tensor) -> None:
    """Nobody looks."""


_LOOK: ContextVar[Callable[[Tensor], None]] = ContextVar("attention_look", default=_unseen)


def _fastest(query: Ragged, form: Form, bias: Tensor | None) -> str:
    values = query.values
    if values.is_cuda:
        half = values.dtype in (torch.float16, torch.bfloat16)
        fits = values.shape[1] // form.num_heads % 8 == 0 and not form.dropout and bias is None
        return "varlen" if half and fits and varlen_attention() is not None else "sdpa"
    # On CPUs torch's fused attention has no dropout: it falls back to the formula, with the slow
    # dropout, and was measured a third slower than ours.
    return "eager" if values.device.type == "cpu" and form.dropout else "sdpa"


def packed(mixed: Tensor, layout: Layout) -> Tensor:
    """(B, H, L, d) padded to (T, H * d) packed."""
    return layout.pack(mixed.transpose(1, 2).flatten(2))


def _shared(keys: Tensor, form: Form) -> Tensor:
    """(B, G, Lk, d) to (B, H, Lk, d): each head of keys as often as queries share it."""
    if form.key_heads == form.num_heads:
        return keys
    return keys.repeat_interleave(form.num_heads // form.key_heads, 1)


def _scale(queries: Tensor, form: Form) -> float:
    return queries.shape[-1] ** -0.5 if form.scale is None else form.scale


def _sum(added: Tensor | None, bias: Tensor | None) -> Tensor | None:
    if bias is None:
        return added
    return bias if added is None else added + bias


def _plainly_causal(queries: Layout, keys: Layout, form: Form) -> bool:
    """Whether the fused kernel's own causality is right: rows begin at 0, any key before counts."""
    return form.causal and form.reach is None and queries.starts is None and keys.starts is None


def _check_causal(queries: Layout, keys: Layout, causal: bool) -> None:
    if causal and queries is not keys and not torch.equal(queries.ends, keys.ends):
        raise ValueError(
            "causal attention needs rows of queries and keys that end at the same place; got "
            f"{queries.ends.tolist()} and {keys.ends.tolist()}."
        )
