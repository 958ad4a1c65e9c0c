from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.parity import (
    CLOSE,
    assert_greedy_matches,
    assert_language_model_comes_back,
    assert_layers_match,
    assert_saved_is_opened,
    assert_text_to_text_matches,
    backbone_and_rest,
    faults_of,
    inputs,
    language_model,
)
from torch import nn

from headstart.errors import CheckpointError
from headstart.models.bart import KEYS
from headstart.models.bart_config import BartConfig
from headstart.models.checkpoint import open_checkpoint, open_language_model
from headstart.models.language import TiedHead
from headstart.models.seq2seq import BiasedHead
from headstart.nn.dropout import Dropout
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.ragged import Ragged

LANGUAGE = "BartForConditionalGeneration"
KINDS = [{}, {"scale_embedding": True, "activation_function": "relu"}]


@pytest.mark.parametrize("settings", KINDS)
def test_hidden_states_match_transformers_at_every_layer(make, tokens, settings):
    assert_layers_match(make("BartModel", **settings), tokens)


@pytest.mark.parametrize("settings", KINDS)
def test_words_and_gradients_match_transformers(make, tokens, targets, settings):
    assert_text_to_text_matches(make(LANGUAGE, **settings), tokens, targets)


@pytest.mark.parametrize("settings", KINDS)
def test_greedy_texts_are_those_of_transformers(make, tokens, settings):
    assert_greedy_matches(make(LANGUAGE, **settings), tokens)


@pytest.mark.parametrize("settings", KINDS)
def test_a_saved_language_model_comes_back(hf, save, tokens, tmp_path, settings):
    _, source = save(LANGUAGE, **settings)
    assert_language_model_comes_back(hf, source, tmp_path / "again", tokens)
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["architectures"] == [LANGUAGE]


@pytest.mark.parametrize("settings", KINDS)
def test_a_saved_encoder_is_opened_here_and_by_transformers(hf, save, tokens, tmp_path, settings):
    """transformers has no class for it alone: it is the encoder of a whole whose decoder is new."""
    _, source = save("BartModel", **settings)

    def opens(folder: Path) -> nn.Module:
        theirs, said = hf.BartModel.from_pretrained(folder, output_loading_info=True)
        assert all(name.startswith("decoder.") for name in said.pop("missing_keys"))
        assert not any(said.values()), said
        return theirs.encoder

    assert_saved_is_opened(hf, source, tmp_path / "model", "mean", tokens, opens)


@torch.no_grad()
def test_the_longest_text_fits_exactly(make):
    theirs = make("BartModel")
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(3, 101, (length,), generator=generator) for length in (17, 2)]
    assert_layers_match(theirs, Ragged.from_rows(rows))
    ours, _ = backbone_and_rest(theirs)
    assert ours.max_positions == 17
    with pytest.raises(IndexError):
        ours(Ragged.from_rows([torch.full((18,), 7)]))


@torch.no_grad()
def test_a_number_added_to_scores_is_kept(save, tmp_path):
    """It is loaded and saved, and no parameter: nothing moves it."""
    theirs, folder = save(LANGUAGE)
    model = open_language_model(folder).model
    assert isinstance(model.lm_head, BiasedHead)
    assert torch.equal(model.lm_head.bias, theirs.final_logits_bias)
    assert not list(model.lm_head.parameters())


def test_a_checkpoint_without_such_a_number(hf, save, tokens, tmp_path):
    """Published as a bare BartModel, as facebook/bart-base once was."""
    theirs, folder = save("BartModel")
    model = open_language_model(folder).model
    assert isinstance(model.lm_head, TiedHead)
    assert torch.equal(model.lm_head.embedding.weight, theirs.shared.weight)
    assert_language_model_comes_back(hf, folder, tmp_path / "again", tokens)


@torch.no_grad()
def test_a_decoder_is_dropped_by_name(save, tokens):
    theirs, folder = save(LANGUAGE)
    checkpoint = open_checkpoint(folder)
    want = theirs.model.encoder(**inputs(theirs, tokens)).last_hidden_state
    got = checkpoint.backbone(tokens).values
    torch.testing.assert_close(got, tokens.layout.pack(want), **CLOSE)
    stored = load_file(folder / "model.safetensors")
    decoder = {name for name in stored if name.startswith("model.decoder.")}
    assert set(checkpoint.dropped) == {*decoder, "final_logits_bias"}
    assert (checkpoint.classifier, checkpoint.default_pooling) == (None, "mean")


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("BartForSequenceClassification", "classification_head.out_proj.bias"),
        ("BartForQuestionAnswering", "qa_outputs.weight"),
    ],
)
def test_heads_of_other_tasks_are_dropped_by_name(save, name, head):
    _, folder = save(name)
    assert head in open_checkpoint(folder).dropped


