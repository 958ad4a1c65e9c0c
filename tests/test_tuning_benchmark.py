"""The benchmark of ways of tuning: gains are over the default, and noise is not called a gain."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import tuning


def given(right: float, seed: int, truth: np.ndarray) -> dict:
    random = np.random.default_rng(seed)
    wrong = random.random((5, len(truth))) >= right
    return {"answers": list(np.where(wrong, 1 - truth, truth)), "seconds": [2.0, 7.0, 3.0]}


def test_a_way_that_is_better_helps_and_one_that_is_alike_is_unclear():
    truth = np.random.default_rng(0).integers(0, 2, 701)
    found = {
        "default": {16: given(0.8, 1, truth), 64: given(0.8, 2, truth)},
        "swa": {16: given(0.9, 3, truth), 64: given(0.92, 4, truth)},
        "ema": {16: given(0.8, 5, truth), 64: given(0.8, 6, truth)},
    }
    rows = tuning.table({"found": found, "truth": truth}, list(found), [16, 64])
    said = {(row["way"], row["labels"]): row for row in rows}
    assert len(said) == 9
    assert said["swa", "all"]["beyond_noise"] == "helps"
    assert said["ema", "all"]["beyond_noise"] == "unclear"
    assert said["swa", 16]["seconds"] == 3.0
    gain = said["swa", 16]["accuracy"] - said["default", 16]["accuracy"]
    assert said["swa", 16]["gain"] == pytest.approx(gain, abs=2e-4)
    both = (said["swa", 16]["gain"] + said["swa", 64]["gain"]) / 2
    assert said["swa", "all"]["gain"] == pytest.approx(both, abs=2e-4)
    assert "gain" not in said["default", 16]
    assert "helps" in tuning.shown(rows)


def test_a_stage_is_cut_where_it_would_be_longer():
    assert tuning.tuning(16, 400, 20)["epochs"] == 10.0
    assert tuning.tuning(256, 6000, 20)["steps"] == 20


def test_every_way_is_a_recipe():
    class Teacher:
        folder = "teacher"

    for name, way in tuning.WAYS.items():
        made = tuning.recipe(way, tuning.tuning(64, 1600, 20), 3, Teacher(), small=False)
        assert made.stage[0].name == "source", name
        assert made.stage[0].seed == 0 and made.seed == 3
