"""What each task without labels begins with: the network that it asks, on a stage's backbone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from headstart.data.corpus import framed, running
from headstart.data.text import Tokenizer
from headstart.data.word_starts import word_starts
from headstart.errors import RecipeError
from headstart.models.families import FAMILIES
from headstart.models.family import Family
from headstart.models.language import LanguageModel
from headstart.recipe import CausalLm as CausalLmValues
from headstart.recipe import MaskedLm as MaskedLmValues
from headstart.recipe import Recipe, members_of, reads_labels
from headstart.tasks.causal_lm import CausalLm
from headstart.tasks.hiding import Hiding, Spans, WholeWords, single_tokens
from headstart.tasks.masked_lm import MaskedLm
from headstart.training.bound import Given
from headstart.training.contrasting import begin_contrast, embeds
from headstart.training.openings import (
    mask_of,
    masked_start,
    pretrained,
    speaking_start,
    tokenizer_of,
)
from headstart.training.pretrained import HIDDEN_WORDS, Pretrained
from headstart.training.replacing import begin_replaced_token
from headstart.training.text_to_text import (
    begin_denoise,
    begin_span_corruption,
    has_masks,
    has_sentinels,
)


def begin_masked_lm(given: Given) -> Pretrained:
    """The backbone with its own head for hidden words, or a new one.

    Where the stage before left none, as after fine-tuning, the head is that of the last stage that
    had one, or of the recipe's checkpoint.

    Raises:
        CheckpointError: its family has no such head.
        RecipeError: its tokenizer has no token to hide others with, or does not tell words.
    """
    values, opened = given.stage.task, masked_start(given)
    assert isinstance(values, MaskedLmValues)
    tokenizer = tokenizer_of(opened)
    task = MaskedLm(
        vocabulary=tokenizer.vocab_size,
        mask=mask_of(given, tokenizer),
        special=np.array(tokenizer.special_ids),
        share=values.share,
        masked=values.masked,
        random=values.random,
        hide=_hiding(given, values.unit, tokenizer),
    )
    return pretrained(given, opened, opened.model, task, tokenizer, framed, HIDDEN_WORDS)


def _hiding(given: Given, unit: str, tokenizer: Tokenizer) -> Hiding:
    if unit == "token":
        return single_tokens
    starts = word_starts(tokenizer)
    if starts is None:
        raise RecipeError(
            f"stage {given.stage.name!r}, task.unit: the tokens of this {tokenizer.kind} "
            f"vocabulary do not tell where words begin, so no {unit}s can be hidden. "
            'Use "token".'
        )
    return WholeWords(starts) if unit == "word" else Spans(starts)


def begin_causal_lm(given: Given) -> Pretrained:
    """A decoder with its map to the vocabulary.

    Where the stage before left none, as after fine-tuning, the map is that of the last stage that
    had one, or of the recipe's checkpoint.

    Raises:
        CheckpointError: its family says no words.
        RecipeError: it does not go from left to right alone.
    """
    assert isinstance(given.stage.task, CausalLmValues)
    opened = speaking_start(given)
    model = opened.model
    if not isinstance(model, LanguageModel):
        raise RecipeError(unserved(given.stage.name, "causal-lm", given.recipe.backbone,
                                   FAMILIES[opened.family]))  # fmt: skip
    return pretrained(given, opened, model, CausalLm(), tokenizer_of(opened), running)


BEGINNINGS: dict[str, Callable[[Given], Pretrained]] = {
    "masked-lm": begin_masked_lm,
    "causal-lm": begin_causal_lm,
    "contrast": begin_contrast,
    "span-corruption": begin_span_corruption,
    "denoise": begin_denoise,
    "replaced-token": begin_replaced_token,
}
"""By the kind of task."""


def _hides(family: Family) -> bool:
    return family.masked is not None


def _goes_on(family: Family) -> bool:
    return family.language is not None and family.kind == "text decoder"


SERVED: dict[str, Callable[[Family], bool]] = {
    "masked-lm": _hides,
    "causal-lm": _goes_on,
    "contrast": embeds,
    "span-corruption": has_sentinels,
    "denoise": has_masks,
    "replaced-token": _hides,
}
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
