import numpy as np
import pytest
from scipy.special import softmax

from headstart.evaluation.scores import score
from headstart.evaluation.thresholds import _along, _climb, _free, _logs, tune_offsets


def world(rng, num_rows, shares, strength=1.4):
    """Calibrated probabilities of unequal classes: frequent ones win wherever rows are unclear."""
    truth = rng.choice(len(shares), num_rows, p=shares)
    evidence = rng.normal(size=(num_rows, len(shares)))
    evidence[np.arange(num_rows), truth] += strength
    return softmax(strength * evidence + np.log(shares), axis=1), truth


SHARES = np.array([0.83, 0.1, 0.07])


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy", "accuracy"])
def test_the_search_knows_every_place_where_an_answer_changes(metric):
    """What is followed step by step is the metric computed anew at each step."""
    rng = np.random.default_rng(3)
    other, truth = rng.choice([0, 2, 3], 53), rng.integers(0, 4, 53)
    found = _along(other, truth, 1, 4, metric)
    for changed in range(54):
        answers = np.where(np.arange(53) < changed, 1, other)
        hits = np.bincount(truth[answers == truth], minlength=4)
        made, true = np.bincount(answers, minlength=4), np.bincount(truth, minlength=4)
        expected = {
            "macro_f1": (2 * hits / (made + true)).sum(),
            "balanced_accuracy": (hits / true).sum(),
            "accuracy": hits.sum(),
        }[metric]
        assert found[changed] == pytest.approx(expected)


@pytest.mark.parametrize("metric", ["macro_f1", "balanced_accuracy"])
def test_no_offset_of_one_class_is_better_than_the_one_found(metric):
    p, truth = world(np.random.default_rng(5), 211, SHARES)
    logs, offsets = _logs(p), np.array([0.3, 0.0, -0.2])
    offsets[2], value = _climb(logs, truth, offsets, 2, metric)
    best = score(metric, (logs + offsets).argmax(1), truth).mean
    assert value / 3 == pytest.approx(best)
    for offset in np.linspace(-8, 8, 4001):
        offsets[2] = offset
        assert score(metric, (logs + offsets).argmax(1), truth).mean <= best + 1e-12


def test_offsets_pay_on_rows_never_seen():
    rng = np.random.default_rng(7)
    p, truth = world(rng, 1009, SHARES)
    fresh, fresh_truth = world(rng, 20_011, SHARES)
    for metric in ("macro_f1", "balanced_accuracy"):
        found = tune_offsets(p, truth, metric)
        assert found.way != "none" and found.after.value > found.before.value
        before = score(metric, fresh.argmax(1), fresh_truth).mean
        after = score(metric, found.predict(fresh), fresh_truth).mean
        assert after > before + (0.02 if metric == "macro_f1" else 0.1)
        assert found.after.low <= after <= found.after.high
        assert sum(found.values) == pytest.approx(0, abs=1e-9)


def test_for_balanced_accuracy_the_whole_prior_is_taken_off():
    """With calibrated probabilities -log(share) is the best there is (Menon et al. 2021)."""
    p, truth = world(np.random.default_rng(11), 9973, SHARES)
    found = tune_offsets(p, truth, "balanced_accuracy")
    ideal = -np.log(SHARES) + np.log(SHARES).mean()
    assert found.values == pytest.approx(ideal, abs=0.35)


def test_nothing_is_tuned_where_nothing_is_to_be_gained():
    """Equal classes, and few rows: chance is not taken for a gain, but now and then."""
    rng = np.random.default_rng(13)
    ways = []
    for _ in range(20):
        p, truth = world(rng, 61, np.full(3, 1 / 3))
        ways.append(tune_offsets(p, truth).way)
    assert ways.count("none") >= 17


def test_what_is_claimed_is_not_what_was_fitted():
    """The metric on the rows tuned on flatters; the one that is told does not, on average."""
    rng = np.random.default_rng(17)
    told, fitted, actual = [], [], []
    for _ in range(30):
        p, truth = world(rng, 97, SHARES)
        found = tune_offsets(p, truth, "macro_f1")
        if found.way != "none":
            fresh, fresh_truth = world(rng, 5003, SHARES)
            told.append(found.after.value)
            free = _free(_logs(p)[None], truth, "macro_f1")
            fitted.append(score("macro_f1", (_logs(p) + free).argmax(1), truth).mean)
            actual.append(score("macro_f1", found.predict(fresh), fresh_truth).mean)
    assert len(told) > 5
    assert abs(np.mean(told) - np.mean(actual)) < abs(np.mean(fitted) - np.mean(actual))


def test_two_classes_have_a_threshold():
    p, truth = world(np.random.default_rng(19), 1009, np.array([0.9, 0.1]))
    found = tune_offsets(p, truth, "balanced_accuracy")
    assert found.threshold is not None and 0.05 < found.threshold < 0.3
    above = p[:, 1] > found.threshold
    assert np.array_equal(found.predict(p), above.astype(int))
    assert tune_offsets(*world(np.random.default_rng(19), 101, SHARES)).threshold is None


def test_repeats_of_the_same_rows_and_the_same_seed_give_the_same():
    p, truth = world(np.random.default_rng(23), 211, SHARES)
    once, again = (tune_offsets(p, truth, seed=5) for _ in range(2))
    assert once == again
    thrice = tune_offsets(np.stack([p] * 3), truth, seed=5)
    assert thrice.values == pytest.approx(once.values)
    assert thrice.before.low == pytest.approx(once.before.low)


def test_a_class_without_rows_and_a_probability_of_zero_do_no_harm():
    p, truth = world(np.random.default_rng(29), 211, SHARES)
    padded = np.concatenate([p, np.zeros((211, 1))], 1)
    found = tune_offsets(padded, truth)
    assert found.predict(padded).max() <= 2
    assert tune_offsets(p[:1], truth[:1]).way == "none"


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(7,\)"):
        tune_offsets(np.ones((5, 3)), np.zeros(7, int))
