"""The order of a stage: every row once an epoch, any place found without walking there."""

import numpy as np
import pytest

from headstart.training.order import Order

LENGTHS = np.random.default_rng(3).integers(2, 37, size=211)


def test_each_epoch_holds_each_row_once_in_another_order():
    order = Order(LENGTHS, 101, seed=5, epochs=3)
    assert order.ends[2] == order.total
    starts = [0, *order.ends]
    epochs = [[tuple(order.rows(s)) for s in range(starts[e], starts[e + 1])] for e in range(3)]
    for epoch in epochs:
        assert sorted(row for batch in epoch for row in batch) == list(range(211))
    assert epochs[0] != epochs[1]


def test_a_place_is_the_same_however_one_comes_there():
    walked, jumped = Order(LENGTHS, 101, 5, epochs=3), Order(LENGTHS, 101, 5, epochs=3)
    for step in range(walked.total - 1):
        walked.rows(step)
    assert (walked.rows(walked.total - 1) == jumped.rows(jumped.total - 1)).all()


def test_part_of_an_epoch_counts_by_its_updates():
    whole = Order(LENGTHS, 101, 5, epochs=1).total
    assert Order(LENGTHS, 101, 5, epochs=0.5).total == -(-whole // 2)
    assert Order(LENGTHS, 101, 5, epochs=1.5).ends[0] == whole


def test_steps_may_end_within_an_epoch():
    order = Order(LENGTHS, 101, 5, steps=53)
    assert order.total == 53
    assert order.ends_epoch(52), "the end of the stage ends its epoch"
    assert [s for s in range(53) if order.ends_epoch(s)] == [e - 1 for e in order.ends]


@pytest.mark.parametrize("rows", [1, 2])
def test_tiny_data(rows):
    order = Order(LENGTHS[:rows], 1024, 5, epochs=7)
    assert order.total == 7
    assert sorted(order.rows(6).tolist()) == list(range(rows))
