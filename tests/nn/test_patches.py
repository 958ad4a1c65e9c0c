from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from headstart.nn.patches import GridPositions, LayerScale, PatchProjection, led, patches
from headstart.nn.ragged import Ragged


def test_patches_are_read_line_by_line_channel_by_channel():
    image = torch.arange(2 * 5 * 7).reshape(1, 2, 5, 7).float()
    got = patches(image, 2)  # 2 x 3 patches; the last line and column are dropped
    assert got.layout.grids == ((2, 3),)
    assert got.values.shape == (6, 8)
    assert got.values[0].tolist() == [0, 1, 7, 8, 35, 36, 42, 43]
    assert got.values[1].tolist() == [2, 3, 9, 10, 37, 38, 44, 45]
    assert got.values[3].tolist() == [14, 15, 21, 22, 49, 50, 56, 57]


def test_images_of_unequal_sizes_make_unequal_rows():
    got = patches([torch.randn(3, 10, 15), torch.randn(3, 5, 5)], 5)
    assert got.lengths.tolist() == [6, 1]
    assert got.layout.grids == ((2, 3), (1, 1))
    moved = got.to("cpu")
    assert moved.layout is not got.layout
    assert moved.layout.grids == got.layout.grids


def test_an_image_smaller_than_a_patch():
    with pytest.raises(ValueError, match=r"at least one patch of 5 x 5 pixels; got \(4, 15\)"):
        patches([torch.randn(3, 5, 5), torch.randn(3, 4, 15)], 5)


@torch.no_grad()
@pytest.mark.parametrize("bias", [True, False])
def test_the_projection_is_the_convolution(bias):
    ours = PatchProjection(3, 5, 11, bias=bias)
    for parameter in ours.parameters():
        torch.nn.init.normal_(parameter)
    image = torch.randn(2, 3, 13, 17)
    want = F.conv2d(image, ours.weight, ours.bias, stride=5).flatten(2).transpose(1, 2)
    got = ours(patches(image, 5).values)
    torch.testing.assert_close(got, want.flatten(0, 1), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_positions_by_hand():
    """A grid of constants stays constant; the same grid is the table itself."""
    position = GridPositions((1, 6, 3), 2)
    position.weight.copy_(torch.arange(18).view(1, 6, 3))
    assert position.before().tolist() == [[0, 1, 2], [3, 4, 5]]
    same = position(patches(torch.zeros(2, 1, 4, 4), 2).layout)
    assert same.tolist() == [*position.weight[0, 2:].tolist()] * 2
    position.weight.fill_(0.5)
    other = position(patches(torch.zeros(1, 1, 6, 2), 2).layout)
    torch.testing.assert_close(other, torch.full((3, 3), 0.5))


def test_leaders_stand_before_every_row():
    x = Ragged.from_rows([torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0]])])
    got = led(torch.tensor([[8.0], [9.0]]), x)
    assert got.values[:, 0].tolist() == [8, 9, 1, 2, 8, 9, 3]
    assert got.lengths.tolist() == [4, 3]


def test_layer_scale_starts_where_it_is_told():
    scale = LayerScale(3, 0.25)
    assert scale(torch.ones(2, 3)).tolist() == [[0.25] * 3] * 2
