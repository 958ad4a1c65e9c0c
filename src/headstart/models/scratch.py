"""Backbones from nothing: new weights in a known size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from headstart.models.families import FAMILIES
from headstart.models.language import LanguageModel, MaskedLanguageModel, TextToText
from headstart.models.save import save_language_model
from headstart.recipe.vocabulary import Size

POSITIONS = {"bert": 512, "roberta": 514, "gpt2": 1024}
"""Learned positions, as published; T5 has none."""

HEAD_WIDTH = 64
"""Of T5's attention, as published."""

LONGEST = 512
"""Tokens of a row where nothing else is asked for."""


def scratch_values(size: Size, vocabulary: int, ids: Mapping[str, int]) -> dict[str, Any]:
    """The values of a config.json.

    Args:
        size: of the backbone.
        vocabulary: tokens.
        ids: of the special tokens, by name: "pad", "bos", "eos".
    """
    if size.family in ("bert", "roberta"):
        return {
            "model_type": size.family,
            "vocab_size": vocabulary,
            "hidden_size": size.width,
            "num_hidden_layers": size.blocks,
            "num_attention_heads": size.heads,
            "intermediate_size": size.inner,
            "max_position_embeddings": POSITIONS[size.family],
            "type_vocab_size": 2 if size.family == "bert" else 1,
            "pad_token_id": ids["pad"],
        }
    if size.family == "gpt2":
        return {
            "model_type": "gpt2",
            "vocab_size": vocabulary,
            "n_embd": size.width,
            "n_layer": size.blocks,
            "n_head": size.heads,
            "n_inner": size.inner,
            "n_positions": POSITIONS["gpt2"],
            "bos_token_id": ids["bos"],
            "eos_token_id": ids["eos"],
        }
    return {
        "model_type": "t5",
        "vocab_size": vocabulary,
        "d_model": size.width,
        "d_kv": HEAD_WIDTH,
        "d_ff": size.inner,
        "num_layers": size.blocks,
        "num_decoder_layers": size.blocks,
        "num_heads": size.heads,
        "decoder_start_token_id": ids["pad"],
        "pad_token_id": ids["pad"],
        "eos_token_id": ids["eos"],
    }


def scratch_model(values: Mapping[str, Any]) -> LanguageModel | TextToText | MaskedLanguageModel:
    """A model with new weights, drawn from torch's random state.

    Args:
        values: of a config.json, of a family that says or tells words.
    """
    family = FAMILIES[values["model_type"]]
    if family.language is not None:
        return family.language.build(values)
    assert family.masked is not None, f"a {family.name} neither says nor tells words"
    backbone = family.build(values)
    words = backbone.get_submodule("embeddings.token")
    assert isinstance(words, nn.Embedding)
    return MaskedLanguageModel(backbone, family.masked.head(values, words))


def save_scratch(
    folder: Path, size: Size, vocabulary: int, ids: Mapping[str, int], tokenizer: Path
) -> None:
    """Write a checkpoint with new weights, drawn from torch's random state.

    Args:
        folder: exists and is fresh.
        size: of the backbone.
        vocabulary: tokens.
        ids: see `scratch_values`.
        tokenizer: folder whose tokenizer files are copied.
    """
    model = scratch_model(scratch_values(size, vocabulary, ids)).eval()
    length = min(LONGEST, model.backbone.max_positions)
    save_language_model(folder, model, source=tokenizer, max_length=length)
