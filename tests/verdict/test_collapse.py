"""Runs that learned nothing are told from those that did, by loss and by what they answer."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.recipe import Recipe
from headstart.verdict.collapse import again, collapsed, entropy, final_loss, learns_all


def log(*losses: float) -> list[dict]:
    return [{"step": n, "loss": loss} for n, loss in enumerate(losses)]


def never() -> np.ndarray:
    raise AssertionError("the loss says enough")


def test_entropy_and_the_last_tenth_by_hand():
    assert entropy(["a", "b"] * 7) == pytest.approx(np.log(2))
    assert entropy(["a"] * 3 + ["b"]) == pytest.approx(0.75 * np.log(4 / 3) + 0.25 * np.log(4))
    assert final_loss(log(*range(1, 21))) == pytest.approx(19.5)
    assert final_loss(log(0.7, 0.2)) == pytest.approx(0.2)


def test_a_loss_that_did_not_move():
    labels = ["a", "b"] * 17
    assert collapsed(log(0.7, 0.69), labels, never)
    assert collapsed(log(0.7, 0.659), labels, never)  # 0.95 log 2 = 0.6585
    assert not collapsed(log(0.7, 0.3), labels, never)  # below log(2) / 2 = 0.3466


def test_in_between_the_answers_tell():
    labels = ["a", "b"] * 17
    assert collapsed(log(0.5), labels, lambda: np.zeros(34))
    assert not collapsed(log(0.5), labels, lambda: np.arange(34) % 2)


def test_another_attempt_has_other_seeds_from_the_stage_that_failed_on():
    recipe = Recipe.from_values({
        "data": {"s": {"path": "s"}, "t": {"path": "t", "labels": 17}}, "seed": 3,
        "stage": [{"name": "a", "data": "s", "epochs": 1, "seed": 0},
                  {"name": "b", "data": "t", "epochs": 1, "train": "head"},
                  {"name": "c", "data": "t", "epochs": 1}],
    })  # fmt: skip
    other = again(recipe, 1, 2)
    assert other.seed == 3, "the same labels are drawn"
    assert other.stage[0] == recipe.stage[0]
    assert other.stage[1].seed is not None and other.stage[2].seed is not None
    assert other.stage[2].seed != again(recipe, 1, 1).stage[2].seed
    assert [learns_all(stage) for stage in recipe.stage] == [True, False, True]
