"""Multi-head attention over ragged rows (Vaswani et al. 2017, section 3.2).

softmax(Q K^T / sqrt(d)) V in every head, heads side by side, then W^O. One call, `attend`, with
three kernels behind it:

    sdpa     torch's fused attention; pads inside, because its input is rectangular
    eager    the formula as printed; it has a second derivative
    varlen   packed rows as they are, no padding at all; CUDA in half precision

Shapes: B rows, Tq and Tk tokens of all rows (queries, keys), Lq and Lk tokens in the longest row,
D width, H heads, d = D / H width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn
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
        causal: a query sees the keys at its own place and before; rows of queries and keys must
            then be equally long.
        dropout: probability in [0, 1) of zeroing an attention probability, as BERT does it.
    """

    num_heads: int
    causal: bool = False
    dropout: float = 0.0


Kernel = Callable[[Ragged, Ragged, Ragged, Form], Tensor]


def attend(query: Ragged, key: Ragged, value: Ragged, form: Form) -> Tensor:
    """Mix values by how well their keys answer each query, in the kernel in force.

    Args:
        query: (Tq, D).
        key: (Tk, D), as many rows as `query`.
        value: (Tk, D), in the layout of `key`.
        form: heads, causality and dropout.

    Returns:
        (Tq, D) in the layout of `query`, heads side by side.

    Raises:
        ValueError: causal, and rows of queries and keys differ in length.
    """
    _check_causal(query.layout, key.layout, form.causal)
    chosen = _CHOSEN.get()
    run = KERNELS[_fastest(query, form) if chosen == "auto" else chosen]
    return run(query, key, value, form)


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


def attention_weights(query: Ragged, key: Ragged, form: Form) -> Tensor:
    """softmax(Q K^T / sqrt(d)) without dropout, (B, H, Lq, Lk) float32.

    Zero where a key lies behind the end of its row; what stands in the rows of queries behind
    the end of theirs means nothing.
    """
    with torch.autocast(query.values.device.type, enabled=False):
        queries, keys = _heads(query, form).float(), _heads(key, form).float()
        scores = (queries * queries.shape[-1] ** -0.5) @ keys.transpose(-1, -2)
        mask = _visible(query.layout, key.layout, form.causal)
        if mask is not None:  # added, because filling would keep the mask for the backward
            scores = scores + torch.zeros_like(mask, dtype=scores.dtype).masked_fill(
                ~mask, -math.inf
            )
        return scores.softmax(-1)


def _eager(query: Ragged, key: Ragged, value: Ragged, form: Form) -> Tensor:
    weights = dropout(attention_weights(query, key, form), form.dropout)
    with torch.autocast(query.values.device.type, enabled=False):
        mixed = weights @ _heads(value, form).float()
    return _packed(mixed, query.layout).to(query.values.dtype)


def _sdpa(query: Ragged, key: Ragged, value: Ragged, form: Form) -> Tensor:
    queries, keys, values = (_heads(x, form) for x in (query, key, value))
    device, dtype = queries.device.type, queries.dtype
    # The backward of fused attention in bfloat16 was measured 15 times slower than in float32 on
    # CPUs, whatever they gain on products.
    exact = device == "cpu" and dtype != torch.float32
    if exact:
        queries, keys, values = queries.float(), keys.float(), values.float()
    # A row's padding comes after all its queries, so causality alone hides it.
    mask = None if form.causal else _visible(query.layout, key.layout, causal=False)
    with torch.autocast(device, enabled=torch.is_autocast_enabled(device) and not exact):
        mixed = F.scaled_dot_product_attention(
            queries, keys, values, mask, form.dropout, is_causal=form.causal
        )
    return _packed(mixed, query.layout).to(dtype)


def _varlen(query: Ragged, key: Ragged, value: Ragged, form: Form) -> Tensor:
    varlen_attn = varlen_attention()
    assert varlen_attn is not None, "this torch has no torch.nn.attention.varlen"
    assert not form.dropout, "varlen knows no dropout"
    queries, keys, values = (
        x.values.view(x.layout.total, form.num_heads, -1) for x in (query, key, value)
    )
    mixed = varlen_attn(
        queries,
        keys,
        values,
        query.layout.offsets.int(),
        key.layout.offsets.int(),
        query.layout.longest,
        key.layout.longest,
        window_size=(-1, 0) if form.causal else (-1, -1),
    )
    assert isinstance(mixed, Tensor), "only the mix was asked for"
    return mixed.flatten(1)


