"""What each task without labels begins with: the network that it asks, on a stage's backbone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from headstart.data.corpus import Cutting, framed, running
from headstart.data.text import Tokenizer, check_vocabulary
from headstart.data.word_starts import word_starts
from headstart.errors import RecipeError
from headstart.models.checkpoint import (
    LanguageCheckpoint,
    open_checkpoint,
    open_language_model,
    open_masked_model,
)
from headstart.models.families import FAMILIES, family_of
from headstart.models.family import Family
from headstart.models.language import LanguageModel, MaskedLanguageModel
from headstart.models.stretch import stretch
from headstart.recipe import CausalLm as CausalLmValues
from headstart.recipe import MaskedLm as MaskedLmValues
from headstart.recipe import Recipe, members_of, reads_labels
from headstart.tasks.causal_lm import CausalLm
from headstart.tasks.hiding import Hiding, Spans, WholeWords, single_tokens
from headstart.tasks.masked_lm import MaskedLm
from headstart.tasks.task import Task
from headstart.training.bound import Given
from headstart.training.kept import StageResult, before
from headstart.training.model import answers
from headstart.training.pretrained import Pretrained, Speaking


def begin_masked_lm(given: Given) -> Pretrained:
    """The backbone with its own head for hidden words, or a new one.

    Where the stage before left none, as after fine-tuning, the head is that of the last stage that
    had one, or of the recipe's checkpoint.

    Raises:
        CheckpointError: its family has no such head.
        RecipeError: its tokenizer has no token to hide others with, or does not tell words.
    """
    values, opened = given.stage.task, open_masked_model(start_of(given))
    assert isinstance(values, MaskedLmValues)
    if opened.fresh:
        _take_head(given, opened)
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
        hide=_hiding(given, values.unit, tokenizer),
    )
    return pretrained(given, opened, opened.model, task, tokenizer, framed)


def _hiding(given: Given, unit: str, tokenizer: Tokenizer) -> Hiding:
    if unit == "token":
        return single_tokens
    starts = word_starts(tokenizer)
    if starts is None:
        raise RecipeError(
            f"stage {given.stage.name!r}, task.unit: the tokens of this {tokenizer.kind} vocabulary do "
            f'not tell where words begin, so no {unit}s can be hidden. Use "token".'
        )
    return WholeWords(starts) if unit == "word" else Spans(starts)


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


def begin_causal_lm(given: Given) -> Pretrained:
    """A decoder with its map to the vocabulary.

    Where the stage before left none, as after fine-tuning, the map is that of the last stage that
    had one, or of the recipe's checkpoint.

    Raises:
        CheckpointError: its family says no words.
        RecipeError: it does not go from left to right alone.
    """
    assert isinstance(given.stage.task, CausalLmValues)
    start = start_of(given)
    if given.parent is None or not answers(given.parent.folder):
        opened = open_language_model(start)
    else:
        opened = open_language_model(next(p for p, _ in _earlier(given) if _says_words(p)))
        opened.model.backbone.load_state_dict(open_checkpoint(start).backbone.state_dict())
    model = opened.model
    if not isinstance(model, LanguageModel):
        raise RecipeError(unserved(given.stage.name, "causal-lm", given.recipe.backbone,
                                   FAMILIES[opened.family]))  # fmt: skip
    return pretrained(given, opened, model, CausalLm(), tokenizer_of(opened), running)


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
    cutting: Callable[[Tokenizer, int], Cutting] | None = None,
) -> Pretrained:
    """What a stage trains, of what was opened for it.

    Args:
        cutting: from tokenizer and longest row, how texts become rows; None: each text is a row,
            and what is too long is cut off.

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
    )


BEGINNINGS: dict[str, Callable[[Given], Pretrained]] = {
    "masked-lm": begin_masked_lm,
    "causal-lm": begin_causal_lm,
}
"""By the kind of task."""


def _hides(family: Family) -> bool:
    return family.masked is not None


def _goes_on(family: Family) -> bool:
    return family.language is not None and family.kind == "text decoder"


SERVED: dict[str, Callable[[Family], bool]] = {"masked-lm": _hides, "causal-lm": _goes_on}
"""Which families can serve a task, by its kind."""


def unserved(stage: str, kind: str, backbone: str, family: Family) -> str:
    """What to say of a task that a backbone cannot serve: what it can, and who can."""
    able = [name for name, serves in SERVED.items() if serves(family)]
    others = [other.name for other in FAMILIES.values() if SERVED[kind](other)]
    article = "an" if family.name[0] in "aeiou" else "a"
    return (
        f"stage {stage!r}, task: {kind} asks what {backbone}, {article} {family.name}, cannot "
        f"tell. It can serve: {', '.join(['classify', *able])}. Families for {kind}: "
        f"{', '.join(others)}."
    )


def check_served(recipe: Recipe, family: Family) -> None:
    """Whether a backbone can serve all tasks of a recipe, before anything is trained.

    Raises:
        RecipeError: for each stage whose task it cannot.
    """
    kinds = [
        (stage.name, one.task.kind)
        for stage in recipe.stage
        for one in members_of(stage)
        if not reads_labels(one.task)
    ]
    faults = [
        unserved(name, kind, recipe.backbone, family)
        for name, kind in kinds
        if kind in SERVED and not SERVED[kind](family)
    ]
    if faults:
        raise RecipeError(faults)
