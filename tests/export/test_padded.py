"""Padded batches give what packed ones do: in torch, and in the graph that is made from them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.export.conftest import FAMILY_SIZES, WORDS
from tests.models.conftest import FAMILY_SIZES as ALL_SIZES
from torch import nn

from headstart.errors import CheckpointError
from headstart.export.graph import write_graph
from headstart.export.padded import PaddedLayout, PaddedRagged, logits
from headstart.models.families import FAMILIES
from headstart.models.network import POOLS, Mean, Network
from headstart.nn.ragged import Ragged
from headstart.training.model import open_trained

POOLINGS = ["cls", "mean", "last", "family"]


def batch(lengths, padding, seed=5):
    """Random tokens, the padding token among them, with its mask; and the same tokens packed."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor(lengths)
    tokens = torch.randint(0, len(WORDS), (len(lengths), int(lengths.max())), generator=generator)
    mask = torch.arange(tokens.shape[1]) < lengths[:, None]
    return (
        tokens.where(mask, torch.tensor(padding)),
        mask.long(),
        Ragged.from_padded(tokens, lengths),
    )


def padding_of(family):
    return FAMILY_SIZES[family].get("pad_token_id", 0)


@pytest.mark.parametrize("family", FAMILY_SIZES)
@pytest.mark.parametrize("pooling", POOLINGS)
def test_padded_logits_equal_packed_ones(make, family, pooling):
    network = open_trained(make(family, pooling)).network
    for lengths in ([11, 7, 1, 13], [1], [5], [3, 3]):
        tokens, mask, packed = batch(lengths, padding_of(family))
        with torch.no_grad():
            got, want = logits(network, tokens, mask, None), network(packed)
        torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


@pytest.fixture(scope="session")
def of_family():
    """A random network of one of transformers' families, and the token that it pads with."""
    transformers = pytest.importorskip("transformers")

    def build(name, pooling):
        values = getattr(transformers, f"{name}Config")(**ALL_SIZES[name]).to_dict()
        family = FAMILIES[values["model_type"]]
        torch.manual_seed(17)
        backbone = family.build(values)
        whole = pooling == "family" and family.classifier is not None
        pool = family.classifier.pooler(values) if whole else POOLS.get(pooling, Mean)()
        width = backbone.width * (family.classifier.pooled_widths if whole else 1)
        network = Network(backbone, pool, nn.Linear(width, 3), 0.0).eval()
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.2)
        return network, values.get("pad_token_id") or 0

    return build


@pytest.mark.parametrize("name", ALL_SIZES)
@pytest.mark.parametrize("pooling", ["mean", "last", "family"])
def test_padded_logits_of_every_family(of_family, name, pooling):
    network, padding = of_family(name, pooling)
    tokens, mask, packed = batch([11, 7, 1, 13], padding)
    with torch.no_grad():
        got, want = logits(network, tokens, mask, None), network(packed)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_a_graph_of_attention_by_distance(of_family, tmp_path):
    """Buckets of distance, on rows longer than those traced."""
    onnxruntime = pytest.importorskip("onnxruntime")
    network, padding = of_family("DebertaV2", "mean")
    write_graph(network, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    for lengths in ([17, 7, 1], [1], [2, 5]):
        tokens, mask, packed = batch(lengths, padding)
        given = {"input_ids": tokens.numpy(), "attention_mask": mask.numpy()}
        with torch.no_grad():
            want = network(packed).numpy()
        np.testing.assert_allclose(session.run(None, given)[0], want, atol=1e-4, rtol=0)


def test_what_cannot_be_traced_is_told(make, tmp_path):
    class Counting(nn.Module):
        def forward(self, x):
            return x.first() * int(x.lengths.max())

    network = open_trained(make("bert", "mean")).network
    network.pool = Counting()
    with pytest.raises(CheckpointError, match=r"this bert cannot be traced into one graph .*\."):
        write_graph(network, tmp_path / "model.onnx")
    assert list(tmp_path.iterdir()) == []


def test_padded_logits_of_pairs(make):
    network = open_trained(make("bert", "mean")).network
    tokens, mask, packed = batch([11, 7, 13], 0)
    segments = torch.randint(5, tokens.shape, generator=torch.Generator().manual_seed(3))
    of_packed = packed.layout.pack(segments)
    with torch.no_grad():
        got, want = logits(network, tokens, mask, segments.flatten()), network(packed, of_packed)
    torch.testing.assert_close(got, want, atol=1e-5, rtol=1e-5)


def test_the_layout_by_hand():
    mask = torch.tensor([[True, True, True], [True, False, False]])
    layout = PaddedLayout(mask)
    assert (layout.num_rows, layout.longest, layout.total) == (2, 3, 6)
    assert layout.positions.tolist() == [0, 1, 2, 0, 1, 2]
    assert layout.rows.tolist() == [0, 0, 0, 1, 1, 1]
    assert layout.offsets.tolist() == [0, 3, 6]
    assert layout.lengths.tolist() == [3, 1]
    x = PaddedRagged(torch.tensor([[1.0], [2.0], [6.0], [5.0], [7.0], [7.0]]), layout)
    assert x.first().tolist() == [[1.0], [5.0]]
    assert x.last().tolist() == [[6.0], [5.0]]
    assert x.mean().tolist() == [[3.0], [5.0]]
    assert layout.pack(layout.pad(x.values)).tolist() == x.values.tolist()


@pytest.mark.parametrize(("family", "pooling"), [
    ("bert", "cls"), ("bert", "mean"), ("roberta", "family"),
    ("distilbert", "family"),
])  # fmt: skip
def test_the_graph_answers_for_any_batch_and_length(make, graph_of, family, pooling):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = open_trained(make(family, pooling)).network
    session = onnxruntime.InferenceSession(str(graph_of(family, pooling)))
    names = [given.name for given in session.get_inputs()]
    pair = ["token_type_ids"] if family == "bert" else []
    assert names == ["input_ids", "attention_mask", *pair]
    for lengths in ([11, 7, 1, 13], [1], [29], [2, 1, 2, 2, 1], [7, 2, 5]):
        tokens, mask, packed = batch(lengths, padding_of(family))
        given = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": tokens * 0}
        got = session.run(["logits"], {name: given[name].numpy() for name in names})[0]
        with torch.no_grad():
            want = network(packed).numpy()
        np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)


def test_the_graph_tells_the_texts_of_a_pair_apart(make, graph_of):
    onnxruntime = pytest.importorskip("onnxruntime")
    network = open_trained(make("bert", "cls")).network
    tokens, mask, packed = batch([11, 7, 13], 0)
    segments = torch.randint(5, tokens.shape, generator=torch.Generator().manual_seed(3))
    given = {"input_ids": tokens, "attention_mask": mask, "token_type_ids": segments}
    session = onnxruntime.InferenceSession(str(graph_of("bert", "cls")))
    got = session.run(["logits"], {name: tensor.numpy() for name, tensor in given.items()})[0]
    with torch.no_grad():
        want = network(packed, packed.layout.pack(segments)).numpy()
    np.testing.assert_allclose(got, want, atol=1e-4, rtol=0)
