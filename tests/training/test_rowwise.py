"""Tables of 11 words, width 5; batches that ask for a few of them."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from headstart.training.rowwise import RowwiseAdamW, ask_for_rows, clip_gradients

RATE, DECAY = 0.1, 0.3


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table, self.map = nn.Embedding(11, 5), nn.Linear(5, 3)

    def forward(self, tokens):
        return self.map(self.table(tokens)).square().sum()


def two(sparse=True):
    """The same model twice: rows by rows, and dense."""
    torch.manual_seed(0)
    ours = Words()
    theirs = copy.deepcopy(ours)
    ask_for_rows(ours, [ours.table] if sparse else [])
    groups = lambda m: [{"params": list(m.parameters()), "lr": RATE, "weight_decay": DECAY}]  # noqa: E731
    return ours, RowwiseAdamW(groups(ours)), theirs, torch.optim.AdamW(groups(theirs))


def step(model, optimizer, tokens):
    optimizer.zero_grad(set_to_none=True)
    model(tokens).backward()
    optimizer.step()


def test_where_every_row_is_asked_for_it_is_adamw():
    ours, rowwise, theirs, dense = two()
    for seed in range(7):
        torch.manual_seed(seed)
        tokens = torch.cat([torch.arange(11), torch.randint(0, 11, (13,))])
        step(ours, rowwise, tokens)
        step(theirs, dense, tokens)
    assert ours.table.weight.grad.is_sparse
    for got, want in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


def test_a_row_asked_for_again_by_hand():
    """Asked for at updates 1 and 4: moments decayed thrice, weights decayed four times."""
    table = nn.Embedding(3, 1, sparse=True)
    nn.init.ones_(table.weight)
    optimizer = RowwiseAdamW([{"params": [table.weight], "lr": RATE, "weight_decay": DECAY}])
    for tokens in ([0], [1], [1], [0]):
        optimizer.zero_grad(set_to_none=True)
        (table(torch.tensor(tokens)).sum() * 2).backward()
        optimizer.step()
    keep = 1 - RATE * DECAY
    first = keep - RATE * 1.0  # the first update of Adam is one rate long
    mean = 0.9**3 * 0.2 + 0.1 * 2
    square = 0.999**3 * 0.004 + 0.001 * 4
    move = mean / (1 - 0.9**4) / math.sqrt(square / (1 - 0.999**4))
    assert table.weight[0].item() == pytest.approx(first * keep**3 - RATE * move, rel=1e-5)
    assert table.weight[2].item() == 1.0
    optimizer.finish()
    assert table.weight[2].item() == pytest.approx(keep**4, rel=1e-6)
    assert table.weight[0].item() == pytest.approx(first * keep**3 - RATE * move, rel=1e-5)
    before = table.weight.detach().clone()
    optimizer.finish()
    assert torch.equal(table.weight, before)


def test_dense_gradients_are_torchs_own():
    ours, rowwise, theirs, dense = two(sparse=False)
    for seed in range(3):
        torch.manual_seed(seed)
        tokens = torch.randint(0, 11, (7,))
        step(ours, rowwise, tokens)
        step(theirs, dense, tokens)
    for got, want in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-5)


def test_a_state_that_is_read_back_goes_on_bit_for_bit():
    ours, rowwise, _, _ = two()
    batches = [torch.tensor(t) for t in ([1, 2, 3], [2, 7], [1, 5, 7], [10])]
    for tokens in batches[:2]:
        step(ours, rowwise, tokens)
    again = copy.deepcopy(ours)
    resumed = RowwiseAdamW([{"params": list(again.parameters()), "lr": RATE}])
    resumed.load_state_dict(copy.deepcopy(rowwise.state_dict()))
    for tokens in batches[2:]:
        step(ours, rowwise, tokens)
        step(again, resumed, tokens)
    assert all(
        torch.equal(a, b) for a, b in zip(ours.parameters(), again.parameters(), strict=True)
    )


@pytest.mark.parametrize("limit", [0.1, 1e6])
def test_clipping_is_torchs_on_sparse_gradients_too(limit):
    ours, _, theirs, _ = two()
    tokens = torch.tensor([1, 1, 4, 10])
    ours(tokens).backward()
    theirs(tokens).backward()
    want = nn.utils.clip_grad_norm_(theirs.parameters(), limit)
    got = clip_gradients(ours.parameters(), limit)
    torch.testing.assert_close(got, want)
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a.grad.to_dense(), b.grad, atol=1e-6, rtol=1e-5)
