import json

import numpy as np
import pytest
from scipy.special import ndtr

from headstart.evaluation.curve import CurvePoint, LabelsSaved, describe_curve, labels_saved, pooled
from headstart.evaluation.intervals import contrast
from headstart.evaluation.scores import row_means, score

COUNTS = (8, 16, 32, 64, 128, 256, 512, 1024)


def flat(share, num_seeds=3, num_rows=10_000):
    """Seeds that are all right on the same share of rows: nothing is left to chance but rows."""
    right = np.arange(num_rows) < share * num_rows
    return row_means(np.stack([right] * num_seeds))


def test_straight_over_the_logarithm_of_labels():
    curve = [CurvePoint(16, flat(0.6)), CurvePoint(64, flat(0.7)), CurvePoint(256, flat(0.9))]
    assert labels_saved(CurvePoint(8, flat(0.8)), curve).worth == pytest.approx(128)
    assert labels_saved(CurvePoint(8, flat(0.65)), curve).worth == pytest.approx(32)
    at_a_point = labels_saved(CurvePoint(8, flat(0.7)), curve)
    assert at_a_point.worth == pytest.approx(64)
    assert at_a_point.saved == pytest.approx(56)
    assert at_a_point.low < 64 < at_a_point.high


def test_beyond_what_was_measured_the_interval_is_open():
    curve = [CurvePoint(8, flat(0.6)), CurvePoint(1982, flat(0.8))]
    above = labels_saved(CurvePoint(64, flat(0.9)), curve)
    assert (above.reached, above.worth, above.low, above.high) == ("above", None, 1982, None)
    said = "64 labels plus the films are worth more than 1,982 labels alone."
    assert above.sentence("films") == said
    others = row_means(np.arange(10_000)[::-1][None] < 8010)  # right on other rows
    nearly = labels_saved(CurvePoint(0, others), curve)
    assert nearly.reached == "above" and 1300 < nearly.low < 1982 and nearly.high is None
    assert nearly.sentence().startswith(
        "The source alone is worth more than 1,982 labels alone [at"
    )
    below = labels_saved(CurvePoint(64, flat(0.5)), curve)
    assert (below.reached, below.worth, below.low, below.high) == ("below", None, 0, 8)
    assert below.sentence() == "64 labels plus the source are worth fewer than 8 labels alone."
    assert json.loads(json.dumps(below.to_values()))["saved"] is None


def test_the_sentence_rounds_to_what_can_be_known():
    saved = LabelsSaved(64, 413.2, 297.8, 1562.0, 8, 1982, "within")
    said = "64 labels plus the films are worth 410 [300, 1,600] labels alone."
    assert saved.sentence("films") == said
    wide = LabelsSaved(16, 37.4, 0, None, 8, 1982, "within")
    assert "worth 37 [fewer than 8, more than 1,982] labels alone." in wide.sentence()


def test_where_chance_makes_the_curve_fall_neighbours_share():
    curve = [flat(s) for s in (0.6, 0.8, 0.7, 0.9)]
    means = [contrast(parts).value for parts in pooled(curve)]
    assert means == pytest.approx([0.6, 0.75, 0.75, 0.9])
    points = [CurvePoint(n, s) for n, s in zip((4, 8, 16, 32), curve, strict=True)]
    found = labels_saved(CurvePoint(2, flat(0.75)), points)
    assert found.worth == pytest.approx(8)  # the first that matches
    assert found.high > 16


def test_what_is_no_curve_is_refused():
    point = CurvePoint(8, flat(0.6))
    for points in ([point], [point, point], [CurvePoint(0, flat(0.5)), point]):
        with pytest.raises(ValueError, match="2 or more different numbers"):
            labels_saved(point, points)


def skill(labels):
    return 0.1 + 0.22 * np.log2(np.asarray(labels) / 8)


