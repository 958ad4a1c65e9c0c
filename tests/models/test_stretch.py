"""More positions: width 22 or 6, 41 of them stretched to 61."""

from __future__ import annotations

import pytest
import torch
from tests.models.parity import CLOSE, inputs
from torch import nn

from headstart.models.checkpoint import open_checkpoint, open_network, save_network
from headstart.models.network import Mean, Network
from headstart.models.stretch import interpolate, stretch
from headstart.nn.ragged import Layout, Ragged

hf = pytest.importorskip("transformers")
SIZES = {"vocab_size": 101, "max_position_embeddings": 41}
CONFIGS = {
    "bert": {"hidden_size": 22, "num_hidden_layers": 3, "num_attention_heads": 2},
    "roberta": {"hidden_size": 22, "num_hidden_layers": 3, "num_attention_heads": 2},
    "distilbert": {"dim": 22, "n_layers": 3, "n_heads": 2},
}


def test_by_hand():
    """Three places on five: the new ones lie half way."""
    got = interpolate(torch.tensor([[0.0, 3.0], [4.0, 5.0], [10.0, 5.0]]), 5)
    want = torch.tensor([[0.0, 3.0], [2.0, 4.0], [4.0, 5.0], [7.0, 5.0], [10.0, 5.0]])
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("kind", CONFIGS)
@torch.no_grad()
def test_longer_rows_run_and_go_back_to_transformers(tmp_path, kind):
    torch.manual_seed(0)
    theirs = hf.AutoModel.from_config(hf.AutoConfig.for_model(kind, **SIZES, **CONFIGS[kind]))
    for parameter in theirs.parameters():
        nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path / "theirs")
    backbone = open_checkpoint(tmp_path / "theirs").backbone
    places = backbone.max_positions
    long = Ragged(torch.randint(5, 101, (70,)), Layout([59, 11]))
    with pytest.raises(IndexError):
        backbone(long)
    old = backbone.embeddings.position.weight.clone()
    stretch(backbone, 61)
    new = backbone.embeddings.position.weight
    reserved = len(old) - places
    assert backbone.max_positions == 61 and len(new) == reserved + 61
    assert torch.equal(new[:reserved], old[:reserved])
    assert torch.equal(new[[reserved, -1]], old[[reserved, -1]])
    network = Network(backbone, Mean(), nn.Linear(22, 3), 0.0).eval()
    out = tmp_path / "ours"
    out.mkdir()
    save_network(out, network, source=tmp_path / "theirs", labels=("a", "b", "c"), pooling="mean",
                 max_length=61)  # fmt: skip
    assert torch.equal(open_network(out)(long), network(long))
    again = hf.AutoModel.from_pretrained(out).eval()
    hidden = again(**inputs(again, long)).last_hidden_state
    torch.testing.assert_close(backbone(long).values, long.layout.pack(hidden), **CLOSE)


def test_what_cannot_be_stretched(tmp_path):
    config = hf.ElectraConfig(vocab_size=101, hidden_size=22, num_hidden_layers=1,
                              num_attention_heads=2, embedding_size=22)  # fmt: skip
    hf.ElectraModel(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"an? electra has no table of positions to stretch"):
        stretch(open_checkpoint(tmp_path).backbone, 1031)


def test_fewer_positions_are_no_stretch(tiny_bert):
    with pytest.raises(ValueError, match="37 positions are not more than the 37 there are"):
        stretch(open_checkpoint(tiny_bert).backbone, 37)
