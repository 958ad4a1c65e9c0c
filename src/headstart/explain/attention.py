"""What a Transformer looks at: the weights of every layer and head.

Only here, and where a gradient through the weights is wanted, attention is computed by the eager
kernel; a model is not changed for it.

Shapes: B rows, H heads, L tokens of a row (Ls and Lt: source and target).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from headstart.errors import CheckpointError
from headstart.models.backbone import Backbone
from headstart.models.language import TextToText
from headstart.nn.attention import watched
from headstart.nn.ragged import Ragged


@dataclass(frozen=True, eq=False)
class DecoderAttention:
    """What an encoder with a decoder looks at.

    Attributes:
        encoder: of each block (B, H, Ls, Ls).
        decoder: of each block (B, H, Lt, Lt); each token sees itself and those before.
        cross: of each block (B, H, Lt, Ls), from what is written to what was read.
    """

    encoder: list[Tensor]
    decoder: list[Tensor]
    cross: list[Tensor]


def run_watched(backbone: Backbone, x: Ragged) -> tuple[Ragged, list[Tensor]]:
    """Run the blocks one by one and keep what each looks at; gradients flow where they are on.

    Args:
        backbone: in eval mode.
        x: what the first block reads.

    Returns:
        The last block's output (T, D), and of each block (B, H, L, P + L), where P is the length of
        a trained prefix, mostly 0: see `within`.

    Raises:
        CheckpointError: its attention is computed elsewhere, as in models of the bridge.
    """
    kept: list[Tensor] = []
    for block in backbone.blocks:
        seen, x = _watch(block, x)
        kept += seen
    if not kept:
        raise CheckpointError(
            f"a {backbone.family} opens by the bridge to transformers, where attention is computed "
            "out of sight. Leave --attention out, and take a --method that does without, such as "
            "occlusion."
        )
    return x, kept


@torch.no_grad()
def encoder_attention(
    backbone: Backbone, tokens: Ragged, segments: Tensor | None = None
) -> list[Tensor]:
    """What each block of an encoder or a decoder alone looks at.

    Args:
        backbone: in eval mode.
        tokens: (T,) int64; or patches of images (T, C * p * p).
        segments: (T,) int64 where there are pairs.

    Returns:
        For each block (B, H, L, L) float32: how much each query, in the second to last place, looks
        at each key, in the last. Of images, L counts the tokens before the patches too. Rows sum to
        1, or to less where a trained prefix is looked at too.

    Raises:
        CheckpointError: see `run_watched`.
    """
    return [within(layer) for layer in run_watched(backbone, backbone.embed(tokens, segments))[1]]


@torch.no_grad()
def text_to_text_attention(model: TextToText, source: Ragged, target: Ragged) -> DecoderAttention:
    """What an encoder with a decoder looks at while it reads a source and writes a target.

    Args:
        model: in eval mode.
        source: (Ts,) int64.
        target: (Tt,) int64, the start of every target before its first word.
    """
    read, seen_by_encoder = run_watched(model.backbone, model.backbone.embed(source))
    memory = read.replace(model.backbone.finish(read.values))
    x = model.decoder.embeddings(target)
    decoder, cross = [], []
    for block in model.decoder.blocks:
        seen, x = _watch(block, x, memory)
        assert len(seen) == 2, "a decoder block looks at its own text, then at the memory"
        decoder.append(seen[0])
        cross.append(seen[1])
    return DecoderAttention([within(layer) for layer in seen_by_encoder], decoder, cross)


def within(weights: Tensor) -> Tensor:
    """(..., L, P + L) without the P keys of a trained prefix, which come first: (..., L, L)."""
    return weights[..., -weights.shape[-2] :]


def rollout(weights: Sequence[Tensor]) -> Tensor:
    """How much of each token arrives at each place behind the last block (Abnar & Zuidema 2020).

    Attention is averaged over heads, mixed half and half with the residual stream, and multiplied
    over layers: section 3.1 of https://arxiv.org/abs/2005.00928.

    Args:
        weights: of each block (H, L, L), or (B, H, L, L).

    Returns:
        (L, L), or (B, L, L); rows sum to 1.
    """
    result: Tensor | None = None
    for layer in weights:
        mean = layer.mean(-3)
        mixed = mean + torch.eye(mean.shape[-1], device=mean.device)
        mixed = mixed / mixed.sum(-1, keepdim=True)
        result = mixed if result is None else mixed @ result
    assert result is not None, "a backbone in parts has blocks"
    return result


def _watch(block: nn.Module, *given: Ragged) -> tuple[list[Tensor], Ragged]:
    """What a block looks at, in the order in which it looks, and its output."""
    seen: list[Tensor] = []
    with watched(seen.append):
        out = block(*given)
    return seen, out
