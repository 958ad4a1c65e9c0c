"""Attention as plain values: of a classifier's text, or of any model that is none.

Shapes: H heads, L tokens of a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from headstart.data.image import Preprocessing, read_images
from headstart.data.text import Tokenizer
from headstart.errors import UserError
from headstart.explain.attention import encoder_attention, rollout, text_to_text_attention
from headstart.explain.reading import Reading, read
from headstart.explain.subject import Subject
from headstart.explain.values import SCHEMA, AttentionValues, ExplanationValues, TextValues
from headstart.generation.generate import generate
from headstart.generation.options import Options
from headstart.models.checkpoint import Checkpoint, open_checkpoint, open_language_model
from headstart.models.families import FAMILIES
from headstart.models.language import TextToText
from headstart.nn.patches import PatchLayout, patches
from headstart.nn.ragged import Ragged

MOST_TOKENS = 256
"""Longest row whose attention is kept: it grows with the square of the length."""

WRITTEN = 32
"""Tokens that an encoder with a decoder writes at most, to be looked at."""


def look(subject: Subject, reading: Reading) -> list[AttentionValues]:
    """What a classifier looks at in a text.

    Raises:
        CheckpointError: its attention is computed elsewhere, see `run_watched`.
        UserError: the text is too long for all of its attention to be kept.
    """
    _check_length(len(reading.ids))
    weights = encoder_attention(subject.network.backbone, subject.ragged(reading.ids))
    return [attention_values("encoder", reading.tokens, reading.tokens, weights)]


def attention_values(
    kind: str,
    queries: Sequence[str],
    keys: Sequence[str],
    weights: Sequence[Tensor],
    grid: tuple[int, int] | None = None,
) -> AttentionValues:
    """Attention of one row as plain values.

    Args:
        kind: see `AttentionValues`.
        queries: what looks.
        keys: what is looked at.
        weights: of each block (1, H, queries, keys).
        grid: rows and columns of patches, of an image.
    """
    alike = kind != "cross"
    return {
        "kind": kind,
        "queries": list(queries),
        "keys": list(keys),
        "weights": [_plain(layer[0]) for layer in weights],
        "rollout": _plain(rollout([layer[0] for layer in weights])) if alike else None,
        "grid": grid,
    }


def attention_alone(name: str, given: Sequence[str]) -> ExplanationValues:
    """What any model looks at, whether it is a classifier or not.

    Args:
        name: of an encoder, a decoder, or both: a folder, or a name on the Hugging Face hub. One
            with both writes an answer first.
        given: texts; or files of images, for a model that reads images.

    Raises:
        CheckpointError: there is no such model, or its attention is computed elsewhere.
        UserError: a text is empty, or too long for all of its attention to be kept.
    """
    checkpoint = open_checkpoint(name)
    family = FAMILIES.get(checkpoint.family)
    if checkpoint.backbone.patch_values is not None:
        texts = [_image(checkpoint, file) for file in given]
    elif family is not None and family.language is not None and not checkpoint.backbone.causal:
        texts = _written(name, given)
    else:
        tokenizer = Tokenizer.open(checkpoint.folder)
        texts = [_text(checkpoint, tokenizer, text, n) for n, text in enumerate(given, 1)]
    return {
        "schema": SCHEMA,
        "model": {"name": str(name), "classes": [], "max_length": checkpoint.max_length,
                  "backbone": str(name)},
        "method": None, "faithfulness": None, "texts": texts, "layers": None, "words": None,
        "notes": [],
    }  # fmt: skip


def _text(checkpoint: Checkpoint, tokenizer: Tokenizer, text: str, number: int) -> TextValues:
    most = min(checkpoint.max_length, checkpoint.backbone.max_positions)
    reading = read(tokenizer, text, most, f"text {number}")
    _check_length(len(reading.ids))
    weights = encoder_attention(checkpoint.backbone, _row(reading.ids))
    return _bare(text, reading, [attention_values("encoder", reading.tokens, reading.tokens,
                                                  weights)])  # fmt: skip


def _written(name: str, given: Sequence[str]) -> list[TextValues]:
    """What an encoder with a decoder looks at while it answers."""
    opened = open_language_model(name)
    model = opened.model
    assert isinstance(model, TextToText), "it has a decoder and is not causal"
    reading_side = Tokenizer.open(opened.folder)
    writing_side = Tokenizer.open(opened.folder, "target")
    texts = []
    for number, text in enumerate(given, 1):
        reading = read(reading_side, text, opened.max_length, f"text {number}")
        _check_length(len(reading.ids))
        source = _row(reading.ids)
        eos = tuple(writing_side.eos_ids)
        options = Options(max_new_tokens=WRITTEN, eos=eos)
        said = generate(model, source, options)[0]
        target = _row([model.start, *said[: WRITTEN - 1]])
        seen = text_to_text_attention(model, source, target)
        shown = [_piece(writing_side, token) for token in target.values.tolist()]
        parts = (("encoder", reading.tokens, reading.tokens, seen.encoder),
                 ("decoder", shown, shown, seen.decoder),
                 ("cross", shown, reading.tokens, seen.cross))  # fmt: skip
        texts.append(_bare(text, reading, [attention_values(*part) for part in parts]))
    return texts


def _image(checkpoint: Checkpoint, file: str) -> TextValues:
    """What an encoder of images looks at: its own tokens, then the patches line by line."""
    pixels = read_images([Path(file)], Preprocessing.open(checkpoint.folder))
    values = checkpoint.backbone.patch_values
    assert values is not None, "asked only of what reads images"
    cut = patches(pixels, round((values / len(pixels[0])) ** 0.5))
    assert isinstance(cut.layout, PatchLayout)
    rows, columns = cut.layout.grids[0]
    weights = encoder_attention(checkpoint.backbone, cut)
    extra = weights[0].shape[-1] - rows * columns
    _check_length(rows * columns + extra)
    names = [f"token {number + 1}" for number in range(extra)]
    names += [f"{row + 1},{column + 1}" for row in range(rows) for column in range(columns)]
    seen = attention_values("image", names, names, weights, (rows, columns))
    return _bare(file, None, [seen])


def _bare(text: str, reading: Reading | None, attention: list[AttentionValues]) -> TextValues:
    """A text that nothing is predicted of."""
    return {
        "text": text, "row": None, "prediction": "", "probabilities": {}, "explained": "",
        "words": [], "rest": 0.0, "tokens": [] if reading is None else list(reading.tokens),
        "cut": None, "attention": attention, "before": [], "neighbours": [],
    }  # fmt: skip


def _row(ids: Sequence[int]) -> Ragged:
    return Ragged.from_rows([torch.tensor(ids)])


def _piece(tokenizer: Tokenizer, token: int) -> str:
    return tokenizer.decode([token], skip_special=False).strip() or "␣"


def _check_length(length: int) -> None:
    if length > MOST_TOKENS:
        raise UserError(
            f"attention: the text has {length} tokens, and the attention of all layers and heads "
            f"is kept for at most {MOST_TOKENS}. Give a shorter text, or leave --attention out."
        )


def _plain(weights: Tensor) -> list:
    """Nested lists of a tensor, to 4 places."""
    return weights.double().mul(1e4).round().div(1e4).tolist()
