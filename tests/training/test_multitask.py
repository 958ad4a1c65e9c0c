"""Stages with several tasks: trained, stopped, left out, saved, opened, built on."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.conftest import FILLER, PRODUCT, reviews
from transformers import AutoModel, AutoModelForMaskedLM

import headstart
from headstart.data.examples import Examples
from headstart.data.pair import Pair
from headstart.errors import CheckpointError, DataError, InterruptedRunError, RecipeError
from headstart.models.bert import Bert
from headstart.recipe import Recipe
from headstart.training import loop
from headstart.training.model import open_trained
from headstart.training.progress import Silent
from headstart.training.shared import open_shared
from headstart.training.stage import Workshop

SCORE = {"positive": "4.5", "negative": "1.25"}


def rows(name, count, seed, *, pairs=False, numbers=False, nouns=FILLER, names=None):
    made = reviews(count, seed, nouns)
    texts = [text for text, _ in made]
    if pairs:
        texts = [Pair(text, " ".join(reversed(text.split()))) for text in texts]
    labels = [label for _, label in made]
    if numbers:
        labels = [SCORE[label] if i % 3 else "3" for i, label in enumerate(labels)]
    if names:
        labels = [names[label] for label in labels]
    return Examples(name, texts, labels, np.arange(count))


DATA = {
    "films": rows("films", 101, 1),
    "stars": rows("stars", 67, 2, numbers=True),
    "pairs": rows("pairs", 41, 3, pairs=True, names={"positive": "p", "negative": "n"}),
    "shop": rows("shop", 37, 4, nouns=PRODUCT),
}
TASKS = [
    {"data": "films"},
    {"kind": "regress", "data": "stars"},
    {"data": "pairs"},
    {"kind": "masked-lm", "data": ["films", "shop"], "name": "words", "weight": 0.5},
]


class Heard(Silent):
    def __init__(self):
        self.said = []

    def say(self, message):
        self.said.append(message)


def recipe(folder, *more, tasks=TASKS, pooling="mean", **stage):
    values = {"name": "together", "task": tasks, "epochs": 2, "batch_tokens": 96,
              "learning_rate": 3e-3} | stage  # fmt: skip
    data = {name: {"path": "<memory>"} for name in DATA}
    return Recipe.from_values({"backbone": str(folder), "pooling": pooling, "data": data,
                               "stage": [values, *more]})  # fmt: skip


def train(asked, progress=None, data=DATA):
    return Workshop(progress).run(asked, data)


def logits(folder):
    there = open_shared(folder)
    return {name: one.logits(list(DATA[name].texts[:5])) for name, one in there.items()}


@pytest.mark.parametrize("pooling", ["mean", "family"])
def test_one_folder_answers_for_every_task_and_others_open_its_backbone(tiny_bert, pooling):
    (result,) = train(recipe(tiny_bert, pooling=pooling))
    there = open_shared(result.folder)
    assert list(there) == ["films", "stars", "pairs"]
    assert len({id(one.network.backbone) for one in there.values()}) == 1
    assert [one.pairs for one in there.values()] == [False, False, True]
    assert {p.name for p in (result.folder / "heads").iterdir()} == {
        "films.safetensors", "stars.safetensors", "pairs.safetensors"}  # fmt: skip
    words = AutoModelForMaskedLM.from_pretrained(result.folder)
    assert "lm_head" not in {name for name, _ in words.named_modules()}
    theirs = AutoModel.from_pretrained(result.folder).eval()
    batch = torch.tensor([[2, 9, 11, 3]])
    from headstart.nn.ragged import Layout, Ragged

    with torch.no_grad():
        ours = there["films"].network.backbone(Ragged(batch[0], Layout([4]))).values
        torch.testing.assert_close(ours, theirs(batch).last_hidden_state[0], atol=1e-5, rtol=1e-5)


def test_without_a_head_of_its_own_the_folder_is_a_bare_backbone(tiny_bert):
    (result,) = train(recipe(tiny_bert, tasks=TASKS[:2]))
    config = json.loads((result.folder / "config.json").read_text())
    assert config["architectures"] == ["BertModel"]
    AutoModel.from_pretrained(result.folder)
    assert json.loads((result.folder / "modules.json").read_text())


def test_all_tasks_learn(tiny_bert):
    many = {"films": rows("films", 211, 1), "stars": rows("stars", 211, 1, numbers=True)}
    tasks = [*TASKS[:2], {"kind": "masked-lm", "data": "films", "name": "words"}]
    asked = recipe(tiny_bert, tasks=tasks, epochs=8, validation=0.2, batch_tokens=64)
    (result,) = train(asked, data=many)
    first, *_, last = [p["validation"] for p in result.record["log"] if "validation" in p]
    assert last["films accuracy"] > 0.7
    assert last["stars pearson"] > 0.4
    assert last["words log_likelihood"] > first["words log_likelihood"]
    assert last["mean"] == pytest.approx((last["films accuracy"] + last["stars pearson"]) / 2)


@pytest.mark.parametrize(
    "more",
    [
        {"mix": "annealed", "validation": 0.2, "patience": 1},
        {"balance": "dwa"},
        {"balance": "pcgrad", "micro_batch_tokens": 64},
    ],
)
def test_stopped_and_gone_on_with_equals_uninterrupted(tiny_bert, monkeypatch, own_cache, more):
    asked = recipe(tiny_bert, epochs=3, **({"batch_tokens": 256} | more))
    whole = train(asked)[0]
    monkeypatch.setenv("HEADSTART_CACHE", str(own_cache / "other"))
    monkeypatch.setenv("HEADSTART_SAVE_SECONDS", "0")
    update, at = loop.update, whole.record["steps"] * 2 // 3

    def stop(training, pieces, step):
        if step == at:
            raise InterruptedRunError("stopped", 15)
        return update(training, pieces, step)

    monkeypatch.setattr(loop, "update", stop)
    with pytest.raises(InterruptedRunError):
        train(asked)
    monkeypatch.setattr(loop, "update", update)
    again = train(asked)[0]
    assert again.record["tasks"] == whole.record["tasks"]
    for file in ("model.safetensors", "heads/films.safetensors", "heads/stars.safetensors"):
        ours, theirs = load_file(whole.folder / file), load_file(again.folder / file)
        assert all(torch.equal(ours[name], theirs[name]) for name in ours), file


def test_a_task_that_is_no_better_any_more_is_left_out_and_that_is_said(tiny_bert, monkeypatch):
    monkeypatch.setattr("headstart.tasks.regress.Regress.metrics", lambda *_: {"pearson": 0.25})
    heard = Heard()
    asked = recipe(tiny_bert, tasks=TASKS[:3], epochs=6, validation=0.2, patience=2)
    (result,) = train(asked, heard)
    left = result.record["tasks"]["left_out_after"]
    assert "stars" in left
    told = "stars: no better for 2 epochs (best 0.2500), so it is left out from here on"
    assert told in heard.said
    assert result.record["tasks"]["passes"]["stars"] < 5


def test_what_is_frozen_is_bit_identical_and_heads_move(tiny_bert):
    (result,) = train(recipe(tiny_bert, tasks=TASKS[:2], train="head"))
    before = load_file(tiny_bert / "model.safetensors")
    after = load_file(result.folder / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in after)
    assert {g["pattern"]: g["learning_rate"] for g in result.record["trainable"]} == {
        "head|pool": 3e-3, ".*": 0.0}  # fmt: skip


def test_the_same_task_alone_begins_with_the_same_head(tiny_bert):
    alone = train(recipe(tiny_bert, tasks=TASKS[:1], steps=1, epochs=None, learning_rate=1e-12))[0]
    both = train(recipe(tiny_bert, tasks=TASKS[:2], steps=1, epochs=None, learning_rate=1e-12))[0]
    ours = load_file(alone.folder / "heads/films.safetensors")
    theirs = load_file(both.folder / "heads/films.safetensors")
    torch.testing.assert_close(ours["head.weight"], theirs["head.weight"], atol=1e-7, rtol=0)


def test_a_classifier_goes_on_from_the_head_of_its_data(tiny_bert):
    tasks = [{"data": "films"}, {"data": "shop"}, {"data": "pairs"}]
    on = {"name": "on", "data": "shop", "steps": 1, "learning_rate": 1e-12}
    together, tuned = train(recipe(tiny_bert, on, tasks=tasks))
    head = open_shared(together.folder)["shop"].network.head.weight
    kept = open_trained(tuned.folder).network.head.weight
    torch.testing.assert_close(kept, head, atol=1e-7, rtol=0)
    assert not torch.equal(open_shared(together.folder)["films"].network.head.weight, head)


def test_several_tasks_go_on_from_several(tiny_bert):
    more = {"name": "more", "task": TASKS, "steps": 1, "learning_rate": 1e-12}
    first, second = train(recipe(tiny_bert, more))
    before, after = logits(first.folder), logits(second.folder)
    for name in before:
        torch.testing.assert_close(before[name], after[name], atol=1e-5, rtol=1e-5)


def test_a_lone_regression_is_a_stage_of_its_own(tiny_bert):
    stage = {"name": "number", "task": "regress", "data": "stars", "epochs": 1}
    data = {"stars": {"path": "<memory>"}}
    asked = Recipe.from_values({"backbone": str(tiny_bert), "data": data, "stage": [stage]})
    (result,) = Workshop().run(asked, DATA)
    model = headstart.load(result.folder)
    found = model.predict(["great film", "awful"])
    assert all(isinstance(value, float) for value in found)
    assert found == pytest.approx(model.numbers(["great film", "awful"]).tolist())
    with pytest.raises(CheckpointError, match="gives numbers"):
        model.predict_proba(["x"])


def test_a_loaded_model_answers_by_task(tiny_bert):
    (result,) = train(recipe(tiny_bert))
    model = headstart.load(result.folder)
    assert model.tasks == ("films", "stars", "pairs")
    assert set(model.predict(["great film", "awful"], task="films")) <= {"positive", "negative"}
    assert model.task("pairs").classes == ("n", "p")
    assert model.predict_proba([("a", "the")], task="pairs").sum() == pytest.approx(1.0)
    with pytest.raises(CheckpointError, match="answers for several, films, stars, pairs"):
        model.predict(["great"])
    with pytest.raises(CheckpointError, match="Did you mean 'films'"):
        model.predict(["great"], task="film")
    with pytest.raises(DataError, match="trained on pairs"):
        model.predict(["great"], task="pairs")
    with pytest.raises(CheckpointError, match="gives numbers"):
        open_trained(result.folder, "stars")


def test_a_damaged_head_is_told(tiny_bert):
    (result,) = train(recipe(tiny_bert, tasks=TASKS[:2]))
    (result.folder / "heads" / "stars.safetensors").unlink()
    with pytest.raises(CheckpointError, match="stars"):
        open_shared(result.folder)


def test_faults_of_all_tasks_are_told_at_once_before_training(tiny_bert, monkeypatch):
    monkeypatch.setattr(loop, "update", lambda *_: pytest.fail("nothing may be trained"))
    odd = rows("stars", 67, 2)
    with pytest.raises(RecipeError) as caught:
        train(recipe(tiny_bert, tasks=[{"data": "films"}, {"kind": "regress", "data": "stars"},
                                       {"kind": "causal-lm", "data": "shop"}]),
              data=DATA | {"stars": odd})  # fmt: skip
    faults = "\n".join(caught.value.faults)
    assert "task 'stars': stars: 67 labels of no number" in faults
    assert "task 'shop': " in faults


def test_the_backbone_is_in_memory_once(tiny_bert):
    from headstart.training.bound import Given
    from headstart.training.multitask import MultiTaskStage

    asked = recipe(tiny_bert)
    stage = MultiTaskStage(Given(Workshop(), asked, asked.stage[0], None, DATA), {})
    backbones = [m for m in stage.network.modules() if isinstance(m, Bert)]
    assert len(backbones) == 1
    names = [name for name, _ in stage.network.named_parameters()]
    assert len(names) == len(set(names))
    assert all(name.startswith(("backbone.", "head.")) for name in names)
    words = stage.limbs["words"].network.head.score.embedding
    assert words is backbones[0].embeddings.token
