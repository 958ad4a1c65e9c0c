from __future__ import annotations

import pytest
import torch
from torch import nn

from headstart.models.bert import Bert, BertConfig
from headstart.models.network import Cls, Mean, Network, Pooler
from headstart.nn.ragged import Layout, Ragged

POOLS = {"cls": Cls, "mean": Mean, "family": lambda: Pooler(22)}


@pytest.fixture(params=POOLS)
def network(request) -> Network:
    torch.manual_seed(0)
    backbone = Bert(BertConfig(101, 22, 3, 2, 31, 17, num_segments=5))
    network = Network(backbone, POOLS[request.param](), nn.Linear(22, 3), 0.1)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    return network.eval()


@torch.no_grad()
def test_prefix_then_suffix_is_forward_bit_for_bit(network, tokens, segments):
    for given in (None, segments):
        logits = network(tokens, given)
        assert logits.shape == (4, 3)
        for depth in range(1, network.depth + 1):
            kept = network.prefix(tokens, given, depth)
            assert torch.equal(network.suffix(kept, depth), logits), depth
        assert torch.equal(network.suffix(tokens, 0, given), logits)


@torch.no_grad()
def test_prefixes_are_the_hidden_states(network, tokens):
    states = network.backbone.hidden_states(tokens)
    assert network.depth == len(states) + 1 == 5
    for depth, state in enumerate(states, 1):
        assert torch.equal(network.prefix(tokens, None, depth).values, state.values)
    pooled = network.prefix(tokens, None, network.depth)
    assert pooled.lengths.tolist() == [1, 1, 1, 1]
    assert torch.equal(pooled.values, network.pool(states[-1]))


def test_parts_own_each_parameter_once(network):
    owned = [
        parameter
        for part in range(network.depth)
        for module in network.part_modules(part)
        for parameter in module.parameters()
    ]
    outside = list(network.head.parameters())
    assert len({id(p) for p in owned}) == len(owned)
    assert {id(p) for p in [*owned, *outside]} == {id(p) for p in network.parameters()}


def test_a_part_moves_when_one_of_its_parameters_does(network):
    network.requires_grad_(False)
    assert not any(network.moves(part) for part in range(network.depth))
    network.backbone.blocks[1].norm_2.bias.requires_grad_(True)
    assert [part for part in range(network.depth) if network.moves(part)] == [2]


def test_names(network):
    names = set(network.state_dict())
    assert {"backbone.embeddings.token.weight", "backbone.blocks.0.attention.query.weight",
            "head.weight", "head.bias"} <= names  # fmt: skip
    assert ("pool.dense.weight" in names) == isinstance(network.pool, Pooler)


def test_pools_by_hand():
    x = Ragged(torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]), Layout([2, 1]))
    assert Cls()(x).tolist() == [[1.0, 2.0], [5.0, 6.0]]
    assert Mean()(x).tolist() == [[2.0, 3.0], [5.0, 6.0]]
    pooler = Pooler(2)
    with torch.no_grad():
        pooler.dense.weight.copy_(torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
        pooler.dense.bias.copy_(torch.tensor([0.5, 0.0]))
    want = torch.tensor([[2.5, 1.0], [6.5, 5.0]]).tanh()
    torch.testing.assert_close(pooler(x), want)


def test_dropout_is_in_front_of_the_head_and_only_in_training(network, tokens):
    network.backbone.eval()
    network.dropout.train()
    with torch.no_grad():
        assert not torch.equal(network(tokens), network(tokens))
        kept = network.prefix(tokens, None, network.depth)
        assert torch.equal(kept.values, network.prefix(tokens, None, network.depth).values)
