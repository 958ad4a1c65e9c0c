"""Logits of all rows: each at its place, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from headstart.data import batches
from headstart.data.batches import RaggedStore
from headstart.nn.ragged import Ragged
from headstart.training import inference
from headstart.training.inference import all_logits
from headstart.training.progress import Silent

NUM_ROWS = 211


class Told(nn.Module):
    """Says of each row its sum and its length, and counts what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.batches = 0

    def forward(self, inputs: Ragged, segments: None = None) -> torch.Tensor:
        self.batches += 1
        rows = inputs.split()
        return torch.stack([torch.stack([row.sum(), torch.tensor(len(row))]) for row in rows])


@pytest.fixture
def store() -> RaggedStore:
    random = np.random.default_rng(7)
    offsets = np.concatenate([[0], np.cumsum(random.integers(1, 23, NUM_ROWS))])
    return RaggedStore(random.integers(0, 1000, offsets[-1]).astype(np.int32), offsets)


def expected(store: RaggedStore) -> torch.Tensor:
    rows = np.split(store.values, store.offsets[1:-1])
    return torch.tensor([[float(row.sum()), float(len(row))] for row in rows])


@pytest.mark.parametrize(("tokens", "window"), [(37, 10_000), (37, 17), (10_000, 10_000), (1, 17)])
def test_each_row_has_its_own_logits(store, monkeypatch, tokens, window):
    monkeypatch.setattr(inference, "READ_TOKENS", tokens)
    monkeypatch.setattr(batches, "READ_ROWS", window)
    forward = Told()
    logits = all_logits(forward, store, torch.device("cpu"), Silent(), "read")
    assert logits.dtype == torch.float32 and torch.equal(logits, expected(store))
    assert (forward.batches > 1) == (tokens < 10_000)


def test_some_rows_in_their_order(store):
    rows = np.random.default_rng(3).permutation(NUM_ROWS)[:101]
    logits = all_logits(Told(), store, torch.device("cpu"), Silent(), "read", rows)
    assert torch.equal(logits, expected(store)[rows])


def test_a_fault_in_the_network_is_raised(store):
    class Broken(nn.Module):
        def forward(self, inputs: Ragged, segments: None = None) -> torch.Tensor:
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        all_logits(Broken(), store, torch.device("cpu"), Silent(), "read")
