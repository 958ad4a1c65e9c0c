"""What stages are tuned with: each does what it says, and resumed equals uninterrupted."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
import torch
from tests.conftest import PRODUCT, reviews
from tests.training.test_stage import equal, rows, weights
from tests.training.test_trainable import network, stage

from headstart.data.examples import Examples, examples
from headstart.data.table import read
from headstart.errors import CheckpointError, DataError, InterruptedRunError, RecipeError
from headstart.models.checkpoint import open_checkpoint
from headstart.recipe import Recipe
from headstart.training import loop
from headstart.training.averaging import Interpolation, LastMean
from headstart.training.stage import StageResult, Workshop
from headstart.training.trainable import freeze, groups
from headstart.training.unfreezing import GradualUnfreezing
from headstart.verdict.rows import read_rows


def free(count: int = 43) -> Examples:
    table = read([text for text, _ in reviews(count, 17, PRODUCT)], name="free")
    return examples(table, require_label=False)


def recipe(backbone: Path, *stages: dict) -> Recipe:
    common = {"data": "shop", "batch_tokens": 64, "epochs": 2}
    return Recipe.from_values(
        {
            "backbone": str(backbone),
            "data": {"shop": {"path": "<memory>"}, "free": {"path": "<memory>"}},
            "stage": [common | {"name": f"stage{i}"} | s for i, s in enumerate(stages)],
        }
    )


def train(backbone: Path, *stages: dict) -> list[StageResult]:
    data = {"shop": rows(61), "free": free()}
    return Workshop().run(recipe(backbone, *stages), data)


def faults(**values) -> str:
    with pytest.raises(RecipeError) as caught:
        recipe(Path("x"), values)
    return "\n".join(caught.value.faults)


@pytest.fixture
def watched(monkeypatch) -> list[dict[str, torch.Tensor]]:
    """The network's weights after each update."""
    seen: list[dict[str, torch.Tensor]] = []
    update = loop.update

    def spy(training, batch, step):
        found = update(training, batch, step)
        training.decay()
        seen.append({n: p.detach().clone() for n, p in training.network.named_parameters()})
        return found

    monkeypatch.setattr(loop, "update", spy)
    return seen


def test_slanted_rates_by_hand():
    made = stage("all", schedule="slanted", warmup=0.1)
    found = [loop.rate_factor(made, step, 100) for step in (0, 5, 10, 55, 99)]
    # Howard and Ruder 2018, equation 3: (1 + p * 31) / 32.
    expected = [(1 + p * 31) / 32 for p in (0, 0.5, 1, 0.5, 1 / 90)]
    assert found == pytest.approx(expected)


