from __future__ import annotations

import pytest
from tests.models.parity import (
    assert_gradients_match,
    assert_language_matches,
    assert_language_model_comes_back,
    assert_layers_match,
    assert_saved_is_opened,
)

NAMES = ("Llama", "Mistral", "Qwen2", "Qwen3")


@pytest.mark.parametrize("name", NAMES)
def test_hidden_states_match_transformers_at_every_layer(make, tokens, name):
    assert_layers_match(make(f"{name}Model"), tokens)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_match_transformers(make, tokens, name):
    assert_gradients_match(make(f"{name}ForSequenceClassification", num_labels=3), tokens)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_words_loss_and_gradients_match_transformers(make, tokens, name, tied):
    assert_language_matches(make(f"{name}ForCausalLM", tie_word_embeddings=tied), tokens)


@pytest.mark.parametrize("pooling", ["family", "last", "mean"])
@pytest.mark.parametrize("name", NAMES)
def test_saved_is_opened_here_and_by_transformers(hf, save, tokens, tmp_path, name, pooling):
    _, source = save(f"{name}Model")
    assert_saved_is_opened(hf, source, tmp_path / "model", pooling, tokens)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_language_model_comes_back(hf, save, tokens, tmp_path, name, tied):
    _, source = save(f"{name}ForCausalLM", tie_word_embeddings=tied)
    assert_language_model_comes_back(hf, source, tmp_path / "model", tokens)
