from __future__ import annotations

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
from torch import nn

from headstart.models.checkpoint import open_checkpoint, open_network
from headstart.models.modernbert import KEYS, MODERNBERT, ModernBert
from headstart.models.modernbert_config import ModernBertConfig
from headstart.models.network import Cls, Mean
from headstart.nn.dropout import Dropout
from headstart.nn.ragged import Ragged

FULL, SLIDING = "full_attention", "sliding_attention"
ROPES = {
    FULL: {"rope_type": "default", "rope_theta": 100.0},
    SLIDING: {"rope_type": "linear", "rope_theta": 7.0, "factor": 3.0},
}
SETTINGS = [  # the first is how ModernBERT is published
    {},
    {"attention_bias": True},
    {"mlp_bias": True},
    {"norm_bias": True, "classifier_bias": True},
    {"classifier_pooling": "mean"},
    {"layer_types": [SLIDING, FULL, FULL]},
    {"rope_parameters": ROPES},
    {"global_rope_theta": 11.0, "local_rope_theta": 5.0},
    {"local_attention": 1},
    {"hidden_activation": "gelu_new", "classifier_activation": "silu"},
]
SIZES = {
    "vocab_size": 101,
    "hidden_size": 28,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "intermediate_size": 31,
    "max_position_embeddings": 17,
    "pad_token_id": 9,
}
KNOWN = "Known: gelu, gelu_new, gelu_pytorch_tanh, relu, silu, swish."
ROPE_KNOWN = "Known: default, linear, dynamic, llama3, yarn."


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_hidden_states_match_transformers_at_every_layer(make, tokens, settings):
    """Windows of 3 places on either side, and rows of up to 13 tokens."""
    assert_layers_match(make("ModernBertModel", **settings), tokens)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_gradients_match_transformers(make, tokens, settings):
    theirs = make("ModernBertForSequenceClassification", num_labels=3, **settings)
    assert_gradients_match(theirs, tokens)


def test_a_long_text_matches(make):
    """1,031 tokens; a window as published, so that the first and the last are 8 windows apart."""
    theirs = make("ModernBertModel", max_position_embeddings=8192, local_attention=128)
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(10, 101, (length,), generator=generator) for length in (1031, 83)]
    assert_layers_match(theirs, Ragged.from_rows(rows))


def test_max_positions_are_those_of_the_config(save):
    _, folder = save("ModernBertModel", max_position_embeddings=8192)
    checkpoint = open_checkpoint(folder)
    assert (checkpoint.max_length, checkpoint.backbone.max_positions) == (8192, 8192)