def test_names_of_old_checkpoints(save):
    """Tied tensors stored again and again, and marks of fairseq's."""
    _, folder = save(LANGUAGE)
    file = folder / "model.safetensors"
    stored = load_file(file)
    again = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight",
             "lm_head.weight")  # fmt: skip
    more = {name: stored["model.shared.weight"].clone() for name in again}
    marks = {f"model.{stack}.version": torch.tensor([3.0]) for stack in ("encoder", "decoder")}
    before = open_language_model(folder).model.state_dict()
    save_file(stored | more | marks, file, {"format": "pt"})
    opened = open_language_model(folder)
    assert set(opened.dropped) == {*again, *marks}
    after = opened.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_a_decoder_that_is_damaged(save):
    _, folder = save(LANGUAGE)
    file = folder / "model.safetensors"
    gone = "model.decoder.layers.1.encoder_attn.q_proj.bias"
    save_file({n: t for n, t in load_file(file).items() if n != gone}, file, {"format": "pt"})
    with pytest.raises(CheckpointError, match=f"{gone}: is missing"):
        open_language_model(folder)


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("BartModel")
    assert faults_of(
        folder,
        is_decoder=True,
        encoder_layerdrop=0.1,
        decoder_layerdrop=0.2,
        tie_word_embeddings=False,
        normalize_before=True,
        add_final_layer_norm=True,
        normalize_embedding=False,
        static_position_embeddings=True,
        decoder_layers=0,
        encoder_layers="3",
        pad_token_id=103,
        decoder_start_token_id=101,
        activation_dropout=1,
        activation_function="gleu",
        scale_embedding=1,
    ) == [
        "is_decoder: True is not supported, only False.",
        "encoder_layerdrop: 0.1 is not supported, only 0.0.",
        "decoder_layerdrop: 0.2 is not supported, only 0.0.",
        "tie_word_embeddings: False is not supported, only True.",
        "normalize_before: True is not supported, only False.",
        "add_final_layer_norm: True is not supported, only False.",
        "normalize_embedding: False is not supported, only True.",
        "static_position_embeddings: True is not supported, only False.",
        "decoder_layers: must be a whole number, 1 or more; got 0.",
        "encoder_layers: must be a whole number, 1 or more; got '3'.",
        "pad_token_id: must be a token, 0 or more and below vocab_size 101; got 103.",
        "decoder_start_token_id: must be a token, 0 or more and below the 101 words of a target; "
        "got 101.",
        "activation_dropout: must be at least 0 and below 1; got 1.",
        "activation_function: 'gleu' is not supported. Did you mean 'gelu'? Known: gelu, "
        "gelu_new, gelu_pytorch_tanh, relu, silu, swish.",
        "scale_embedding: must be true or false; got 1.",
    ]


@pytest.mark.parametrize("stack", ["encoder", "decoder"])
def test_widths_that_cannot_be(save, stack):
    _, folder = save("BartModel")
    assert faults_of(folder, **{f"{stack}_attention_heads": 3}) == [
        f"{stack}_attention_heads: 3 does not divide d_model 22."
    ]


@pytest.mark.parametrize("settings", [*KINDS, {"eos_token_id": [2, 5], "forced_bos_token_id": 7}])
def test_config_goes_there_and_back(make, settings):
    theirs = make("BartModel", **settings).config
    ours = BartConfig.from_hf(theirs.to_dict())
    assert BartConfig.from_hf(ours.to_hf()) == ours
    for key, value in ours.to_hf().items():
        if key != "add_bias_logits" and value is not None:
            assert value == getattr(theirs, key), key


def test_names_go_there_and_back(make):
    stored = set(make(LANGUAGE).state_dict())
    tied = {"model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight",
            "lm_head.weight"}  # fmt: skip
    match = KEYS.match(stored - tied)
    assert not match.unknown
    assert len(match.ours) == len(stored - tied)
    for ours, theirs in match.ours.items():
        assert KEYS.to_theirs(ours, "" if ours.startswith("lm_head.") else "model.") == theirs


def test_dropout_is_where_bart_has_it(make):
    """After the embeddings, of each update, and inside the feed-forward at a rate of its own."""
    rates = {"dropout": 0.13, "attention_dropout": 0.17, "activation_dropout": 0.19}
    model = language_model(make(LANGUAGE, **rates))
    got = {name: m.p for name, m in model.named_modules() if isinstance(m, Dropout) and m.p}
    stacks = {"backbone": 3, "decoder": 2}
    blocks = [f"{s}.blocks.{i}" for s, count in stacks.items() for i in range(count)]
    want = {f"{s}.embeddings.dropout": 0.13 for s in stacks}
    want |= {f"{block}.dropout": 0.13 for block in blocks}
    want |= {f"{block}.feed_forward.activation.dropout": 0.19 for block in blocks}
    assert got == want
    attention = [m for m in model.modules() if isinstance(m, MultiHeadAttention)]
    assert len(attention) == 3 + 2 * 2
    assert {m.dropout for m in attention} == {0.17}
