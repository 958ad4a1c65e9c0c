from __future__ import annotations

import copy
import json

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

from headstart.models.attach import attach, merge
from headstart.models.checkpoint import open_checkpoint, open_network
from headstart.models.deberta import DEBERTA_V2, KEYS, Deberta
from headstart.models.deberta_config import DebertaConfig
from headstart.models.network import Mean, Network
from headstart.nn.dropout import Dropout
from headstart.nn.ragged import Ragged
from headstart.recipe import Lora

SETTINGS = [  # the first is how v3 is published, the tenth how v2-xlarge is
    {},
    {"share_att_key": False},
    {"pos_att_type": ["c2p"]},
    {"pos_att_type": "p2c", "share_att_key": False},
    {"position_buckets": -1},
    {"position_buckets": -1, "max_relative_positions": 5},
    {"position_buckets": 8, "max_relative_positions": 7},
    {"norm_rel_ebd": "none"},
    {"position_biased_input": True, "hidden_act": "gelu_new"},
    {"conv_kernel_size": 3, "conv_act": "gelu"},
    {"conv_kernel_size": 5, "conv_groups": 11},
]
SIZES = {
    "vocab_size": 101,
    "hidden_size": 22,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 31,
    "relative_attention": True,
    "pos_att_type": "p2c|c2p",
}
KNOWN = "Known: gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish"


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_hidden_states_match_transformers_at_every_layer(make, tokens, settings):
    assert_layers_match(make("DebertaV2Model", **settings), tokens)


def test_segments_match_where_there_are_any(make, tokens, segments):
    theirs = make("DebertaV2Model", type_vocab_size=5)
    assert_layers_match(theirs, tokens)
    assert_layers_match(theirs, tokens, segments)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_gradients_match_transformers(make, tokens, settings):
    settings = settings | {"type_vocab_size": 2, "num_labels": 3}
    assert_gradients_match(make("DebertaV2ForSequenceClassification", **settings), tokens)


def test_a_long_text_meets_the_published_buckets(make):
    """256 buckets up to 512: distances behind 128 share."""
    theirs = make("DebertaV2Model", position_buckets=256, max_position_embeddings=512)
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(1, 101, (length,), generator=generator) for length in (401, 131)]
    assert_layers_match(theirs, Ragged.from_rows(rows))
    ours, _ = backbone_and_rest(theirs)
    assert ours.max_positions == 512


@pytest.mark.parametrize(
    "settings", [{}, {"conv_kernel_size": 3, "share_att_key": False, "type_vocab_size": 2}]
)
@pytest.mark.parametrize("pooling", ["family", "cls", "mean"])
def test_saved_is_opened_here_and_by_transformers(hf, save, tokens, tmp_path, pooling, settings):
    _, source = save("DebertaV2Model", **settings)
    assert_saved_is_opened(hf, source, tmp_path / "model", pooling, tokens)


@torch.no_grad()
@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_a_classifier_gives_its_own_logits(save, tokens, activation):
    theirs, folder = save(
        "DebertaV2ForSequenceClassification",
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        pooler_hidden_act=activation,
        pooler_dropout=0.2,
        cls_dropout=0.3,
    )
    network = open_network(folder)
    torch.testing.assert_close(network(tokens), theirs(**inputs(theirs, tokens)).logits, **CLOSE)
    assert open_checkpoint(folder).labels == LABELS
    assert (network.dropout.p, network.pool.dropout.p) == (0.3, 0.2)


@pytest.mark.parametrize(
    ("name", "settings", "head"),
    [
        ("DebertaV2ForMaskedLM", {}, "cls.predictions.transform.dense.weight"),
        ("DebertaV2ForMaskedLM", {"legacy": False}, "lm_predictions.lm_head.bias"),
        ("DebertaV2ForTokenClassification", {}, "classifier.weight"),
        ("DebertaV2ForQuestionAnswering", {}, "qa_outputs.bias"),
    ],
)
def test_heads_of_other_tasks_are_dropped_by_name(save, tokens, name, settings, head):
    theirs, folder = save(name, **settings)
    assert_heads_are_dropped(theirs, folder, tokens, head)


@torch.no_grad()
def test_what_published_folders_hold_besides_is_dropped_by_name(make, tmp_path, tokens):
    """Pre-training's heads, and places that only they read; and a config.json as it was in 2021."""
    theirs = make("DebertaV2Model")
    torch.manual_seed(5)
    extra = {
        "deberta.embeddings.position_embeddings.weight": torch.randn(23, 22),
        "lm_predictions.lm_head.LayerNorm.weight": torch.randn(22),
        "mask_predictions.classifier.weight": torch.randn(1, 22),
    }
    state = {f"deberta.{name}": tensor for name, tensor in theirs.state_dict().items()}
    save_file(state | extra, tmp_path / "model.safetensors", {"format": "pt"})
    said = SIZES | {
        "model_type": "deberta-v2",
        "num_hidden_layers": 3,
        "attention_probs_dropout_prob": 0.1,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "max_position_embeddings": 23,
        "norm_rel_ebd": "layer_norm",
        "layer_norm_eps": 1e-7,
        "max_relative_positions": -1,
        "position_buckets": 7,
        "share_att_key": True,
        "attention_head_size": 11,
        "pooler_hidden_size": 22,
        "position_biased_input": False,
        "type_vocab_size": 0,
    }
    (tmp_path / "config.json").write_text(json.dumps(said))
    checkpoint = open_checkpoint(tmp_path)
    assert set(checkpoint.dropped) == set(extra)
    want = theirs(**inputs(theirs, tokens)).last_hidden_state
    torch.testing.assert_close(
        checkpoint.backbone(tokens).values, tokens.layout.pack(want), **CLOSE
    )