def test_parts_begin_to_move_one_after_the_other_from_the_top():
    net = network()
    freeze(net, groups(net, stage("all")))
    net.train()
    unfreezing = GradualUnfreezing(net, total=28)
    assert unfreezing.starts == [0, 2, 4, 6, 8, 10, 12]
    for step in range(28):
        unfreezing.before(step)
        moving = {n for n, p in net.named_parameters() if p.requires_grad}
        count = min(step // 2, 6)
        blocks = {int(n.split(".")[2]) for n in moving if ".blocks." in n}
        assert blocks == set(range(5 - min(count, 5), 5))
        assert any("embeddings" in n for n in moving) == (count == 6)
        assert net.backbone.blocks[0].training == (count >= 5)
        assert net.backbone.embeddings.training == (count == 6)


def test_what_is_not_yet_unfrozen_is_bit_identical(tiny_bert, watched):
    train(tiny_bert, {"unfreeze": "gradual", "epochs": 3})
    start = open_checkpoint(tiny_bert).backbone.state_dict()
    total = len(watched)
    for number, parts in enumerate(("blocks.2", "blocks.1", "blocks.0", "embeddings"), 1):
        begin = int(total * 0.5 * number / 5)
        for step in (begin - 1, begin):
            for name, tensor in start.items():
                if name.startswith(parts) and not name.endswith(("key.bias", "token.weight")):
                    same = torch.equal(watched[step]["backbone." + name], tensor)
                    assert same == (step < begin), (name, step)


def test_the_best_epoch_is_whole_also_where_less_moved_then(tiny_bert, watched, monkeypatch):
    scores = iter([0.9, 0.1, 0.2, 0.3])
    monkeypatch.setattr(
        "headstart.tasks.classify.Classify.metrics", lambda *_: {"accuracy": next(scores)}
    )
    result = train(tiny_bert, {"unfreeze": "gradual", "epochs": 4, "validation": 0.2})[0]
    first = result.record["log"]
    ends = next(point["step"] for point in first if "validation" in point)
    assert ends < len(watched) / 2
    left = weights(result)
    assert all(torch.equal(left[name], tensor) for name, tensor in watched[ends - 1].items())


def test_what_is_left_is_the_mean_of_the_last_updates(tiny_bert, watched):
    values = {"average": "swa", "average_share": 0.3, "schedule": "constant", "weight_decay": 0.5}
    left = weights(train(tiny_bert, values)[0])
    count = round(0.3 * len(watched))
    assert count > 3
    for name, tensor in left.items():
        mean = torch.stack([each[name].double() for each in watched[-count:]]).mean(0)
        torch.testing.assert_close(tensor.double(), mean, atol=1e-6, rtol=1e-5, msg=name)


def test_an_exponential_mean_begins_as_the_plain_one(tiny_bert, watched):
    left = weights(train(tiny_bert, {"average": "ema", "average_share": 0.2})[0])
    name, mean = "head.weight", torch.zeros(2, 20, dtype=torch.float64)
    for number, each in enumerate(watched):
        weight = max(1 / (number + 1), 1 / (0.2 * len(watched)))
        mean += weight * (each[name] - mean)
    torch.testing.assert_close(left[name].double(), mean, atol=1e-6, rtol=1e-5)


def test_a_mean_over_less_than_an_update_is_of_the_last():
    net = network()
    mean = LastMean(net, lambda: None, total=5, share=0.01)
    assert [mean.weight(step) for step in range(5)] == [0, 0, 0, 0, 1]


def test_interpolation_with_0_and_1_is_start_and_end_exactly():
    for share, expected in ((0.0, 0), (1.0, 1)):
        net = network()
        ends = [{n: p.clone() for n, p in net.named_parameters()}]
        interpolation = Interpolation(net, share)
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        ends.append({n: p.clone() for n, p in net.named_parameters()})
        interpolation.finish()
        assert all(torch.equal(p, ends[expected][n]) for n, p in net.named_parameters())


def test_what_is_left_is_between_start_and_end(tiny_bert):
    first, end = map(weights, train(tiny_bert, {}, {"name": "b"}))
    between = weights(train(tiny_bert, {}, {"name": "b", "interpolate": 0.3})[1])
    for name, tensor in between.items():
        expected = first[name] + 0.3 * (end[name] - first[name])
        torch.testing.assert_close(tensor, expected, atol=1e-6, rtol=1e-5)
    back = weights(train(tiny_bert, {}, {"name": "b", "interpolate": 0.0})[1])
    assert equal(back, first)


def test_fresh_blocks_begin_anew_and_the_others_as_they_were(tiny_bert):
    values = {"fresh_blocks": 2, "steps": 1, "epochs": None, "interpolate": 0.0}
    left = weights(train(tiny_bert, values)[0])
    for name, tensor in open_checkpoint(tiny_bert).backbone.state_dict().items():
        renewed = name.startswith(("blocks.1", "blocks.2"))
        assert torch.equal(left["backbone." + name], tensor) != renewed, name
        if renewed and "norm" in name:
            assert (left["backbone." + name] == float(name.endswith("weight"))).all()
        if renewed and name.endswith("query.weight"):
            assert float(left["backbone." + name].std()) == pytest.approx(0.02, rel=0.2)


def test_fresh_blocks_must_be_there_and_move(tiny_bert):
    with pytest.raises(RecipeError, match=r"5 are asked for; .* has 3\. Use 3 or less"):
        train(tiny_bert, {"fresh_blocks": 5})
    with pytest.raises(RecipeError, match=r"blocks.1.* would get new weights .* \"top:2\""):
        train(tiny_bert, {"fresh_blocks": 2, "train": "top:1"})


PARENT = {"name": "parent", "epochs": 1}
RESUMED = [
    {"unfreeze": "gradual"},
    {"average": "swa", "average_share": 0.7, "interpolate": 0.4},
    {"average": "ema"},
    {"sharpness": 0.05, "mixout": 0.3, "fresh_blocks": 1},
    {"objective": {"kind": "smart", "size": 0.01, "step_size": 0.01}},
    {"objective": {"kind": "self-train", "unlabelled": "free", "ratio": 2}, "head": "keep"},
    {"objective": {"kind": "consistency", "unlabelled": "free"}, "micro_batch_tokens": 32},
]


@pytest.mark.parametrize("values", RESUMED, ids=lambda v: str(next(iter(v.items()))))
def test_stopped_and_resumed_equals_uninterrupted(tiny_bert, monkeypatch, own_cache, values):
    train(tiny_bert, PARENT)
    whole = train(tiny_bert, PARENT, values)[1]
    update = loop.update

    def interrupt(training, batch, step):
        if step == 7:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(training, batch, step)

    monkeypatch.setenv("HEADSTART_CACHE", str(own_cache / "other"))
    train(tiny_bert, PARENT)
    monkeypatch.setattr(loop, "update", interrupt)
    with pytest.raises(InterruptedRunError, match="after step 8"):
        train(tiny_bert, PARENT, values)
    monkeypatch.setattr(loop, "update", update)
    resumed = train(tiny_bert, PARENT, values)[1]
    assert not resumed.reused and equal(weights(whole), weights(resumed))
    assert [p["loss"] for p in whole.record["log"]] == [p["loss"] for p in resumed.record["log"]]


@pytest.mark.parametrize("inside", [{}, {"hidden": 1.0, "attention": 1.0, "relations": 1.0}])
def test_a_teacher_is_found_checked_and_part_of_what_a_stage_is_made_of(tiny_bert, inside):
    teacher = train(tiny_bert, {"epochs": 3})[0]
    objective = {"kind": "distill", "teacher": str(teacher.folder), "unlabelled": "free"} | inside
    first = train(tiny_bert, {"objective": objective})[0]
    assert first.record["log"][-1]["distance"] > 0
    assert train(tiny_bert, {"objective": objective})[0].reused
    other = train(tiny_bert, {"objective": objective | {"labels": 0.5}})[0]
    assert other.digest != first.digest


def test_a_teacher_must_be_there_before_anything_is_trained(tiny_bert, own_cache):
    objective = {"kind": "distill", "teacher": str(own_cache / "nowhere")}
    with pytest.raises(CheckpointError, match="there is no such folder"):
        train(tiny_bert, {}, {"objective": objective})
    assert not (own_cache / "stages").exists()


def test_a_teacher_of_other_classes_is_refused(tiny_bert):
    teacher = train(tiny_bert, {"steps": 1, "epochs": None})[0]
    stages = recipe(tiny_bert, {"objective": {"kind": "distill", "teacher": str(teacher.folder)}})
    shop = rows(61)
    named = Examples("stars", shop.texts, [label[0] for label in shop.labels or []], shop.rows)
    with pytest.raises(RecipeError, match=r"teacher: knows the classes .* Take a teacher"):
        Workshop().run(stages, {"shop": named})


def test_self_training_needs_a_head_that_answers_and_rows_that_are_sure(tiny_bert):
    objective = {"kind": "self-train", "unlabelled": "free"}
    with pytest.raises(RecipeError, match="here the head is new"):
        train(tiny_bert, {"task": "masked-lm", "epochs": 0.1}, {"objective": objective})
    assert "Train one in a stage before" in faults(objective=objective)
    with pytest.raises(DataError, match=r"no row of free reaches 1; the surest .* Lower it"):
        train(tiny_bert, PARENT, {"objective": objective | {"threshold": 1.0}})


def test_other_unlabelled_rows_make_another_stage(tiny_bert):
    values = {"objective": {"kind": "consistency", "unlabelled": "free"}, "epochs": 0.2}
    made, shop = recipe(tiny_bert, values), Workshop()
    found = [shop.run(made, {"shop": rows(29), "free": free(n)})[0].digest for n in (11, 13)]
    assert found[0] != found[1]


def test_unlabelled_data_sets_are_read_without_labels(tmp_path):
    table = "review,stars\n" + "".join(f"{t},{label}\n" for t, label in reviews(40, 3))
    (tmp_path / "shop.csv").write_text(table)
    (tmp_path / "free.csv").write_text("review\n" + "\n".join(t for t, _ in reviews(23, 5)))
    made = recipe(Path("x"), {"objective": {"kind": "consistency", "unlabelled": "free"}})
    data = {n: d.model_copy(update={"path": str(tmp_path / f"{n}.csv")})
            for n, d in made.data.items()}  # fmt: skip
    found = read_rows(made.model_copy(update={"data": data}))
    assert found.train["free"].labels is None and len(found.train["free"]) > 10
    assert found.train["shop"].labels is not None


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"unfreeze": "gradual", "train": "head"}, "unfreeze: is about a backbone that moves"),
        ({"interpolate": 0.5, "train": "lora:2"}, "interpolate: is about a backbone that moves"),
        ({"average": "swa", "validation": 0.1}, "average: the mean of many updates"),
        ({"average_share": 0.5}, "average_share: is read with average"),
        ({"sharpness": 0.1, "task": "masked-lm"}, "sharpness: is of a stage with one task"),
        ({"average": "sva"}, "Did you mean 'swa'"),
        ({"objective": "self-train"}, "self-train needs rows without labels"),
        ({"objective": {"kind": "consistency", "unlabelled": "fre"}}, "Did you mean 'free'"),
        ({"objective": {"kind": "consistency", "unlabelled": "shop"}}, "with its labels already"),
        ({"objective": {"kind": "r3f", "steps": 3}}, "steps: is read by smart alone"),
        ({"objective": {"kind": "distil", "teacher": "x"}}, "Did you mean 'distill'"),
        ({"objective": "r3f", "train": "lora:2"}, "r3f moves the backbone itself"),
    ],
)
def test_faults_name_the_place_and_the_remedy(values, said):
    assert said in faults(**values)
