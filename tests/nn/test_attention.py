"""Sizes are distinct primes where the heads allow: rows 3, tokens 5, 2, 7; width 22, heads 2."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from headstart.nn.attention import (
    Form,
    attend,
    attention_weights,
    kernel,
    varlen_attention,
)
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.ragged import Layout, Ragged

LENGTHS, MEMORY_LENGTHS, WIDTH, HEADS = [5, 2, 7], [3, 11, 1], 22, 2


def ragged(lengths, width=WIDTH, *, dtype=torch.float32):
    return Ragged(torch.randn(sum(lengths), width, dtype=dtype), Layout(lengths))


def randomised(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def test_eager_by_hand():
    """Two heads of width 1, so that sqrt(d) = 1 and a score is one product.

    Head 0: scores of the query 1 against the keys 0 and ln 3 are 0 and ln 3, weights 1/4 and 3/4.
    Head 1: scores of the query 2 against 0 and ln 3 are 0 and 2 ln 3, weights 1/10 and 9/10.
    """
    log3 = math.log(3)
    query = Ragged(torch.tensor([[1.0, 2.0]]), Layout([1]))
    key = Ragged(torch.tensor([[0.0, 0.0], [log3, log3]]), Layout([2]))
    value = Ragged(torch.tensor([[4.0, 10.0], [8.0, 20.0]]), Layout([2]))
    form = Form(num_heads=2)
    weights = attention_weights(query, key, form)
    torch.testing.assert_close(weights, torch.tensor([[[[0.25, 0.75]], [[0.1, 0.9]]]]))
    with kernel("eager"):
        torch.testing.assert_close(attend(query, key, value, form), torch.tensor([[7.0, 19.0]]))


def test_scores_are_divided_by_the_root_of_the_head_width():
    """Width 4, one head: the scores 0 and 2 ln 3 become 0 and ln 3."""
    query = Ragged(torch.ones(1, 4), Layout([1]))
    key = Ragged(torch.tensor([[0.0] * 4, [math.log(3) / 2] * 4]), Layout([2]))
    weights = attention_weights(query, key, Form(num_heads=1))
    torch.testing.assert_close(weights.flatten(), torch.tensor([0.25, 0.75]))


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("lengths", [LENGTHS, [7, 7, 7]])
def test_sdpa_equals_eager_in_values_and_gradients(causal, lengths):
    torch.manual_seed(0)
    attention = randomised(MultiHeadAttention(WIDTH, Form(HEADS, causal=causal)))
    x, seen = ragged(lengths), []
    for name in ("sdpa", "eager"):
        values = x.values.clone().requires_grad_()
        attention.zero_grad()
        with kernel(name):
            out = attention(x.replace(values), x.replace(values))
        out.square().sum().backward()
        gradients = [p.grad.clone() for p in attention.parameters()]
        seen.append([out.detach(), values.grad, *gradients])
    for fused, formula in zip(*seen, strict=True):
        torch.testing.assert_close(fused, formula, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["sdpa", "eager"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_row_in_a_batch_is_as_a_row_alone(name, causal):
    torch.manual_seed(0)
    attention = randomised(MultiHeadAttention(WIDTH, Form(HEADS, causal=causal)))
    x = ragged(LENGTHS)
    with kernel(name):
        together = x.replace(attention(x, x)).split()
        for row, got in zip(x.split(), together, strict=True):
            alone = Ragged.from_rows([row])
            torch.testing.assert_close(got, attention(alone, alone), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["sdpa", "eager"])
@pytest.mark.parametrize("memory_lengths", [LENGTHS, MEMORY_LENGTHS])
def test_matches_torch_multihead_attention(name, memory_lengths):
    torch.manual_seed(0)
    theirs = randomised(nn.MultiheadAttention(WIDTH, HEADS, batch_first=True))
    ours = MultiHeadAttention(WIDTH, Form(HEADS))
    copy_attention(theirs, ours)
    x, memory = ragged(LENGTHS), ragged(memory_lengths)
    want, weights = theirs(
        x.padded(), memory.padded(), memory.padded(),
        key_padding_mask=~memory.layout.mask, average_attn_weights=False,
    )  # fmt: skip
    with kernel(name):
        got = ours(x, memory)
    torch.testing.assert_close(got, x.layout.pack(want), atol=1e-5, rtol=1e-5)
    real = x.layout.mask[:, None, :, None].expand_as(weights)
    torch.testing.assert_close(ours.weights(x, memory)[real], weights[real], atol=1e-5, rtol=1e-5)


def copy_attention(theirs, ours):
    weights, biases = theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)
    with torch.no_grad():
        for map_, weight, bias in zip(
            (ours.query, ours.key, ours.value), weights, biases, strict=True
        ):
            map_.weight.copy_(weight)
            map_.bias.copy_(bias)
        ours.output.load_state_dict(theirs.out_proj.state_dict())


@pytest.mark.parametrize("name", ["sdpa", "eager"])
def test_causal_attention_does_not_see_what_comes_after(name):
    torch.manual_seed(0)
    attention = randomised(MultiHeadAttention(WIDTH, Form(HEADS, causal=True)))
    x = ragged([7])
    changed = x.replace(torch.cat([x.values[:4], torch.randn(3, WIDTH)]))
    with kernel(name):
        before, after = attention(x, x), attention(changed, changed)
    torch.testing.assert_close(before[:4], after[:4], atol=1e-6, rtol=1e-6)
    assert not torch.allclose(before[4:], after[4:], atol=1e-2)


@pytest.mark.parametrize("name", ["sdpa", "eager"])
def test_causal_attention_needs_equal_rows(name):
    x, form = ragged([5, 2]), Form(HEADS, causal=True)
    with kernel(name), pytest.raises(ValueError, match=r"\[5, 2\] and \[2, 5\]"):
        attend(x, ragged([2, 5]), ragged([2, 5]), form)


def test_eager_has_a_second_derivative():
    torch.manual_seed(0)
    layout, form = Layout([3, 2]), Form(2)

    def mix(query, key, value):
        rows = (Ragged(x, layout) for x in (query, key, value))
        with kernel("eager"):
            return attend(*rows, form)

    inputs = [torch.randn(5, 4, requires_grad=True) for _ in range(3)]
    grads = torch.autograd.grad(mix(*inputs).square().sum(), inputs, create_graph=True)
    penalty = sum(g.square().sum() for g in grads)
    second = torch.autograd.grad(penalty, inputs)
    step, direction = 1e-2, [torch.randn_like(x) for x in inputs]

    def penalty_at(sign):
        moved = [
            (x + sign * step * d).detach().requires_grad_()
            for x, d in zip(inputs, direction, strict=True)
        ]
        at = torch.autograd.grad(mix(*moved).square().sum(), moved)
        return sum(g.square().sum() for g in at)

    numeric = (penalty_at(1) - penalty_at(-1)) / (2 * step)
    exact = sum((g * d).sum() for g, d in zip(second, direction, strict=True))
    torch.testing.assert_close(exact, numeric, atol=1e-1, rtol=1e-2)


@pytest.mark.parametrize("name", ["auto", "sdpa", "eager"])
def test_under_autocast_the_mix_is_exact(name):
    """Products run in bfloat16; the attention between them in float32, whatever the kernel."""
    torch.manual_seed(0)
    x, form = ragged(LENGTHS, dtype=torch.bfloat16), Form(HEADS)
    with kernel("eager"):
        exact = attend(*[x.replace(x.values.float())] * 3, form)
    with kernel(name), torch.autocast("cpu", torch.bfloat16):
        got = attend(x, x, x, form)
    assert got.dtype == torch.bfloat16
    assert torch.equal(got, exact.bfloat16()) or name != "eager"
    torch.testing.assert_close(got.float(), exact, atol=1e-2, rtol=1e-2)


@pytest.mark.parametrize("name", ["auto", "sdpa", "eager"])
def test_dropout_acts_on_the_probabilities_and_only_in_training(name):
    """One head, 499 equal keys with values 1: a mix is the share kept, over the share expected."""
    torch.manual_seed(0)
    x = Ragged(torch.zeros(499, 2), Layout([499]))
    ones = x.replace(torch.ones(499, 2))
    with kernel(name):
        mixed = attend(x, x, ones, Form(1, dropout=0.5))
        assert torch.equal(mixed[:, 0], mixed[:, 1])
        assert mixed.unique().numel() > 20
        assert abs(mixed.mean().item() - 1) < 0.02
        attention = MultiHeadAttention(2, Form(1, dropout=0.5)).eval()
        assert torch.equal(attention(x, x), attention(x, x))


def test_kernels_are_chosen_by_name_and_only_inside_the_block():
    with pytest.raises(ValueError, match="auto, sdpa, eager, varlen; got 'fast'"), kernel("fast"):
        pass
    with pytest.raises(ValueError, match="num_heads=3"):
        MultiHeadAttention(22, Form(3))


NO_VARLEN = not torch.cuda.is_available() or varlen_attention() is None


@pytest.mark.skipif(NO_VARLEN, reason="needs CUDA")
@pytest.mark.parametrize("causal", [False, True])
def test_varlen_equals_eager(causal):
    torch.manual_seed(0)
    x = ragged(LENGTHS, 64).to("cuda")
    x, form = x.replace(x.values.bfloat16()), Form(2, causal=causal)
    with kernel("eager"):
        want = attend(x, x, x, form)
    for name in ("varlen", "auto"):
        with kernel(name):
            torch.testing.assert_close(attend(x, x, x, form), want, atol=2e-2, rtol=2e-2)
