import numpy as np
import pytest
from scipy.special import ndtr

from headstart.evaluation.intervals import Interval, effect, gain, interval
from headstart.evaluation.metrics import macro_f1

NUM_WORLDS = 2000


def test_one_seed_is_wilsons_interval():
    truth = np.zeros(101, dtype=int)
    predicted = np.array([[0] * 84 + [1] * 17])
    found = interval("accuracy", predicted, truth)
    p, z2 = 84 / 101, 1.959964**2
    n = 100  # the variance is the unbiased one
    centre, spread = p + z2 / (2 * n), np.sqrt(z2 * (p * (1 - p) / n + z2 / (4 * n * n)))
    assert found.value == pytest.approx(p)
    assert found.low == pytest.approx((centre - spread) / (1 + z2 / n), abs=1e-6)
    assert found.high == pytest.approx((centre + spread) / (1 + z2 / n), abs=1e-6)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_without_a_mistake_the_lower_bound_is_below_one(metric):
    truth = np.arange(211) % 3
    found = interval(metric, np.stack([truth] * 3), truth)
    assert found.value == found.high == 1
    assert 0.97 < found.low < 1
    wrong = interval("accuracy", np.stack([truth + 1] * 2), truth)
    assert wrong.value == wrong.low == 0 < wrong.high < 0.03


def test_macro_f1_without_a_mistake_knows_only_as_much_as_its_rarest_class():
    truth = np.array([0] * 997 + [1] * 3)
    assert interval("macro_f1", truth, truth).low < 0.7


def f1_of_counts(counts):
    return float((2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))).mean())


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_rows_are_drawn_as_a_bootstrap_draws_them(metric):
    """The closed form gives the standard error of thousands of resampled tables."""
    rng = np.random.default_rng(7)
    truth = rng.choice(4, 499, p=[0.5, 0.3, 0.15, 0.05])
    predicted = np.where(rng.random(499) < 0.8, truth, rng.integers(0, 4, 499))
    without = np.where(rng.random(499) < 0.6, truth, rng.integers(0, 4, 499))
    draws = []
    for _ in range(4000):
        rows = rng.integers(0, 499, 499)
        scores = [
            float((p[rows] == truth[rows]).mean())
            if metric == "accuracy"
            else f1_of_counts(np.bincount(4 * truth[rows] + p[rows], minlength=16).reshape(4, 4))
            for p in (predicted, without)
        ]
        draws.append(scores[0] - scores[1])
    found = gain(metric, predicted, without, truth)
    error = (found.high - found.low) / 2 / 1.959964
    assert error == pytest.approx(np.std(draws), rel=0.05)


def test_values_are_scikit_learns():
    rng = np.random.default_rng(3)
    truth, predictions = rng.integers(1, 5, 173), rng.integers(0, 4, (3, 173))
    found = interval("macro_f1", predictions, truth)
    assert found.value == pytest.approx(np.mean([macro_f1(p, truth) for p in predictions]))
    assert 0 <= found.low <= found.value <= found.high <= 1


def test_equal_arms_gain_nothing_yet_not_for_certain():
    truth = np.arange(307) % 2
    predictions = np.stack([truth, 1 - truth, truth])
    found = gain("accuracy", predictions, predictions, truth)
    assert found.value == 0
    assert -found.low == found.high == pytest.approx(1.959964 / 307, rel=1e-5)
    assert effect(found) == "unclear"


def test_effect_is_the_side_of_zero():
    assert effect(Interval(0.03, 0.01, 0.05)) == "helps"
    assert effect(Interval(-0.03, -0.05, -0.01)) == "hurts"
    assert effect(Interval(0.03, 0.0, 0.06)) == "unclear"


