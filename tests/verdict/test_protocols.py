"""What is compared, kept and told: folds, ways, sources, leaks, budgets, the curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from tests.conftest import FILLER, PRODUCT, reviews

import headstart
from headstart.verdict import arms, trials
from headstart.verdict.chooser import Chooser
from headstart.verdict.results import codes_of
from headstart.verdict.schema import VerdictFile

FLIP = {"positive": "negative", "negative": "positive"}


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("shared-cache")


@pytest.fixture(autouse=True)
def own_cache(shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One cache for all tests here: the same source is trained once."""
    monkeypatch.setenv("HEADSTART_CACHE", str(shared_cache))
    return shared_cache


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """A source stage of a few seconds that a backbone of 3 blocks and width 20 learns from."""
    changes = {"learning_rate": 3e-3, "batch_tokens": 64, "epochs": 6.0}
    monkeypatch.setattr(arms, "SOURCE", arms.SOURCE.model_copy(update=changes))
    monkeypatch.setattr(trials, "RESTARTS", 0)


def run(tiny_bert: Path, **options: Any) -> headstart.Verdict:
    given = {"source": reviews(331, 3, FILLER), "target": reviews(83, 5, PRODUCT)}
    common = {"backbone": str(tiny_bert), "pooling": "mean", "progress": False}
    values = given | common | options
    verdict = headstart.transfer(values.pop("source"), values.pop("target"), **values)
    VerdictFile.model_validate_json(verdict.to_json())
    return verdict


def test_few_rows_are_all_judged_by_models_that_did_not_see_them(tiny_bert, tmp_path):
    verdict = run(tiny_bert, arms="tfidf,frozen,source+target", out=tmp_path / "run")
    values = verdict.values
    assert values["protocol"] == {"kind": "folds", "folds": 5, "repeats": 1, "rows": 83}
    assert values["data"]["test"]["rows"] == 83
    assert np.sum(values["confusion"]["counts"]) == 83
    assert verdict.arm("frozen")["labels"] == 66, "83 less a fold of 17"
    assert values["chosen_by"]["rows"] == 83
    assert values["chosen_by"]["honest"]["mean"] <= max(values["chosen_by"]["accuracy"].values())
    names = {stage["name"] for stage in values["stages"]}
    assert names == {"source", "probe", "tune"}, "of the winner; models of folds are not kept"
    recorded = [json.loads((tmp_path / "run" / "stages" / s["digest"] / "stage.json").read_text())
                for s in values["stages"] if s["name"] == "tune"]  # fmt: skip
    assert recorded[0]["provenance"]["stages"][-1]["rows"] == 83, "what is kept learned from all"


def test_seeds_are_repeats_of_the_folds(tiny_bert):
    verdict = run(tiny_bert, arms="tfidf,frozen", folds=3, seeds=2)
    assert verdict.values["protocol"] == {"kind": "folds", "folds": 3, "repeats": 2, "rows": 83}
    assert verdict.arm("frozen")["seeds"] == 2


def test_a_few_dozen_rows_are_cut_three_times(tiny_bert):
    verdict = run(tiny_bert, target=reviews(41, 5, PRODUCT), arms="tfidf,frozen")
    assert verdict.values["protocol"]["repeats"] == 3


def test_frozen_features_are_a_model_like_any_other(tiny_bert, tmp_path):
    target = reviews(83, 5, PRODUCT)
    verdict = run(tiny_bert, arms="frozen", test=reviews(101, 9, PRODUCT), out=tmp_path / "run")
    model = headstart.load(tmp_path / "run")
    unseen = reviews(101, 9, PRODUCT)
    right = np.mean([p == y for p, (_, y) in zip(model.predict([t for t, _ in unseen]), unseen,
                                                 strict=True)])  # fmt: skip
    assert right == pytest.approx(verdict.arm("frozen")["accuracy"]["mean"])
    assert model.provenance["stages"][-1]["name"] == "frozen"
    assert len(target) == verdict.arm("frozen")["labels"]


def test_every_way_is_compared(tiny_bert, monkeypatch):
    monkeypatch.setattr(arms, "SOURCE", arms.SOURCE.model_copy(update={"epochs": 1.0}))
    monkeypatch.setattr(arms, "MOST_ADAPT_EPOCHS", 1)
    names = list(arms.TITLES)
    verdict = run(tiny_bert, arms=names, labels=33, test=reviews(101, 9, PRODUCT))
    assert [arm["name"] for arm in verdict.values["arms"]] == names
    of = {(g["of"], g["arm"], g["over"]) for g in verdict.values["gains"]}
    assert of >= {
        ("source", "source+target", "target"),
        ("source", "joint", "target"),
        ("pre-training", "target", "random"),
        ("fine-tuning", "target", "frozen"),
    }
    stages = {stage["name"]: stage for stage in verdict.values["stages"]}
    assert stages["adapt"]["arm"] == ["adapt+target", "adapt+source+target"], "shared"
    steps = {s["name"]: s["steps"] for s in verdict.values["stages"]}
    assert steps["target"] == steps["tune"], "on the target every way takes as many updates"


