from __future__ import annotations

import pytest
import torch
from tests.models.parity import (
    CLOSE,
    assert_gradients_match,
    assert_layers_match,
    backbone_and_rest,
    inputs,
)

from headstart.models.bert import KEYS, Bert, BertConfig
from headstart.models.network import Pooler
from headstart.nn.ragged import Ragged


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu", "silu"])
def test_hidden_states_match_transformers_at_every_layer(make, tokens, segments, activation):
    assert_layers_match(make(hidden_act=activation), tokens, segments)


@torch.no_grad()
def test_the_pooler_matches_transformers(make, tokens):
    theirs = make()
    ours, rest = backbone_and_rest(theirs)
    pooler = Pooler(22)
    pooler.load_state_dict({n.removeprefix("pooler."): v for n, v in rest.items()})
    want = theirs(**inputs(theirs, tokens)).pooler_output
    torch.testing.assert_close(pooler(ours(tokens)), want, **CLOSE)


@torch.no_grad()
def test_without_segments_all_are_zero(make, tokens):
    ours, _ = backbone_and_rest(make())
    zeros = torch.zeros_like(tokens.values)
    assert torch.equal(ours(tokens).values, ours(tokens, zeros).values)


def test_gradients_match_transformers(make, tokens):
    tokens.values[13] = 0  # a padding token that a text spells out: its vector never moves
    assert_gradients_match(make("BertForSequenceClassification", num_labels=3), tokens)


def test_names_go_there_and_back(make):
    names = make("BertForSequenceClassification").state_dict().keys()
    match = KEYS.match(names)
    assert len(match.ours) == len(names)
    for ours, theirs in match.ours.items():
        assert KEYS.to_theirs(ours, "" if ours.startswith("head.") else "bert.") == theirs
    assert "blocks.2.feed_forward.widen.weight" in match.ours


def test_names_that_the_table_does_not_hold():
    match = KEYS.match(
        [
            "bert.embeddings.LayerNorm.gamma",
            "embeddings.LayerNorm.weight",
            "cls.seq_relationship.bias",
            "embeddings.position_ids",
            "encoder.layer.0.adapter.weight",
            "encoder.layer.x.output.dense.weight",
        ]
    )
    assert match.ours == {"embeddings.norm.weight": "bert.embeddings.LayerNorm.gamma"}
    assert match.doubled == ("embeddings.LayerNorm.weight",)
    assert match.dropped == ("cls.seq_relationship.bias", "embeddings.position_ids")
    assert match.unknown == (
        "encoder.layer.0.adapter.weight",
        "encoder.layer.x.output.dense.weight",
    )


def test_config_goes_there_and_back(make):
    theirs = make(hidden_act="gelu_new", classifier_dropout=0.3, layer_norm_eps=1e-5).config
    ours = BertConfig.from_hf(theirs.to_dict())
    assert BertConfig.from_hf(ours.to_hf()) == ours
    for key, value in ours.to_hf().items():
        assert value == getattr(theirs, key, "absolute"), key


def test_config_faults_come_all_at_once():
    values = {
        "vocab_size": 101,
        "hidden_size": 22,
        "num_attention_heads": 3,
        "intermediate_size": 0,
        "max_position_embeddings": 17,
        "hidden_act": "gelu_nwe",
        "position_embedding_type": "relative_key",
        "is_decoder": True,
        "hidden_dropout_prob": 1.5,
    }
    with pytest.raises(ValueError) as caught:
        BertConfig.from_hf(values)
    assert str(caught.value).split("\n") == [
        "position_embedding_type: 'relative_key' is not supported, only 'absolute'.",
        "is_decoder: True is not supported, only False.",
        "num_hidden_layers: is missing.",
        "intermediate_size: must be a whole number, 1 or more; got 0.",
        "hidden_dropout_prob: must be at least 0 and below 1; got 1.5.",
        "hidden_act: 'gelu_nwe' is not supported. Did you mean 'gelu_new'? Known: gelu, gelu_new, "
        "gelu_pytorch_tanh, relu, silu, swish.",
    ]
    with pytest.raises(ValueError, match="num_attention_heads: 3 does not divide hidden_size 22"):
        BertConfig(101, 22, num_blocks=1, num_heads=3, inner_width=31, max_positions=17)


def test_new_weights_are_drawn_as_bert_draws_them():
    torch.manual_seed(0)
    bert = Bert(BertConfig(101, 22, 3, 2, 31, 17))
    assert not bert.blocks[0].attention.query.bias.any()
    assert bert.embeddings.norm.weight.eq(1).all()
    spread = torch.cat([b.feed_forward.widen.weight.flatten() for b in bert.blocks]).std()
    assert abs(spread.item() - 0.02) < 0.001


def test_training_mode_uses_dropout_everywhere_it_should(tokens):
    """Each of the three rates alone makes two passes differ; none of them, and they are equal."""
    sizes = {"vocabulary": 101, "width": 22, "num_blocks": 1, "num_heads": 2,
             "inner_width": 31, "max_positions": 17}  # fmt: skip
    for rates, same in (((0.0, 0.0), True), ((0.5, 0.0), False), ((0.0, 0.5), False)):
        bert = Bert(BertConfig(**sizes, dropout=rates[0], attention_dropout=rates[1])).train()
        torch.nn.init.normal_(bert.blocks[0].attention.value.weight)
        once, twice = bert(tokens), bert(tokens)
        assert torch.equal(once.values, twice.values) == same


def test_a_row_does_not_feel_its_neighbours(make, tokens):
    ours, _ = backbone_and_rest(make())
    for row, got in zip(tokens.split(), ours(tokens).split(), strict=True):
        torch.testing.assert_close(ours(Ragged.from_rows([row])).values, got, **CLOSE)
