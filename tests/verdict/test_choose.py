"""The choice: by rows that judge nothing, among equals what learned from more."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.verdict.choose import choose, honest

TRUTH = np.arange(101) % 2


def wrong_on(*rows: int) -> np.ndarray:
    answers = TRUTH.copy()
    answers[list(rows)] = 1 - answers[list(rows)]
    return answers


def test_the_most_accurate_wins_where_the_difference_is_more_than_chance():
    ways = {"more": wrong_on(*range(0, 40)), "less": wrong_on(*range(50, 60))}
    found = choose(ways, TRUTH, ["more", "less"])
    assert found.best == "less" and found.equal == ("less",)
    assert found.accuracy == {"more": pytest.approx(61 / 101), "less": pytest.approx(91 / 101)}


def test_among_equals_the_preferred_one_is_taken():
    ways = {"more": wrong_on(3, 5), "less": wrong_on(7)}
    # One row of 101, by hand: mean 1/101, deviation sqrt(3/101 - 1/101^2), over sqrt(100): 0.0170.
    assert choose(ways, TRUTH, ["more", "less"]).equal == ("more", "less")
    assert choose(ways, TRUTH, ["more", "less"]).best == "more"
    assert choose(ways, TRUTH, ["less", "more"]).best == "less"


def test_what_is_hard_for_both_does_not_blur_the_difference():
    both = range(0, 50)
    ways = {"more": wrong_on(*both, *range(60, 66)), "less": wrong_on(*both)}
    assert choose(ways, TRUTH, ["more", "less"]).best == "less"


def test_repeats_count_as_the_rows_they_are():
    once = {"more": wrong_on(3, 5), "less": wrong_on(7)}
    often = {name: np.stack([answers] * 9) for name, answers in once.items()}
    assert choose(often, TRUTH, ["more", "less"]) == choose(once, TRUTH, ["more", "less"])


def test_the_honest_accuracy_of_many_equal_guesses_is_that_of_a_guess():
    """The best of 30 coins looks good by the rows that chose it, and not by others."""
    random = np.random.default_rng(7)
    looks, is_ = [], []
    for _ in range(40):
        truth = random.integers(0, 2, 103)
        coins = {f"coin {n}": random.integers(0, 2, (1, 103)) for n in range(30)}
        fold = random.permutation(np.arange(103) % 5)[None]
        found = choose(coins, truth, list(coins))
        looks.append(max(found.accuracy.values()))
        is_.append((honest(coins, truth, fold, list(coins)) == truth).mean())
    assert np.mean(looks) > 0.58
    assert np.mean(is_) == pytest.approx(0.5, abs=0.03)
