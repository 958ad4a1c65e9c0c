"""Low-rank updates, prefixes and bottlenecks, by hand and by what must hold."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from headstart.nn.adapters import Around, Bottleneck, Bottlenecked
from headstart.nn.attention import Form, kernel
from headstart.nn.embeddings import NormedEmbeddings
from headstart.nn.lora import DoraLinear, LoraLinear, LowRank
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.position import PlacesAfterPadding
from headstart.nn.prefix import LaterEmbeddings, Prefix, PrefixAttention, after, later
from headstart.nn.ragged import Layout, Ragged

LENGTHS = [5, 2, 7]


def linear(weight: list[list[float]], bias: list[float] | None) -> nn.Linear:
    made = nn.Linear(len(weight[0]), len(weight), bias is not None)
    with torch.no_grad():
        made.weight.copy_(torch.tensor(weight))
        if bias is not None:
            made.bias.copy_(torch.tensor(bias))
    return made


def by_hand() -> LowRank:
    return LowRank(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0], [0.0], [-1.0]]), 0.5)


WEIGHT, BIAS = [[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], [0.0, 1.0, 2.0]


def test_lora_by_hand():
    """W x + b = (5, 15, 14) at x = (5, 7); A x = 19, B A x / 2 = (28.5, 0, -9.5)."""
    module = LoraLinear(linear(WEIGHT, BIAS), by_hand())
    out = module(torch.tensor([[5.0, 7.0]]))
    assert out.tolist() == [[33.5, 15.0, 4.5]]
    assert module.merged().weight.tolist() == [[2.5, 3.0], [0.0, 2.0], [0.5, 0.0]]
    assert module.merged()(torch.tensor([[5.0, 7.0]])).tolist() == out.tolist()


def test_dora_by_hand():
    """Rows of W + BA / 2 are (2.5, 3), (0, 2), (0.5, 0); each is made as long as it is told."""
    module = DoraLinear(linear(WEIGHT, BIAS), by_hand(), torch.tensor([1.0, 3.0, 4.0]))
    out = module(torch.tensor([[5.0, 7.0]]))
    first = (2.5 * 5 + 3 * 7) / math.hypot(2.5, 3)
    torch.testing.assert_close(out, torch.tensor([[first, 3 * 7.0 + 1, 4 * 5.0 + 2]]))
    torch.testing.assert_close(module.merged()(torch.tensor([[5.0, 7.0]])), out)


@pytest.mark.parametrize("kind", [LoraLinear, DoraLinear])
@pytest.mark.parametrize("bias", [True, False])
def test_a_new_update_changes_nothing_and_has_the_very_parameters(kind, bias):
    torch.manual_seed(0)
    inner = nn.Linear(7, 11, bias)
    module = kind(inner, LowRank.drawn(inner, 3, 2.0, 0.0))
    x = torch.randn(13, 7)
    torch.testing.assert_close(module(x), inner(x), atol=1e-6, rtol=1e-6)
    assert module.weight is inner.weight and module.bias is inner.bias
    assert module.plain() is inner
    assert not module.lora.up.any() and module.lora.down.abs().max() <= 1 / math.sqrt(7)
    own = {"weight", "lora.down", "lora.up"} | ({"bias"} if bias else set())
    assert own <= set(module.state_dict()) <= own | {"lora_magnitude"}


def test_the_length_of_a_direction_takes_no_gradient():
    torch.manual_seed(0)
    inner = nn.Linear(7, 11)
    module = DoraLinear(inner, LowRank(torch.randn(3, 7), torch.randn(11, 3), 2.0))
    x, up = torch.randn(13, 7), module.lora.up.detach().requires_grad_()
    constant = torch.linalg.norm(module.weight + module.lora.delta(), dim=1).detach()
    scaled = module.lora_magnitude.detach() / constant
    want = scaled * (x @ module.weight.T + 2.0 * (x @ module.lora.down.T) @ up.T)
    want.square().sum().backward()
    (module(x) - inner.bias).square().sum().backward()
    torch.testing.assert_close(module.lora.up.grad, up.grad, rtol=1e-4, atol=1e-4)


def test_dropout_reaches_the_update_alone_and_only_while_training():
    torch.manual_seed(0)
    inner = nn.Linear(7, 11)
    module = LoraLinear(inner, LowRank(torch.randn(3, 7), torch.randn(11, 3), 1.0, dropout=0.5))
    x = torch.randn(13, 7)
    assert torch.equal(module.eval()(x), module(x))
    assert not torch.equal(module.train()(x), module(x))
    module.lora.up.data.zero_()
    assert torch.equal(module(x), inner(x))


def attention(causal: bool = False) -> MultiHeadAttention:
    torch.manual_seed(0)
    made = MultiHeadAttention(12, Form(3, causal=causal))
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    return made


def rows() -> Ragged:
    generator = torch.Generator().manual_seed(1)
    return Ragged.from_rows([torch.randn(length, 12, generator=generator) for length in LENGTHS])


@pytest.mark.parametrize("name", ["sdpa", "eager"])
@pytest.mark.parametrize("causal", [False, True])
@torch.no_grad()
def test_a_prefix_is_what_is_read_before_each_row(name, causal):
    """Keys and values that come from tokens: reading those first gives the same."""
    inner, x = attention(causal), rows()
    first = torch.randn(3, 12)
    prefix = Prefix(inner.key(first), inner.value(first))
    with kernel(name):
        got = PrefixAttention(inner, prefix)(x, x)
        longer = Ragged.from_rows([torch.cat([first, row]) for row in x.split()])
        whole = longer.replace(inner(longer, longer)).split()
    want = torch.cat([row[3:] for row in whole])
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


def test_a_prefix_takes_gradients_from_all_rows():
    inner, x = attention(), rows()
    module = PrefixAttention(inner, Prefix(torch.randn(3, 12), torch.randn(3, 12)))
    module(x, x).square().sum().backward()
    assert module.prefix.key.grad.abs().min() > 0 and module.prefix.value.grad.abs().min() > 0


def test_the_same_keys_before_each_row():
    text = Ragged(torch.arange(6.0)[:, None], Layout([2, 3, 1]))
    got = after(torch.tensor([[-1.0], [-2.0]]), text)
    assert got.lengths.tolist() == [4, 5, 3]
    assert got.values.flatten().tolist() == [-1, -2, 0, 1, -1, -2, 2, 3, 4, -1, -2, 5]
    assert later(text.layout, 2).positions.tolist() == [2, 3, 2, 3, 4, 2]
    assert later(text.layout, 2) is later(text.layout, 2), "made once a batch"


@torch.no_grad()
def test_later_embeddings_read_later_places():
    torch.manual_seed(0)
    inner = NormedEmbeddings(nn.Embedding(11, 4), nn.Embedding(9, 4), norm=nn.Identity())
    tokens = Ragged(torch.tensor([3, 5, 7]), Layout([2, 1]))
    out = LaterEmbeddings(inner, 4)(tokens)
    want = inner.token(tokens.values) + inner.position(torch.tensor([4, 5, 4]))
    assert torch.equal(out.values, want) and out.layout is tokens.layout


def test_places_after_padding_begin_where_rows_do():
    """As fairseq counts: the padding token, 2 here, stands at its own number and is not counted."""
    tokens = torch.tensor([5, 2, 7, 9])
    layout = Layout([3, 1], starts=torch.tensor([4, 4]))
    assert PlacesAfterPadding(2)(Ragged(tokens, Layout([3, 1]))).tolist() == [3, 2, 4, 3]
    assert PlacesAfterPadding(2)(Ragged(tokens, layout)).tolist() == [7, 2, 8, 7]


def test_a_bottleneck_by_hand_and_as_the_identity_at_first():
    torch.manual_seed(0)
    module = Bottleneck(5, 3)
    x = torch.randn(7, 5)
    assert torch.equal(module(x), x)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    inner = F.gelu(x @ module.down.weight.T + module.down.bias)
    torch.testing.assert_close(module(x), x + inner @ module.up.weight.T + module.up.bias)
    wrapped = Bottlenecked(nn.Linear(2, 5), module)
    read = torch.randn(7, 2)
    torch.testing.assert_close(wrapped(read), module(wrapped.inner(read)))


def test_what_stands_around_keeps_names_parameters_and_mode():
    inner = attention()
    module = PrefixAttention(inner, Prefix(torch.zeros(3, 12), torch.zeros(3, 12)))
    assert isinstance(module, Around)
    own = dict(module.named_parameters())
    assert {n: p for n, p in own.items() if "prefix" not in n} == dict(inner.named_parameters())
    assert module.eval().inner.training is False
    assert module.train().inner.training is True