def test_several_sources_each_alone_and_all_together(tiny_bert, tmp_path):
    good, bad = tmp_path / "good.csv", tmp_path / "bad.csv"
    pd.DataFrame(reviews(331, 3, FILLER), columns=["text", "label"]).to_csv(good, index=False)
    spoilt = [(text, FLIP[label]) for text, label in reviews(301, 4, FILLER)]
    pd.DataFrame(spoilt, columns=["text", "label"]).to_csv(bad, index=False)
    verdict = run(tiny_bert, source=[good, bad], arms="target,source+target", labels=33,
                  test=reviews(101, 9, PRODUCT))  # fmt: skip
    names = [arm["name"] for arm in verdict.values["arms"]]
    assert names == ["target", "good+target", "bad+target", "all+target"]
    assert verdict.winner == "good+target"
    assert verdict.sentence.startswith("The source (good -> target) helps: +")
    effects = {gain["arm"]: gain["effect"] for gain in verdict.values["gains"]}
    assert effects["good+target"] == "helps" and effects["bad+target"] != "helps"


def test_where_the_source_hurts_the_best_without_it_is_kept(tiny_bert):
    spoilt = [(text, FLIP[label]) for text, label in reviews(331, 3, FILLER)]
    verdict = run(tiny_bert, source=spoilt, labels=33, arms="tfidf,frozen,target,source+target",
                  test=reviews(401, 9, PRODUCT))  # fmt: skip
    assert verdict.negative_transfer and verdict.gain is not None and verdict.gain.high < 0
    assert verdict.winner in ("frozen", "target")
    assert verdict.values["chosen_by"]["without_source"]
    assert verdict.sentence.startswith("The plain baseline wins: TF-IDF")
    assert "The source hurts (negative transfer): -" in verdict.sentence


def guard(tiny_bert: Path) -> None:
    """What chooses, and what is fitted to choose, is the same whatever the test labels are."""
    test = reviews(101, 9, PRODUCT)
    flipped = [(text, FLIP[label]) for text, label in test]
    found = []
    for rows in (test, flipped):
        values = run(tiny_bert, arms="tfidf,frozen,target", labels=33, test=rows).values
        found.append({
            "winner": values["winner"],
            "chosen_by": values["chosen_by"],
            "temperature": values["calibration"]["temperature"],
            "offsets": values["offsets"],
        })  # fmt: skip
    assert found[0] == found[1]


def test_no_test_row_takes_part_in_the_choice(tiny_bert):
    guard(tiny_bert)


def test_the_guard_finds_a_planted_leak(tiny_bert, monkeypatch):
    def leak(self: Chooser, classes: tuple[str, ...]) -> None:
        rows = self.campaign.rows.test
        self.truth, self.places = codes_of(rows, classes), np.arange(len(rows))
        for arm in self.arms:
            standing = self.campaign.standing[arm.name]
            standing.unseen = standing.judged
            self.answers[arm.name] = torch.stack(standing.judged).argmax(-1).numpy()

    monkeypatch.setattr(Chooser, "_look", leak)
    with pytest.raises(AssertionError):
        guard(tiny_bert)


def test_collapsed_runs_are_restarted_and_told(tiny_bert, monkeypatch):
    monkeypatch.setattr(trials, "RESTARTS", 2)
    noise = [(text, ["positive", "negative"][n % 2])
             for n, (text, _) in enumerate(reviews(41, 7, FILLER)[::-1] * 2)]  # fmt: skip
    verdict = run(tiny_bert, target=noise, test=reviews(53, 9, PRODUCT), arms="target")
    arm = verdict.arm("target")
    assert (arm["restarts"], arm["collapsed"]) == (2, 1), "labels that nothing tells"


def test_a_budget_stops_what_is_hopeless_and_says_why(tiny_bert):
    verdict = run(tiny_bert, labels=33, budget="5m", seeds=2, test=reviews(101, 9, PRODUCT))
    budget = verdict.values["budget"]
    assert budget["seconds"] == 300 and budget["used"] < 300
    stopped = {entry["arm"]: entry for entry in budget["stopped"]}
    assert "target" in stopped and stopped["target"]["seeds"] == 1
    assert "points [" in stopped["target"]["why"]
    assert verdict.arm("source+target")["seeds"] == 2


def test_a_budget_of_a_moment_still_leaves_a_model(tiny_bert, tmp_path):
    verdict = run(tiny_bert, labels=33, budget=0.001, out=tmp_path / "run")
    assert verdict.winner == "frozen"
    why = {entry["arm"]: entry["why"] for entry in verdict.values["budget"]["stopped"]}
    assert {why[name] for name in ("target", "source", "source+target")} == {"no time was left"}
    assert headstart.load(tmp_path / "run").classes == ("negative", "positive")


def test_the_label_curve(tiny_bert):
    verdict = run(tiny_bert, arms="target,source+target", labels=33, curve="frozen",
                  test=reviews(101, 9, PRODUCT))  # fmt: skip
    curve = verdict.values["curve"]
    assert [p["labels"] for p in curve["without_source"]] == [8, 16, 32, 64, 83]
    assert [p["labels"] for p in curve["with_source"]] == [0, 8, 16, 32, 64, 83]
    assert curve["with_source"][0]["mean"] > 0.8
    assert curve["sentence"].startswith("The source alone is worth more than 83 labels alone")
