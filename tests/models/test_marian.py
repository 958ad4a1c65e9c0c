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
)
from torch import nn

from headstart.models.checkpoint import open_checkpoint, open_language_model
from headstart.models.marian import KEYS, MarianConfig
from headstart.models.seq2seq import BiasedHead
from headstart.nn.ragged import Ragged
from headstart.nn.words import HalvedWaves

LANGUAGE = "MarianMTModel"
OPUS = {"scale_embedding": True, "activation_function": "swish", "eos_token_id": 0}
"""As the published translators have it."""
TWO = {"share_encoder_decoder_embeddings": False, "decoder_vocab_size": 79}
KINDS = [OPUS, TWO]


@pytest.mark.parametrize("settings", KINDS)
def test_hidden_states_match_transformers_at_every_layer(make, tokens, settings):
    assert_layers_match(make("MarianModel", **settings), tokens)


@pytest.mark.parametrize("settings", [{}, *KINDS])
def test_words_and_gradients_match_transformers(make, tokens, targets, settings):
    assert_text_to_text_matches(make(LANGUAGE, **settings), tokens, targets)


@pytest.mark.parametrize("settings", KINDS)
def test_greedy_translations_are_those_of_transformers(make, tokens, settings):
    assert_greedy_matches(make(LANGUAGE, **settings), tokens)


@torch.no_grad()
@pytest.mark.parametrize("settings", KINDS)
def test_a_saved_language_model_comes_back(hf, save, tokens, targets, tmp_path, settings):
    theirs, source = save(LANGUAGE, **settings)
    small = tokens.replace(tokens.values % 79)  # they are read as a target, too
    assert_language_model_comes_back(hf, source, tmp_path / "again", small)
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert config["architectures"] == [LANGUAGE]
    again = hf.MarianMTModel.from_pretrained(tmp_path / "again").eval()
    given = inputs(theirs, tokens) | {"decoder_input_ids": targets.padded()}
    torch.testing.assert_close(again(**given).logits, theirs(**given).logits, **CLOSE)


@pytest.mark.parametrize("settings", KINDS)
def test_a_saved_encoder_is_opened_here_and_by_transformers(hf, save, tokens, tmp_path, settings):
    """transformers has no class for it alone: it is the encoder of a whole whose decoder is new."""
    _, source = save("MarianModel", **settings)

    def opens(folder: Path) -> nn.Module:
        theirs, said = hf.MarianModel.from_pretrained(folder, output_loading_info=True)
        missing = said.pop("missing_keys") - {"encoder.embed_positions.weight"}
        assert all(name.startswith("decoder.") for name in missing)
        assert not any(said.values()), said
        return theirs.encoder

    assert_saved_is_opened(hf, source, tmp_path / "model", "mean", tokens, opens)


@pytest.mark.parametrize("width", [22, 23])
def test_waves_are_those_of_transformers(hf, width):
    marian = pytest.importorskip("transformers.models.marian.modeling_marian")
    theirs = marian.MarianSinusoidalPositionalEmbedding(512, width)
    got = HalvedWaves(512, width)(torch.arange(512))
    torch.testing.assert_close(got, theirs.create_weight(), atol=1e-7, rtol=0)


@torch.no_grad()
def test_the_longest_text_fits_exactly(make):
    theirs = make("MarianModel")
    generator = torch.Generator().manual_seed(3)
    rows = [torch.randint(3, 101, (length,), generator=generator) for length in (17, 2)]
    assert_layers_match(theirs, Ragged.from_rows(rows))
    ours, _ = backbone_and_rest(theirs)
    assert ours.max_positions == 17
    with pytest.raises(IndexError):
        ours(Ragged.from_rows([torch.full((18,), 7)]))


def test_two_vocabularies(save):
    theirs, folder = save(LANGUAGE, **TWO)
    model = open_language_model(folder).model
    assert isinstance(model.lm_head, BiasedHead)
    assert torch.equal(model.lm_head.bias, theirs.final_logits_bias)
    assert model.decoder.embeddings.token.weight.shape == (79, 22)
    assert model.backbone.embeddings.token.own.weight.shape == (101, 22)
    assert model.lm_head.score.embedding is model.decoder.embeddings.token


@torch.no_grad()
@pytest.mark.parametrize("settings", KINDS)
def test_a_decoder_is_dropped_by_name(save, tokens, settings):
    theirs, folder = save(LANGUAGE, **settings)
    checkpoint = open_checkpoint(folder)
    want = theirs.model.encoder(**inputs(theirs, tokens)).last_hidden_state
    got = checkpoint.backbone(tokens).values
    torch.testing.assert_close(got, tokens.layout.pack(want), **CLOSE)
    stored = load_file(folder / "model.safetensors")
    decoder = {name for name in stored if name.startswith("model.decoder.")}
    assert set(checkpoint.dropped) == {*decoder, "final_logits_bias"}


def test_names_of_old_checkpoints(save):
    """Tied tensors stored again and again, and the waves."""
    _, folder = save(LANGUAGE, **OPUS)
    file = folder / "model.safetensors"
    stored = load_file(file)
    again = ("model.encoder.embed_tokens.weight", "model.decoder.embed_tokens.weight",
             "lm_head.weight")  # fmt: skip
    more = {name: stored["model.shared.weight"].clone() for name in again}
    waves = {f"model.{stack}.embed_positions.weight": torch.ones(17, 22)
             for stack in ("encoder", "decoder")}  # fmt: skip
    before = open_language_model(folder).model.state_dict()
    save_file(stored | more | waves, file, {"format": "pt"})
    opened = open_language_model(folder)
    assert set(opened.dropped) == {*again, *waves}
    after = opened.model.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_values_that_are_not_honoured_come_all_at_once(save):
    _, folder = save("MarianModel")
    assert faults_of(
        folder,
        normalize_embedding=True,
        static_position_embeddings=False,
        decoder_start_token_id=101,
        share_encoder_decoder_embeddings="no",
        decoder_vocab_size=0,
    ) == [
        "normalize_embedding: True is not supported, only False.",
        "static_position_embeddings: False is not supported, only True.",
        "decoder_start_token_id: must be a token, 0 or more and below the 0 words of a target; "
        "got 101.",
        "share_encoder_decoder_embeddings: must be true or false; got 'no'.",
        "decoder_vocab_size: must be a whole number, 1 or more; got 0.",
    ]


def test_vocabularies_that_cannot_be_one(save):
    _, folder = save("MarianModel")
    assert faults_of(folder, decoder_vocab_size=79) == [
        "decoder_vocab_size: must be vocab_size 101 where share_encoder_decoder_embeddings is "
        "true; got 79."
    ]


@pytest.mark.parametrize("settings", [{}, *KINDS])
def test_config_goes_there_and_back(make, settings):
    theirs = make("MarianModel", **settings).config
    ours = MarianConfig.from_hf(theirs.to_dict())
    assert MarianConfig.from_hf(ours.to_hf()) == ours
    for key, value in ours.to_hf().items():
        if key != "add_bias_logits" and value is not None:
            assert value == getattr(theirs, key), key


def test_names_go_there_and_back(make):
    stored = set(make(LANGUAGE, **TWO).state_dict())
    left = {"model.encoder.embed_positions.weight", "model.decoder.embed_positions.weight"}
    match = KEYS.match(stored - {"lm_head.weight"})
    assert not match.unknown
    assert set(match.dropped) == left
    for ours, theirs in match.ours.items():
        assert KEYS.to_theirs(ours, "" if ours.startswith("lm_head.") else "model.") == theirs
