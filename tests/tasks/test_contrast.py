"""Contrast: the loss by hand and of sentence-transformers, and what belongs to what."""

import math
import warnings

import numpy as np
import pytest
import torch

from headstart.data.batches import RaggedStore, take
from headstart.data.pair import Pair
from headstart.data.text import Tokenizer
from headstart.nn.ragged import Ragged
from headstart.tasks.contrast import Contrast
from headstart.training.contrasting import encode_sides

NOTHING = np.random.default_rng(0)


class Table(torch.nn.Module):
    """The vector of a row is that of its first token."""

    def __init__(self, vectors):
        super().__init__()
        self.vectors = torch.nn.Parameter(vectors)

    def forward(self, tokens: Ragged):
        return self.vectors[tokens.first()]


def pairs(firsts, seconds):
    """Rows of one-token texts, each pair in a row."""
    values = np.array([token for pair in zip(firsts, seconds, strict=True) for token in pair])
    offsets = np.arange(0, len(values) + 1, 2)
    store = RaggedStore(values, offsets, np.tile([0, 1], len(firsts)))
    return Contrast().prepare(take(store, np.arange(len(firsts))), NOTHING)


def test_the_loss_of_two_pairs_by_hand():
    """Cosines 1, 0 / 0.6, 0.8 over a temperature of a half: softmax by hand."""
    network = Table(torch.tensor([[2.0, 0.0], [3.0, 4.0], [5.0, 0.0], [0.0, 0.1]]))
    batch = pairs([0, 1], [2, 3])
    first = -math.log(math.exp(2) / (math.exp(2) + math.exp(0)))
    second = -math.log(math.exp(1.6) / (math.exp(1.2) + math.exp(1.6)))
    got = Contrast(temperature=0.5).loss(network, batch)
    assert got.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_the_loss_and_its_gradient_are_those_of_sentence_transformers():
    """Scale 20 is a temperature of a twentieth."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = pytest.importorskip("sentence_transformers.losses")
    torch.manual_seed(5)
    network = Table(torch.randn(22, 7))
    batch = pairs(range(11), range(11, 22))
    ours = Contrast().loss(network, batch)
    ours.backward()
    vectors = network.vectors.detach().clone().requires_grad_()
    theirs = losses.MultipleNegativesRankingLoss(torch.nn.Identity(), scale=20.0)
    want = theirs.compute_loss_from_embeddings([vectors[:11], vectors[11:]], None)
    want.backward()
    torch.testing.assert_close(ours, want)
    torch.testing.assert_close(network.vectors.grad, vectors.grad, atol=1e-6, rtol=1e-5)


def test_a_single_text_belongs_to_itself_and_only_dropout_makes_it_two():
    store = RaggedStore(np.array([3, 5, 4, 6, 1]), np.array([0, 2, 5]))
    batch = Contrast().prepare(take(store, np.array([1, 0])), NOTHING)
    assert batch.partner is batch.inputs
    vectors = torch.eye(7)
    without = Contrast().loss(Table(vectors), batch)
    assert without.item() == pytest.approx(math.log(1 + math.exp(-20)), abs=1e-6)
    torch.manual_seed(3)
    dropped = torch.nn.Sequential(Table(torch.randn(7, 5)), torch.nn.Dropout(0.5))
    assert Contrast().loss(dropped, batch) != Contrast().loss(dropped.eval(), batch)


def test_a_batch_of_one_text_tells_nothing_and_equal_vectors_cost_the_logarithm():
    network = Table(torch.ones(26, 3))
    assert Contrast().loss(network, pairs([0], [1])).item() == 0
    equal = Contrast().loss(network, pairs(range(13), range(13, 26)))
    assert equal.item() == pytest.approx(math.log(13), rel=1e-6)


def test_both_texts_of_a_pair_are_framed_as_single_ones(tiny_bert):
    tokenizer = Tokenizer.open(tiny_bert)
    texts = [Pair("great film", "the plot was fun"), Pair("dull", "a very poor story and camera")]
    tokens = encode_sides(tokenizer, texts, 6)
    store = RaggedStore(tokens.values, tokens.offsets, tokens.segments)
    batch = Contrast().prepare(take(store, np.array([1, 0])), NOTHING)
    assert batch.segments is None
    for rows, side in ((batch.inputs, "first"), (batch.partner, "second")):
        alone = tokenizer.encode([getattr(texts[row], side) for row in (1, 0)], 6)
        assert rows.values.tolist() == alone.values.tolist()
        assert rows.lengths.tolist() == alone.lengths.tolist()
    assert tokens.cut_rows == 1
