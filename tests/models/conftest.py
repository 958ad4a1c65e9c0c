"""A tiny randomised BERT of transformers, and folders made from it.

Sizes are distinct primes where the heads allow: vocabulary 101, width 22, 3 blocks, 2 heads,
inner width 31, 17 positions, 5 segments; rows of 11, 7, 1 and 13 tokens.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")

from headstart.nn.ragged import Ragged

LENGTHS = [11, 7, 1, 13]
SIZES = {
    "vocab_size": 101,
    "hidden_size": 22,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 31,
    "max_position_embeddings": 17,
    "type_vocab_size": 5,
}


@pytest.fixture(scope="session")
def hf():
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


@pytest.fixture(scope="session")
def make(hf):
    """Build a randomised model of one of transformers' BERT classes, in eval mode."""

    def build(name: str = "BertModel", **settings: object) -> nn.Module:
        torch.manual_seed(0)
        settings.setdefault("attn_implementation", "eager")
        model = getattr(hf, name)(hf.BertConfig(**(SIZES | settings))).eval()
        for parameter in model.parameters():
            nn.init.normal_(parameter, std=0.2)  # fresh biases and norms are constants: hide swaps
        return model

    return build


@pytest.fixture
def save(make, tmp_path):
    """Save such a model as a folder and return model and folder."""

    def write(name: str = "BertModel", **settings: object) -> tuple[nn.Module, Path]:
        model = make(name, **settings)
        model.save_pretrained(tmp_path / name)
        return model, tmp_path / name

    return write


@pytest.fixture
def tokens() -> Ragged:
    generator = torch.Generator().manual_seed(7)
    return Ragged.from_rows(
        [torch.randint(1, 101, (length,), generator=generator) for length in LENGTHS]
    )


@pytest.fixture
def segments() -> torch.Tensor:
    return torch.randint(5, (sum(LENGTHS),), generator=torch.Generator().manual_seed(8))
