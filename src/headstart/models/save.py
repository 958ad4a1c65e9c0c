"""A network to a Hugging Face folder.

Shapes: C classes, D width.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from headstart.models.backbone import Backbone
from headstart.models.families import family_of
from headstart.models.family import HEAD, POOLER, Family
from headstart.models.language import LanguageModel, MaskedLanguageModel, TextToText
from headstart.models.network import POOLS, Network
from headstart.models.padding import padding_values
from headstart.models.published import GENERATION_FILE, HEAD_FILE
from headstart.models.weights import read_json, write_weights

TOKENIZER_FILES = (
    "tokenizer.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spm.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "source.spm",
    "target.spm",
    "target_vocab.json",
)
IMAGE_FILES = ("preprocessor_config.json", "processor_config.json")
POOLINGS = ("family", *POOLS)
SENTENCE_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
]


def save_network(
    folder: Path,
    network: Network,
    *,
    source: Path,
    labels: Sequence[str],
    pooling: str,
    max_length: int,
) -> None:
    """Write a folder that `open_network` and transformers both open.

    With pooling "family" it is a ...ForSequenceClassification. No such class has another pooling,
    so with "cls", "mean" or "last" it is the bare backbone, which sentence-transformers opens with
    that pooling, and the head lies beside it in a file of its own.

    Args:
        folder: exists and is fresh; moving it into place is the caller's.
        network: with a linear head of C rows.
        source: folder whose tokenizer files are copied.
        labels: C names, in the order of the head's rows.
        pooling: "family" or a name in `POOLS`.
        max_length: longest text in tokens.

    Raises:
        OSError: the disk is full, or a file cannot be read or written.
    """
    assert pooling in POOLINGS, f"pooling must be one of {POOLINGS}, got {pooling!r}"
    assert len(labels) == len(network.head.state_dict()["weight"]), "one name for each class"
    family = family_of(network.backbone.hf_config())
    whole = pooling == "family"
    said = family.classifier
    assert said is not None or not whole, f"transformers has no classifier on a {family.name}"
    sizes = network.backbone.hf_config()
    padding, told = padding_values(source, sizes) if network.backbone.causal else ({}, {})
    config = {
        "architectures": [said.architecture if said and whole else family.base],
        **sizes,
        **padding,
        **dropout_values(family, network.dropout.p),
        "id2label": {str(index): label for index, label in enumerate(labels)},
        "label2id": {label: index for index, label in enumerate(labels)},
        "problem_type": "single_label_classification",
        "dtype": "float32",
    }
    _write_json(folder / "config.json", config)
    if not whole:
        write_weights(folder / HEAD_FILE, network.head.state_dict())
        _write_sentence_files(folder, network.backbone.width, pooling, max_length)
    write_weights(folder / "model.safetensors", _their_weights(family, network, whole))
    _copy_tokenizer(source, folder, max_length, told)


def save_backbone(
    folder: Path,
    backbone: Backbone,
    *,
    source: Path,
    pooling: str,
    max_length: int,
    dropout: float,
) -> None:
    """Write a folder that `open_checkpoint` and transformers open: a backbone without a head.

    With pooling "cls", "mean" or "last" sentence-transformers opens it too, with that pooling.

    Args:
        folder: exists and is fresh; moving it into place is the caller's.
        backbone: what is written.
        source: folder whose tokenizer files are copied.
        pooling: "family" or a name in `POOLS`; of the heads that lie elsewhere.
        max_length: longest text in tokens.
        dropout: probability in front of those heads.

    Raises:
        OSError: the disk is full, or a file cannot be read or written.
    """
    family = family_of(backbone.hf_config())
    config = {
        "architectures": [family.base],
        **backbone.hf_config(),
        **dropout_values(family, dropout),
        "dtype": "float32",
    }
    _write_json(folder / "config.json", config)
    if pooling in POOLS:
        _write_sentence_files(folder, backbone.width, pooling, max_length)
    weights = family.their_weights(backbone.state_dict(), whole=False)
    write_weights(folder / "model.safetensors", weights)
    _copy_tokenizer(source, folder, max_length)


def dropout_values(family: Family, dropout: float) -> dict[str, float]:
    """The dropout in front of a head, where a config.json of the family keeps it."""
    said = family.classifier
    return {said.dropout_key: dropout} if said and said.dropout_key else {}


def save_language_model(
    folder: Path,
    model: LanguageModel | TextToText | MaskedLanguageModel,
    *,
    source: Path,
    max_length: int,
) -> None:
    """Write a folder that `open_language_model`, or `open_masked_model`, and transformers open.

    Args:
        folder: exists and is fresh; moving it into place is the caller's.
        model: a decoder, an encoder with a decoder, or one with a head that tells hidden words.
        source: folder whose tokenizer files and generation_config.json are copied.
        max_length: longest text in tokens.

    Raises:
        OSError: the disk is full, or a file cannot be read or written.
    """
    family = family_of(model.backbone.hf_config())
    said = family.masked if isinstance(model, MaskedLanguageModel) else family.language
    assert said is not None, f"a {family.name} says no words"
    config = {
        "architectures": [said.architecture],
        **model.backbone.hf_config(),
        "dtype": "float32",
    }
    _write_json(folder / "config.json", config)
    state = {
        start + name: tensor
        for start, module in model.parts().items()
        for name, tensor in module.state_dict().items()
    }
    write_weights(folder / "model.safetensors", family.their_weights(state, whole=True))
    if (source / GENERATION_FILE).exists():
        shutil.copyfile(source / GENERATION_FILE, folder / GENERATION_FILE)
    _copy_tokenizer(source, folder, max_length)


def _their_weights(family: Family, network: Network, whole: bool) -> dict[str, Tensor]:
    """Weights by their names: the backbone's, with pooler and head where it is the whole."""
    parts: dict[str, nn.Module] = {"": network.backbone}
    if whole:
        parts |= {POOLER: network.pool, HEAD: network.head}
    state = {
        start + name: tensor
        for start, module in parts.items()
        for name, tensor in module.state_dict().items()
    }
    return family.their_weights(state, whole=whole)


def _write_sentence_files(folder: Path, width: int, pooling: str, max_length: int) -> None:
    modes = {
        "word_embedding_dimension": width,
        "pooling_mode_cls_token": pooling == "cls",
        "pooling_mode_mean_tokens": pooling == "mean",
        "pooling_mode_max_tokens": False,
        "pooling_mode_mean_sqrt_len_tokens": False,
        "pooling_mode_lasttoken": pooling == "last",
    }
    (folder / "1_Pooling").mkdir()
    _write_json(folder / "1_Pooling" / "config.json", modes)
    _write_json(folder / "modules.json", SENTENCE_MODULES)
    settings = {"max_seq_length": max_length, "do_lower_case": False}
    _write_json(folder / "sentence_bert_config.json", settings)


def _copy_tokenizer(
    source: Path, folder: Path, max_length: int, more: Mapping[str, Any] | None = None
) -> None:
    for name in (*TOKENIZER_FILES, *IMAGE_FILES):
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    old = source / "tokenizer_config.json"
    settings = read_json(old) if old.exists() else {}
    _write_json(folder / old.name, settings | {"model_max_length": max_length, **(more or {})})


def _write_json(file: Path, values: Any) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")
