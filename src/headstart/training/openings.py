"""What a stage without labels opens, and what it trains of that.

What is put on a backbone, such as a head for hidden words, is that of the stage before; where it
left none, that of the last stage that had one, or of the recipe's checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from headstart.data.corpus import Cutting
from headstart.data.text import Tokenizer, check_vocabulary
from headstart.errors import RecipeError
from headstart.models.chain import Chain
from headstart.models.checkpoint import (
    LanguageCheckpoint,
    open_checkpoint,
    open_language_model,
    open_masked_model,
)
from headstart.models.families import family_of
from headstart.models.language import LanguageModel, MaskedLanguageModel, TextToText
from headstart.models.stretch import stretch
from headstart.tasks.task import Task
from headstart.training.bound import Given
from headstart.training.kept import StageResult, before
from headstart.training.pretrained import WORDS, Keeping, Pretrained


class Opened(Protocol):
    """Whatever was opened for a stage."""

    @property
    def folder(self) -> Path:
        """Where it lies."""

    @property
    def name(self) -> str:
        """What it was asked for as."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Values of its config.json."""

    @property
    def max_length(self) -> int:
        """Longest text in tokens."""


def masked_start(given: Given) -> LanguageCheckpoint[MaskedLanguageModel]:
    """The backbone with a head for hidden words.

    Raises:
        CheckpointError: its family has no such head.
    """
    opened = open_masked_model(start_of(given))
    if opened.fresh:
        _take_head(given, opened)
    return opened


def _take_head(given: Given, opened: LanguageCheckpoint[MaskedLanguageModel]) -> None:
    """Give a model without a head for hidden words the last one there was."""
    say, name = given.shop.progress.say, given.stage.name
    for place, title in _earlier(given):
        other = open_masked_model(place)
        state, wanted = other.model.head.state_dict(), opened.model.head.state_dict()
        fits = {n: t.shape for n, t in state.items()} == {n: t.shape for n, t in wanted.items()}
        if not other.fresh and fits:
            opened.model.head.load_state_dict(state)
            say(f"{name}: its head for hidden words is that of {title}")
            return
    say(f"{name}: {given.recipe.backbone} has no head for hidden words, so that starts anew")


def mask_of(given: Given, tokenizer: Tokenizer) -> int:
    """The token that hides others.

    Raises:
        RecipeError: the tokenizer has none.
    """
    if tokenizer.mask_id is None:
        raise RecipeError(
            f"stage {given.stage.name!r}, task: {given.recipe.backbone}'s tokenizer has no mask "
            f"token, so nothing can be hidden ({given.stage.task.kind})."
        )
    return tokenizer.mask_id


def speaking_start(given: Given) -> LanguageCheckpoint[LanguageModel | TextToText]:
    """The backbone with a map to the vocabulary, and with a decoder where the family has one.

    Raises:
        CheckpointError: its family says no words.
    """
    start = start_of(given)
    if given.parent is None or _says_words(start):
        return open_language_model(start)
    places = (place for place, _ in _earlier(given) if _says_words(place))
    opened = open_language_model(next(places, given.recipe.backbone))
    opened.model.backbone.load_state_dict(open_checkpoint(start).backbone.state_dict())
    return opened


def _says_words(place: str) -> bool:
    """Whether a stage's folder, or the recipe's checkpoint, is more than a classifier."""
    config = open_checkpoint(place).config
    said = family_of(config).language
    return said is not None and said.architecture in (config.get("architectures") or ())


def _earlier(given: Given) -> Iterator[tuple[str, str]]:
    """What the stages before the last one left, the latest first, then the recipe's checkpoint.

    Yields:
        What to open it as, and what to call it.
    """
    stage: StageResult | None = None if given.parent is None else before(given.parent)
    while stage is not None:
        yield str(stage.folder), f"stage {stage.record['name']!r}"
        stage = before(stage)
    yield given.recipe.backbone, given.recipe.backbone


def start_of(given: Given) -> str:
    """What the stage's backbone is opened as: what the stage before left, or the recipe's."""
    return given.recipe.backbone if given.parent is None else str(given.parent.folder)


def tokenizer_of(opened: Opened) -> Tokenizer:
    """The tokenizer in the folder of what was opened, checked against its embeddings."""
    tokenizer = Tokenizer.open(opened.folder)
    check_vocabulary(tokenizer, opened.config["vocab_size"], opened.folder)
    return tokenizer


def pretrained(
    given: Given,
    opened: Opened,
    network: Chain,
    task: Task,
    tokenizer: Tokenizer,
    cutting: Callable[[Tokenizer, int], Cutting] | None = None,
    keeping: Keeping = WORDS,
) -> Pretrained:
    """What a stage trains, of what was opened for it.

    Args:
        cutting: from tokenizer and longest row, how texts become rows; None: each text is a row,
            and what is too long is cut off.
        keeping: how the network is written and read back.

    Raises:
        RecipeError: the rows are to be longer than there are positions.
    """
    recipe = given.recipe
    if recipe.positions is not None and given.parent is None:
        try:
            stretch(network.backbone, recipe.positions)
        except ValueError as error:
            raise RecipeError(f"positions: {error} ({opened.name}). Leave the key out.") from None
    longest, asked = network.backbone.max_positions, recipe.max_length or recipe.positions
    if asked is not None and asked > longest:
        raise RecipeError(
            f"max_length: {asked} tokens do not fit; {opened.name} has {longest} positions."
        )
    length = asked or opened.max_length
    return Pretrained(
        kind=given.stage.task.kind,
        network=network,
        task=task,
        tokenizer=tokenizer,
        max_length=length,
        origin=opened.folder,
        provenance={},
        cutting=None if cutting is None else cutting(tokenizer, length),
        keeping=keeping,
    )