@torch.no_grad()
def test_a_local_block_sees_its_window_and_no_further(make):
    """Block 1 of 3 is local: through it, token 8 hears tokens 5 to 11 of 17."""
    ours, _ = backbone_and_rest(make("ModernBertModel"))
    assert [block.attention.form.reach for block in ours.blocks] == [None, 3, None]
    x = Ragged.from_rows([torch.randn(17, 28, generator=torch.Generator().manual_seed(2))])
    before = ours.blocks[1](x).values[8]
    heard = []
    for place in range(17):
        changed = x.values.clone()
        changed[place] += 1.0 + torch.arange(28) / 7  # a norm does not hear a constant
        if not torch.equal(ours.blocks[1](x.replace(changed)).values[8], before):
            heard.append(place)
    assert heard == [5, 6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize("settings", [{}, SETTINGS[3] | {"attention_bias": True}, SETTINGS[6]])
@pytest.mark.parametrize("pooling", ["family", "cls", "mean"])
def test_saved_is_opened_here_and_by_transformers(hf, save, tokens, tmp_path, pooling, settings):
    _, source = save("ModernBertModel", **settings)
    assert_saved_is_opened(hf, source, tmp_path / "model", pooling, tokens)


@torch.no_grad()
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_classifier_gives_its_own_logits(hf, save, tokens, tmp_path, pooling):
    theirs, folder = save(
        "ModernBertForSequenceClassification",
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
        classifier_pooling=pooling,
        classifier_dropout=0.3,
    )
    network = open_network(folder)
    torch.testing.assert_close(network(tokens), theirs(**inputs(theirs, tokens)).logits, **CLOSE)
    assert open_checkpoint(folder).labels == LABELS
    assert network.dropout.p == 0.3
    assert isinstance(network.pool.pool, {"cls": Cls, "mean": Mean}[pooling])
    assert_saved_is_opened(hf, folder, tmp_path / "again", "family", tokens)


@torch.no_grad()
def test_the_head_of_pre_training_is_the_pooler_and_its_map_to_words_is_dropped(save, tokens):
    """As transformers does when it opens such a folder as a classifier."""
    theirs, folder = save("ModernBertForMaskedLM")
    checkpoint = open_checkpoint(folder)
    assert "decoder.bias" in checkpoint.dropped
    assert (checkpoint.head, checkpoint.fresh) == (None, ())
    hidden = theirs.model(**inputs(theirs, tokens)).last_hidden_state
    x = tokens.replace(tokens.layout.pack(hidden))
    torch.testing.assert_close(checkpoint.backbone(tokens).values, x.values, **CLOSE)
    torch.testing.assert_close(checkpoint.pooler(x), theirs.head(hidden[:, 0]), **CLOSE)


def test_a_bare_backbone_has_nothing_to_drop(save, tokens):
    theirs, folder = save("ModernBertModel")
    file = folder / "model.safetensors"
    assert open_checkpoint(folder).dropped == ()
    save_file(load_file(file) | {"decoder.bias": torch.zeros(101)}, file, {"format": "pt"})
    fresh = ("pooler.dense.weight", "pooler.norm.weight")
    assert_heads_are_dropped(theirs, folder, tokens, "decoder.bias", fresh)


@pytest.mark.parametrize(
    "name", ["ModernBertForTokenClassification", "ModernBertForQuestionAnswering"]
)
def test_heads_of_other_tasks_are_dropped_by_name(save, name):
    _, folder = save(name)
    checkpoint = open_checkpoint(folder)
    assert checkpoint.dropped == ("classifier.bias", "classifier.weight")
    assert checkpoint.head is None
    assert checkpoint.pooler is not None, "transformers would take it over, too"


def test_a_classifier_needs_its_own_head(save):
    _, folder = save("ModernBertForSequenceClassification", norm_bias=True)
    file = folder / "model.safetensors"
    gone = ("head.norm.bias", "classifier.weight", "model.layers.2.attn_norm.weight",
            "model.final_norm.bias")  # fmt: skip
    save_file({n: t for n, t in load_file(file).items() if n not in gone}, file, {"format": "pt"})
    said = [fault.split(", ", 1)[1].split(":")[0] for fault in faults_of(folder)]
    assert sorted(said) == sorted(gone)


@torch.no_grad()
@pytest.mark.parametrize("local", [5.0, None])
def test_a_config_from_before_transformers_5_is_read(make, tmp_path, tokens, local):
    """Its words, some of which nobody reads; without a base of its own, a window has the other."""
    theirs = make("ModernBertModel", global_rope_theta=11.0, local_rope_theta=local or 11.0,
                  num_hidden_layers=5, global_attn_every_n_layers=3)  # fmt: skip
    state = {f"model.{name}": tensor for name, tensor in theirs.state_dict().items()}
    save_file(state, tmp_path / "model.safetensors", {"format": "pt"})
    said = SIZES | {
        "model_type": "modernbert",
        "architectures": ["ModernBertForMaskedLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "classifier_activation": "gelu",
        "classifier_bias": False,
        "classifier_dropout": 0.0,
        "classifier_pooling": "mean",
        "decoder_bias": True,
        "deterministic_flash_attn": False,
        "embedding_dropout": 0.0,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 11.0,
        "gradient_checkpointing": False,
        "hidden_activation": "gelu",
        "initializer_cutoff_factor": 2.0,
        "initializer_range": 0.02,
        "layer_norm_eps": 1e-05,
        "local_attention": 7,
        "local_rope_theta": local,
        "mlp_bias": False,
        "mlp_dropout": 0.0,
        "norm_bias": False,
        "norm_eps": 1e-05,
        "position_embedding_type": "sans_pos",
        "reference_compile": True,
        "sparse_pred_ignore_index": -100,
        "sparse_prediction": False,
    }
    (tmp_path / "config.json").write_text(json.dumps(said))
    backbone = open_checkpoint(tmp_path).backbone
    assert [backbone.config.kind(i) for i in range(5)] == [FULL, SLIDING, SLIDING, FULL, SLIDING]
    want = theirs(**inputs(theirs, tokens)).last_hidden_state
    torch.testing.assert_close(backbone(tokens).values, tokens.layout.pack(want), **CLOSE)


@pytest.mark.parametrize(
    ("types", "every"),
    [
        ([FULL, SLIDING, FULL, SLIDING, FULL], 2),
        ([FULL] * 5, 1),
        ([FULL, SLIDING, SLIDING, SLIDING, SLIDING], 5),
        ([SLIDING] * 5, 3),  # the older spelling has no word for it
    ],
)
def test_both_spellings_are_written_and_agree(types, every):
    ours = ModernBertConfig.from_hf(SIZES | {"layer_types": types, "rope_parameters": ROPES})
    written = ours.to_hf()
    assert ModernBertConfig.from_hf(written) == ours
    assert (written["layer_types"], written["global_attn_every_n_layers"]) == (types, every)
    assert (written["global_rope_theta"], written["local_rope_theta"]) == (100.0, 7.0)
    older = {key: value for key, value in written.items() if key != "layer_types"}
    if types[0] == FULL:
        assert ModernBertConfig.from_hf(older) == ours


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("ModernBertModel")
    assert faults_of(
        folder,
        is_decoder=True,
        head_dim=7,
        num_hidden_layers=0,
        local_attention=0,
        global_attn_every_n_layers=0,
        pad_token_id=103,
        attention_dropout=1,
        norm_eps=0,
        hidden_activation="gleu",
        norm_bias="yes",
        classifier_pooling="max",
        classifier_activation="mish",
        rope_parameters={FULL: {"rope_type": "liner"}, SLIDING: {"rope_theta": -1}},
    ) == [
        "is_decoder: True is not supported, only False.",
        "head_dim: 7 is not supported, only 14.",
        "num_hidden_layers: must be a whole number, 1 or more; got 0.",
        "local_attention: must be a whole number, 1 or more; got 0.",
        "global_attn_every_n_layers: must be a whole number, 1 or more; got 0.",
        "pad_token_id: must be a token, 0 or more and below vocab_size 101; got 103.",
        "attention_dropout: must be at least 0 and below 1; got 1.",
        "norm_eps: must be a number above 0; got 0.",
        f"hidden_activation: 'gleu' is not supported. Did you mean 'gelu'? {KNOWN}",
        "norm_bias: must be true or false; got 'yes'.",
        "classifier_pooling: 'max' is not supported. Known: cls, mean.",
        f"classifier_activation: 'mish' is not supported. Did you mean 'swish'? {KNOWN}",
        f"rope_parameters, {FULL}, rope_type: 'liner' is not supported. Did you mean 'linear'? "
        f"{ROPE_KNOWN}",
        f"rope_parameters, {SLIDING}, rope_theta, or local_rope_theta: must be a number above 0; "
        "got -1.",
    ]


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"num_attention_heads": 4}, "num_attention_heads: leaves 7 of hidden_size 28 to a head; "
         "must be even, because pairs of elements turn."),
        ({"layer_types": [FULL]}, "layer_types: must be a list of 5, one for each of "
         f"num_hidden_layers; got ['{FULL}']."),
        ({"layer_types": FULL}, "layer_types: must be a list of 5, one for each of "
         f"num_hidden_layers; got '{FULL}'."),
        ({"layer_types": [FULL, "chunked_attention", FULL, FULL, FULL]}, "layer_types: "
         f"'chunked_attention' is not supported, only '{FULL}' and '{SLIDING}'."),
        ({"rope_parameters": {"rope_type": "default"}}, "rope_parameters: must be a table of "
         f"{FULL} and {SLIDING}, each a table; got {{'rope_type': 'default'}}."),
        ({"rope_scaling": {"type": "linear"}}, f"rope_parameters, {FULL}, factor: is missing; "
         f"linear needs it.\nrope_parameters, {SLIDING}, factor: is missing; linear needs it."),
        ({"rope_parameters": {FULL: "yarn"}}, "rope_parameters: must be a table of "
         f"{FULL} and {SLIDING}, each a table; got 'yarn'."),
        ({"global_rope_theta": 0}, f"rope_parameters, {FULL}, rope_theta, or global_rope_theta: "
         "must be a number above 0; got 0."),
    ],
)  # fmt: skip
def test_values_that_cannot_be(values, fault):
    with pytest.raises(ValueError) as caught:
        ModernBertConfig.from_hf(SIZES | values)
    assert str(caught.value) == fault


