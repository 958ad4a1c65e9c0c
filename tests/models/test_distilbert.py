from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.parity import (
    CLOSE,
    LABELS,
    assert_gradients_match,
    assert_heads_are_dropped,
    assert_layers_match,
    assert_saved_is_opened,
    backbone_and_rest,
    faults_of,
    inputs,
)

from headstart.models.checkpoint import open_checkpoint, open_network
from headstart.models.distilbert import KEYS, DistilBert, DistilBertConfig
from headstart.nn.dropout import Dropout
from headstart.nn.position import SinusoidalPositions
from headstart.nn.ragged import Ragged


@pytest.mark.parametrize("settings", [{}, {"activation": "relu"}, {"sinusoidal_pos_embds": True}])
def test_hidden_states_match_transformers_at_every_layer(make, tokens, settings):
    assert_layers_match(make("DistilBertModel", **settings), tokens)


@pytest.mark.parametrize("sinusoidal", [False, True])
def test_gradients_match_transformers(make, tokens, sinusoidal):
    theirs = make("DistilBertForSequenceClassification", num_labels=3,
                  sinusoidal_pos_embds=sinusoidal)  # fmt: skip
    assert_gradients_match(theirs, tokens)


@torch.no_grad()
def test_the_longest_text_fits_exactly(make):
    theirs = make("DistilBertModel")
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(1, 101, (length,), generator=generator) for length in (17, 2)]
    assert_layers_match(theirs, Ragged.from_rows(rows))
    ours, _ = backbone_and_rest(theirs)
    assert ours.max_positions == 17
    with pytest.raises(IndexError):
        ours(Ragged.from_rows([torch.full((18,), 7)]))


def test_sinusoidal_positions_start_as_transformers_has_them(hf):
    sizes = {"vocab_size": 101, "dim": 22, "n_layers": 1, "n_heads": 2, "hidden_dim": 31,
             "max_position_embeddings": 17, "sinusoidal_pos_embds": True}  # fmt: skip
    theirs = hf.DistilBertModel(hf.DistilBertConfig(**sizes))
    ours = DistilBert(DistilBertConfig.from_hf(sizes))
    torch.testing.assert_close(
        ours.embeddings.position.weight, theirs.embeddings.position_embeddings.weight
    )
    torch.testing.assert_close(
        ours.embeddings.position.weight.detach(), SinusoidalPositions(17, 22).table
    )


@pytest.mark.parametrize("settings", [{}, {"sinusoidal_pos_embds": True}])
@pytest.mark.parametrize("pooling", ["family", "cls", "mean"])
def test_saved_is_opened_here_and_by_transformers(hf, save, tokens, tmp_path, pooling, settings):
    _, source = save("DistilBertModel", **settings)
    assert_saved_is_opened(hf, source, tmp_path / "model", pooling, tokens)


@torch.no_grad()
def test_a_classifier_gives_its_own_logits(save, tokens):
    theirs, folder = save(
        "DistilBertForSequenceClassification",
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        seq_classif_dropout=0.3,
    )
    network = open_network(folder)
    torch.testing.assert_close(network(tokens), theirs(**inputs(theirs, tokens)).logits, **CLOSE)
    assert open_checkpoint(folder).labels == LABELS
    assert (network.dropout.p, network.pool.dropout.p) == (0.3, 0.0)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("DistilBertForMaskedLM", "vocab_transform.weight"),
        ("DistilBertForMaskedLM", "vocab_layer_norm.bias"),
        ("DistilBertForMaskedLM", "vocab_projector.bias"),
        ("DistilBertForTokenClassification", "classifier.weight"),
        ("DistilBertForQuestionAnswering", "qa_outputs.bias"),
    ],
)
def test_heads_of_other_tasks_are_dropped_by_name(save, tokens, name, head):
    theirs, folder = save(name)
    assert_heads_are_dropped(theirs, folder, tokens, head)


def test_a_bare_backbone_has_nothing_to_drop_but_a_forgotten_buffer(save):
    _, folder = save("DistilBertModel")
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.pooler, checkpoint.dropped) == (None, ())
    file = folder / "model.safetensors"
    buffer = {"embeddings.position_ids": torch.arange(17)[None]}
    save_file(load_file(file) | buffer, file, {"format": "pt"})
    assert open_checkpoint(folder).dropped == tuple(buffer)


