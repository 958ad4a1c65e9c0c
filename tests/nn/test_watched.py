"""What attention weighs by can be looked at, and nothing changes by looking."""

import torch
from torch import nn

from headstart.nn.attention import Form, kernel, watched
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.ragged import Layout, Ragged


def test_the_weights_are_those_that_values_are_mixed_by():
    torch.manual_seed(0)
    module = MultiHeadAttention(21, Form(3, causal=True)).eval()
    x = Ragged(torch.randn(7 + 2, 21), Layout([7, 2]))
    seen: list[torch.Tensor] = []
    with watched(seen.append):
        got = module(x, x)
    with kernel("sdpa"):
        torch.testing.assert_close(got, module(x, x), atol=1e-5, rtol=1e-5)
    assert [tuple(weights.shape) for weights in seen] == [(2, 3, 7, 7)]
    torch.testing.assert_close(seen[0], module.weights(x, x))
    (gradient,) = torch.autograd.grad(got.sum(), seen)
    assert gradient.abs().sum() > 0


def test_nothing_is_seen_outside_of_the_block():
    module = MultiHeadAttention(6, Form(2))
    nn.init.normal_(module.query.weight)
    x = Ragged(torch.randn(5, 6), Layout([5]))
    seen: list[torch.Tensor] = []
    with watched(seen.append):
        pass
    with kernel("eager"):
        module(x, x)
    assert not seen
