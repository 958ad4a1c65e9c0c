import json

import numpy as np
import pytest
from scipy.special import ndtr
from sklearn.metrics import accuracy_score

from headstart.evaluation.selective import (
    describe_selective,
    risk_area,
    risk_coverage,
    selective_accuracy,
    threshold_for,
)


def test_the_curve_by_hand():
    confidence = np.array([0.6, 0.9, 0.8, 0.7])
    right = np.array([False, True, False, True])
    curve = risk_coverage(confidence, right)
    assert curve.coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert curve.risk == pytest.approx([0, 1 / 2, 1 / 3, 2 / 4])
    assert curve.threshold.tolist() == [0.9, 0.8, 0.7, 0.6]
    assert curve.area == pytest.approx((0 + 1 / 2 + 1 / 3 + 2 / 4) / 4)
    assert risk_area(confidence, right).value == pytest.approx(curve.area)
    assert selective_accuracy(confidence, right, 0.75).value == pytest.approx(2 / 3)
    assert selective_accuracy(confidence, right, 0.625).value == pytest.approx(1.5 / 2.5)
    assert threshold_for(confidence, 0.75) == 0.7


def test_equally_sure_rows_count_as_their_mean_in_any_order():
    confidence = np.array([0.9, 0.5, 0.5, 0.5, 0.5])
    right = np.array([True, True, True, False, False])
    curve = risk_coverage(confidence, right)
    assert curve.risk == pytest.approx([0, 0.25, 1 / 3, 0.375, 0.4])
    order = np.array([4, 2, 0, 3, 1])
    assert risk_coverage(confidence[order], right[order]).risk == pytest.approx(curve.risk)
    assert selective_accuracy(confidence, right, 0.6).value == pytest.approx(2 / 3)
    assert selective_accuracy(np.ones(5), right, 0.4).value == pytest.approx(0.6)


def test_answering_all_is_accuracy():
    rng = np.random.default_rng(5)
    confidence, right = rng.random((3, 101)), rng.random((3, 101)) < 0.8
    everything = selective_accuracy(confidence, right, 1.0)
    assert everything.value == pytest.approx(accuracy_score(np.ones(303), right.ravel()))


def world(rng, num_seeds, num_rows, spread=0.2):
    """Rows that are hard or easy, seeds that are good or bad, and confidence that knows some."""
    hardness = rng.normal(size=num_rows)
    skill = 1 + spread * rng.normal(size=(num_seeds, 1))
    margin = skill + hardness
    right = margin + 0.7 * rng.normal(size=(num_seeds, num_rows)) > 0
    return margin + 0.5 * rng.normal(size=(num_seeds, num_rows)), right


@pytest.mark.parametrize("statistic", ["share", "area"])
def test_rows_are_drawn_as_a_bootstrap_draws_them(statistic):
    """The pulls give the standard error of thousands of resampled test sets."""
    rng = np.random.default_rng(7)
    (confidence,), (right,) = world(rng, 1, 997)

    def of(rows):
        if statistic == "area":
            return risk_coverage(confidence[rows], right[rows]).area
        return selective_accuracy(confidence[rows], right[rows], 0.8).value

    draws = [of(rng.integers(0, 997, 997)) for _ in range(1500)]
    found = {"area": risk_area, "share": selective_accuracy}[statistic](confidence, right)
    error = (found.high - found.low) / 2 / 1.959964
    assert error == pytest.approx(np.std(draws), rel=0.08)


@pytest.mark.parametrize("num_seeds", [1, 3])
@pytest.mark.parametrize("statistic", ["share", "area"])
def test_the_interval_covers_what_it_says(statistic, num_seeds):
    rng = np.random.default_rng(10 + num_seeds)
    spread = 0.0 if num_seeds == 1 else 0.2
    parts = [world(rng, 1, 20_011, spread) for _ in range(200)]
    function = {"area": risk_area, "share": selective_accuracy}[statistic]
    actual = np.mean([function(c, r).value for c, r in parts])
    covered = 0
    for _ in range(500):
        found = function(*world(rng, num_seeds, 503, spread))
        covered += found.low <= actual <= found.high
    assert 0.93 <= covered / 500 <= 0.98


def test_a_model_that_knows_is_better_off_silent():
    rng = np.random.default_rng(13)
    confidence, right = world(rng, 1, 2003)
    sure, everything = (selective_accuracy(confidence, right, s) for s in (0.5, 1.0))
    assert sure.low > everything.high
    assert everything.value == pytest.approx(ndtr(1 / np.sqrt(1 + 0.49)), abs=0.05)


def test_what_a_report_shows():
    rng = np.random.default_rng(17)
    confidence, right = world(rng, 3, 499)
    values = json.loads(json.dumps(describe_selective(confidence, right)))
    assert values["share"] == 0.8 and len(values["curve"]) == 101
    assert values["curve"][-1]["risk"] == pytest.approx(1 - right[0].mean())
    assert values["all"]["value"] == pytest.approx(right.mean())
    assert values["accuracy"]["value"] > values["all"]["value"]


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(3,\) and \(5,\)"):
        risk_area(np.zeros(3), np.zeros(5, bool))
    with pytest.raises(ValueError, match="at most 1, got 80"):
        selective_accuracy(np.zeros(3), np.zeros(3, bool), 80)