def test_values_that_are_missing():
    with pytest.raises(ValueError) as caught:
        ModernBertConfig.from_hf({"vocab_size": 101, "pad_token_id": None})
    named = [line.split(":")[0] for line in str(caught.value).split("\n")]
    assert named == ["intermediate_size", "num_hidden_layers", "num_attention_heads",
                     "hidden_size"]  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS[:4], ids=str)
def test_names_go_there_and_back(make, settings):
    theirs = make("ModernBertForSequenceClassification", **settings)
    names = theirs.state_dict().keys()
    match = KEYS.match(names)
    assert set(match.ours.values()) == set(names)
    assert match.ours["blocks.1.attention.key.weight"] == "model.layers.1.attn.Wqkv.weight"
    assert {MODERNBERT.their_name(n, whole=True) for n in match.ours} == set(names)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_config_goes_there_and_back(make, settings):
    theirs = make("ModernBertModel", **settings).config
    ours = ModernBertConfig.from_hf(theirs.to_dict())
    assert ModernBertConfig.from_hf(ours.to_hf()) == ours
    older = {"global_attn_every_n_layers", "global_rope_theta", "local_rope_theta"}
    for key, value in ours.to_hf().items():
        if key not in older:
            assert value == getattr(theirs, key), key


def test_dropout_is_where_modernbert_has_it():
    """Behind the embeddings, of the attention's update, inside the feed-forward."""
    said = {"embedding_dropout": 0.11, "attention_dropout": 0.13, "mlp_dropout": 0.17}
    ours = ModernBert(ModernBertConfig.from_hf(SIZES | {"num_hidden_layers": 2} | said))
    rates = {name: m.p for name, m in ours.named_modules() if isinstance(m, Dropout) and m.p}
    assert rates == {
        "embeddings.dropout": 0.11,
        "blocks.0.dropout": 0.13,
        "blocks.1.dropout": 0.13,
        "blocks.0.feed_forward.dropout": 0.17,
        "blocks.1.feed_forward.dropout": 0.17,
    }
    assert {block.attention.dropout for block in ours.blocks} == {0.13}


def test_only_the_first_block_reads_what_is_normalised_already(make):
    ours, _ = backbone_and_rest(make("ModernBertModel"))
    kinds = [type(block.norm_1) for block in ours.blocks]
    assert kinds == [nn.Identity, nn.LayerNorm, nn.LayerNorm]


def test_new_weights_are_drawn_as_modernbert_draws(save):
    """Maps that add to a text's vectors start smaller by the root of how many there are."""
    torch.manual_seed(0)
    ours = ModernBert(ModernBertConfig.from_hf(SIZES | {"initializer_range": 0.07}))
    small = 0.07 / 10**0.5
    for block in ours.blocks:
        for weight, std in (
            (block.attention.query.weight, 0.07),
            (block.attention.output.weight, small),
            (block.feed_forward.gate.weight, 0.07),
            (block.feed_forward.narrow.weight, small),
        ):
            assert abs(weight.std().item() / std - 1) < 0.15
    _, folder = save("ModernBertModel", initializer_range=0.07, classifier_bias=True)
    pooler = open_checkpoint(folder).fresh_pooler()
    assert not pooler.dense.bias.any()
    assert abs(pooler.dense.weight.std().item() / (0.07 / 6**0.5) - 1) < 0.15
