"""The benchmark of rankings: its arithmetic, the checkpoints it makes, and what it told so far."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch

from headstart.models.checkpoint import open_checkpoint
from headstart.verdict.order import JUDGES

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import ranking as benchmark

KEPT = Path(benchmark.__file__).parent / "results" / "ranking.json"


def test_agreement_by_hand():
    said = {"a": 0.1, "b": 0.2, "c": 0.3, "d": 0.4}
    reached = {"a": 0.5, "b": 0.9, "c": 0.7, "d": 0.8, "e": 0.99}
    found = benchmark.agreement(said, reached)
    # Of six pairs four are in the same order: b is above c and d.
    assert found["tau"] == pytest.approx((4 - 2) / 6)
    centred = (-0.225, 0.175, -0.025, 0.075)
    covariance = sum(x * y for x, y in zip((-0.15, -0.05, 0.05, 0.15), centred, strict=True))
    spread = math.sqrt(0.05 * sum(y * y for y in centred))
    assert found["pearson"] == pytest.approx(covariance / spread)
    assert found["regret"] == pytest.approx(0.9 - 0.8)
    assert found["candidates"] == 4


def test_a_measure_that_finds_all_alike_agrees_with_nothing():
    found = benchmark.agreement({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 0.5, "b": 0.6, "c": 0.7})
    assert (found["tau"], found["pearson"]) == (0, 0)
    assert benchmark.agreement({"a": 1.0, "b": 2.0}, {"a": 0.5, "b": 0.6}) is None


def test_the_summary_is_the_mean_over_targets_best_first():
    accuracy = {"a": 0.1, "b": 0.2, "c": 0.3}
    up, down = {"a": 1.0, "b": 2.0, "c": 3.0}, {"a": 3.0, "b": 2.0, "c": 1.0}
    questions = {
        "x": benchmark.Question(accuracy, {"probe": up, "leep": up}),
        "y": benchmark.Question(accuracy, {"probe": down, "leep": up, "knn": {"a": 1.0}}),
    }
    found = benchmark.summary(questions)
    assert list(found) == ["leep", "probe"]
    assert (found["leep"]["tau"], found["probe"]["tau"]) == (1, 0)
    assert found["probe"]["regret"] == pytest.approx(0.1)
    assert set(found["probe"]["targets"]) == {"x", "y"}
    assert "leep" in benchmark.table("sources", found).split("\n")[1]


def test_changed_checkpoints_have_the_blocks_that_were_asked_for(tiny_bert, tmp_path):
    whole = open_checkpoint(tiny_bert).backbone
    benchmark.changed(tiny_bert, tmp_path / "short", 2, ())
    short = open_checkpoint(tmp_path / "short").backbone
    assert len(short.blocks) == 2
    assert all(torch.equal(t, whole.state_dict()[n]) for n, t in short.state_dict().items())
    benchmark.changed(tiny_bert, tmp_path / "anew", 3, (2,))
    anew = open_checkpoint(tmp_path / "anew").backbone.state_dict()
    same = {name for name, tensor in whole.state_dict().items() if torch.equal(tensor, anew[name])}
    assert {n for n in anew if n.startswith("blocks.2.")}.isdisjoint(same)
    assert {n for n in anew if not n.startswith("blocks.2.")} == same
    weight = anew["blocks.2.feed_forward.widen.weight"]
    assert weight.std().item() == pytest.approx(0.02, rel=0.2)
    assert torch.equal(anew["blocks.2.norm_1.weight"], torch.ones(20))
    benchmark.changed(tiny_bert, tmp_path / "all", 3, None)
    fresh = open_checkpoint(tmp_path / "all").backbone.state_dict()
    assert all(not torch.equal(tensor, whole.state_dict()[n]) for n, tensor in fresh.items())


@pytest.mark.skipif(not KEPT.exists(), reason="the benchmark has not been run")
@pytest.mark.parametrize("what", ["backbones", "sources"])
def test_what_orders_by_default_agreed_as_well_as_any(what):
    found = json.loads(KEPT.read_text())["agreement"][what]
    selectable = {m: values["tau"] for m, values in found.items() if "last block" not in m}
    assert selectable[JUDGES[what]] >= max(selectable.values()) - 0.1
