import numpy as np
import pytest
from scipy.special import ndtr

from headstart.evaluation.intervals import (
    Interval,
    class_intervals,
    difference,
    effect,
    gain,
    interval,
    mean_interval,
)
from headstart.evaluation.metrics import balanced_accuracy, class_table, macro_f1
from headstart.evaluation.scores import row_means

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


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "balanced_accuracy"])
def test_without_a_mistake_the_lower_bound_is_below_one(metric):
    truth = np.arange(211) % 3
    found = interval(metric, np.stack([truth] * 3), truth)
    assert found.value == found.high == 1
    assert 0.97 < found.low < 1
    wrong = interval("accuracy", np.stack([truth + 1] * 2), truth)
    assert wrong.value == wrong.low == 0 < wrong.high < 0.03


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy"])
def test_a_mean_over_classes_without_a_mistake_knows_only_as_much_as_its_rarest_class(metric):
    truth = np.array([0] * 997 + [1] * 3)
    assert interval(metric, truth, truth).low < 0.7


def f1_of_counts(counts):
    return float((2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))).mean())


def recall_of_counts(counts):
    return float((counts.diagonal() / counts.sum(1)).mean())


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1", "balanced_accuracy"])
def test_rows_are_drawn_as_a_bootstrap_draws_them(metric):
    """The closed form gives the standard error of thousands of resampled tables."""
    rng = np.random.default_rng(7)
    truth = rng.choice(4, 499, p=[0.5, 0.3, 0.15, 0.05])
    predicted = np.where(rng.random(499) < 0.8, truth, rng.integers(0, 4, 499))
    without = np.where(rng.random(499) < 0.6, truth, rng.integers(0, 4, 499))
    of_counts = {
        "accuracy": lambda counts: counts.trace() / counts.sum(),
        "macro_f1": f1_of_counts,
        "balanced_accuracy": recall_of_counts,
    }[metric]
    draws = []
    for _ in range(4000):
        rows = rng.integers(0, 499, 499)
        scores = [
            of_counts(np.bincount(4 * truth[rows] + p[rows], minlength=16).reshape(4, 4))
            for p in (predicted, without)
        ]
        draws.append(scores[0] - scores[1])
    found = gain(metric, predicted, without, truth)
    error = (found.high - found.low) / 2 / 1.959964
    assert error == pytest.approx(np.std(draws), rel=0.05)


def test_values_are_scikit_learns():
    rng = np.random.default_rng(3)
    truth, predictions = rng.integers(1, 5, 173), rng.integers(0, 4, (3, 173))
    for metric, one in (("macro_f1", macro_f1), ("balanced_accuracy", balanced_accuracy)):
        found = interval(metric, predictions, truth)
        assert found.value == pytest.approx(np.mean([one(p, truth) for p in predictions]))
        assert 0 <= found.low <= found.value <= found.high <= 1


def test_each_class_has_its_intervals():
    rng = np.random.default_rng(29)
    names = ["a", "b", "c", "d"]
    truth = rng.integers(0, 3, 211)  # no row is of class d
    predictions = np.where(rng.random((3, 211)) < 0.7, truth, rng.integers(0, 2, (3, 211)))
    found = class_intervals(predictions, truth, names)
    tables = [class_table(p, truth, names) for p in predictions]
    for place, row in enumerate(found):
        assert (row["name"], row["support"]) == (names[place], (truth == place).sum())
        for key in ("precision", "recall", "f1"):
            expected = np.mean([table[place][key] for table in tables])
            assert row[key].value == pytest.approx(expected)
            assert 0 <= row[key].low <= row[key].value <= row[key].high <= 1
    assert found[3]["recall"] == Interval(0.0, 0.0, 1.0)  # of what was never seen nothing is known
    recall = class_intervals(predictions[0], truth, names)[0]["recall"]
    mine = truth == 0
    wilson = interval("accuracy", predictions[0][mine], truth[mine])
    assert [recall.low, recall.high] == pytest.approx([wilson.low, wilson.high], abs=1e-3)


