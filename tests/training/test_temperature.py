"""A model's folder holds how sure it may be, and its probabilities are by that."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.commands import Here
from torch import nn

import headstart
from headstart.data.text import Tokenizer
from headstart.errors import CheckpointError
from headstart.models.checkpoint import open_checkpoint
from headstart.models.network import Mean, Network
from headstart.tasks.classify import Classify
from headstart.tasks.temperature import Temperature
from headstart.training.model import Trained, open_trained, save_trained

TEXTS = ["great phone", "the cable was awful", "boring"]
FITTED = Temperature(2.5, 1.9, 3.1, 211, 0.5)


def saved(tiny_bert: Path, folder: Path, temperature: Temperature | None) -> Path:
    checkpoint = open_checkpoint(str(tiny_bert))
    torch.manual_seed(7)
    head = nn.Linear(checkpoint.backbone.width, 3)
    trained = Trained(
        network=Network(checkpoint.backbone, Mean(), head, 0.1).eval(),
        tokenizer=Tokenizer.open(tiny_bert),
        task=Classify(("bad", "good", "so, so")),
        max_length=11,
        pooling="mean",
        origin=tiny_bert,
        temperature=temperature,
    )
    folder.mkdir()
    save_trained(trained, folder, TEXTS)
    return folder


def test_probabilities_are_by_the_temperature_and_answers_as_before(tiny_bert, tmp_path):
    plain = headstart.load(saved(tiny_bert, tmp_path / "plain", None))
    cooled = headstart.load(saved(tiny_bert, tmp_path / "cooled", FITTED))
    assert plain.predict(TEXTS) == cooled.predict(TEXTS)
    logits = np.log(plain.predict_proba(TEXTS).astype(float))
    expected = np.exp(logits / 2.5) / np.exp(logits / 2.5).sum(1, keepdims=True)
    assert cooled.predict_proba(TEXTS) == pytest.approx(expected, rel=1e-4)
    assert open_trained(tmp_path / "cooled").temperature == FITTED


def test_the_command_says_the_calibrated_probability(tiny_bert, tmp_path, capsys, monkeypatch):
    folder = saved(tiny_bert, tmp_path / "cooled", FITTED)
    done = Here(capsys, monkeypatch)("predict", folder, TEXTS[0], "--json")
    assert done.code == 0, done.err
    sure = headstart.load(folder).predict_proba(TEXTS[:1]).max()
    assert json.loads(done.out)["probability"] == pytest.approx(sure, abs=2e-6)


def test_an_older_folder_opens_as_before_and_a_damaged_one_is_told(tiny_bert, tmp_path):
    folder = saved(tiny_bert, tmp_path / "model", FITTED)
    file = folder / "headstart.json"
    description = json.loads(file.read_text())
    older = {key: value for key, value in description.items() if key != "calibration"}
    file.write_text(json.dumps(older))
    assert open_trained(folder).temperature is None
    for wrong in (description["calibration"] | {"value": -1.0}, "2.5", {"kind": "platt"}):
        file.write_text(json.dumps(description | {"calibration": wrong}))
        with pytest.raises(CheckpointError, match="calibration: is no temperature"):
            open_trained(folder)
