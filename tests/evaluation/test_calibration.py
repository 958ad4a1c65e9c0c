import json

import numpy as np
import pytest
from scipy.special import expit, log_softmax, softmax

from headstart.evaluation.calibration import (
    confidence_and_right,
    describe_calibration,
    expected_calibration_error,
    fit_temperature,
    probabilities_of,
    reliability,
)
from headstart.evaluation.intervals import interval
from headstart.evaluation.metrics import brier_score, negative_log_likelihood
from headstart.tasks.temperature import Temperature


def world(rng, num_rows, temperature, num_classes=3):
    """Logits that are `temperature` times what would be calibrated, and classes drawn so."""
    logits = 2 * rng.normal(size=(num_rows, num_classes))
    chance = softmax(logits, axis=1).cumsum(1)
    truth = (rng.random((num_rows, 1)) > chance).sum(1)
    return temperature * logits, truth


@pytest.mark.parametrize("actual", [0.6, 1.0, 2.3])
def test_with_many_rows_the_temperature_is_found(actual):
    logits, truth = world(np.random.default_rng(7), 9973, actual)
    found = fit_temperature(logits, truth)
    assert found.low < actual < found.high
    assert found.value == pytest.approx(actual, rel=0.06)
    assert found.num_rows == 9973


@pytest.mark.parametrize("prior", [None, 0.5, 0.1])
def test_no_other_temperature_is_likelier(prior):
    """The peak of the posterior, by comparing with a fine grid."""
    logits, truth = world(np.random.default_rng(11), 101, 1.7)
    found = fit_temperature(logits, truth, prior=prior)
    grid = np.linspace(-3, 3, 6007)
    losses = [-log_softmax(logits / np.exp(u), axis=1)[np.arange(101), truth].sum() for u in grid]
    costs = np.array(losses) + (0 if prior is None else grid**2 / (2 * prior**2))
    assert np.log(found.value) == pytest.approx(grid[costs.argmin()], abs=1.1e-3)
    # The interval is the curvature of the costs at their lowest point.
    place, step = int(costs.argmin()), grid[1] - grid[0]
    around = costs[place - 50], costs[place], costs[place + 50]
    curvature = (around[0] - 2 * around[1] + around[2]) / (50 * step) ** 2
    spread = (np.log(found.high) - np.log(found.low)) / (2 * 1.959964)
    assert spread == pytest.approx(curvature**-0.5, rel=0.02)


def test_few_rows_are_held_near_one_and_many_are_not():
    rng = np.random.default_rng(13)
    all_right = np.array([[3.0, 0.0]] * 7)
    assert fit_temperature(all_right, np.zeros(7, int), prior=None).value < 0.1  # sure of all
    held = fit_temperature(all_right, np.zeros(7, int))
    assert 0.6 < held.value < 1
    logits, truth = world(rng, 4999, 2.0)
    plain, shrunk = (fit_temperature(logits, truth, prior=p).value for p in (None, 0.5))
    assert shrunk == pytest.approx(plain, rel=0.003)
    nothing = fit_temperature(np.empty((0, 3)), np.empty(0, int))
    assert nothing.value == pytest.approx(1.0, abs=1e-4)
    assert nothing.high == pytest.approx(np.exp(1.959964 * 0.5), rel=1e-3)


def test_models_of_the_same_rows_count_as_these_rows():
    logits, truth = world(np.random.default_rng(17), 61, 1.6)
    once = fit_temperature(logits, truth)
    thrice = fit_temperature(np.stack([logits] * 3), truth)
    assert (thrice.value, thrice.low) == pytest.approx((once.value, once.low), rel=1e-6)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 3\) and \(7,\)"):
        fit_temperature(np.zeros((5, 3)), np.zeros(7, int))
    with pytest.raises(ValueError, match="nothing to fit from"):
        fit_temperature(np.empty((0, 3)), np.empty(0, int), prior=None)
    with pytest.raises(ValueError, match="N at least 1"):
        reliability(np.empty((0, 3)), np.empty(0, int))


def test_a_temperature_goes_into_a_description_and_back():
    found = fit_temperature(*world(np.random.default_rng(19), 53, 1.4))
    values = json.loads(json.dumps(found.to_values()))
    assert values["kind"] == "temperature"
    assert Temperature.from_values(values) == found
    for wrong in ({}, values | {"value": 0}, values | {"value": "1"}, values | {"bias": 1},
                  values | {"kind": "platt"}, values | {"high": float("inf")}):  # fmt: skip
        with pytest.raises(ValueError, match="no temperature"):
            Temperature.from_values(wrong)


