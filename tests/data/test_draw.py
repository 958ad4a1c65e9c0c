"""Draws of labels: in proportion, nested, every class present, the same again from a seed."""

from itertools import pairwise

import numpy as np
import pytest

from headstart.data.draw import draw, stratified_order
from headstart.data.labels import Labels

LABELS = ["a"] * 601 + ["b"] * 307 + ["c"] * 89 + ["d"] * 2 + ["e"]
COUNTS = [1, 2, 5, 7, 31, 101, 499, 997, 1000]


def test_an_order_holds_each_row_once():
    assert sorted(stratified_order(LABELS, 3).tolist()) == list(range(1000))


@pytest.mark.parametrize("count", COUNTS)
def test_a_draw_and_the_rest_are_all_rows_in_order(count):
    drawn, rest = draw(LABELS, count, 3)
    assert len(drawn) == count
    assert sorted([*drawn, *rest]) == list(range(1000))
    assert (np.diff(drawn) > 0).all() and (np.diff(rest) > 0).all()
    assert drawn.dtype == np.int64


@pytest.mark.parametrize("seed", range(7))
def test_a_smaller_draw_is_part_of_a_larger_one(seed):
    draws = [set(draw(LABELS, count, seed)[0].tolist()) for count in COUNTS]
    for smaller, larger in pairwise(draws):
        assert smaller < larger


@pytest.mark.parametrize("seed", range(7))
@pytest.mark.parametrize("count", [5, 6, 7, 11])
def test_every_class_is_drawn_where_the_count_allows_it(seed, count):
    drawn, _ = draw(LABELS, count, seed)
    assert {LABELS[i] for i in drawn} == set("abcde")


def test_too_few_rows_for_all_classes_take_the_largest():
    drawn, _ = draw(LABELS, 3, 5)
    assert {LABELS[i] for i in drawn} == set("abc")


@pytest.mark.parametrize("count", [31, 101, 499])
def test_classes_are_drawn_in_proportion(count):
    drawn, _ = draw(LABELS, count, 11)
    for name, size in (("a", 601), ("b", 307), ("c", 89)):
        share = sum(LABELS[i] == name for i in drawn)
        assert abs(share - count * size / 1000) <= 2


def test_the_seed_decides_and_nothing_else():
    first, again, other = (draw(LABELS, 101, seed)[0] for seed in (5, 5, 6))
    assert (first == again).all()
    assert (first != other).any()


def test_rows_of_a_class_are_drawn_at_random():
    """Over many seeds each of 10 rows is drawn about equally often."""
    hits = np.zeros(20)
    for seed in range(500):
        hits[draw(["x"] * 10 + ["y"] * 10, 8, seed)[0]] += 1
    assert hits.min() > 150 and hits.max() < 250  # 200 expected


def order_by_the_definition(labels: list[str], seed: int) -> list[int]:
    """Row k of the n of its class at place (k + 1/2) / n, first rows of classes first."""
    shuffled = np.random.default_rng(seed).permutation(len(labels)).tolist()
    place, first = {}, {}
    for name in sorted(set(labels)):
        members = [row for row in shuffled if labels[row] == name]
        place |= {row: (k + 0.5) / len(members) for k, row in enumerate(members)}
        first[members[0]] = name
    order = sorted(shuffled, key=place.__getitem__)
    return [row for row in order if row in first] + [row for row in order if row not in first]


@pytest.mark.parametrize("num_classes", [1, 2, 7, 101])
@pytest.mark.parametrize("count", [1, 2, 17, 503])
def test_the_order_is_that_of_the_definition(count, num_classes):
    random = np.random.default_rng(count + num_classes)
    labels = [f"class {c}" for c in random.integers(0, num_classes, count)]
    for seed in range(3):
        expected = order_by_the_definition(labels, seed)
        assert stratified_order(labels, seed).tolist() == expected
        assert stratified_order(Labels.of(labels), seed).tolist() == expected


def test_whole_numbers_are_labels_too():
    assert [len(part) for part in draw([0, 1] * 11, 7, 0)] == [7, 15]


def test_no_rows_give_no_rows():
    assert [len(part) for part in draw([], 0, 0)] == [0, 0]
