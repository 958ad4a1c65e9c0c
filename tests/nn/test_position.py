from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from headstart.nn.embeddings import NormedEmbeddings, ScaledEmbeddings, SegmentedEmbeddings
from headstart.nn.position import (
    LearnedPositions,
    PlacesAfterPadding,
    SinusoidalPositions,
    places_in_row,
)
from headstart.nn.ragged import Layout, Ragged


def test_sinusoidal_by_the_formula():
    got = SinusoidalPositions(13, 6)(torch.tensor([0, 11, 3]))
    for row, place in enumerate([0, 11, 3]):
        for i in range(3):
            angle = place / 10_000 ** (2 * i / 6)
            assert got[row, 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
            assert got[row, 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_sinusoidal_is_not_trained_and_not_saved():
    positions = SinusoidalPositions(13, 6)
    assert not list(positions.parameters()) and not positions.state_dict()
    with pytest.raises(ValueError, match="even"):
        SinusoidalPositions(13, 5)


def test_scaled_embeddings_by_hand():
    """Width 4: token vectors are doubled, then the vector of the place in the row is added."""
    token, position = nn.Embedding(5, 4), LearnedPositions(3, 4)
    tokens = Ragged(torch.tensor([2, 0, 4]), Layout([2, 1]))
    got = ScaledEmbeddings(token, position)(tokens).values
    want = 2 * token.weight[[2, 0, 4]] + position.weight[[0, 1, 0]]
    torch.testing.assert_close(got, want)


def test_segmented_embeddings_by_hand():
    token, position, segment = nn.Embedding(5, 4), LearnedPositions(3, 4), nn.Embedding(2, 4)
    embeddings = SegmentedEmbeddings(token, position, segment, norm=nn.Identity())
    tokens = Ragged(torch.tensor([2, 0, 4]), Layout([2, 1]))
    plain = token.weight[[2, 0, 4]] + position.weight[[0, 1, 0]]
    torch.testing.assert_close(embeddings(tokens).values, plain + segment.weight[0])
    pairs = embeddings(tokens, torch.tensor([0, 1, 1])).values
    torch.testing.assert_close(pairs, plain + segment.weight[[0, 1, 1]])


def test_normed_embeddings_by_hand():
    token, position = nn.Embedding(5, 4), LearnedPositions(3, 4)
    tokens = Ragged(torch.tensor([2, 0, 4]), Layout([2, 1]))
    plain = token.weight[[2, 0, 4]] + position.weight[[0, 1, 0]]
    torch.testing.assert_close(
        NormedEmbeddings(token, position, norm=nn.Identity())(tokens).values, plain
    )
    norm = nn.LayerNorm(4)
    torch.testing.assert_close(
        NormedEmbeddings(token, position, norm=norm)(tokens).values, norm(plain)
    )


def test_places_after_padding_by_hand():
    """Padding token 1: the first place is 2; a 1 in a text stands at 1 and is not counted."""
    tokens = Ragged(torch.tensor([5, 1, 7, 7, 1, 1, 9, 1]), Layout([4, 1, 3]))
    assert PlacesAfterPadding(1)(tokens).tolist() == [2, 1, 3, 4, 1, 1, 2, 1]
    assert PlacesAfterPadding(3)(tokens).tolist() == [4, 5, 6, 7, 4, 4, 5, 6]
    assert places_in_row(tokens).tolist() == [0, 1, 2, 3, 0, 0, 1, 2]