def test_a_classifier_needs_its_own_head(save):
    _, folder = save("DistilBertForSequenceClassification")
    file = folder / "model.safetensors"
    gone = ("pre_classifier.bias", "classifier.weight",
            "distilbert.transformer.layer.2.ffn.lin1.bias")  # fmt: skip
    save_file({n: t for n, t in load_file(file).items() if n not in gone}, file, {"format": "pt"})
    said = [fault.split(", ", 1)[1].split(":")[0] for fault in faults_of(folder)]
    assert sorted(said) == sorted(gone)


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("DistilBertModel")
    assert faults_of(
        folder,
        is_decoder=True,
        quantization_config={"bits": 4},
        n_layers=0,
        dropout=1,
        seq_classif_dropout=None,
        activation="gleu",
        sinusoidal_pos_embds="yes",
        pad_token_id=103,
    ) == [
        "is_decoder: True is not supported, only False.",
        "quantization_config: {'bits': 4} is not supported, only None.",
        "n_layers: must be a whole number, 1 or more; got 0.",
        "pad_token_id: must be a token, 0 or more and below vocab_size 101; got 103.",
        "dropout: must be at least 0 and below 1; got 1.",
        "seq_classif_dropout: must be at least 0 and below 1; got None.",
        "activation: 'gleu' is not supported. Did you mean 'gelu'? Known: gelu, gelu_new, "
        "gelu_pytorch_tanh, relu, silu, swish.",
        "sinusoidal_pos_embds: must be true or false; got 'yes'.",
    ]


def test_widths_that_cannot_be():
    sizes = {"num_blocks": 1, "inner_width": 31, "max_positions": 17, "vocabulary": 101}
    with pytest.raises(ValueError, match="n_heads: 3 does not divide dim 22"):
        DistilBertConfig(width=22, num_heads=3, **sizes)
    with pytest.raises(ValueError, match="dim: must be even where sinusoidal_pos_embds; got 21"):
        DistilBertConfig(width=21, num_heads=3, sinusoidal=True, **sizes)


@pytest.mark.parametrize(("heads", "more"), [(2, []), (-2, ["n_heads"]), ("2", ["n_heads"])])
def test_values_that_are_missing(heads, more):
    with pytest.raises(ValueError) as caught:
        DistilBertConfig.from_hf({"vocab_size": 101, "n_heads": heads})
    named = [line.split(":")[0] for line in str(caught.value).split("\n")]
    assert named == ["hidden_dim", "max_position_embeddings", "n_layers", "dim", *more]


def test_names_go_there_and_back(make):
    names = make("DistilBertForSequenceClassification").state_dict().keys()
    match = KEYS.match(names)
    assert len(match.ours) == len(names)
    assert match.ours["pooler.dense.bias"] == "pre_classifier.bias"


def test_config_goes_there_and_back(make):
    theirs = make("DistilBertModel", activation="gelu_new", seq_classif_dropout=0.29).config
    ours = DistilBertConfig.from_hf(theirs.to_dict())
    assert DistilBertConfig.from_hf(ours.to_hf()) == ours
    for key, value in ours.to_hf().items():
        assert value == getattr(theirs, key), key


def test_dropout_is_where_distilbert_has_it():
    """Behind the embeddings and the feed-forward; the attention's update has none."""
    sizes = {"vocabulary": 101, "width": 22, "num_blocks": 2, "num_heads": 2,
             "inner_width": 31, "max_positions": 17}  # fmt: skip
    ours = DistilBert(DistilBertConfig(**sizes, dropout=0.13, attention_dropout=0.17))
    rates = {name: m.p for name, m in ours.named_modules() if isinstance(m, Dropout) and m.p}
    updates = ("blocks.0.feed_forward.dropout", "blocks.1.feed_forward.dropout")
    assert rates == dict.fromkeys(("embeddings.dropout", *updates), 0.13)
    assert {block.attention.dropout for block in ours.blocks} == {0.17}


@torch.no_grad()
def test_segments_are_not_read(make, tokens, segments):
    ours, _ = backbone_and_rest(make("DistilBertModel"))
    assert torch.equal(ours(tokens, segments).values, ours(tokens).values)


def test_a_fresh_pooler_is_drawn_as_distilbert_draws(save):
    _, folder = save("DistilBertModel", initializer_range=0.07)
    torch.manual_seed(0)
    pooler = open_checkpoint(folder).fresh_pooler()
    assert not pooler.dense.bias.any()
    assert abs(pooler.dense.weight.std().item() - 0.07) < 0.01
    assert pooler(Ragged.from_rows([torch.full((2, 22), -1.0)])).min() == 0, "ReLU"
