"""Precision: asked for, measured once, remembered; weights stay in float32."""

import json

import pytest
import torch
from tests.conftest import PRODUCT, reviews
from tests.training.test_stage import rows, train, weights

from headstart.errors import RecipeError
from headstart.training import precision
from headstart.training.model import open_trained


@pytest.fixture
def measured(monkeypatch):
    """Count the measurements on a CPU that has the instructions."""
    calls = []

    def seconds(bf16: bool) -> float:
        calls.append(bf16)
        return 1.0 if bf16 else 2.0

    monkeypatch.delenv("HEADSTART_PRECISION")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    monkeypatch.setattr(precision, "_probe", lambda: seconds)
    return calls


def test_measured_once_and_remembered(measured, own_cache):
    assert precision.choose_precision() == precision.choose_precision() == "bf16"
    assert measured == [False, True] * precision.PROBES, "in turns, and once"
    assert list(json.loads((own_cache / "precision.json").read_text()).values()) == ["bf16"]


@pytest.mark.parametrize("damage", ["{ half", "[]", '{"this": "int3"}'])
def test_a_damaged_memory_is_measured_anew(measured, own_cache, damage):
    (own_cache / "precision.json").write_text(damage)
    assert precision.choose_precision() == "bf16"
    assert len(measured) == 2 * precision.PROBES


def test_a_small_gain_is_noise(measured, monkeypatch):
    monkeypatch.setattr(precision, "_probe", lambda: lambda bf16: 1.0 if bf16 else 1.1)
    assert precision.choose_precision() == "float32"


def test_a_busy_moment_decides_nothing(measured, monkeypatch):
    busy = iter([9.0, 1.0, *[1.0, 1.5] * 30])  # float32, bf16, and so on
    monkeypatch.setattr(precision, "_probe", lambda: lambda bf16: next(busy))
    assert precision.choose_precision() == "float32"


def test_without_the_instructions_nothing_is_measured(measured, monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert precision.choose_precision() == "float32"
    assert measured == []


def test_a_wrong_word_is_told(monkeypatch):
    monkeypatch.setenv("HEADSTART_PRECISION", "bf61")
    with pytest.raises(RecipeError, match=r"no precision is called 'bf61'\. Did you mean 'bf16'"):
        precision.choose_precision()


def test_training_in_bf16_learns_and_keeps_weights_in_float32(tiny_bert, monkeypatch):
    monkeypatch.setenv("HEADSTART_PRECISION", "bf16")
    stage = {"epochs": 12, "learning_rate": 3e-3}
    result = train(tiny_bert, stage, data=rows(307), pooling="mean")[0]
    assert result.record["inputs"]["precision"] == "bf16"
    assert {tensor.dtype for tensor in weights(result).values()} == {torch.float32}
    assert result.record["log"][-1]["loss"] < 0.6 < result.record["log"][0]["loss"]
    model = open_trained(result.folder)
    assert model.logits([text for text, _ in reviews(7, 5, PRODUCT)]).dtype == torch.float32


def test_cached_features_in_bf16_train_like_uncached_ones(tiny_bert, monkeypatch):
    monkeypatch.setenv("HEADSTART_PRECISION", "bf16")
    result = train(tiny_bert, {"train": "head", "epochs": 3}, pooling="mean")[0]
    assert result.record["cached_parts"] == 5
    assert result.record["log"][-1]["loss"] == pytest.approx(0.7, abs=0.5)
