"""A small trained model and the run around it, made without training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.conftest import GOOD, PRODUCT, save_tokenizer
from torch import nn

from headstart.data.text import Tokenizer
from headstart.export.graph import write_graph
from headstart.models.families import FAMILIES
from headstart.models.network import POOLS, Network
from headstart.tasks.classify import Classify
from headstart.training.model import Trained, open_trained, save_trained

SENTENCE = "The source helps: +3.4 points [1.1, 5.6] over target only."
LABELS = ("bad", "fair | so-so", "good")
SIZES = {"num_attention_heads": 2, "hidden_size": 22, "num_hidden_layers": 2,
         "intermediate_size": 31, "max_position_embeddings": 43}  # fmt: skip
FAMILY_SIZES = {
    "bert": SIZES | {"type_vocab_size": 5},
    "roberta": SIZES | {"type_vocab_size": 1, "pad_token_id": 7},
    "distilbert": {"dim": 22, "n_layers": 2, "n_heads": 2, "hidden_dim": 31,
                   "max_position_embeddings": 43},
}  # fmt: skip
BART = {"d_model": 22, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 31,
        "decoder_layers": 2, "decoder_attention_heads": 2, "decoder_ffn_dim": 31,
        "max_position_embeddings": 43}  # fmt: skip
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *dict.fromkeys(GOOD + PRODUCT)]
ARM = {
    "name": "source+target", "title": "source -> target", "labels": 256, "seeds": 3,
    "accuracy": {"mean": 0.881, "low": 0.860, "high": 0.899},
    "macro_f1": {"mean": 0.873, "low": 0.850, "high": 0.892}, "seconds": 134.0, "stages": ["5eed"],
}  # fmt: skip
PROVENANCE = {
    "backbone": "google-bert/bert-base-uncased",
    "stages": [
        {"name": "source", "digest": "5eed", "data": "/home/anna/data/movie_reviews.csv",
         "rows": 10072, "stage": {"name": "source", "data": "source", "epochs": 2.0}},
        {"name": "tune", "digest": "feed", "data": "../secret place/shop.csv", "rows": 257,
         "stage": {"name": "tune", "data": "target", "train": "head", "steps": 127}},
    ],
    "verdict": ARM,
    "sentence": SENTENCE,
}  # fmt: skip

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Save a model with random parameters, all of them, as a run does; give its folder."""
    made: dict[tuple[str, str], Path] = {}

    def build(family: str = "bert", pooling: str = "family") -> Path:
        if (family, pooling) not in made:
            folder = tmp_path_factory.mktemp(f"{family}-{pooling}")
            made[family, pooling] = _save(folder, family, pooling)
        return made[family, pooling]

    return build


def _save(folder: Path, family: str, pooling: str) -> Path:
    origin, model = folder / "origin", folder / "model"
    origin.mkdir()
    model.mkdir()
    save_tokenizer(origin, WORDS)
    settings = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]",
                "sep_token": "[SEP]", "name_or_path": "/home/anna/models/bert",
                "tokenizer_class": "PreTrainedTokenizerFast"}  # fmt: skip
    (origin / "tokenizer_config.json").write_text(json.dumps(settings))
    config = {"vocab_size": len(WORDS), "pad_token_id": 0} | FAMILY_SIZES.get(family, BART)
    torch.manual_seed(11)
    backbone = FAMILIES[family].build(config)
    pool = FAMILIES[family].classifier.pooler(config) if pooling == "family" else POOLS[pooling]()
    network = Network(backbone, pool, nn.Linear(22, len(LABELS)), 0.1).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.2)
    trained = Trained(
        network, Tokenizer.open(origin), Classify(LABELS), 31, pooling, origin, PROVENANCE
    )
    save_trained(trained, model, ["the phone was great"])
    return model


@pytest.fixture(scope="session")
def graph_of(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Make:
    """The ONNX graph of such a model; tracing takes seconds, so each is made once."""
    pytest.importorskip("onnxscript")
    made: dict[tuple[str, str], Path] = {}

    def trace(family: str = "bert", pooling: str = "mean") -> Path:
        if (family, pooling) not in made:
            file = tmp_path_factory.mktemp("graph") / "model.onnx"
            write_graph(open_trained(make(family, pooling)).network, file)
            made[family, pooling] = file
        return made[family, pooling]

    return trace


@pytest.fixture
def trained(make: Make) -> Trained:
    """A BERT with its family's head."""
    return open_trained(make())


@pytest.fixture
def texts() -> list[str]:
    """Texts of 1 to 23 words, among them an unknown one and one that is empty."""
    words = [*GOOD, *PRODUCT, "zebra"]
    lengths = [5, 1, 23, 2, 11, 3, 17]
    return [" ".join(words[(7 * i + 3 * j) % len(words)] for j in range(length))
            for i, length in enumerate(lengths)] + [""]  # fmt: skip
