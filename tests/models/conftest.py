"""Tiny randomised models of transformers, and folders made from them.

Sizes are distinct primes where the heads allow: vocabulary 101, width 22, 3 blocks, 2 heads,
inner width 31, 17 positions, 5 segments; rows of 11, 7, 1 and 13 tokens. RoBERTa pads with token 9,
which is among the tokens too, and so needs 29 places for 19 positions; it has one segment,
DistilBERT none.
"""

from __future__ import annotations

import os
import re
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
ROBERTA = SIZES | {"max_position_embeddings": 29, "type_vocab_size": 1, "pad_token_id": 9}
T5 = {
    "vocab_size": 101,
    "d_model": 23,
    "d_kv": 5,
    "d_ff": 31,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 3,
    "relative_attention_num_buckets": 13,
    "relative_attention_max_distance": 11,
    "decoder_start_token_id": 0,
}
DEBERTA = SIZES | {
    "max_position_embeddings": 23,
    "type_vocab_size": 0,
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
    "position_buckets": 7,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
}
LLAMA = {
    "vocab_size": 101,
    "hidden_size": 22,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "intermediate_size": 31,
    "max_position_embeddings": 17,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
BART = {
    "vocab_size": 101,
    "d_model": 22,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 31,
    "decoder_layers": 2,
    "decoder_attention_heads": 11,
    "decoder_ffn_dim": 37,
    "max_position_embeddings": 17,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "forced_eos_token_id": 2,
}
MODERNBERT = {
    "vocab_size": 101,
    "hidden_size": 28,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 31,
    "max_position_embeddings": 17,
    "global_attn_every_n_layers": 2,
    "local_attention": 7,
    "pad_token_id": 9,
}
FAMILY_SIZES = {
    "Bert": SIZES,
    "Roberta": ROBERTA,
    "XLMRoberta": ROBERTA,
    "Camembert": ROBERTA,
    "DebertaV2": DEBERTA,
    "ModernBert": MODERNBERT,
    "DistilBert": {
        "vocab_size": 101,
        "dim": 22,
        "n_layers": 3,
        "n_heads": 2,
        "hidden_dim": 31,
        "max_position_embeddings": 17,
    },
    "Bart": BART,
    "Marian": BART,
    "T5": T5,
    "MT5": T5,
    "Llama": LLAMA | {"hidden_size": 28},
    "Mistral": LLAMA | {"sliding_window": 5},
    "Qwen2": LLAMA,
    "Qwen3": LLAMA,
    "GPT2": {
        "vocab_size": 101,
        "n_embd": 22,
        "n_layer": 3,
        "n_head": 2,
        "n_inner": 31,
        "n_positions": 17,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    },
}


@pytest.fixture(scope="session")
def hf():
    transformers = pytest.importorskip("transformers")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return transformers


@pytest.fixture(scope="session")
def make(hf):
    """Build a randomised model of one of transformers' classes, in eval mode."""

    def build(name: str = "BertModel", **settings: object) -> nn.Module:
        torch.manual_seed(0)
        settings.setdefault("attn_implementation", "eager")
        family = re.split("LMHead|DoubleHeads|(?:Encoder|MT)?Model|For", name)[0]
        config = getattr(hf, f"{family}Config")(**(FAMILY_SIZES[family] | settings))
        model = getattr(hf, name)(config).eval()
        moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
        biases = [b for name, b in model.named_buffers() if name == "final_logits_bias"]
        for tensor in [*moving, *biases]:
            nn.init.normal_(tensor, std=0.2)  # fresh biases and norms are constants: hide swaps
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
def targets() -> Ragged:
    """As many rows as `tokens`, of other lengths; words of the smaller of two vocabularies."""
    generator = torch.Generator().manual_seed(9)
    return Ragged.from_rows(
        [torch.randint(1, 79, (length,), generator=generator) for length in (5, 1, 13, 3)]
    )


@pytest.fixture
def segments() -> torch.Tensor:
    return torch.randint(5, (sum(LENGTHS),), generator=torch.Generator().manual_seed(8))
