"""What each task without labels begins with: the network that it asks, on a stage's backbone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from headstart.data.text import Tokenizer, check_vocabulary
from headstart.errors import RecipeError
from headstart.models.checkpoint import LanguageCheckpoint, open_masked_model
from headstart.recipe import MaskedLm as MaskedLmValues
from headstart.tasks.masked_lm import MaskedLm
from headstart.tasks.task import Task
from headstart.training.bound import Given
from headstart.training.pretrained import Pretrained, Speaking


def begin_masked_lm(given: Given) -> Pretrained:
    """The backbone with its own head for hidden words, or a new one.

    Raises:
        CheckpointError: its family has no such head.
        RecipeError: its tokenizer has no token to hide others with.
    """
    values, opened = given.stage.task, open_masked_model(start_of(given))
    assert isinstance(values, MaskedLmValues)
    tokenizer = tokenizer_of(opened)
    if tokenizer.mask_id is None:
        raise RecipeError(
            f"stage {given.stage.name!r}, task: {opened.name}'s tokenizer has no mask token, so "
            "nothing can be hidden (masked-lm)."
        )
    task = MaskedLm(
        vocabulary=tokenizer.vocab_size,
        mask=tokenizer.mask_id,
        special=np.array(tokenizer.special_ids),
        share=values.share,
        masked=values.masked,
        random=values.random,
    )
    return pretrained(given, opened, opened.model, task, tokenizer)


def start_of(given: Given) -> str:
    """What the stage's backbone is opened as: what the stage before left, or the recipe's."""
    return given.recipe.backbone if given.parent is None else str(given.parent.folder)


def tokenizer_of(opened: LanguageCheckpoint[Any]) -> Tokenizer:
    """The tokenizer in the folder of what was opened, checked against its embeddings."""
    tokenizer = Tokenizer.open(opened.folder)
    check_vocabulary(tokenizer, opened.config["vocab_size"], opened.folder)
    return tokenizer


def pretrained(
    given: Given,
    opened: LanguageCheckpoint[Any],
    network: Speaking,
    task: Task,
    tokenizer: Tokenizer,
) -> Pretrained:
    """What a stage trains, of what was opened for it."""
    longest = network.backbone.max_positions
    asked = given.recipe.max_length
    if asked is not None and asked > longest:
        raise RecipeError(
            f"max_length: {asked} tokens do not fit; {opened.name} has {longest} positions."
        )
    return Pretrained(
        kind=given.stage.task.kind,
        network=network,
        task=task,
        tokenizer=tokenizer,
        max_length=asked or opened.max_length,
        origin=opened.folder,
        provenance={},
    )


BEGINNINGS: dict[str, Callable[[Given], Pretrained]] = {"masked-lm": begin_masked_lm}
"""By the kind of task."""
