"""Normalised AOPC: limits against all orders, values by hand, and what it says of known methods."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from tests.explain.conftest import classifier

from headstart.explain import faithful
from headstart.explain.attribution import METHODS, Attribution, Method
from headstart.explain.faithful import (
    RANDOM,
    Faithfulness,
    Judged,
    Limits,
    Remembered,
    aopc,
    averaged,
    beam_limits,
    exact_limits,
    judge,
    num_pieces,
    order_of,
    pieces,
)
from headstart.explain.subject import Subject

TEXT = "the plot was great and very dull"


def table(count: int, seed: int):
    values = np.random.default_rng(seed).random(1 << count)
    return lambda subsets: [float(values[subset]) for subset in subsets]


def test_aopc_by_hand():
    """p is .9 of the whole; .5 without piece 1, .2 without 1 and 0, .3 without any."""
    known = {0: 0.9, 0b010: 0.5, 0b011: 0.2, 0b111: 0.3}
    masked = lambda subsets: [known[subset] for subset in subsets]  # noqa: E731
    assert aopc([1, 0, 2], masked) == pytest.approx((0.4 + 0.7 + 0.6) / 3)


@pytest.mark.parametrize("seed", range(5))
def test_exact_limits_are_those_of_all_orders(seed):
    masked = table(5, seed)
    every = [aopc(order, masked) for order in permutations(range(5))]
    found = exact_limits(5, masked)
    assert (found.low, found.high) == pytest.approx((min(every), max(every)))
    assert found.exact


@pytest.mark.parametrize("seed", range(5))
def test_a_wide_beam_finds_the_exact_limits_and_a_narrow_one_stays_inside(seed):
    masked = table(7, seed)
    exact, wide, narrow = (exact_limits(7, masked), beam_limits(7, masked, 1 << 7),
                           beam_limits(7, masked, 1))  # fmt: skip
    assert (wide.low, wide.high) == pytest.approx((exact.low, exact.high))
    assert exact.low <= narrow.low + 1e-12 and narrow.high <= exact.high + 1e-12
    assert narrow.low < narrow.high and not narrow.exact


def test_a_beam_of_five_follows_five_orders():
    asked: list[int] = []

    def masked(subsets):
        asked.append(len(subsets))
        return table(11, 0)(subsets)

    beam_limits(11, Remembered(masked))
    assert max(asked) <= 5 * 11


def test_where_parts_add_up_the_right_order_is_best_and_its_reverse_worst():
    """p falls by a fixed amount for each piece: highest first reaches the upper limit."""
    parts = np.array([0.02, 0.11, 0.05, 0.07, 0.13, 0.03])

    def masked(subsets):
        return [0.9 - sum(p for i, p in enumerate(parts) if s >> i & 1) for s in subsets]

    found = exact_limits(6, masked)
    order = order_of(parts, [[i] for i in range(6)])
    assert order == [4, 1, 3, 2, 5, 0]
    assert found.place(aopc(order, masked)) == pytest.approx(1)
    assert found.place(aopc(order[::-1], masked)) == pytest.approx(0)


def test_limits_that_are_equal_place_nothing():
    assert Limits(0.2, 0.2, True).place(0.2) is None


def test_each_subset_is_asked_for_once():
    asked: list[int] = []

    def masked(subsets):
        asked.extend(subsets)
        return [subset / 10 for subset in subsets]

    remembered = Remembered(masked)
    assert remembered([3, 1, 3]) == [0.3, 0.1, 0.3]
    assert remembered([1, 2]) == [0.1, 0.2]
    assert asked == [1, 3, 2]


def test_random_scores_are_worth_half(subject):
    """Each random order comes with its reverse, so that there is no error of chance."""
    texts = [TEXT, "a dull film", "very great actor and scene and story", "fun plot the camera was"]
    judged = [judge(subject, subject.read(text), ["occlusion"], 2) for text in texts]
    by_name = {one.name: one for one in averaged(judged)}
    assert by_name[RANDOM].score == pytest.approx(0.5)
    assert 0.2 < by_name[RANDOM].comprehensiveness < 0.8
    assert by_name["occlusion"].score > 0.6


def test_the_best_order_scores_one_and_the_worst_zero(subject, monkeypatch):
    """A method that knows the exact best order is perfect; its opposite is perfectly wrong."""
    reading = subject.read("plot great dull film")
    groups = pieces(reading, 4)
    masked = Remembered(faithful._hiding(subject, reading, groups, 1))
    best = max(permutations(range(4)), key=lambda order: aopc(order, masked))
    knows = np.argsort(best).astype(float)
    for name, words in (("right", -knows), ("wrong", knows)):
        run = lambda s, r, t, w=words: Attribution(w, 0.0)  # noqa: E731
        monkeypatch.setitem(METHODS, name, Method(name, True, run, ""))
    got = judge(subject, reading, ["right", "wrong"], 1)
    assert got.exact
    assert got.aopc["right"][0] == pytest.approx(1)
    assert got.aopc["right"] == got.aopc["wrong"][::-1]


def test_a_model_that_does_not_listen_is_not_judged(tiny_bert):
    trained = classifier(tiny_bert)
    with torch.no_grad():
        trained.network.head.weight.zero_()
    subject = Subject(trained, "deaf")
    judged = judge(subject, subject.read(TEXT), ["occlusion"], 0)
    assert judged.aopc == {"occlusion": None, RANDOM: None}
    assert averaged([judged]) == []


def test_means_over_texts_put_the_best_first_and_chance_last():
    def one(**aopc):
        return Judged({**aopc, RANDOM: (0.6, 0.4)}, {}, 3, True)

    got = averaged([one(a=(0.6, 0.4), b=(1.0, 0.0)), one(a=(0.8, 0.2), b=None)])
    assert [f.name for f in got] == ["b", "a", RANDOM]
    assert got[0] == Faithfulness("b", 1.0, 0.0, 1)
    assert got[1].comprehensiveness == pytest.approx(0.7)
    assert got[1].score == pytest.approx((0.7 + 1 - 0.3) / 2)


def test_long_texts_are_judged_in_pieces_of_neighbours(subject):
    reading = subject.read(TEXT)
    assert num_pieces(reading) == 7
    assert pieces(reading, 7) == [[word] for word in range(7)]
    some = pieces(reading, 3)
    assert len(some) == 3 and [word for group in some for word in group] == list(range(7))
    assert num_pieces(subject.read("plot " * 29)) == 19  # (60,000 / 5 / 31) ** .5