def test_a_mean_of_losses_has_students_width_in_seeds_and_the_normal_one_in_rows():
    rng = np.random.default_rng(31)
    losses = rng.exponential(size=(1, 499))
    found = mean_interval(losses)
    error = losses.std(ddof=1) / np.sqrt(499)
    assert found.value == pytest.approx(losses.mean())
    assert found.high - found.value == pytest.approx(1.959964 * error)
    seeds = np.array([[0.1], [0.4], [0.9]]) * np.ones((3, 101))  # rows say nothing, seeds all
    expected = 4.302653 * seeds[:, 0].std(ddof=1) / np.sqrt(3)
    assert mean_interval(seeds).high - mean_interval(seeds).value == pytest.approx(expected)
    with pytest.raises(ValueError, match="S and N at least 1"):
        mean_interval(np.zeros((3, 0)))


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
    with pytest.raises(ValueError, match="'macro_f1' or 'balanced_accuracy'"):
        interval("f2", np.zeros(3, int), np.zeros(3, int))  # type: ignore[arg-type]


def world(rng, num_seeds, num_rows, *, strength, spread):
    """(S, N) right or wrong: rows differ in how hard they are, seeds in how good they are."""
    hardness = np.sqrt(0.8) * rng.normal(size=num_rows)
    skill = strength + spread * rng.normal(size=(num_seeds, 1))
    chance = np.sqrt(0.2) * rng.normal(size=(num_seeds, num_rows))
    return hardness, skill, chance


def pigeonhole(rng, ours, theirs, num_draws):
    """Bounds of the paired bootstrap over rows and seeds, drawn independently (Owen 2007)."""
    num_seeds, num_rows = ours.shape
    seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), num_draws) / num_seeds
    rows = rng.multinomial(num_rows, np.full(num_rows, 1 / num_rows), num_draws) / num_rows
    draws = ((seeds @ (ours.astype(float) - theirs)) * rows).sum(1)
    return np.quantile(draws, [0.025, 0.975])


def test_with_many_seeds_the_closed_form_is_the_bootstrap_over_rows_and_seeds():
    """Two ways to the same bounds where there are seeds enough for resampling them."""
    rng = np.random.default_rng(41)
    hardness, skill, chance = world(rng, 61, 997, strength=1.3, spread=0.5)
    _, other, noise = world(rng, 61, 997, strength=1.0, spread=0.5)
    ours, theirs = hardness + skill + chance > 0, hardness + other + noise > 0
    found = difference(row_means(ours), row_means(theirs))
    drawn = pigeonhole(rng, ours, theirs, 2000)
    assert found.value == pytest.approx(ours.mean() - theirs.mean())
    assert found.high - found.low == pytest.approx(drawn[1] - drawn[0], rel=0.1)


def test_with_few_seeds_the_bootstrap_covers_less_than_it_says():
    """Why three seeds are not resampled: the closed form covers, the bootstrap does not."""
    rng = np.random.default_rng(43)
    closed, resampled = 0, []
    actual = ndtr(1.3 / np.sqrt(1.25)) - ndtr(1.0 / np.sqrt(1.25))
    for number in range(NUM_WORLDS):
        hardness, skill, chance = world(rng, 3, 499, strength=1.3, spread=0.5)
        _, other, noise = world(rng, 3, 499, strength=1.0, spread=0.5)
        ours, theirs = hardness + skill + chance > 0, hardness + other + noise > 0
        found = difference(row_means(ours), row_means(theirs))
        closed += found.low <= actual <= found.high
        if number < 200:
            low, high = pigeonhole(rng, ours, theirs, 199)
            resampled.append(low <= actual <= high)
    assert 0.93 <= closed / NUM_WORLDS <= 0.97
    assert np.mean(resampled) < 0.9


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


@pytest.mark.parametrize(
    ("metric", "of_counts"), [("macro_f1", f1_of_counts), ("balanced_accuracy", recall_of_counts)]
)
def test_a_mean_over_classes_covers_what_it_says(metric, of_counts):
    """Three unequal classes; three seeds that guess more or less often."""
    rng = np.random.default_rng(11)
    shares, covered = np.array([0.6, 0.3, 0.1]), 0
    rates = 0.2 + 0.08 * rng.normal(size=4000)
    tables = [np.diag(shares) @ ((1 - r) * np.eye(3) + r / 3) for r in rates]
    expected = np.mean([of_counts(table) for table in tables])
    for _ in range(NUM_WORLDS):
        truth = rng.choice(3, 499, p=shares)
        guessed = rng.random((3, 499)) < 0.2 + 0.08 * rng.normal(size=(3, 1))
        predictions = np.where(guessed, rng.integers(0, 3, (3, 499)), truth)
        found = interval(metric, predictions, truth)
        covered += found.low <= expected <= found.high
    assert 0.93 <= covered / NUM_WORLDS <= 0.97