def test_places_that_are_used_are_no_spare_ones(save):
    _, folder = save("DebertaV2Model", position_biased_input=True)
    assert open_checkpoint(folder).dropped == ()
    file = folder / "model.safetensors"
    gone = "embeddings.position_embeddings.weight"
    save_file({n: t for n, t in load_file(file).items() if n != gone}, file, {"format": "pt"})
    assert [fault.split(", ", 1)[1].split(":")[0] for fault in faults_of(folder)] == [gone]


def test_a_classifier_needs_its_own_head(save):
    _, folder = save("DebertaV2ForSequenceClassification", share_att_key=False)
    file = folder / "model.safetensors"
    gone = ("pooler.dense.bias", "classifier.weight", "deberta.encoder.rel_embeddings.weight",
            "deberta.encoder.layer.2.attention.self.pos_query_proj.bias")  # fmt: skip
    save_file({n: t for n, t in load_file(file).items() if n not in gone}, file, {"format": "pt"})
    said = [fault.split(", ", 1)[1].split(":")[0] for fault in faults_of(folder)]
    assert sorted(said) == sorted(gone)


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("DebertaV2Model")
    assert faults_of(
        folder,
        is_decoder=True,
        relative_attention=False,
        embedding_size=128,
        pooler_hidden_size=23,
        attention_head_size=64,
        num_hidden_layers=0,
        pad_token_id=103,
        cls_dropout=1,
        hidden_act="gleu",
        share_att_key="yes",
        pooler_hidden_act="tahn",
        conv_act="mish",
        norm_rel_ebd="layernorm",
        pos_att_type="c2p|p2p",
        type_vocab_size=-1,
        max_relative_positions=3.5,
        position_buckets=1,
        conv_kernel_size=4,
        conv_groups=3,
    ) == [
        "is_decoder: True is not supported, only False.",
        "relative_attention: False is not supported, only True.",
        "embedding_size: 128 is not supported, only 22.",
        "pooler_hidden_size: 23 is not supported, only 22.",
        "attention_head_size: 64 is not supported, only 11.",
        "num_hidden_layers: must be a whole number, 1 or more; got 0.",
        "pad_token_id: must be a token, 0 or more and below vocab_size 101; got 103.",
        "cls_dropout: must be at least 0 and below 1; got 1.",
        f"hidden_act: 'gleu' is not supported. Did you mean 'gelu'? {KNOWN}.",
        "share_att_key: must be true or false; got 'yes'.",
        f"pooler_hidden_act: 'tahn' is not supported. Did you mean 'tanh'? {KNOWN}, tanh.",
        f"conv_act: 'mish' is not supported. Did you mean 'swish'? {KNOWN}, tanh.",
        "norm_rel_ebd: 'layernorm' is not supported. Did you mean 'layer_norm'? "
        "Known: none, layer_norm.",
        "pos_att_type: must be one or both of c2p, p2c; got ['c2p', 'p2p'].",
        "type_vocab_size: must be a whole number, 0 or more; got -1.",
        "max_relative_positions: must be a whole number, -1 or more; got 3.5.",
        "conv_kernel_size: must be odd, or 0 for no convolution; got 4.",
        "conv_groups: 3 does not divide hidden_size 22.",
    ]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"position_buckets": 1}, "position_buckets: must be 2 or more, and half of it below "
         "max_relative_positions 512 - 1; got 1."),
        ({"position_buckets": 32, "max_relative_positions": 17}, "position_buckets: must be 2 or "
         "more, and half of it below max_relative_positions 17 - 1; got 32."),
        ({"pos_att_type": None}, "pos_att_type: must be one or both of c2p, p2c; got None."),
        ({"pos_att_type": []}, "pos_att_type: must be one or both of c2p, p2c; got []."),
        ({"conv_groups": 0}, "conv_groups: must be a whole number, 1 or more; got 0."),
    ],
)  # fmt: skip
def test_values_that_cannot_be(values, fault):
    with pytest.raises(ValueError) as caught:
        DebertaConfig.from_hf(SIZES | values)
    assert str(caught.value) == fault


def test_a_folder_silent_on_relative_attention_has_none_to_transformers():
    silent = {key: value for key, value in SIZES.items() if key != "relative_attention"}
    with pytest.raises(ValueError, match="relative_attention: False is not supported, only True"):
        DebertaConfig.from_hf(silent)


