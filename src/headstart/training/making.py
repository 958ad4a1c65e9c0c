"""Backbones that a recipe asks for and nobody has yet: from nothing, or with more words."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from headstart.data.atomic import folder_atomically
from headstart.data.batches import derive_seed
from headstart.data.examples import Examples, joined
from headstart.data.extending import extend
from headstart.data.text import Tokenizer
from headstart.data.vocabulary import NAMED, save_vocabulary, train_vocabulary
from headstart.errors import RecipeError
from headstart.models.checkpoint import open_checkpoint
from headstart.models.families import FAMILIES, family_of
from headstart.models.family import Family
from headstart.models.grow import grow
from headstart.models.scratch import save_scratch
from headstart.models.weights import read_json
from headstart.recipe import NEW, SIZES, Recipe, is_new, members_of, reads_labels
from headstart.recipe.vocabulary import USUAL, USUAL_SIZE
from headstart.training.kept import MADE, code_digest
from headstart.training.shop import Shop


def family_asked(recipe: Recipe, shop: Shop) -> Family:
    """The family of a recipe's backbone, be it there or to be made.

    Raises:
        CheckpointError: there is no such backbone.
    """
    if is_new(recipe.backbone):
        return FAMILIES[SIZES[recipe.backbone.removeprefix(NEW)].family]
    return family_of(shop.checkpoint(recipe.backbone).config)


def made(recipe: Recipe, data: Mapping[str, Examples], shop: Shop) -> Recipe:
    """The recipe on a backbone that is there: itself, or one made for it and kept in the cache.

    Vocabularies are learned from the texts of stages without labels; where there is none, from all.

    Args:
        data: the rows that are trained on, by data set.

    Raises:
        DataError: the texts are too few for the vocabulary asked for.
        CheckpointError: the backbone's vocabulary cannot be extended.
    """
    if is_new(recipe.backbone):
        return _found(recipe, shop, _corpus(recipe, data), _from_nothing)
    if recipe.vocabulary.extend is not None:
        return _found(recipe, shop, _corpus(recipe, data), _extended)
    return recipe


def _corpus(recipe: Recipe, data: Mapping[str, Examples]) -> Examples:
    names = {
        name
        for stage in recipe.stage
        for member in members_of(stage)
        if not reads_labels(member.task)
        for name in member.data_names
    }
    return joined([rows for name, rows in data.items() if name in names or not names])


Maker = Callable[[Recipe, Shop, Examples, Path], str]


def _found(recipe: Recipe, shop: Shop, texts: Examples, make: Maker) -> Recipe:
    """The recipe on what was made before, or is now; whatever it depends on is in its name."""
    start = "" if is_new(recipe.backbone) else shop.checkpoint(recipe.backbone).digest
    what = (recipe.backbone, start, recipe.vocabulary.model_dump_json(), texts.texts_digest,
            recipe.seed if is_new(recipe.backbone) else 0, code_digest())  # fmt: skip
    digest = hashlib.sha256(repr(what).encode()).hexdigest()
    place = shop.cache / "backbones" / digest
    if not (place / MADE).exists():
        with folder_atomically(place) as fresh:
            said = make(recipe, shop, texts, fresh)
            described = {"name": recipe.backbone, "what": f"{recipe.backbone}: {said}"}
            (fresh / MADE).write_text(json.dumps(described) + "\n", encoding="utf-8")
    os.utime(place)  # the least recently used goes first when room is made
    shop.progress.say(json.loads((place / MADE).read_text(encoding="utf-8"))["what"])
    return recipe.model_copy(
        update={"backbone": str(place), "vocabulary": type(recipe.vocabulary)()}
    )


def _from_nothing(recipe: Recipe, shop: Shop, texts: Examples, fresh: Path) -> str:
    """New weights, and a vocabulary of the texts."""
    size, asked = SIZES[recipe.backbone.removeprefix(NEW)], recipe.vocabulary
    kind, lowercase = asked.kind or USUAL[size.family], asked.lowercase is not False
    built = train_vocabulary(texts.texts, family=size.family, kind=kind,
                             size=asked.size or USUAL_SIZE, lowercase=lowercase)  # fmt: skip
    place = fresh / "vocabulary"
    place.mkdir()
    save_vocabulary(built, place, family=size.family, lowercase=lowercase)
    vocabulary = built.get_vocab()
    ids = {name: vocabulary[text] for name, text in NAMED[size.family].items()}
    torch.manual_seed(derive_seed("from nothing", recipe.seed))
    save_scratch(fresh, size, built.get_vocab_size(), ids, place)
    shutil.rmtree(place)
    return f"from nothing, {built.get_vocab_size():,} {kind} tokens learned from {texts.name}"


def _extended(recipe: Recipe, shop: Shop, texts: Examples, fresh: Path) -> str:
    """A checkpoint with the most useful new tokens of the texts."""
    folder = shop.checkpoint(recipe.backbone).folder
    library = Tokenizer.open(folder).library
    if library is None:
        raise RecipeError(
            f"vocabulary.extend: the vocabulary of {recipe.backbone} cannot be extended: two sides "
            "share it. Leave the key out."
        )
    assert recipe.vocabulary.extend is not None
    found = extend(library, texts.texts, recipe.vocabulary.extend)
    grow(folder, fresh, found.stand_for, found.first)
    (fresh / "tokenizer.json").write_text(found.content, encoding="utf-8")
    old = folder / "tokenizer_config.json"
    settings: dict[str, Any] = read_json(old) if old.exists() else {}
    (fresh / old.name).write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    _prove(fresh, found.tokens, found.first)
    return f"{len(found.tokens):,} tokens more, such as {', '.join(found.tokens[:5])}"


def _prove(folder: Path, tokens: tuple[str, ...], first: int) -> None:
    """Whether the folder opens, and its tokenizer knows the new tokens by their places."""
    vocabulary = Tokenizer.open(folder).vocabulary
    wrong = [t for number, t in enumerate(tokens, first) if vocabulary.get(t) != number]
    assert not wrong, f"new tokens have other ids than their vectors: {wrong[:5]}"
    open_checkpoint(folder)
