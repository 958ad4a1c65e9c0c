"""The work that is foretold is counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.data.examples import Examples
from headstart.doctor.cost import UNSTORED
from headstart.recipe import Recipe
from headstart.training.stage import Workshop
from headstart.verdict.arms import build_arms, tune_epochs
from headstart.verdict.campaign import Campaign
from headstart.verdict.forecast import planned_tokens, spoken
from headstart.verdict.rows import Rows


def campaign(names, *, labels=None, folds=0, seeds=1) -> Campaign:
    count = 60
    rows = Examples("t", [f"text {n}" for n in range(count)], ["a", "b"] * 30, np.arange(count))
    data = {"source": {"path": "s"}, "target": {"path": "t", "labels": labels}}
    values = {"data": data, "stage": [{"name": "x", "data": "target", "epochs": 1}],
              "test": "target"}  # fmt: skip
    common = Recipe.from_values(values)
    arms = build_arms(names, common, labels=labels or count, label_limit=labels, seeds=seeds)
    return Campaign(arms, Rows({"source": rows, "target": rows}, rows, "target", (), folds),
                    Workshop(), ("a", "b"))  # fmt: skip


TOTALS = {"source": 7000, "target": 600}


def test_one_way_alone():
    assert planned_tokens(campaign(["source"]), TOTALS) == 2 * 7000
    want = 600 / UNSTORED + 600 * tune_epochs(60)
    assert planned_tokens(campaign(["target"]), TOTALS) == pytest.approx(want)


def test_the_source_counts_once_and_the_choice_twice_more():
    ways = ["tfidf", "frozen", "target", "source", "source+target"]
    each = 300 / UNSTORED + 300 * tune_epochs(30)
    want = 2 * 7000 + 2 * (1 + 2) * each
    assert planned_tokens(campaign(ways, labels=30), TOTALS) == pytest.approx(want)


def test_folds_and_repeats():
    each = 600 / UNSTORED + 600 * tune_epochs(60)
    found = planned_tokens(campaign(["target", "frozen"], folds=5, seeds=3), TOTALS)
    assert found == pytest.approx(3 * 4 * each)


def test_as_one_says_it():
    assert [spoken(s) for s in (0.2, 41, 300, 9000)] == ["1 s", "41 s", "5 min", "2 h"]