def world(rng, num_seeds, num_rows, skills, spread):
    """Right or wrong (S, N) at each skill: rows are hard or easy, seeds draw good labels or bad.

    Returns:
        The scores, and what they would be with all rows and seeds.
    """
    hardness = np.sqrt(0.8) * rng.normal(size=num_rows)
    found = []
    for mean in skills:
        own = mean + spread * rng.normal(size=(num_seeds, 1))
        chance = np.sqrt(0.2) * rng.normal(size=(num_seeds, num_rows))
        found.append(row_means(hardness + own + chance > 0))
    return found, ndtr(np.asarray(skills) / np.sqrt(1 + spread**2))


def worth_of(goal, expected):
    return np.exp(np.interp(goal, expected, np.log(COUNTS)))


@pytest.mark.parametrize(("num_seeds", "spread"), [(3, 0.2), (5, 0.1), (1, 0.0)])
def test_the_interval_covers_what_it_says(num_seeds, spread):
    rng = np.random.default_rng(100 + num_seeds)
    skills = [*skill(COUNTS), skill(8 * 2**3.4)]
    covered, actual = 0, None
    for _ in range(500):
        (*curve, goal), expected = world(rng, num_seeds, 499, skills, spread)
        actual = worth_of(expected[-1], expected[:-1])
        points = [CurvePoint(n, s) for n, s in zip(COUNTS, curve, strict=True)]
        found = labels_saved(CurvePoint(16, goal), points)
        assert found.worth is None or found.low <= found.worth <= (found.high or np.inf)
        covered += found.low <= actual <= (found.high or np.inf)
    assert actual == pytest.approx(84, abs=2)
    assert 0.93 <= covered / 500 <= 0.97


def test_with_many_seeds_the_bounds_are_those_of_the_bootstrap_over_rows_and_seeds():
    rng = np.random.default_rng(7)
    hardness = np.sqrt(0.8) * rng.normal(size=997)
    skills = [*skill(COUNTS), skill(100)]
    own = np.array(skills)[:, None, None] + 0.3 * rng.normal(size=(len(skills), 41, 1))
    right = hardness + own + np.sqrt(0.2) * rng.normal(size=(len(skills), 41, 997)) > 0
    *curve, goal = (row_means(r) for r in right)
    found = labels_saved(CurvePoint(8, goal), [CurvePoint(n, s) for n, s
                                               in zip(COUNTS, curve, strict=True)])  # fmt: skip
    draws = []
    for _ in range(500):
        seeds = rng.multinomial(41, np.full(41, 1 / 41)) / 41
        rows = rng.multinomial(997, np.full(997, 1 / 997)) / 997
        means = seeds @ right.astype(float) @ rows
        draws.append(worth_of(means[-1], np.maximum.accumulate(means[:-1])))
    low, high = np.quantile(draws, [0.025, 0.975])
    assert np.log(found.low) == pytest.approx(np.log(low), abs=0.15)
    assert np.log(found.high) == pytest.approx(np.log(high), abs=0.15)


def test_points_with_fewer_seeds_than_others_are_taken_as_independent():
    rng = np.random.default_rng(11)
    (*curve, goal), _ = world(rng, 3, 997, [*skill(COUNTS), skill(100)], 0.1)
    (last,), _ = world(rng, 5, 997, [skill(1024)], 0.1)
    points = [CurvePoint(n, s) for n, s in zip(COUNTS, [*curve[:-1], last], strict=True)]
    found = labels_saved(CurvePoint(0, goal), points)
    assert found.low < found.worth < found.high


def test_what_a_report_shows_of_a_curve():
    truth = np.arange(101) % 2
    points = [CurvePoint(n, score("balanced_accuracy", truth[None], truth)) for n in (16, 8)]
    values = json.loads(json.dumps(describe_curve(points)))
    assert [v["labels"] for v in values] == [8, 16]
    assert values[0]["mean"] == values[0]["high"] == 1 > values[0]["low"]
