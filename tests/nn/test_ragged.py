"""Ragged and Layout. Shapes are distinct primes: 3 rows of 5, 2 and 7 tokens, width 11."""

from __future__ import annotations

import pytest
import torch

from headstart.nn.ragged import Layout, Ragged

LENGTHS = [5, 2, 7]


@pytest.fixture
def ragged() -> Ragged:
    return Ragged(torch.arange(14 * 11.0).view(14, 11), Layout(LENGTHS))


def test_layout_by_hand():
    layout = Layout([3, 1, 2])
    assert (layout.num_rows, layout.total, layout.longest, layout.uniform) == (3, 6, 3, False)
    assert layout.offsets.tolist() == [0, 3, 4, 6]
    assert layout.rows.tolist() == [0, 0, 0, 1, 2, 2]
    assert layout.positions.tolist() == [0, 1, 2, 0, 0, 1]
    assert layout.mask.tolist() == [[True, True, True], [True, False, False], [True, True, False]]
    assert Layout([4, 4]).uniform


@pytest.mark.parametrize("lengths", [[], [3, 0], [2, -1], [[1, 2]]])
def test_rows_without_tokens_are_refused(lengths):
    with pytest.raises(ValueError, match="1 or more"):
        Layout(lengths)


def test_pad_by_hand():
    padded = Layout([2, 1]).pad(torch.tensor([1.0, 2.0, 3.0]))
    assert padded.tolist() == [[1.0, 2.0], [3.0, 0.0]]


def test_pack_undoes_pad(ragged):
    padded = ragged.padded()
    assert padded.shape == (3, 7, 11)
    assert not padded[~ragged.layout.mask].any()
    assert torch.equal(ragged.layout.pack(padded), ragged.values)
    assert torch.equal(Ragged.from_padded(padded, LENGTHS).values, ragged.values)


def test_from_padded_drops_columns_that_hold_only_padding(ragged):
    wide = torch.nn.functional.pad(ragged.padded(), (0, 0, 0, 6), value=9.0)
    assert torch.equal(Ragged.from_padded(wide, LENGTHS).values, ragged.values)


def test_uniform_rows_are_never_copied():
    values = torch.randn(6, 5)
    layout = Layout([3, 3])
    assert layout.pad(values).data_ptr() == values.data_ptr()
    assert layout.pack(layout.pad(values)).data_ptr() == values.data_ptr()


def test_pad_and_pack_have_exact_gradients():
    layout = Layout([3, 1, 2])
    values = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    padded = torch.randn(3, 3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layout.pad, values)
    assert torch.autograd.gradgradcheck(layout.pad, values)
    assert torch.autograd.gradcheck(layout.pack, padded)


def test_rows_split_first_and_mean(ragged):
    rows = ragged.split()
    assert [len(row) for row in rows] == LENGTHS
    assert torch.equal(Ragged.from_rows(rows).values, ragged.values)
    assert torch.equal(ragged.first(), torch.stack([row[0] for row in rows]))
    torch.testing.assert_close(ragged.mean(), torch.stack([row.mean(0) for row in rows]))


def test_values_must_fill_the_layout():
    with pytest.raises(ValueError, match=r"14 tokens.*got 13"):
        Ragged(torch.zeros(13, 11), Layout(LENGTHS))