KERNELS: dict[str, Kernel] = {"sdpa": _sdpa, "eager": _eager, "varlen": _varlen}
_CHOSEN: ContextVar[str] = ContextVar("attention_kernel", default="auto")


def _fastest(query: Ragged, form: Form) -> str:
    values = query.values
    if values.is_cuda:
        half = values.dtype in (torch.float16, torch.bfloat16)
        fits = values.shape[1] // form.num_heads % 8 == 0 and not form.dropout
        return "varlen" if half and fits and varlen_attention() is not None else "sdpa"
    # On CPUs torch's fused attention has no dropout: it falls back to the formula, with the slow
    # dropout, and was measured a third slower than ours.
    return "eager" if values.device.type == "cpu" and form.dropout else "sdpa"


def _heads(x: Ragged, form: Form) -> Tensor:
    """(T, D) packed to (B, H, L, d) padded."""
    padded = x.padded()
    return padded.view(*padded.shape[:2], form.num_heads, -1).transpose(1, 2)


def _packed(mixed: Tensor, layout: Layout) -> Tensor:
    """(B, H, L, d) padded to (T, D) packed."""
    return layout.pack(mixed.transpose(1, 2).flatten(2))


def _check_causal(queries: Layout, keys: Layout, causal: bool) -> None:
    if causal and queries is not keys and not torch.equal(queries.lengths, keys.lengths):
        raise ValueError(
            "causal attention needs rows of queries and keys of the same length; got "
            f"{queries.lengths.tolist()} and {keys.lengths.tolist()}."
        )


def _visible(queries: Layout, keys: Layout, causal: bool) -> Tensor | None:
    """Bool, broadcastable to (B, H, Lq, Lk): which key a query sees. None: all see all."""
    _check_causal(queries, keys, causal)
    if causal:
        places = torch.arange(keys.longest, device=keys.device)
        return places[:, None] >= places
    return None if keys.uniform else keys.mask[:, None, None, :]


class MultiHeadAttention(nn.Module):
    """Queries from one text look at the keys of the same text or of another.

    Args:
        width: D, a multiple of `num_heads`.
        num_heads: H.
        dropout: probability in [0, 1) of zeroing an attention probability while training.
        bias: whether the four linear maps add one.
        causal: a query sees only the keys at its own place and before.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        *,
        dropout: float = 0.0,
        bias: bool = True,
        causal: bool = False,
    ) -> None:
        super().__init__()
        if width % num_heads:
            raise ValueError(f"width must be a multiple of num_heads={num_heads}; got {width}.")
        self.num_heads, self.dropout, self.causal = num_heads, dropout, causal
        self.query = nn.Linear(width, width, bias)
        self.key = nn.Linear(width, width, bias)
        self.value = nn.Linear(width, width, bias)
        self.output = nn.Linear(width, width, bias)

    def forward(self, x: Ragged, memory: Ragged) -> Tensor:
        """Return (Tq, D) in the layout of `x`.

        Args:
            x: (Tq, D) what asks.
            memory: (Tk, D) what is looked at; `x` itself for self-attention.
        """
        mixed = attend(
            x.replace(self.query(x.values)),
            memory.replace(self.key(memory.values)),
            memory.replace(self.value(memory.values)),
            self.form,
        )
        return self.output(mixed)

    @property
    def form(self) -> Form:
        """Heads and causality, with dropout while training."""
        return Form(self.num_heads, self.causal, self.dropout if self.training else 0.0)

    def weights(self, x: Ragged, memory: Ragged) -> Tensor:
        """How much each query looks at each key, (B, H, Lq, Lk): see `attention_weights`."""
        query, key = x.replace(self.query(x.values)), memory.replace(self.key(memory.values))
        return attention_weights(query, key, self.form)
