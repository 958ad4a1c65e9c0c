"""Stages on families other than BERT: trained, saved, proved, and opened by transformers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tests.conftest import PRODUCT, reviews, save_tokenizer
from tests.training.test_stage import equal, rows, train, weights

from headstart.models.families import FAMILIES
from headstart.models.weights import write_weights
from headstart.training.model import open_trained

SIZES = {
    "roberta": {"hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 5,
                "intermediate_size": 29, "type_vocab_size": 1, "pad_token_id": 0},
    "distilbert": {"dim": 20, "n_layers": 2, "n_heads": 5, "hidden_dim": 29},
    "deberta-v2": {"hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 5,
                   "intermediate_size": 29, "relative_attention": True, "pos_att_type": "p2c|c2p",
                   "position_buckets": 8, "share_att_key": True, "norm_rel_ebd": "layer_norm",
                   "position_biased_input": False},
    "modernbert": {"hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 5,
                   "intermediate_size": 29, "local_attention": 6, "pad_token_id": 0},
    "gpt2": {"n_embd": 20, "n_layer": 2, "n_head": 5, "n_positions": 37, "eos_token_id": 3},
    "qwen3": {"hidden_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "head_dim": 6, "intermediate_size": 29},
}  # fmt: skip


@pytest.fixture(scope="module", params=SIZES)
def tiny(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random backbone of 2 blocks and a tokenizer of words."""
    folder = tmp_path_factory.mktemp(request.param)
    texts = [text.split() for text, _ in reviews(503, 3, PRODUCT)]
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *sorted({word for text in texts for word in text})]
    save_tokenizer(folder, words)
    family = FAMILIES[request.param]
    sizes = {"vocab_size": len(words), "max_position_embeddings": 37, **SIZES[family.name]}
    torch.manual_seed(13)
    backbone = family.build(sizes)
    with torch.no_grad():
        for name, parameter in backbone.named_parameters():
            norm = "norm" in name and name.endswith("weight")
            parameter.copy_(torch.randn_like(parameter) * (0.1 if norm else 0.3) + float(norm))
    state = family.their_weights(backbone.state_dict(), whole=False)
    write_weights(folder / "model.safetensors", state)
    (folder / "config.json").write_text(json.dumps(backbone.hf_config()))
    return folder


@pytest.mark.parametrize("pooling", ["family", "mean"])
def test_a_head_then_everything_learns_and_is_saved(tiny, pooling):
    """Saving proves itself: what is read back gives the same logits."""
    first, second = train(
        tiny, {"train": "head"}, {"train": "all", "epochs": 13, "learning_rate": 0.003},
        pooling=pooling, data=rows(211),
    )  # fmt: skip
    assert not equal(weights(first), weights(second))
    texts, labels = zip(*reviews(41, 2, PRODUCT), strict=True)
    model = open_trained(second.folder)
    right = [a == b for a, b in zip(model.task.decode(model.logits(texts)), labels, strict=True)]
    assert sum(right) >= 37, "one word of a few tells the class"


def test_the_family_head_trains_alike_with_and_without_the_store(tiny, monkeypatch, own_cache):
    """A pooler that is new, and RoBERTa's dropout in front of it, lie behind what is kept.

    A decoder's last token is kept itself: nothing stands between it and the head.
    """
    cached = train(tiny, {"train": "head"}, pooling="family")[0]
    decoder = json.loads((tiny / "config.json").read_text())["model_type"] in ("gpt2", "qwen3")
    assert cached.record["cached_parts"] == (4 if decoder else 3)
    monkeypatch.setattr("headstart.training.supervised.frozen_depth", lambda network: 0)
    monkeypatch.setenv("HEADSTART_CACHE", str(own_cache / "other"))
    plain = train(tiny, {"train": "head"}, pooling="family")[0]
    assert plain.record["cached_parts"] == 0
    losses = [[point["loss"] for point in r.record["log"]] for r in (cached, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(cached)[name], tensor, atol=1e-5, rtol=1e-4)


@pytest.mark.filterwarnings("ignore")
def test_transformers_opens_a_trained_model_with_equal_logits(tiny):
    transformers = pytest.importorskip("transformers")
    folder = train(tiny, {"train": "all"}, pooling="family")[0].folder
    model = open_trained(folder)
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert theirs.config.id2label == dict(enumerate(model.task.labels))
    text = "the phone was great and the cable broken"
    tokens = model.tokenizer.encode([text], model.max_length).values
    with torch.no_grad():
        want = theirs(torch.from_numpy(tokens).long()[None]).logits
    torch.testing.assert_close(model.logits([text]), want, atol=1e-5, rtol=1e-5)
