"""Stages: what moves and what does not, found again, resumed, and the same with cached features."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.conftest import PRODUCT, reviews

from headstart.data.examples import Examples, examples
from headstart.data.table import read
from headstart.errors import InterruptedRunError, RecipeError, TrainingError
from headstart.models.checkpoint import open_network
from headstart.recipe import Recipe
from headstart.training import loop
from headstart.training.model import open_trained
from headstart.training.stage import StageResult, Workshop


def rows(count: int, seed: int = 1, name: str = "shop") -> Examples:
    return examples(read(reviews(count, seed, PRODUCT), name=name))


def recipe(backbone: Path, *stages: dict, **values) -> Recipe:
    """Stages on one data set, "shop"; batches of 64 tokens make a few updates an epoch."""
    common = {"data": "shop", "batch_tokens": 64, "epochs": 2}
    return Recipe.from_values(
        {
            "backbone": str(backbone),
            "data": {"shop": {"path": "<memory>"}},
            "stage": [common | {"name": f"stage{i}"} | s for i, s in enumerate(stages)],
        }
        | values
    )


def train(
    backbone: Path, *stages: dict, data: Examples | None = None, **values
) -> list[StageResult]:
    return Workshop().run(recipe(backbone, *stages, **values), {"shop": data or rows(101)})


def weights(result: StageResult) -> dict[str, torch.Tensor]:
    return open_network(result.folder).state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("train_", ["head", "top:2"])
def test_what_is_frozen_is_bit_identical_afterwards(tiny_bert, train_):
    first, second = train(tiny_bert, {"epochs": 0.1}, {"train": train_, "epochs": 3})
    before, after = weights(first), weights(second)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    top = ("head.", "pool.", "backbone.blocks.1.", "backbone.blocks.2.")
    moving = ("head.", "pool.") if train_ == "head" else top
    assert changed == {name for name in before if name.startswith(moving)}


def test_frozen_parts_stay_in_eval_through_every_train_call(tiny_bert, monkeypatch):
    seen = []

    def spy(training, batch, step):
        training.network.train()
        modes = {n: m.training for n, m in training.network.named_modules()}
        seen.append((modes["backbone.embeddings"], modes["backbone.blocks.1"],
                     modes["backbone.blocks.1.attention"], modes["backbone.blocks.2"],
                     modes["head"]))  # fmt: skip
        return update(training, batch, step)

    update = loop.update
    monkeypatch.setattr(loop, "update", spy)
    train(tiny_bert, {"train": "top:1"})
    assert set(seen) == {(False, False, False, True, True)}


@pytest.mark.parametrize("pooling", ["mean", "cls", "family"])
@pytest.mark.parametrize("train_", ["head", "top:1"])
def test_cached_and_uncached_training_give_the_same_losses(
    tiny_bert, monkeypatch, own_cache, train_, pooling
):
    cached = train(tiny_bert, {"train": train_, "epochs": 3}, pooling=pooling)[0]
    assert cached.record["cached_parts"] > 1
    monkeypatch.setattr("headstart.training.supervised.frozen_depth", lambda network: 0)
    monkeypatch.setenv("HEADSTART_CACHE", str(own_cache / "other"))
    plain = train(tiny_bert, {"train": train_, "epochs": 3}, pooling=pooling)[0]
    assert plain.record["cached_parts"] == 0
    losses = [[point["loss"] for point in r.record["log"]] for r in (cached, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    for name, tensor in weights(plain).items():
        torch.testing.assert_close(weights(cached)[name], tensor, atol=1e-5, rtol=1e-4)


def test_a_finished_stage_is_not_trained_again(tiny_bert, monkeypatch):
    two = ({"name": "a"}, {"name": "b", "train": "head"})
    first = train(tiny_bert, *two)
    monkeypatch.setattr("headstart.training.bound.train", lambda *_: pytest.fail("trained again"))
    again = train(tiny_bert, *two)
    assert [r.digest for r in again] == [r.digest for r in first]
    assert all(r.reused for r in again) and not any(r.reused for r in first)
    renamed = train(tiny_bert, {"name": "other words"}, {"name": "b", "train": "head"})
    assert renamed[0].digest == first[0].digest, "a name changes nothing"


@pytest.mark.parametrize("change", [{"epochs": 3}, {"layer_decay": 0.5}, {"seed": 7}])
def test_whatever_changes_the_outcome_changes_the_digest(tiny_bert, change):
    assert train(tiny_bert, {})[0].digest != train(tiny_bert, change)[0].digest


def test_other_rows_change_the_digest(tiny_bert):
    digests = {train(tiny_bert, {"epochs": 0.1}, data=rows(n))[0].digest for n in (29, 31)}
    assert len(digests) == 2


def test_a_damaged_record_is_trained_again(tiny_bert):
    first = train(tiny_bert, {})[0]
    (first.folder / "stage.json").write_text("{ half")
    again = train(tiny_bert, {})[0]
    assert not again.reused and equal(weights(first), weights(again))


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tiny_bert, monkeypatch, own_cache):
    first = train(tiny_bert, {})[0]
    monkeypatch.setenv("HEADSTART_CACHE", str(own_cache / "other"))
    assert equal(weights(first), weights(train(tiny_bert, {})[0]))
    assert not equal(weights(first), weights(train(tiny_bert, {}, seed=1)[0]))


def test_stopped_by_a_signal_and_resumed_equals_uninterrupted(tiny_bert, monkeypatch, own_cache):
    whole = train(tiny_bert, {"validation": 0.2})[0]
    monkeypatch.setenv("HEADSTART_CACHE", str(own_cache / "other"))
    update = loop.update

    def interrupt(training, batch, step):
        if step == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(training, batch, step)

    monkeypatch.setattr(loop, "update", interrupt)
    with pytest.raises(
        InterruptedRunError, match=r"after step 10 of .* The same command"
    ) as caught:
        train(tiny_bert, {"validation": 0.2})
    assert caught.value.exit_code == 143
    monkeypatch.setattr(
        loop, "update", lambda *a: pytest.fail("before") if a[2] < 10 else update(*a)
    )
    resumed = train(tiny_bert, {"validation": 0.2})[0]
    assert equal(weights(whole), weights(resumed))
    assert [p["loss"] for p in whole.record["log"]] == [p["loss"] for p in resumed.record["log"]]


KILLED = """
import sys
from headstart.training import loop
from tests.training.test_stage import train
update = loop.update
def slow(training, batch, step):
    print(step, flush=True)
    return update(training, batch, step)