def test_values_that_are_missing():
    with pytest.raises(ValueError) as caught:
        DebertaConfig.from_hf({"vocab_size": 101})
    named = [line.split(":")[0] for line in str(caught.value).split("\n")]
    assert named == ["relative_attention", "intermediate_size", "num_hidden_layers",
                     "num_attention_heads", "hidden_size", "pos_att_type"]  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"share_att_key": False, "conv_kernel_size": 3}])
def test_names_go_there_and_back(make, settings):
    theirs = make("DebertaV2ForSequenceClassification", **settings)
    names = theirs.state_dict().keys()
    match = KEYS.match(names)
    assert len(match.ours) == len(names)
    assert match.ours["embeddings.distance.table.weight"] == "deberta.encoder.rel_embeddings.weight"
    assert {DEBERTA_V2.their_name(n, whole=True) for n in match.ours} == set(names)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_config_goes_there_and_back(make, settings):
    theirs = make("DebertaV2Model", **settings).config
    ours = DebertaConfig.from_hf(theirs.to_dict())
    assert DebertaConfig.from_hf(ours.to_hf()) == ours
    silent = {"cls_dropout": None, "conv_kernel_size": 0, "conv_groups": 1, "conv_act": "tanh"}
    for key, value in ours.to_hf().items():
        assert value == getattr(theirs, key, silent.get(key)), key


def test_dropout_is_where_deberta_has_it():
    """Behind the embeddings, of each update, of the distances' vectors in every block."""
    said = SIZES | {"hidden_dropout_prob": 0.13, "attention_probs_dropout_prob": 0.17,
                    "conv_kernel_size": 3}  # fmt: skip
    ours = Deberta(DebertaConfig.from_hf(said))
    rates = {name: m.p for name, m in ours.named_modules() if isinstance(m, Dropout) and m.p}
    blocks = [f"blocks.{i}{end}" for i in (0, 1)
              for end in (".dropout", ".attention.vector_dropout")]  # fmt: skip
    names = ("embeddings.dropout", *blocks, "blocks.0.convolution.dropout")
    assert rates == dict.fromkeys(names, 0.13)
    assert {block.attention.dropout for block in ours.blocks} == {0.17}


def test_the_vectors_of_distances_are_the_embeddings_and_nobody_elses():
    """A prefix that is kept, rates by depth and freezing all go by who owns a parameter."""
    ours = Deberta(DebertaConfig.from_hf(SIZES | {"share_att_key": True}))
    (module,) = ours.embedding_modules()
    assert module.distance.table.weight in set(module.parameters())
    names = [name for name, _ in ours.named_parameters() if "distance" in name]
    assert names == ["embeddings.distance.table.weight"]
    network = Network(ours, Mean(), torch.nn.Linear(22, 3), 0.0)
    copied = copy.deepcopy(network).backbone
    assert copied.blocks[1].attention.vectors.module is copied.embeddings.distance


@torch.no_grad()
def test_blocks_go_on_from_what_was_kept(make, tokens):
    """The vectors are read where a block needs them, whatever ran before."""
    ours, _ = backbone_and_rest(make("DebertaV2Model"))
    network = Network(ours, Mean(), torch.nn.Linear(22, 3), 0.0).eval()
    kept = network.prefix(tokens, None, 2)
    fresh = Ragged(kept.values.clone(), Ragged.from_rows(tokens.split()).layout)
    assert torch.equal(network.suffix(fresh, 2), network(tokens))


@torch.no_grad()
def test_an_update_of_the_map_of_queries_moves_distances_too(make, tokens):
    """Where distances share the maps of contents, they share what is put beside those."""
    ours, _ = backbone_and_rest(make("DebertaV2Model"))
    network = Network(ours, Mean(), torch.nn.Linear(22, 3), 0.0).eval()
    before = ours(tokens).values
    attach(network, Lora(kind="lora", rank=3, targets="query|key"))
    torch.testing.assert_close(ours(tokens).values, before, **CLOSE)
    for name, parameter in network.named_parameters():
        if ".lora." in name:
            torch.nn.init.normal_(parameter, std=0.5)
    moved = ours(tokens).values
    assert (moved - before).abs().max() > 1e-3
    merge(network)
    again = Deberta(ours.config).eval()
    again.load_state_dict(ours.state_dict())
    torch.testing.assert_close(again(tokens).values, moved, **CLOSE)


def test_new_weights_are_drawn_as_deberta_draws(save):
    torch.manual_seed(0)
    ours = Deberta(DebertaConfig.from_hf(SIZES | {"initializer_range": 0.07,
                                                  "conv_kernel_size": 3}))  # fmt: skip
    for weight in (ours.blocks[0].convolution.filter.weight, ours.embeddings.distance.table.weight):
        assert abs(weight.std().item() - 0.07) < 0.01
    _, folder = save("DebertaV2Model", initializer_range=0.07)
    pooler = open_checkpoint(folder).fresh_pooler()
    assert not pooler.dense.bias.any()
    assert abs(pooler.dense.weight.std().item() - 0.07) < 0.01
