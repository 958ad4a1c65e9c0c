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
    assert_language_matches,
    assert_language_model_comes_back,
    assert_layers_match,
    assert_saved_is_opened,
    backbone_and_rest,
    faults_of,
    inputs,
)

from headstart.errors import CheckpointError
from headstart.models.checkpoint import open_checkpoint, open_language_model, open_network
from headstart.models.gpt2 import KEYS, Gpt2, Gpt2Config
from headstart.models.network import Last
from headstart.nn.dropout import Dropout
from headstart.nn.ragged import Layout, Ragged

SIZES = {"vocabulary": 101, "width": 22, "num_blocks": 3, "num_heads": 2, "max_positions": 17}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True},
        {"reorder_and_upcast_attn": True, "activation_function": "relu"},
        {"n_inner": None, "layer_norm_epsilon": 0.03},
    ],
)
def test_hidden_states_match_transformers_at_every_layer(make, tokens, settings):
    assert_layers_match(make("GPT2Model", **settings), tokens)


@pytest.mark.parametrize("settings", [{}, {"scale_attn_by_inverse_layer_idx": True}])
def test_gradients_match_transformers(make, tokens, settings):
    assert_gradients_match(make("GPT2ForSequenceClassification", num_labels=3, **settings), tokens)


@pytest.mark.parametrize("tied", [True, False])
def test_words_loss_and_gradients_match_transformers(make, tokens, tied):
    assert_language_matches(make("GPT2LMHeadModel", tie_word_embeddings=tied), tokens)


@pytest.mark.parametrize("pooling", ["family", "last", "mean"])
def test_saved_is_opened_here_and_by_transformers(hf, save, tokens, tmp_path, pooling):
    _, source = save("GPT2Model", scale_attn_by_inverse_layer_idx=True)
    assert_saved_is_opened(hf, source, tmp_path / "model", pooling, tokens)


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_model_comes_back_and_transformers_opens_it(hf, save, tokens, tmp_path, tied):
    _, source = save("GPT2LMHeadModel", tie_word_embeddings=tied)
    assert_language_model_comes_back(hf, source, tmp_path / "model", tokens)


@torch.no_grad()
def test_a_classifier_gives_its_own_logits(save, tokens):
    theirs, folder = save(
        "GPT2ForSequenceClassification",
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    network, checkpoint = open_network(folder), open_checkpoint(folder)
    torch.testing.assert_close(network(tokens), theirs(**inputs(theirs, tokens)).logits, **CLOSE)
    assert (checkpoint.labels, checkpoint.default_pooling) == (LABELS, "family")
    assert isinstance(network.pool, Last) and network.head.bias is None
    assert network.dropout.p == 0.0


@torch.no_grad()
def test_the_longest_text_fits_exactly(make):
    theirs = make("GPT2Model")
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(1, 101, (length,), generator=generator) for length in (17, 2)]
    assert_layers_match(theirs, Ragged.from_rows(rows))
    ours, _ = backbone_and_rest(theirs)
    assert ours.max_positions == 17
    with pytest.raises(IndexError):
        ours(Ragged.from_rows([torch.full((18,), 7)]))


@torch.no_grad()
def test_places_go_on_where_a_row_starts(make):
    """Rows read after others of 5 and of 0 tokens stand at places 5 and 0."""
    ours, _ = backbone_and_rest(make("GPT2Model"))
    layout = Layout([2, 3], starts=torch.tensor([5, 0]))
    tokens = Ragged(torch.tensor([3, 7, 11, 13, 17]), layout)
    table = ours.embeddings.position.weight
    want = ours.embeddings.token(tokens.values) + table[[5, 6, 0, 1, 2]]
    assert torch.equal(ours.embed(tokens).values, want)


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("GPT2LMHeadModel", None),
        ("GPT2DoubleHeadsModel", "multiple_choice_head.summary.weight"),
        ("GPT2ForTokenClassification", "classifier.weight"),
        ("GPT2ForQuestionAnswering", "qa_outputs.bias"),
    ],
)
def test_heads_of_other_tasks_are_dropped_by_name(save, tokens, name, head):
    theirs, folder = save(name)
    if head is None:  # tied, and so not stored
        head = "lm_head.weight"
        file = folder / "model.safetensors"
        state = load_file(file)
        state[head] = state["transformer.wte.weight"].clone()
        save_file(state, file, {"format": "pt"})
    assert_heads_are_dropped(theirs, folder, tokens, head, fresh=())


def test_forgotten_masks_are_dropped_by_name(save):
    _, folder = save("GPT2Model")
    file = folder / "model.safetensors"
    masks = {"h.0.attn.bias": torch.ones(1, 1, 17, 17).tril(), "h.2.attn.masked_bias":
             torch.tensor(-1e4)}  # fmt: skip
    save_file(load_file(file) | masks, file, {"format": "pt"})
    assert open_checkpoint(folder).dropped == tuple(masks)


def test_a_classifier_needs_its_own_head(save):
    _, folder = save("GPT2ForSequenceClassification")
    file = folder / "model.safetensors"
    gone = ("score.weight", "transformer.h.2.attn.c_proj.bias")
    save_file({n: t for n, t in load_file(file).items() if n not in gone}, file, {"format": "pt"})
    said = [fault.split(", ", 1)[1].split(":")[0] for fault in faults_of(folder)]
    assert sorted(said) == sorted(gone)