loop.update = slow
train(sys.argv[1], {"epochs": 8})
"""


def test_killed_in_the_middle_and_started_again_equals_uninterrupted(
    tiny_bert, monkeypatch, own_cache
):
    whole = train(tiny_bert, {"epochs": 8})[0]
    monkeypatch.setenv("HEADSTART_CACHE", str(own_cache / "other"))
    monkeypatch.setenv("HEADSTART_SAVE_SECONDS", "0")
    root = Path(__file__).parent.parent.parent
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tiny_bert)], cwd=root, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) == 11:
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert len(list((own_cache / "other" / "stages").glob("*.state"))) == 1
    steps = []
    update = loop.update
    monkeypatch.setattr(loop, "update", lambda *a: steps.append(a[2]) or update(*a))
    resumed = train(tiny_bert, {"epochs": 8})[0]
    assert 9 <= steps[0] <= 20, "it went on, and did not begin again"
    assert equal(weights(whole), weights(resumed))
    assert not list((own_cache / "other" / "stages").glob("*.state"))


def test_a_second_process_waits_for_the_first_and_reuses(tiny_bert, own_cache):
    root = Path(__file__).parent.parent.parent
    code = "import sys; from tests.training.test_stage import train\n"
    code += "print(train(sys.argv[1], {'epochs': 8})[0].reused)"
    start = [sys.executable, "-c", code, str(tiny_bert)]
    runs = [subprocess.Popen(start, cwd=root, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert sorted(run.communicate()[0].strip() for run in runs) == ["False", "True"]


def test_a_loss_that_is_not_finite_stops_the_stage(tiny_bert, monkeypatch, own_cache):
    monkeypatch.setattr(
        "headstart.tasks.classify.Classify.loss",
        lambda self, network, batch: network(batch.inputs).sum() * float("nan"),
    )
    with pytest.raises(TrainingError, match=r"'stage0', step 1: the loss is nan, on rows \[.*rate"):
        train(tiny_bert, {})
    assert not list((own_cache / "stages").glob("*/"))


def test_the_best_epoch_is_kept_and_patience_stops(tiny_bert, monkeypatch):
    scores = iter([0.6, 0.9, 0.7, 0.8, 0.95])
    snapshots = []

    def metrics(self, logits, target):
        return {"accuracy": next(scores)}

    real = loop._validate

    def spy(training, state):
        real(training, state)
        snapshots.append({n: p.detach().clone() for n, p in training.network.named_parameters()})

    monkeypatch.setattr("headstart.tasks.classify.Classify.metrics", metrics)
    monkeypatch.setattr(loop, "_validate", spy)
    result = train(tiny_bert, {"epochs": 9, "validation": 0.2, "patience": 2})[0]
    assert len(snapshots) == 4, "two epochs without a better one end the stage"
    assert equal(weights(result), snapshots[1])


STILL = {"epochs": 0.1, "learning_rate": 1e-9, "warmup": 0.0}


def test_a_head_is_kept_for_the_same_classes_and_new_where_asked(tiny_bert):
    first, kept, new = train(tiny_bert, {}, STILL, STILL | {"head": "new"})
    before = weights(first)["head.weight"]
    torch.testing.assert_close(weights(kept)["head.weight"], before, atol=1e-6, rtol=0)
    assert (weights(new)["head.weight"] - before).abs().max() > 1e-3


def test_other_classes_get_a_new_head(tiny_bert):
    good = [(text, label.replace("positive", "good")) for text, label in reviews(31, 2)]
    data = {"shop": rows(101), "other": examples(read(good, name="other"))}
    paths = {name: {"path": "<memory>"} for name in data}

    def run(head: str) -> StageResult:
        second = STILL | {"data": "other", "head": head}
        return Workshop().run(recipe(tiny_bert, {}, second, data=paths), data)[-1]

    assert open_trained(run("auto").folder).task.labels == ("good", "negative")
    with pytest.raises(RecipeError, match=r"cannot keep a head for \['negative', 'positive'\]"):
        run("keep")


def test_it_learns(tiny_bert):
    slow = {"epochs": 20, "learning_rate": 3e-3}
    result = train(tiny_bert, slow, data=rows(401), pooling="mean")[0]
    model = open_trained(result.folder)
    unseen = reviews(101, 77, PRODUCT)
    answers = model.task.decode(model.logits([text for text, _ in unseen]))
    assert sum(a == label for a, (_, label) in zip(answers, unseen, strict=True)) >= 97


def test_class_weights_reach_the_loss(tiny_bert):
    weighted = {"task": {"kind": "classify", "class_weights": {"negative": 5.0, "positive": 1.0}}}
    assert train(tiny_bert, {})[0].record["log"] != train(tiny_bert, weighted)[0].record["log"]
    wrong = {"task": {"kind": "classify", "class_weights": {"negativ": 5.0}}}
    with pytest.raises(RecipeError, match="negativ"):
        train(tiny_bert, wrong)


def test_the_record_says_what_happened(tiny_bert):
    data = rows(101)
    record = train(tiny_bert, {"train": "head", "epochs": 3}, data=data, pooling="mean")[0].record
    tokens = sum(len(text.split()) + 2 for text in data.texts)
    assert record["tokens"] == 3 * tokens, "tokens are counted alike with and without the cache"
    assert record["steps"] == record["log"][-1]["step"] == 3 * -(-tokens // 64)
    moved = {g["pattern"]: (g["parameters"], g["learning_rate"]) for g in record["trainable"]}
    assert moved["head|pool"] == (2 * 20 + 2, 1e-3)
    assert moved[".*"][1] == 0.0
