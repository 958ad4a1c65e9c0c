"""What `span-corruption` and `denoise` begin with: an encoder with its decoder."""

from __future__ import annotations

import numpy as np

from headstart.data.corpus import framed
from headstart.data.text import Tokenizer
from headstart.errors import RecipeError
from headstart.models.checkpoint import LanguageCheckpoint
from headstart.models.family import Family
from headstart.models.language import LanguageModel, TextToText
from headstart.recipe.tasks import Denoise as DenoiseValues
from headstart.recipe.tasks import SpanCorruption as SpanCorruptionValues
from headstart.tasks.denoise import Denoise
from headstart.tasks.span_corruption import SpanCorruption, num_spans_of
from headstart.training.bound import Given
from headstart.training.openings import mask_of, pretrained, speaking_start, tokenizer_of
from headstart.training.pretrained import Pretrained

WITH_SENTINELS, WITH_MASKS = ("t5", "mt5"), ("bart",)
"""Families whose vocabularies hold what the tasks put in the place of a span."""

SENTINEL = "<extra_id_{}>"
ENDS = tuple(".!?\u2026\u3002\uff01\uff1f")
"""What a token ends with that ends a sentence."""


def begin_span_corruption(given: Given) -> Pretrained:
    """An encoder with its decoder, and the sentinels of its vocabulary.

    Raises:
        CheckpointError: its family has no decoder.
        RecipeError: its vocabulary has no sentinels, or too few for the longest text.
    """
    values, opened = given.stage.task, speaking_start(given)
    assert isinstance(values, SpanCorruptionValues)
    network, tokenizer = _with_decoder(given, opened), tokenizer_of(opened)
    sentinels = sentinels_of(tokenizer)
    _, after = tokenizer.around
    task = SpanCorruption(start=network.start, end=after, sentinels=sentinels,
                          share=values.share, mean_span=values.mean_span)  # fmt: skip
    model = pretrained(given, opened, network, task, tokenizer, framed)
    _check_sentinels(given, model.max_length - len(after), len(sentinels), values)
    return model


def begin_denoise(given: Given) -> Pretrained:
    """An encoder with its decoder, and the mask of its vocabulary.

    Raises:
        CheckpointError: its family has no decoder.
        RecipeError: its vocabulary has no mask.
    """
    values, opened = given.stage.task, speaking_start(given)
    assert isinstance(values, DenoiseValues)
    network, tokenizer = _with_decoder(given, opened), tokenizer_of(opened)
    before, after = tokenizer.around
    task = Denoise(
        start=network.start,
        before=before,
        after=after,
        mask=mask_of(given, tokenizer),
        share=values.share,
        mean_span=values.mean_span,
        ends=sentence_ends(tokenizer) if values.permute else None,
    )
    return pretrained(given, opened, network, task, tokenizer, framed)


def has_sentinels(family: Family) -> bool:
    """Whether a family's vocabularies hold sentinels."""
    return family.name in WITH_SENTINELS


def has_masks(family: Family) -> bool:
    """Whether a family has a decoder, and a mask in its vocabularies."""
    return family.name in WITH_MASKS


def sentinels_of(tokenizer: Tokenizer) -> np.ndarray:
    """(S,) the tokens that stand for spans, in their order, up to the first that is missing."""
    found: list[int] = []
    while (token := tokenizer.token_id(SENTINEL.format(len(found)))) is not None:
        found.append(token)
    return np.array(found, dtype=np.int64)


def sentence_ends(tokenizer: Tokenizer) -> np.ndarray:
    """(V,) bool, which tokens end a sentence, as far as a token tells."""
    ends = np.zeros(max(tokenizer.vocabulary.values()) + 1, dtype=bool)
    ends[[token for text, token in tokenizer.vocabulary.items() if text.endswith(ENDS)]] = True
    return ends


def _with_decoder(
    given: Given, opened: LanguageCheckpoint[LanguageModel | TextToText]
) -> TextToText:
    if not isinstance(opened.model, TextToText):
        raise RecipeError(
            f"stage {given.stage.name!r}, task: {given.stage.task.kind} needs an encoder with a "
            f"decoder, and a {opened.family} is a decoder alone. Use causal-lm."
        )
    return opened.model


def _check_sentinels(
    given: Given, longest: int, num_sentinels: int, values: SpanCorruptionValues
) -> None:
    """Whether there are sentinels for the most spans that a text can lose.

    Of what is kept there may be a piece more than of what is left out.
    """
    place = f"stage {given.stage.name!r}, task"
    if not num_sentinels:
        raise RecipeError(
            f"{place}: {given.recipe.backbone}'s tokenizer has no sentinels "
            f"({SENTINEL.format(0)}, ...), so nothing can stand for a span (span-corruption). "
            f"Families that have them: {', '.join(WITH_SENTINELS)}."
        )
    count = min(max(round(longest * values.share), 1), longest - 1)
    needed = num_spans_of(count, longest, values.mean_span)
    if needed > num_sentinels:
        raise RecipeError(
            f"{place}: a text of {longest} tokens loses {needed} spans, and there are "
            f"{num_sentinels} sentinels. Set max_length, or share, lower; or mean_span higher."
        )