def test_weights_of_another_shape_are_told_by_their_names(save):
    _, folder = save("GPT2Model")
    assert [fault.split(", ", 1)[1].split(":")[0] for fault in faults_of(folder, n_inner=37)] == [
        f"h.{block}.mlp.{name}"
        for block in range(3)
        for name in ("c_fc.weight", "c_fc.bias", "c_proj.weight")
    ]


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("GPT2Model")
    assert faults_of(
        folder,
        add_cross_attention=True,
        n_embd=23,
        resid_pdrop=1,
        attn_pdrop=-0.1,
        embd_pdrop="no",
        layer_norm_epsilon=0,
        activation_function="gelu_nwe",
        scale_attn_weights=None,
        reorder_and_upcast_attn="yes",
        tie_word_embeddings=1,
        pad_token_id=103,
    ) == [
        "add_cross_attention: True is not supported, only False.",
        "n_head: 2 does not divide n_embd 23.",
        "pad_token_id: must be a token, 0 or more and below vocab_size 101; got 103.",
        "resid_pdrop: must be at least 0 and below 1; got 1.",
        "embd_pdrop: must be at least 0 and below 1; got 'no'.",
        "attn_pdrop: must be at least 0 and below 1; got -0.1.",
        "layer_norm_epsilon: must be a number above 0; got 0.",
        "activation_function: 'gelu_nwe' is not supported. Did you mean 'gelu_new'? Known: gelu, "
        "gelu_new, gelu_pytorch_tanh, relu, silu, swish.",
        "scale_attn_weights: must be true or false; got None.",
        "reorder_and_upcast_attn: must be true or false; got 'yes'.",
        "tie_word_embeddings: must be true or false; got 1.",
    ]


def test_values_that_are_missing():
    with pytest.raises(ValueError) as caught:
        Gpt2Config.from_hf({"vocab_size": 101, "n_head": 2, "n_inner": 0})
    assert str(caught.value).split("\n") == [
        "n_positions: is missing.",
        "n_layer: is missing.",
        "n_embd: is missing.",
        "n_inner: must be a whole number, 1 or more; got 0.",
    ]


def test_names_go_there_and_back(make):
    names = make("GPT2LMHeadModel", tie_word_embeddings=False).state_dict().keys()
    match = KEYS.match(names)
    assert set(match.ours.values()) == names
    assert len(match.ours) == len(names) + 2 * 3 * 2, "a fused weight and bias are three of ours"
    assert match.ours["blocks.1.attention.key.bias"] == "transformer.h.1.attn.c_attn.bias"


def test_config_goes_there_and_back(make):
    theirs = make("GPT2Model", activation_function="relu", embd_pdrop=0.29).config
    ours = Gpt2Config.from_hf(theirs.to_dict())
    assert Gpt2Config.from_hf(ours.to_hf()) == ours
    for key, value in ours.to_hf().items():
        assert value == getattr(theirs, key), key


def test_what_a_config_leaves_out_is_as_transformers_has_it(hf):
    said = {"vocab_size": 101, "n_embd": 22, "n_layer": 3, "n_head": 2, "n_positions": 17}
    theirs = hf.GPT2Config(**said)
    assert Gpt2Config.from_hf(said) == Gpt2Config.from_hf(theirs.to_dict())


def test_dropout_is_where_gpt2_has_it():
    ours = Gpt2(Gpt2Config(**SIZES, dropout=0.13, embedding_dropout=0.11, attention_dropout=0.17))
    rates = {name: m.p for name, m in ours.named_modules() if isinstance(m, Dropout) and m.p}
    assert rates == {"embeddings.dropout": 0.11} | {f"blocks.{i}.dropout": 0.13 for i in range(3)}
    assert {block.attention.dropout for block in ours.blocks} == {0.17}


def test_what_a_block_adds_starts_small():
    """By the square root of how often something is added: twice in each of 3 blocks."""
    torch.manual_seed(0)
    sizes = SIZES | {"width": 106, "initializer_range": 0.05}
    ours = Gpt2(Gpt2Config(**sizes))
    for block in ours.blocks:
        added = torch.cat([block.attention.output.weight, block.feed_forward.narrow.weight], 1)
        assert added.std().item() == pytest.approx(0.05 / 6**0.5, rel=0.02)
        assert block.feed_forward.widen.weight.std().item() == pytest.approx(0.05, rel=0.02)
        assert not block.attention.query.bias.any()


def test_a_map_to_words_of_its_own_is_not_tied(save):
    _, folder = save("GPT2LMHeadModel", tie_word_embeddings=False)
    model = open_language_model(folder).model
    assert not torch.equal(model.lm_head.weight, model.backbone.embeddings.token.weight)
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"tie_word_embeddings": True}))
    with pytest.raises(CheckpointError, match=r"lm_head\.weight: differs from transformer\.wte"):
        open_language_model(folder)
    dropped = open_checkpoint(folder).dropped
    assert "lm_head.weight" in dropped, "what says words does not matter to a backbone"