def test_a_higher_level_is_wider():
    rng = np.random.default_rng(5)
    truth, predictions = rng.integers(0, 3, 199), rng.integers(0, 3, (3, 199))
    narrow, wide = (interval("accuracy", predictions, truth, level=x) for x in (0.8, 0.99))
    assert wide.low < narrow.low < narrow.high < wide.high


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(2, 5\) and \(7,\)"):
        interval("accuracy", np.zeros((2, 5), int), np.zeros(7, int))
    with pytest.raises(ValueError, match="S and N at least 1"):
        gain("accuracy", np.zeros((2, 0), int), np.zeros((2, 0), int), np.zeros(0, int))
    with pytest.raises(ValueError, match="'accuracy' or 'macro_f1'"):
        interval("f2", np.zeros(3, int), np.zeros(3, int))  # type: ignore[arg-type]


def world(rng, num_seeds, num_rows, *, strength, spread):
    """(S, N) right or wrong: rows differ in how hard they are, seeds in how good they are."""
    hardness = np.sqrt(0.8) * rng.normal(size=num_rows)
    skill = strength + spread * rng.normal(size=(num_seeds, 1))
    chance = np.sqrt(0.2) * rng.normal(size=(num_seeds, num_rows))
    return hardness, skill, chance


@pytest.mark.parametrize("num_rows", [200, 1000])
@pytest.mark.parametrize("num_seeds", [1, 3, 5])
def test_the_interval_covers_what_it_says(num_seeds, num_rows):
    rng = np.random.default_rng(num_seeds * num_rows)
    truth, covered = np.zeros(num_rows, dtype=int), 0
    for _ in range(NUM_WORLDS):
        parts = world(rng, num_seeds, num_rows, strength=1.1, spread=0.2)
        found = interval("accuracy", (sum(parts) < 0).astype(int), truth)
        # With one seed the interval is about that seed's model, else about all seeds.
        actual = ndtr(parts[1][0, 0]) if num_seeds == 1 else ndtr(1.1 / np.sqrt(1.04))
        covered += found.low <= actual <= found.high
    assert 0.93 <= covered / NUM_WORLDS <= 0.97


@pytest.mark.parametrize(("seeds", "other_seeds"), [(1, 1), (3, 3), (5, 5), (3, 5)])
def test_the_gain_covers_what_it_says(seeds, other_seeds):
    rng = np.random.default_rng(10 * seeds + other_seeds)
    num_rows = 499
    truth, covered = np.zeros(num_rows, dtype=int), 0
    for _ in range(NUM_WORLDS):
        hardness, skill, chance = world(rng, seeds, num_rows, strength=1.3, spread=0.15)
        _, other, noise = world(rng, other_seeds, num_rows, strength=1.1, spread=0.15)
        ours = (hardness + skill + chance < 0).astype(int)
        theirs = (hardness + other + noise < 0).astype(int)
        found = gain("accuracy", ours, theirs, truth)
        ends = [ndtr(mean / np.sqrt(1 + 0.15**2)) for mean in (1.3, 1.1)]
        if seeds == 1:
            ends = [ndtr(skill[0, 0]), ndtr(other[0, 0])]
        covered += found.low <= ends[0] - ends[1] <= found.high
    # Independent seeds add their two halves one by one, which errs on the side of caution.
    assert 0.93 <= covered / NUM_WORLDS <= (0.97 if seeds == other_seeds else 0.99)


def test_macro_f1_covers_what_it_says():
    """Three unequal classes; three seeds that guess more or less often."""
    rng = np.random.default_rng(11)
    shares, covered = np.array([0.6, 0.3, 0.1]), 0
    rates = 0.2 + 0.08 * rng.normal(size=4000)
    tables = [np.diag(shares) @ ((1 - r) * np.eye(3) + r / 3) for r in rates]
    expected = np.mean([f1_of_counts(table) for table in tables])
    for _ in range(NUM_WORLDS):
        truth = rng.choice(3, 499, p=shares)
        guessed = rng.random((3, 499)) < 0.2 + 0.08 * rng.normal(size=(3, 1))
        predictions = np.where(guessed, rng.integers(0, 3, (3, 499)), truth)
        found = interval("macro_f1", predictions, truth)
        covered += found.low <= expected <= found.high
    assert 0.93 <= covered / NUM_WORLDS <= 0.97
