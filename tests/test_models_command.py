"""`headstart models` and `headstart cache`, as their users run them."""

from __future__ import annotations

import json
import re

import pytest

from headstart.models.checkpoint import open_checkpoint
from headstart.models.families import FAMILIES
from headstart.training.footprint import footprint
from tests.commands import Here


@pytest.fixture
def headstart(capsys, monkeypatch, tmp_path) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(capsys, monkeypatch)


def test_families_are_listed(headstart):
    done = headstart("models")
    assert done.code == 0
    for name in FAMILIES:
        assert re.search(rf"^{name} ", done.out, re.MULTILINE)
    listed = json.loads(headstart("models", "--json").out)
    assert [family["family"] for family in listed] == list(FAMILIES)
    assert {"family": "gpt2", "kind": "text decoder",
            "classifier": "GPT2ForSequenceClassification",
            "language": "GPT2LMHeadModel"} in listed  # fmt: skip


def test_a_model_is_told(headstart, tiny_bert):
    done = headstart("models", tiny_bert)
    assert done.code == 0
    assert re.search(r"^family +bert", done.out, re.MULTILINE)
    assert re.search(r"^blocks +3 of width 20$", done.out, re.MULTILINE)
    assert re.search(r"^positions +learned, rows of at most 37 tokens$", done.out, re.MULTILINE)
    assert re.search(r"^licence +not stated$", done.out, re.MULTILINE)
    values = json.loads(headstart("models", tiny_bert, "--json").out)
    parameters = sum(p.numel() for p in open_checkpoint(tiny_bert).backbone.parameters())
    assert values["parameters"] == parameters
    assert list(values["memory"]["bytes"]) == ["full", "LoRA", "head"]


def test_the_licence_stands_in_the_card(headstart, tiny_bert, tmp_path):
    folder = tmp_path / "copy"
    folder.mkdir()
    for file in tiny_bert.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# A model\n")
    assert json.loads(headstart("models", folder, "--json").out)["licence"] == "apache-2.0"


@pytest.mark.parametrize("kind", ["gemma2", "albert"])
def test_a_model_of_the_bridge_is_told(headstart, tmp_path, kind):
    hf = pytest.importorskip("transformers")
    sizes = {"vocab_size": 101, "hidden_size": 22, "num_hidden_layers": 3, "head_dim": 8,
             "num_attention_heads": 2, "num_key_value_heads": 1, "intermediate_size": 37,
             "embedding_size": 11, "max_position_embeddings": 41}  # fmt: skip
    config = hf.AutoConfig.for_model(kind, **sizes)
    hf.AutoModel.from_config(config).save_pretrained(tmp_path / "model")
    done = headstart("models", tmp_path / "model")
    assert done.code == 0
    assert re.search(r"^train LoRA +about", done.out, re.MULTILINE)
    (tmp_path / "run").mkdir()
    (tmp_path / "model").rename(tmp_path / "run" / "model")
    done = headstart("models", tmp_path / "run")
    assert done.code == 2
    assert f"Did you mean {str(tmp_path / 'run' / 'model')!r}?" in done.err


def test_a_way_that_a_model_cannot_be_trained_in_is_told(headstart, tmp_path):
    hf = pytest.importorskip("transformers")
    config = hf.OpenAIGPTConfig(vocab_size=101, n_positions=41, n_embd=22, n_layer=2, n_head=2)
    hf.AutoModel.from_config(config).save_pretrained(tmp_path)
    done = headstart("models", tmp_path)
    assert done.code == 0
    assert re.search(r"^train full +about", done.out, re.MULTILINE)
    assert re.search(r"^train LoRA +train: .* have no linear map to adapt", done.out, re.MULTILINE)


def test_a_wrong_name_is_told(headstart):
    done = headstart("models", "./tiny-brt")
    assert done.code == 2
    assert "there is no such folder" in done.err


def test_a_footprint_by_hand(tiny_bert):
    """Weights once, gradient and two moments for what moves, 4 bytes each."""
    checkpoint = open_checkpoint(tiny_bert)
    total = sum(p.numel() for p in checkpoint.backbone.parameters()) + 20 * 2 + 2
    full = footprint(checkpoint, "all", batch_tokens=1024, length=32)
    head = footprint(checkpoint, "head", batch_tokens=1024, length=32)
    assert (full.weights, full.moving) == (4 * total, 12 * total)
    assert (head.weights, head.moving) == (4 * total, 12 * (20 * 2 + 2))
    assert head.saved < full.saved
    twice = footprint(checkpoint, "all", batch_tokens=2048, length=32)
    assert twice.saved == 2 * full.saved
    assert full.total == full.weights + full.moving + full.saved


def test_the_cache_is_shown_and_emptied(headstart, tmp_path, monkeypatch):
    monkeypatch.setenv("HEADSTART_CACHE", str(tmp_path / "cache"))
    place = tmp_path / "cache" / "features" / "abc"
    place.mkdir(parents=True)
    (place / "values.npy").write_bytes(b"x" * 3_000_000)
    (place / "description.json").write_text('{"shape": [101, 13]}')
    done = headstart("cache")
    assert done.code == 0
    assert "3.0 MB" in done.out and "101 vectors of width 13" in done.out
    assert "of 20 GB in 1 entries" in done.out
    assert headstart("cache", "--clear", "stages").out == "removed 0 of 0, 0 MB\n"
    assert headstart("cache", "--clear", "all").out == "removed 1 of 1, 3 MB\n"
    assert not place.exists()
    wrong = headstart("cache", "--clear", "feature")
    assert wrong.code == 2
    assert "'features'" in wrong.err
