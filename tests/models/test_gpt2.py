from __future__ import annotations

import pytest
from tests.models.parity import (
    assert_gradients_match,
    assert_language_matches,
    assert_language_model_comes_back,
    assert_layers_match,
)

VARIANTS = [
    {},
    {"scale_attn_weights": False},
    {"scale_attn_by_inverse_layer_idx": True},
    {"reorder_and_upcast_attn": True, "activation_function": "relu"},
    {"n_inner": None, "layer_norm_epsilon": 0.03},
]


@pytest.mark.parametrize("settings", VARIANTS)
def test_hidden_states_match_transformers_at_every_layer(make, tokens, settings):
    assert_layers_match(make("GPT2Model", **settings), tokens)


@pytest.mark.parametrize("settings", [{}, {"scale_attn_by_inverse_layer_idx": True}])
def test_gradients_match_transformers(make, tokens, settings):
    assert_gradients_match(make("GPT2ForSequenceClassification", num_labels=3, **settings), tokens)


@pytest.mark.parametrize("tied", [True, False])
def test_words_loss_and_gradients_match_transformers(make, tokens, tied):
    assert_language_matches(make("GPT2LMHeadModel", tie_word_embeddings=tied), tokens)


@pytest.mark.parametrize("tied", [True, False])
def test_a_language_model_comes_back_and_transformers_opens_it(hf, save, tokens, tmp_path, tied):
    _, source = save("GPT2LMHeadModel", tie_word_embeddings=tied)
    assert_language_model_comes_back(hf, source, tmp_path / "model", tokens)
