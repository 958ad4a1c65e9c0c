"""What the first stage of a recipe begins with."""

from __future__ import annotations

import copy

from torch import nn

from headstart.data.text import Tokenizer, check_vocabulary
from headstart.errors import RecipeError
from headstart.models.backbone import Backbone
from headstart.models.checkpoint import Checkpoint
from headstart.models.network import POOLS, Network
from headstart.models.stretch import stretch
from headstart.recipe import Recipe
from headstart.tasks.classify import Classify
from headstart.training.model import Trained


def begin(checkpoint: Checkpoint, recipe: Recipe, labels: tuple[str, ...]) -> Trained:
    """A checkpoint with a pooling and a head: its own where the classes are the same, else new.

    Raises:
        RecipeError: max_length exceeds the backbone's positions, which cannot be stretched so far;
            or the pooling does not fit.
        CheckpointError: the tokenizer has tokens that the backbone has no embedding for.
    """
    backbone = copy.deepcopy(checkpoint.backbone)  # the next arm starts from the same checkpoint
    if recipe.positions is not None:
        _stretch(backbone, checkpoint.name, recipe.positions)
    if recipe.max_length is not None and recipe.max_length > backbone.max_positions:
        raise RecipeError(
            f"max_length: {recipe.max_length} tokens do not fit; {checkpoint.name} has "
            f"{backbone.max_positions} positions. Use that or less; or stretch them, where they "
            f"are learned: positions = {recipe.max_length}; or cut the texts into parts."
        )
    pooling = checkpoint.default_pooling if recipe.pooling == "auto" else recipe.pooling
    if pooling == "cls" and backbone.causal:
        raise RecipeError(
            f"pooling: cls reads the first token, which in a {backbone.family} has seen no other. "
            'Use "last" or "mean".'
        )
    pool = _pool(checkpoint, pooling)
    said = checkpoint.classifier if pooling == "family" else None
    own = checkpoint.head is not None and set(checkpoint.labels or ()) == set(labels)
    task = Classify(checkpoint.labels if own and checkpoint.labels else labels)
    widths, bias = (said.pooled_widths, said.head_bias) if said else (1, True)
    head = task.head(widths * backbone.width, bias)
    if own and checkpoint.head is not None:
        head.load_state_dict(checkpoint.head)
    tokenizer = Tokenizer.open(checkpoint.folder)
    if "vocab_size" in checkpoint.config:
        check_vocabulary(tokenizer, checkpoint.config["vocab_size"], checkpoint.folder)
    return Trained(
        network=Network(backbone, pool, head, checkpoint.dropout),
        tokenizer=tokenizer,
        task=task,
        max_length=recipe.max_length or recipe.positions or checkpoint.max_length,
        pooling=pooling,
        origin=checkpoint.folder,
    )


def _stretch(backbone: Backbone, name: str, positions: int) -> None:
    try:
        stretch(backbone, positions)
    except ValueError as error:
        raise RecipeError(f"positions: {error} ({name}). Leave the key out.") from None


def _pool(checkpoint: Checkpoint, pooling: str) -> nn.Module:
    """A new pooling, or the family's own with the weights that the checkpoint has of it."""
    if pooling in POOLS:
        return POOLS[pooling]()
    return copy.deepcopy(checkpoint.pooler) or checkpoint.fresh_pooler()
