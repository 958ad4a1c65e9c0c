"""Words over many texts: means and intervals by hand, what stands out and what does not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from headstart.explain.drivers import (
    Mean,
    disagreements,
    drivers,
    mean_of,
    standing_out,
    word_scores,
)
from headstart.explain.explanation import _readings
from headstart.training.progress import Silent

RANDOM = np.random.default_rng(3)


def scores(**words: list[float]):
    """Of two classes, of which the second says the opposite of the first."""
    return {
        word: {n: np.array([value, -value]) for n, value in enumerate(values)}
        for word, values in words.items()
    }


def test_the_interval_is_students():
    values = RANDOM.normal(2, 1, 11)
    got = mean_of(values)
    low, high = stats.t.interval(0.95, 10, values.mean(), stats.sem(values))
    assert (got.low, got.high) == pytest.approx((low, high))
    assert got.chance == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_the_sure_end_is_nearer_to_nothing():
    assert Mean(2.0, 1.5, 2.5, 0).certain == 1.5
    assert Mean(-2.0, -2.5, -1.5, 0).certain == -1.5
    assert Mean(0.5, -0.5, 1.5, 1).certain == 0


def test_few_of_many_words_stand_out_where_there_is_nothing():
    samples = {str(word): RANDOM.normal(0, 1, 7) for word in range(1000)}
    assert len(standing_out(samples)) <= 3, "one by one, 50 of 1,000 would"


def test_words_are_listed_surest_first_and_only_those_seen_often():
    seen = scores(
        great=list(RANDOM.normal(3, 0.1, 20)),
        good=list(RANDOM.normal(1, 0.1, 20)),
        wild=list(RANDOM.normal(3, 2.5, 6)),
        dull=list(RANDOM.normal(-2, 0.1, 20)),
        rare=[9.0, 9.1, 9.2],
        noise=list(RANDOM.normal(0, 1, 20)),
    )
    assert [one["word"] for one in drivers(seen, 0) if one["word"] != "wild"] == ["great", "good"]
    first, *_ = drivers(seen, 0)
    assert first["texts"] == 20 and first["low"] < first["mean"] < first["high"]
    assert [one["word"] for one in drivers(seen, 1)] == ["dull"]


def test_models_disagree_where_the_same_texts_say_so():
    shared = RANDOM.normal(0, 3, 30)
    before = scores(but=list(shared), the=list(shared), only=[1.0] * 30)
    after = scores(
        but=list(shared + RANDOM.normal(2, 0.1, 30)), the=list(shared + RANDOM.normal(0, 0.1, 30))
    )
    (found,) = disagreements(after, before, 0)
    assert found["word"] == "but"
    assert found["difference"] == pytest.approx(2, abs=0.1)
    assert found["after"] - found["before"] == pytest.approx(found["difference"])
    assert found["low"] > 1.9, "paired: what both share does not widen it"


def test_scores_of_a_word_are_averaged_in_a_text_whatever_its_case(subject):
    readings = _readings(subject, ["great plot great", "the ! plot"])
    with Silent().bar("", 2) as bar:
        found = word_scores(subject, readings, "occlusion", [0, 2], bar)
    assert set(found) == {"great", "plot", "the"}
    assert set(found["plot"]) == {0, 1} and set(found["great"]) == {0}
    from headstart.explain.attribution import occlusions

    want = occlusions(subject, readings[0])[[0, 2]].mean(0)[[0, 2]]
    np.testing.assert_allclose(found["great"][0], want)
