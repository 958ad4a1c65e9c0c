"""What `contrast` begins with: a backbone that gives a vector for each text."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from headstart.data.pair import Pair, are_pairs
from headstart.data.text import Tokenizer
from headstart.data.tokens import Tokens
from headstart.errors import RecipeError
from headstart.models.checkpoint import Checkpoint, open_checkpoint
from headstart.models.embedder import Embedder
from headstart.models.family import Family
from headstart.models.network import POOLS
from headstart.models.save import save_backbone
from headstart.recipe.tasks import Contrast as ContrastValues
from headstart.tasks.contrast import Contrast
from headstart.training.bound import Given
from headstart.training.openings import pretrained, start_of, tokenizer_of
from headstart.training.pretrained import Keeping, Pretrained


def begin_contrast(given: Given) -> Pretrained:
    """The backbone with a pooling.

    Raises:
        CheckpointError: it cannot be opened.
        RecipeError: the pooling has weights, which would be lost.
    """
    values = given.stage.task
    assert isinstance(values, ContrastValues)
    opened = open_checkpoint(start_of(given))
    network = Embedder(opened.backbone, _pooling(given, opened))
    tokenizer = tokenizer_of(opened)
    keeping = Keeping(partial(_write, opened.dropout), _read)
    model = pretrained(given, opened, network, Contrast(values.temperature), tokenizer,
                       keeping=keeping)  # fmt: skip
    if are_pairs(given.rows.texts):
        model.encode = partial(encode_sides, tokenizer)
    return model


def embeds(family: Family) -> bool:
    """Whether a family can give a vector for a text."""
    return family.kind.startswith("text")


def encode_sides(tokenizer: Tokenizer, texts: Sequence[str], max_length: int) -> Tokens:
    """Tokens of N pairs, both texts framed as single ones are, the second behind the first.

    Args:
        tokenizer: of the backbone.
        texts: N pairs.
        max_length: tokens of each text at most.

    Raises:
        DataError: as `Tokenizer.encode`.
    """
    pairs = [text for text in texts if isinstance(text, Pair)]
    assert len(pairs) == len(texts), "pairs and single texts are told apart where they are read"
    sides = [
        tokenizer.encode([getattr(pair, side) for pair in pairs], max_length)
        for side in ("first", "second")
    ]
    lengths = np.stack([side.lengths for side in sides], axis=1)  # (N, 2)
    rows = [np.split(side.values, side.offsets[1:-1]) for side in sides]
    return Tokens(
        values=np.concatenate([part for pair in zip(*rows, strict=True) for part in pair]),
        offsets=np.concatenate([[0], np.cumsum(lengths.sum(axis=1))]),
        full_lengths=sides[0].full_lengths + sides[1].full_lengths,
        segments=np.repeat(np.tile([0, 1], len(pairs)), lengths.ravel()).astype(np.int32),
    )


def _pooling(given: Given, opened: Checkpoint) -> str:
    """The recipe's pooling; "auto" is the folder's, else "mean", or "last" where that saw all."""
    asked = given.recipe.pooling
    if asked == "auto":
        return opened.pooling or ("last" if opened.backbone.causal else "mean")
    if asked not in POOLS:
        raise RecipeError(
            f"stage {given.stage.name!r}, task: contrast leaves a backbone, and pooling "
            f"{asked!r} has weights of its own, which would be lost. Choose pooling = "
            f"{' or '.join(map(repr, POOLS))}."
        )
    if asked == "cls" and opened.backbone.causal:
        raise RecipeError(
            f"pooling: cls reads the first token, which in a {opened.family} has seen no other. "
            'Use "last" or "mean".'
        )
    return asked


def _write(dropout: float, folder: Path, model: Pretrained) -> None:
    network = model.network
    assert isinstance(network, Embedder)
    save_backbone(folder, network.backbone, source=model.origin, pooling=network.pooling,
                  max_length=model.max_length, dropout=dropout)  # fmt: skip


def _read(folder: Path) -> Embedder:
    opened = open_checkpoint(folder)
    assert opened.pooling is not None, "it was written with one"
    return Embedder(opened.backbone, opened.pooling)
