"""Batches: every row once, within the budget, the same again from the same seed."""

import numpy as np
import pytest
import torch

from headstart.data import batches, mapped
from headstart.data.batches import RaggedStore, cut, derive_seed, plan_epoch, plan_reading, take


@pytest.fixture
def lengths() -> np.ndarray:
    return np.random.default_rng(7).integers(3, 61, size=1009)


def test_an_epoch_holds_each_row_once(lengths):
    batches = plan_epoch(lengths, 257, seed=11)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1009))


def test_no_batch_exceeds_the_budget_by_more_than_two_half_rows(lengths):
    tokens = [int(lengths[b].sum()) for b in plan_epoch(lengths, 257, seed=11)]
    assert max(tokens) <= 257 + 61
    assert min(tokens) >= 257 // 2, "an even cut leaves no small rest"


def test_sorted_windows_leave_little_padding(lengths):
    batches = plan_epoch(lengths, 257, seed=11)
    padded = sum(len(b) * int(lengths[b].max()) for b in batches)
    assert padded / lengths.sum() < 1.15
    random = np.array_split(np.random.default_rng(0).permutation(1009), len(batches))
    assert sum(len(b) * int(lengths[b].max()) for b in random) / lengths.sum() > 1.5


def test_the_order_is_a_function_of_the_seed(lengths):
    first, again = plan_epoch(lengths, 257, seed=5), plan_epoch(lengths, 257, seed=5)
    other = plan_epoch(lengths, 257, seed=6)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert any(len(a) != len(b) or (a != b).any() for a, b in zip(first, other, strict=False))


def test_cut_by_hand():
    batches = cut(np.array([4, 2, 0, 1, 3]), np.array([3, 5, 2, 4, 6]), batch_tokens=10)
    # 20 tokens, two batches; the middle of row 0, which covers tokens 8 to 11, lies before 10.
    assert [b.tolist() for b in batches] == [[4, 2, 0], [1, 3]]


def test_a_row_longer_than_the_budget_stands_alone():
    batches = plan_reading(np.array([3, 101, 5]), batch_tokens=11)
    assert batches[0].tolist() == [1]


def test_rows_are_sorted_within_windows_where_all_are_read(lengths, monkeypatch):
    monkeypatch.setattr(batches, "READ_ROWS", 101)
    plan = plan_reading(lengths, 257)
    assert sorted(np.concatenate(plan).tolist()) == list(range(1009))
    windows = np.concatenate(plan)
    for start in range(0, 1009, 101):
        rows = windows[start : start + 101]
        assert set(rows.tolist()) == set(range(start, min(start + 101, 1009)))
        assert (np.diff(lengths[rows]) <= 0).all(), "the longest first"
    monkeypatch.undo()
    assert (np.concatenate(plan_reading(lengths, 257)) == np.argsort(-lengths, kind="stable")).all()


@pytest.mark.parametrize("shape", [(), (3,)])
@pytest.mark.parametrize("count", [1, 2, 41, 2003])
@pytest.mark.parametrize("kept", ["in memory", "in a file"])
def test_rows_are_gathered_as_they_lie(lengths, tmp_path, monkeypatch, shape, count, kept):
    monkeypatch.setattr(mapped, "RESIDENT", 4096)  # the map is given back many times on the way
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    random = np.random.default_rng(3)
    values = random.integers(0, 99, (offsets[-1], *shape)).astype("f4" if shape else "i4")
    if kept == "in a file":
        np.save(tmp_path / "values.npy", values)
        values = np.load(tmp_path / "values.npy", mmap_mode="r")
    store = RaggedStore(values, offsets)
    for _ in range(3):
        rows = random.integers(0, 1009, count)
        ragged = store.gather(rows)
        parts = [values[offsets[row] : offsets[row + 1]] for row in rows.tolist()]
        assert np.array_equal(ragged.values.numpy(), np.concatenate(parts))
        assert ragged.values.dtype == (torch.float32 if shape else torch.int64)
        assert ragged.lengths.tolist() == lengths[rows].tolist()


def test_take_packs_the_rows_asked_for():
    store = RaggedStore(np.array([7, 8, 9, 1, 2, 3], dtype=np.int32), np.array([0, 2, 3, 6]))
    batch = take(store, np.array([2, 0]), target=[5, 6, 7])
    assert batch.inputs.values.tolist() == [1, 2, 3, 7, 8]
    assert batch.inputs.values.dtype == torch.int64
    assert batch.inputs.lengths.tolist() == [3, 2]
    assert batch.target is not None and batch.target.tolist() == [7, 5]
    assert batch.num_tokens == 5


def test_seeds_do_not_depend_on_the_process():
    assert derive_seed("order", 3, 1) == derive_seed("order", 3, 1)
    assert derive_seed("order", 3, 1) != derive_seed("order", 3, 2)
