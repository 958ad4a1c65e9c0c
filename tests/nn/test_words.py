from __future__ import annotations

import math

import torch
from torch import nn
from torch.nn import functional as F

from headstart.nn.activation import DroppedActivation
from headstart.nn.multihead import Borrowed
from headstart.nn.position import LearnedPositions
from headstart.nn.ragged import Layout, Ragged
from headstart.nn.words import HalvedWaves, PlacedEmbeddings, PlacesFrom, WordEmbeddings


def test_waves_are_half_sines_half_cosines():
    """PE(p) = sin p, sin(p / 100), cos p, cos(p / 100) in a width of 4."""
    got = HalvedWaves(7, 4)(torch.tensor([0, 3, 6]))
    want = [
        [math.sin(p), math.sin(p / 100), math.cos(p), math.cos(p / 100)] for p in (0.0, 3.0, 6.0)
    ]
    torch.testing.assert_close(got, torch.tensor(want))
    assert HalvedWaves(7, 4).state_dict() == {}


def test_waves_are_made_where_modules_have_no_storage():
    with torch.device("meta"):
        waves = HalvedWaves(7, 5)
    assert waves(torch.tensor([6])).shape == (1, 5)


def test_placed_embeddings_by_hand():
    token, position = nn.Embedding(5, 2), LearnedPositions(7, 2)
    embeddings = PlacedEmbeddings(
        token, position, norm=nn.Identity(), scale=3.0, places=PlacesFrom(2)
    )
    tokens = Ragged(torch.tensor([4, 0, 1]), Layout([2, 1], starts=torch.tensor([0, 3])))
    want = 3 * token.weight[[4, 0, 1]] + position.weight[[2, 3, 5]]
    torch.testing.assert_close(embeddings(tokens).values, want)


def test_a_borrowed_table_is_not_owned():
    token = nn.Embedding(5, 2)
    borrowing = WordEmbeddings(Borrowed(token))
    assert borrowing.state_dict() == {}
    tokens = Ragged.from_rows([torch.tensor([4, 1])])
    assert torch.equal(borrowing(tokens).values, token.weight[[4, 1]])


def test_dropout_comes_behind_the_activation():
    layer = DroppedActivation(F.relu, 0.5)
    values = torch.linspace(-1, 1, 101)
    assert torch.equal(layer.eval()(values), values.relu())
    torch.manual_seed(0)
    dropped = layer.train()(values)
    kept = dropped != 0
    torch.testing.assert_close(dropped[kept], 2 * values.relu()[kept])
    assert 0 < kept.sum() < 50
