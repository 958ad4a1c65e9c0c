"""Attributions: by hand where the model is linear, by their axioms where it is not."""

from __future__ import annotations

import builtins
from importlib import util
from typing import Any

import numpy as np
import pytest
import torch
from tests.explain.conftest import classifier
from torch import nn

from headstart.errors import UserError
from headstart.explain import attribution
from headstart.explain.attribution import (
    METHODS,
    attribute,
    attribute_all,
    candidates,
    check_method,
    occlusions,
    relevance_propagation,
)
from headstart.explain.subject import Subject, log_odds
from headstart.models.backbone import Backbone
from headstart.models.network import Cls, Mean, Network
from headstart.nn.attention import Form
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.ragged import Ragged
from headstart.tasks.classify import Classify
from headstart.training.model import Trained

TEXT = "the plot was great and very dull"
needs_captum = pytest.mark.skipif(util.find_spec("captum") is None, reason="needs captum")


class Nothing(nn.Module):
    def forward(self, x: Ragged) -> Ragged:
        return x


class Looks(nn.Module):
    """Attention alone, without a residual stream around it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = MultiHeadAttention(width, Form(heads))

    def forward(self, x: Ragged) -> Ragged:
        return x.replace(x.values + self.attention(x, x))


class Toy(Backbone):
    """Embeddings, and the blocks that are given."""

    family = "toy"
    max_positions = 99

    def __init__(self, vectors: torch.Tensor, blocks: list[nn.Module]) -> None:
        super().__init__()
        self.width = vectors.shape[1]
        self.token = nn.Embedding.from_pretrained(vectors)
        self.blocks, self.finish = nn.ModuleList(blocks), nn.Identity()

    def embed(self, tokens: Ragged, segments: torch.Tensor | None = None) -> Ragged:
        return tokens.replace(self.token(tokens.values))

    def embedding_modules(self) -> list[nn.Module]:
        return [self.token]

    def hf_config(self) -> dict[str, Any]:
        return {}


def toy(tiny_bert, blocks: list[nn.Module], pool: nn.Module, labels=("no", "yes"), width=3):
    trained = classifier(tiny_bert)
    torch.manual_seed(5)
    vectors = torch.randn(trained.tokenizer.vocab_size, width)
    head = nn.Linear(width, len(labels))
    nn.init.normal_(head.weight)
    network = Network(Toy(vectors, blocks), pool, head, 0.0).eval()
    model = Trained(network, trained.tokenizer, Classify(labels), 31, "mean", tiny_bert)
    return Subject(model, "toy"), vectors, head


def test_on_a_linear_model_all_signed_methods_are_the_hand_computed_sums(tiny_bert):
    """Log-odds of "yes" are (w1 - w0) . mean x + b: each token adds its own part."""
    subject, vectors, head = toy(tiny_bert, [Nothing()], Mean())
    reading = subject.read(TEXT)
    ids, length = torch.tensor(reading.ids), len(reading.ids)
    weight = (head.weight[1] - head.weight[0]).detach()
    parts = vectors[ids] @ weight / length
    hidden = vectors[subject.stand_in] @ weight / length
    words = [list(word.tokens) for word in reading.words]
    gradient = attribute(subject, reading, "gradient-x-input", 1)
    np.testing.assert_allclose(gradient.words, [parts[w].sum() for w in words], atol=1e-6)
    assert gradient.rest == pytest.approx(float(parts[[0, -1]].sum()), abs=1e-6)
    want = [float((parts[w] - hidden).sum()) for w in words]
    np.testing.assert_allclose(attribute(subject, reading, "occlusion", 1).words, want, atol=1e-6)
    np.testing.assert_allclose(
        attribute(subject, reading, "occlusion", 0).words, np.negative(want), atol=1e-6
    )


@needs_captum
def test_integrated_gradients_of_a_linear_model_are_its_parts(tiny_bert):
    subject, vectors, head = toy(tiny_bert, [Nothing()], Mean())
    reading = subject.read(TEXT)
    weight = (head.weight[1] - head.weight[0]).detach()
    moved = vectors[torch.tensor(reading.ids)] - vectors[subject.stand_in]
    want = [float((moved[list(w.tokens)] @ weight).sum()) / len(reading.ids) for w in reading.words]
    got = attribute(subject, reading, "integrated-gradients", 1)
    np.testing.assert_allclose(got.words, want, atol=1e-6)
    assert got.rest == pytest.approx(0, abs=1e-6), "special tokens are in the baseline too"


@needs_captum
@pytest.mark.parametrize("target", [0, 1, 2])
def test_integrated_gradients_are_complete(subject, target):
    """Scores sum to the log-odds less those of the text of stand-ins, on a random BERT."""
    reading = subject.read(TEXT)
    rows = [reading.ids, reading.emptied(subject.stand_in)]
    whole, empty = log_odds(subject.logits(rows))[:, target].tolist()
    assert abs(whole - empty) > 0.1
    got = attribute(subject, reading, "integrated-gradients", target)
    assert got.words.sum() + got.rest == pytest.approx(whole - empty, abs=2e-3)


def test_relevance_by_hand(tiny_bert):
    """One block, one class token pooled: the row of (gradient * attention)+ averaged over heads."""
    torch.manual_seed(2)
    block = Looks(6, 2)
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.7)
    subject, vectors, head = toy(tiny_bert, [block], Cls(), width=6)
    reading = subject.read("plot great")
    x = subject.ragged(reading.ids).replace(vectors[torch.tensor(reading.ids)])
    attention = block.attention
    weights = attention.weights(x, x).detach().requires_grad_()
    values = attention.value(x.values).view(-1, 2, 3).transpose(0, 1)[None]
    mixed = (weights @ values).transpose(1, 2).flatten(2)[0]
    pooled = x.values[0] + attention.output(mixed)[0]
    score = (head.weight[1] - head.weight[0]) @ pooled
    (gradient,) = torch.autograd.grad(score, weights)
    row = (gradient * weights).clamp(min=0)[0].mean(0)[0].detach()
    got = relevance_propagation(subject, reading, 1)
    np.testing.assert_allclose(got.words, row[1:3], atol=1e-6)
    assert got.rest == pytest.approx(float(row[0] + row[3]), abs=1e-6)


def test_log_odds_are_those_of_the_probability():
    torch.manual_seed(0)
    logits = torch.randn(7, 5, dtype=torch.float64)
    probability = logits.softmax(-1)
    torch.testing.assert_close(log_odds(logits), (probability / (1 - probability)).log())
    two = logits[:, :2]
    torch.testing.assert_close(log_odds(two)[:, 0], two[:, 0] - two[:, 1])


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
@pytest.mark.parametrize("name", sorted(set(METHODS) - {"integrated-gradients"}))
def test_every_method_scores_every_word(tiny_bert, pooling, name):
    subject = Subject(classifier(tiny_bert, pooling), "tiny")
    reading = subject.read(TEXT)
    got = attribute(subject, reading, name, 2)
    assert got.words.shape == (7,)
    assert np.isfinite(got.words).all() and np.ptp(got.words) > 0
    if not METHODS[name].signed:
        assert (got.words >= 0).all()
    if name == "rollout":
        assert got.words.sum() + got.rest == pytest.approx(1, abs=1e-5)


def test_a_model_is_not_changed_by_being_explained(subject):
    before = {name: tensor.clone() for name, tensor in subject.network.state_dict().items()}
    reading = subject.read(TEXT)
    for name in candidates(subject)[0]:
        attribute(subject, reading, name, 0)
    assert all(torch.equal(before[n], t) for n, t in subject.network.state_dict().items())
    assert all(p.grad is None for p in subject.network.parameters())


def test_all_classes_at_once_are_the_classes_one_by_one(tiny_bert):
    for labels in (("no", "yes"), ("bad", "fine", "good")):
        subject = Subject(classifier(tiny_bert, labels=labels), "tiny")
        reading, numbers = subject.read(TEXT), range(len(labels))
        for name in ("occlusion", "gradient-x-input", "relevance"):
            want = np.stack([attribute(subject, reading, name, t).words for t in numbers], 1)
            np.testing.assert_allclose(
                attribute_all(subject, reading, name, numbers), want, atol=1e-5
            )
        assert occlusions(subject, reading).shape == (7, len(labels))


def test_a_text_is_explained_alike_whatever_its_neighbours(subject):
    """Hidden versions of a text are computed together; each is as if it were alone."""
    reading = subject.read(TEXT)
    rows = [reading.without([word], subject.stand_in) for word in range(7)]
    together = subject.logits(rows)
    torch.testing.assert_close(together, torch.cat([subject.logits([row]) for row in rows]))


def test_an_unknown_method_is_told_with_the_nearest():
    with pytest.raises(
        UserError, match=r"no method is called 'occlusoin'. Did you mean 'occlusion'"
    ):
        check_method("occlusoin")


def test_without_captum_the_others_work(subject, monkeypatch):
    monkeypatch.setattr(attribution, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'headstart\[explain\]'"):
        check_method("integrated-gradients")
    names, notes = candidates(subject)
    assert names == ["gradient-x-input", "relevance", "occlusion", "rollout"]
    assert notes == ["integrated gradients was not tried: it needs captum. "
                     "pip install 'headstart[explain]'"]  # fmt: skip

    def refuse(name: str, *rest: Any, **named: Any) -> Any:
        assert not name.startswith("captum"), "captum is not to be imported"
        return real(name, *rest, **named)

    real = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", refuse)
    for name in names:
        attribute(subject, subject.read(TEXT), name, 0)
