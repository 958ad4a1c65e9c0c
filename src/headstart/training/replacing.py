"""What `replaced-token` begins with: a backbone that judges, and a generator on its embeddings."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from headstart.data.corpus import framed
from headstart.models.checkpoint import open_masked_model
from headstart.models.electra import ReplacedTokens
from headstart.models.network import POOLS
from headstart.models.save import save_backbone
from headstart.models.weights import read_weights, write_weights
from headstart.recipe.tasks import ReplacedToken as ReplacedTokenValues
from headstart.tasks.masked_lm import MaskedLm
from headstart.tasks.replaced_token import ReplacedToken
from headstart.training.bound import Given
from headstart.training.openings import (
    mask_of,
    masked_start,
    pretrained,
    start_of,
    tokenizer_of,
)
from headstart.training.pretrained import Keeping, Pretrained

HEAD_FILE = "replaced_token.safetensors"
"""Holds generator and detector, beside the backbone that they are of."""


def begin_replaced_token(given: Given) -> Pretrained:
    """The backbone as what judges, and a generator: those of the stage before where it left them.

    Else the generator is the backbone's own first third of blocks with its head for hidden words,
    and what judges is new.

    Raises:
        CheckpointError: its family has no head for hidden words.
        RecipeError: its tokenizer has no token to hide others with.
    """
    values, start = given.stage.task, start_of(given)
    assert isinstance(values, ReplacedTokenValues)
    checkpoint = given.shop.checkpoint(start)
    left = (checkpoint.folder / HEAD_FILE).exists()
    opened = open_masked_model(start) if left else masked_start(given)
    network = ReplacedTokens(opened.model)
    if left:
        network.load_head(read_weights([checkpoint.folder / HEAD_FILE]))
    tokenizer = tokenizer_of(opened)
    hiding = MaskedLm(
        vocabulary=tokenizer.vocab_size,
        mask=mask_of(given, tokenizer),
        special=np.array(tokenizer.special_ids),
        share=values.share,
        masked=1.0,
        random=0.0,
    )
    asked = given.recipe.pooling
    pooling = asked if asked in POOLS else checkpoint.pooling or "family"
    keeping = Keeping(partial(_write, pooling, checkpoint.dropout), _read)
    task = ReplacedToken(hiding, values.weight)
    return pretrained(given, opened, network, task, tokenizer, framed, keeping)


def _write(pooling: str, dropout: float, folder: Path, model: Pretrained) -> None:
    network = model.network
    assert isinstance(network, ReplacedTokens)
    save_backbone(folder, network.backbone, source=model.origin, pooling=pooling,
                  max_length=model.max_length, dropout=dropout)  # fmt: skip
    write_weights(folder / HEAD_FILE, network.head_state())


def _read(folder: Path) -> ReplacedTokens:
    network = ReplacedTokens(open_masked_model(folder).model)
    network.load_head(read_weights([folder / HEAD_FILE]))
    return network.eval()