def test_bins_hold_equally_many_rows_and_equal_rows_stay_together():
    rng = np.random.default_rng(23)
    p = rng.uniform(0.5, 1, 211)
    probabilities = np.stack([p, 1 - p], 1)
    truth = (rng.random(211) > p).astype(int)
    bins = reliability(probabilities, truth)
    assert len(bins) == 10  # one for 20 rows
    assert sum(b.count for b in bins) == 211
    assert max(b.count for b in bins) - min(b.count for b in bins) <= 1
    assert [b.confidence for b in bins] == sorted(b.confidence for b in bins)
    order = np.argsort(p)
    first = order[: bins[0].count]
    assert bins[0].confidence == pytest.approx(p[first].mean())
    expected = interval("accuracy", np.zeros(len(first), int), truth[first])
    assert bins[0].accuracy.high == pytest.approx(expected.high)
    same = np.where(np.arange(211)[:, None] < 150, [[1.0, 0.0]], probabilities)
    counts = [b.count for b in reliability(same, truth)]
    assert counts[-1] == 150
    shuffled = rng.permutation(211)
    again = reliability(same[shuffled], truth[shuffled])
    assert [b.count for b in again] == counts


def top_error(rng, temperature):
    """The calibration error of a world, by a million rows in a thousand bins."""
    logits, truth = world(rng, 1_000_000, temperature)
    confidence, right = confidence_and_right(softmax(logits, axis=1), truth)
    order = np.argsort(confidence)
    gaps = (right - confidence)[order].reshape(1000, 1000).mean(1)
    noise = (confidence * (1 - confidence))[order].reshape(1000, 1000).mean(1) / 1000
    return float(np.sqrt(np.maximum(gaps**2 - noise, 0)).mean())


@pytest.mark.parametrize(("temperature", "num_worlds"), [(1.0, 200), (1.4, 500)])
def test_the_calibration_error_covers_what_it_says(temperature, num_worlds):
    rng = np.random.default_rng(29)
    actual = 0.0 if temperature == 1 else top_error(rng, temperature)
    covered, middle = 0, []
    for _ in range(num_worlds):
        logits, truth = world(rng, 401, temperature)
        found = expected_calibration_error(softmax(logits, axis=1), truth, num_draws=100)
        covered += found.low <= actual <= found.high
        middle.append(found.value)
        assert 0 <= found.low <= found.value <= found.high <= 1
    # A perfect model can only be missed from above, on one side of the two.
    assert 0.93 <= covered / num_worlds <= (0.97 if temperature > 1 else 0.99)
    if temperature > 1:
        assert np.mean(middle) == pytest.approx(actual, rel=0.1)  # where plain bins say more


def test_sure_and_right_is_not_yet_perfect():
    sure = np.array([[1.0, 0.0]] * 101)
    found = expected_calibration_error(sure, np.zeros(101, int))
    assert found.low == found.value == 0
    assert found.high == pytest.approx(1 - 0.025 ** (1 / 101), abs=0.004)  # as (1 - e) ** N has it
    wrong = expected_calibration_error(sure, np.ones(101, int))
    assert wrong.value > 0.9 and wrong.low > 0.9


def test_the_same_rows_give_the_same_interval_in_any_order():
    rng = np.random.default_rng(31)
    logits, truth = world(rng, 307, 1.9)
    order = rng.permutation(307)
    p = softmax(logits, axis=1)
    first, second = (expected_calibration_error(p[o], truth[o]) for o in (slice(None), order))
    assert (first.low, first.high) == pytest.approx((second.low, second.high))


def test_what_a_report_shows_of_calibration():
    rng = np.random.default_rng(37)
    temperature = fit_temperature(*world(rng, 499, 2.5))
    logits, truth = world(rng, 499, 2.5)
    values = json.loads(json.dumps(describe_calibration(logits, truth, temperature)))
    before, after = values["before"], values["after"]
    assert before["error"]["low"] > 0.05 > after["error"]["value"]
    p = probabilities_of(logits)
    assert before["brier"]["value"] == pytest.approx(brier_score(p, truth))
    assert before["log_loss"]["value"] == pytest.approx(negative_log_likelihood(p, truth))
    assert after["log_loss"]["high"] < before["log_loss"]["value"]
    assert sum(b["count"] for b in after["bins"]) == 499
    assert Temperature.from_values(values["temperature"]) == temperature
    assert describe_calibration(logits, truth).keys() == {"temperature", "before"}


def test_probabilities_of_logits():
    logits = np.array([[2.0, 0.0]])
    cool = Temperature(2.0, 1.5, 2.5, 10, 0.5)
    assert probabilities_of(logits)[0, 0] == pytest.approx(expit(2))
    assert probabilities_of(logits, cool)[0, 0] == pytest.approx(expit(1))
