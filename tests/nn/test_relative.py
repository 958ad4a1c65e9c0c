from __future__ import annotations

import pytest
import torch
from torch import nn

from headstart.nn.attention import Form, kernel
from headstart.nn.multihead import Borrowed, MultiHeadAttention
from headstart.nn.ragged import Layout, Ragged
from headstart.nn.relative import RelativeBias, distance_buckets


def a_bias(*, both_ways: bool) -> RelativeBias:
    bias = RelativeBias(3, both_ways=both_ways, num_buckets=13, max_distance=11)
    nn.init.normal_(bias.table.weight)
    return bias


def test_buckets_by_hand():
    """8 buckets both ways: 0 and 1 alone, then 2 to 5 and from 6 on, as log(d / 2) / log(8) has it;
    behind the query the same from 4 on."""
    distances = torch.tensor([-99, -16, -6, -5, -2, -1, 0, 1, 2, 5, 6, 16, 99])
    got = distance_buckets(distances, both_ways=True, num_buckets=8, max_distance=16)
    assert got.tolist() == [3, 3, 3, 2, 2, 1, 0, 5, 6, 6, 7, 7, 7]


def test_buckets_by_hand_where_no_key_is_behind():
    """4 alone, then 4 more up to 16, each starting a square root of 2 farther."""
    distances = torch.tensor([5, 0, -1, -3, -4, -5, -6, -8, -12, -16, -99])
    got = distance_buckets(distances, both_ways=False, num_buckets=8, max_distance=16)
    assert got.tolist() == [0, 0, 1, 3, 4, 4, 5, 6, 7, 7, 7]


@pytest.mark.parametrize("both_ways", [False, True])
@pytest.mark.parametrize(("num_buckets", "max_distance"), [(32, 128), (13, 11), (7, 5), (4, 3)])
def test_buckets_are_those_of_transformers(both_ways, num_buckets, max_distance):
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    distances = torch.arange(-300, 301)
    got = distance_buckets(
        distances, both_ways=both_ways, num_buckets=num_buckets, max_distance=max_distance
    )
    want = t5.T5Attention._relative_position_bucket(distances, both_ways, num_buckets, max_distance)
    assert torch.equal(got, want)
    last = 2 * (num_buckets // 2) - 1 if both_ways else num_buckets - 1
    assert (got.min(), got.max()) == (0, last)


@pytest.mark.parametrize("both_ways", [False, True])
def test_rows_that_go_on_keep_their_places(both_ways):
    bias, keys = a_bias(both_ways=both_ways), Layout([11, 7, 3])
    whole = bias(keys, keys)
    assert whole.shape == (1, 3, 11, 11)
    queries = Layout([2, 2, 2], starts=torch.tensor([9, 5, 1]))
    later = bias(queries, keys)
    assert later.shape == (3, 3, 2, 11)
    for row, start in enumerate((9, 5, 1)):
        assert torch.equal(later[row], whole[0, :, start : start + 2])


def test_buckets_are_sorted_once_for_all_blocks(monkeypatch):
    calls = []

    def buckets(bias, queries, keys):
        calls.append(bias.both_ways)
        return torch.zeros(1, 5, 5, dtype=torch.int64)

    monkeypatch.setattr(RelativeBias, "_buckets", buckets)
    layout = Layout([5, 2])
    for _ in range(3):
        a_bias(both_ways=True)(layout, layout)
    assert calls == [True]
    a_bias(both_ways=False)(layout, layout)
    assert calls == [True, False], "a decoder's are others"


@torch.no_grad()
def test_attention_in_steps_is_attention_at_once():
    """The last token asks alone, and sees what was remembered of all."""
    attention = MultiHeadAttention(
        7, Form(3, causal=True, scale=1.0), head_width=5, relative=a_bias(both_ways=False)
    )
    x = Ragged.from_rows([torch.randn(length, 7) for length in (11, 7, 2)])
    whole = x.replace(attention(x, x))
    last = Ragged(x.last(), Layout([1, 1, 1], starts=x.lengths - 1))
    for name in ("sdpa", "eager"):
        with kernel(name):
            got = attention.look(attention.ask(last), *attention.remember(x))
        torch.testing.assert_close(got, whole.last(), atol=1e-6, rtol=1e-5)


def test_a_borrowed_bias_is_owned_once():
    bias = a_bias(both_ways=True)
    form = Form(3, scale=1.0)
    first = MultiHeadAttention(6, form, relative=bias)
    second = MultiHeadAttention(6, form, relative=Borrowed(bias))
    assert "relative.table.weight" in first.state_dict()
    assert not [name for name in second.state_dict() if "relative" in name]
    x = Ragged.from_rows([torch.randn(5, 6)])
    second(x, x).sum().backward()
    assert bias.table.weight.grad.abs().max() > 0


@pytest.mark.parametrize(
    ("both_ways", "num_buckets", "max_distance"), [(True, 3, 11), (False, 1, 11), (True, 8, 2)]
)
def test_buckets_that_cannot_be(both_ways, num_buckets, max_distance):
    with pytest.raises(ValueError, match=f"{num_buckets} buckets give"):
        RelativeBias(3, both_ways=both_ways, num_buckets=num_buckets, max_distance=max_distance)
