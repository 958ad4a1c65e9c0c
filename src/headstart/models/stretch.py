"""More positions than a backbone was trained with.

Shapes: P places, D width.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.models.backbone import Backbone
from headstart.nn.position import LearnedPositions


def stretch(backbone: Backbone, positions: int) -> None:
    """Give a backbone with learned positions more of them, by linear interpolation.

    The trained vectors are spread over the new places, first on first and last on last, so that
    each new place lies between two that were trained; ViT does the same with its patches
    (Dosovitskiy et al. 2021, section 3.2). Training afterwards is advised: nearby places now
    differ less than they did.

    Args:
        backbone: changed in place.
        positions: longest row in tokens from now on, more than `backbone.max_positions`.

    Raises:
        ValueError: the backbone has no learned positions to stretch, or has that many already.
    """
    embeddings = getattr(backbone, "embeddings", None)
    table = getattr(embeddings, "position", None)
    config: Any = getattr(backbone, "config", None)
    if not isinstance(table, LearnedPositions) or not hasattr(config, "max_positions"):
        raise ValueError(
            f"a {backbone.family} has no table of positions to stretch; only learned positions can "
            "be, as BERT, RoBERTa, DistilBERT and GPT-2 have them"
        )
    if positions <= backbone.max_positions:
        raise ValueError(
            f"{positions} positions are not more than the {backbone.max_positions} there are"
        )
    reserved = len(table.weight) - backbone.max_positions  # RoBERTa's, in front, are no token's
    front, trained = table.weight.data[:reserved], table.weight.data[reserved:]
    table.weight = nn.Parameter(torch.cat([front, interpolate(trained, positions)]))
    table.num_embeddings = len(table.weight)
    config = replace(config, max_positions=reserved + positions)
    backbone.config = config
    backbone.max_positions = positions


def interpolate(vectors: Tensor, count: int) -> Tensor:
    """(P, D) to (count, D): linear between neighbours, ends on ends."""
    stretched = F.interpolate(vectors.T[None], size=count, mode="linear", align_corners=True)
    return stretched[0].T.contiguous()
