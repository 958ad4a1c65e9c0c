from __future__ import annotations

import pytest
import torch

from headstart.nn.dropout import Dropout, dropout


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_share_and_scale(dtype):
    """0.1 of 999,983 elements (a prime) are zero, the others 1 / 0.9."""
    torch.manual_seed(0)
    out = dropout(torch.ones(999_983, dtype=dtype), 0.1)
    share = (out == 0).double().mean().item()
    assert out.dtype == dtype
    assert abs(share - 0.1) < 5 * (0.1 * 0.9 / 999_983) ** 0.5
    assert abs(out.max().item() - 1 / 0.9) < (1e-4 if dtype == torch.float32 else 1e-2)


def test_neighbours_are_independent():
    """Four elements share one drawn number; knowing one must not tell the next."""
    torch.manual_seed(0)
    zero = (dropout(torch.ones(1_000_000), 0.5) == 0).double().view(-1, 4)
    correlation = torch.corrcoef(zero.T) - torch.eye(4)
    assert correlation.abs().max() < 5 / 250_000**0.5


def test_same_seed_same_mask_and_gradient_of_what_is_kept():
    values = torch.randn(7, 11, requires_grad=True)
    torch.manual_seed(3)
    out = dropout(values, 0.3)
    torch.manual_seed(3)
    assert torch.equal(out, dropout(values, 0.3))
    out.sum().backward()
    torch.testing.assert_close(values.grad, out.detach() / values.detach())


def test_eval_and_zero_do_nothing():
    values = torch.randn(5)
    assert Dropout(0.9).eval()(values) is values
    assert Dropout(0.0)(values) is values
    with pytest.raises(ValueError, match="below 1"):
        Dropout(1.0)
