"""What many tests share: a tiny BERT folder, a few easy reviews, and a cache of their own."""

from __future__ import annotations

import json
import os
import random
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing

with warnings.catch_warnings():
    # Importing Fabric warns about packages that it looks for; that is not ours to mend.
    warnings.simplefilter("ignore")
    import lightning_fabric  # noqa: F401

from headstart.models.bert import Bert, BertConfig
from headstart.models.families import FAMILIES

os.environ.setdefault("HEADSTART_PRECISION", "float32")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

GOOD = ["great", "lovely", "superb", "charming", "fun"]
BAD = ["awful", "dull", "broken", "boring", "poor"]
FILLER = ["film", "plot", "actor", "scene", "story", "the", "was", "a", "and", "very", "camera"]
PRODUCT = ["phone", "charger", "screen", "box", "cable", "the", "was", "a", "and", "very", "camera"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Each test computes for itself."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("HEADSTART_CACHE", str(folder))
    return folder


SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
}


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random BERT of 3 blocks, width 20, and a tokenizer of words."""
    folder = tmp_path_factory.mktemp("tiny-bert")
    words = [*SPECIAL.values(), *dict.fromkeys(GOOD + BAD + FILLER + PRODUCT)]
    save_tokenizer(folder, words)
    values = {
        "model_type": "bert",
        "vocab_size": len(words),
        "hidden_size": 20,
        "num_hidden_layers": 3,
        "num_attention_heads": 5,
        "intermediate_size": 29,
        "max_position_embeddings": 37,
    }
    torch.manual_seed(13)
    backbone = Bert(BertConfig.from_hf(values))
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            norm = "norm" in name and name.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * (0.1 if norm else 0.3) + float(norm))
    keys = FAMILIES["bert"].keys
    weights = {keys.to_theirs(name): t for name, t in backbone.state_dict().items()}
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    (folder / "config.json").write_text(json.dumps(backbone.hf_config() | {"model_type": "bert"}))
    return folder


def save_tokenizer(folder: Path, words: list[str]) -> None:
    """A tokenizer.json that knows whole words."""
    tokenizer = Tokenizer(WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {name: token for name, token in SPECIAL.items() if token in words}
    (folder / "tokenizer_config.json").write_text(json.dumps(named))


def reviews(count: int, seed: int, nouns: list[str] = FILLER) -> list[tuple[str, str]]:
    """Texts of 4 to 12 words whose class is told by one word in them."""
    chance = random.Random(seed)
    rows = []
    for number in range(count):
        label, words = (("positive", GOOD), ("negative", BAD))[number % 2]
        text = [chance.choice(nouns) for _ in range(chance.randint(3, 11))]
        text.insert(chance.randrange(len(text)), chance.choice(words))
        rows.append((" ".join(text), label))
    return rows
