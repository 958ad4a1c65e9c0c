"""Stages that learn from episodes."""

import json
import tomllib

import numpy as np
import pytest
import torch

from headstart.data.examples import Examples
from headstart.errors import CheckpointError, DataError, RecipeError, UserError
from headstart.models.checkpoint import open_checkpoint
from headstart.recipe import Recipe
from headstart.training import episode_memory, meta
from headstart.training.episodic import open_episodic
from headstart.training.meta import EpisodeSteps, MetaStage
from headstart.training.model import open_trained
from headstart.training.stage import Workshop

WORDS = "great lovely superb charming fun awful dull broken boring poor film plot actor".split()
FILLER = "the was a and very camera phone screen box cable".split()


def rows(name="many", classes=WORDS, count=11, seed=3):
    """Texts whose class is told by one word in them."""
    random = np.random.default_rng(seed)
    texts, labels = [], []
    for word in classes:
        while len(texts) < count * (1 + classes.index(word)):
            words = [*random.choice(FILLER, 4), word]
            text = " ".join(words[place] for place in random.permutation(5))
            if text not in texts:
                texts.append(text)
                labels.append(f"is {word}")
    return Examples(name, texts, labels, np.arange(len(texts)))


def recipe(backbone, objective, *more, data=("many",), **stage):
    values = {"name": "meta", "data": list(data), "steps": 7, "objective": objective} | stage
    return Recipe.from_values(
        {"backbone": str(backbone), "pooling": "mean",
         "data": {name: {"path": "x"} for name in {*data, "shop"}}, "stage": [values, *more]}
    )  # fmt: skip


BASE = {"ways": 3, "shots": 2, "queries": 4, "episodes": 2, "test": 0.25}
OBJECTIVES = {
    "protonet": {"kind": "protonet"},
    "anil": {"kind": "anil", "inner_rate": 0.1, "learn_rates": True},
    "maml head": {"kind": "maml", "head": "learned", "inner_rate": 0.1},
    "maml lora": {"kind": "maml", "inner": "lora:2", "inner_steps": 2, "inner_rate": 0.1},
    "fomaml part": {"kind": "fomaml", "inner": ["blocks.2"], "head": "generated",
                    "learn_rates": True, "inner_steps": 2},
    "reptile": {"kind": "reptile", "inner_steps": 4, "head": "learned", "test_steps": 6},
}  # fmt: skip


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_is_left_adapts_and_is_a_backbone(tiny_bert, name, monkeypatch):
    monkeypatch.setattr(meta, "VALIDATION_EPISODES", 3)
    some = rows()
    shop = Examples("shop", some.texts[:22], some.labels[:22], np.arange(22))
    tune = {"name": "tune", "data": "shop", "epochs": 1}
    with_tune = recipe(tiny_bert, BASE | OBJECTIVES[name] | {"validation": 0.2}, tune)
    learned, tuned = Workshop().run(with_tune, {"many": some, "shop": shop})
    assert all({"loss", "accuracy"} <= set(point) for point in learned.record["log"])
    assert learned.record["log"][-1]["validation"]["accuracy"] > 0
    assert json.loads((learned.folder / "headstart.json").read_text())["task"] == "episodes"
    model = open_episodic(learned.folder)
    support = rows("few", WORDS[:3], count=2, seed=9)
    adapted = model.adapt(support)
    assert adapted.task.labels == ("is great", "is lovely", "is superb")
    assert torch.equal(adapted.logits(support.texts), model.adapt(support).logits(support.texts))
    again = open_episodic(learned.folder).network.state_dict()
    for key, tensor in model.network.state_dict().items():
        assert torch.equal(tensor, again[key]), "adapting leaves the model as it is"
    with pytest.raises(CheckpointError, match=r"headstart adapt"):
        open_trained(learned.folder)
    start, end = open_checkpoint(tiny_bert).backbone, open_checkpoint(learned.folder).backbone
    assert any(not torch.equal(p, q) for p, q in zip(start.parameters(), end.parameters(),
                                                     strict=True))  # fmt: skip
    names = [stage["name"] for stage in open_trained(tuned.folder).provenance["stages"]]
    assert names == ["meta", "tune"]


def test_episodes_teach_what_tells_classes_apart(tiny_bert):
    told = rows()
    texts = [
        f"{text} {label[3:]} {label[3:]}"
        for text, label in zip(told.texts, told.labels, strict=True)
    ]
    told = Examples("many", texts, told.labels, told.rows)
    train = recipe(tiny_bert, BASE | {"kind": "protonet"}, steps=60, learning_rate=3e-3)
    log = Workshop().run(train, {"many": told})[0].record["log"]
    before, after = (np.mean([p["accuracy"] for p in part]) for part in (log[:15], log[-15:]))
    assert before < 0.55 and after > 0.7


@pytest.mark.parametrize("name", ["maml lora", "reptile", "anil"])
def test_resumed_is_uninterrupted(tiny_bert, monkeypatch, tmp_path, name):
    train = recipe(tiny_bert, BASE | OBJECTIVES[name])
    whole = Workshop(cache=tmp_path / "a").run(train, {"many": rows()})[0]
    work = MetaStage.work

    def killed(self, step):
        if step == 5:
            raise KeyboardInterrupt
        return work(self, step)

    monkeypatch.setenv("HEADSTART_SAVE_SECONDS", "0")
    monkeypatch.setattr(MetaStage, "work", killed)
    with pytest.raises(KeyboardInterrupt):
        Workshop(cache=tmp_path / "b").run(train, {"many": rows()})
    monkeypatch.setattr(MetaStage, "work", work)
    resumed = Workshop(cache=tmp_path / "b").run(train, {"many": rows()})[0]
    assert not resumed.reused
    again = open_episodic(resumed.folder).network.state_dict()
    for key, tensor in open_episodic(whole.folder).network.state_dict().items():
        assert torch.equal(tensor, again[key]), key


def test_a_frozen_backbone_runs_once_and_gives_the_same(tiny_bert, monkeypatch):
    objective = BASE | OBJECTIVES["anil"] | {"head": "generated", "learn_rates": True}
    train = recipe(tiny_bert, objective, train="head")
    cached = Workshop().run(train, {"many": rows()})[0]
    assert cached.record["cached_parts"] == 5
    monkeypatch.setattr(MetaStage, "cached_parts", lambda self: 0)
    plain = Workshop(cache=cached.folder.parent.parent / "other").run(train, {"many": rows()})[0]
    for one, other in zip(cached.record["log"], plain.record["log"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    rates = open_episodic(cached.folder).network.head.rates
    assert not torch.equal(rates, torch.full_like(rates, 0.1))


def test_what_moves_inside_is_not_cached(tiny_bert, monkeypatch):
    objective = BASE | {"kind": "fomaml", "inner": ["blocks.1"], "head": "learned"}
    stage = Workshop().run(recipe(tiny_bert, objective, train="head"), {"many": rows()})[0]
    assert stage.record["cached_parts"] == 2
    start, end = open_checkpoint(tiny_bert).backbone, open_checkpoint(stage.folder).backbone
    for one, other in zip(start.parameters(), end.parameters(), strict=True):
        assert torch.equal(one, other), "what moves in an episode is back behind it"


def test_data_sets_with_other_labels_each(tiny_bert):
    data = {"a": rows("a", WORDS[:3]), "b": rows("b", WORDS[3:8]), "c": rows("c", WORDS[8:])}
    objective = {"kind": "protonet", "shots": [1, 3], "queries": 4, "test": "c"}
    stage = Workshop().run(recipe(tiny_bert, objective, data=("a", "b", "c")), data)[0]
    assert stage.record["classes"]["train"]["b"] == sorted(f"is {w}" for w in WORDS[3:8])
    assert set(stage.record["classes"]["train"]) == {"a", "b"}
    learned = objective | {"kind": "maml", "head": "learned"}
    with pytest.raises(DataError, match=r"found a 3, b 5, c 5. Set ways to the least"):
        Workshop().run(recipe(tiny_bert, learned, data=("a", "b", "c")), data)


def test_held_out_classes_under_another_name_are_an_error(tiny_bert):
    data = {"a": rows("a", WORDS[:5]), "b": rows("b", WORDS[:5])}
    objective = {"kind": "protonet", "shots": 1, "queries": 4, "test": ["b"]}
    with pytest.raises(DataError, match="held out under another name"):
        Workshop().run(recipe(tiny_bert, objective, data=("a", "b")), data)


def test_what_does_not_fit_is_refused_with_what_does(tiny_bert, monkeypatch):
    objective = BASE | {"kind": "maml", "inner": "all", "inner_steps": 5, "head": "learned"}
    found = {}
    measure = episode_memory.episode_memory

    def measured(model, episode):
        found["memory"] = measure(model, episode)
        found["real"] = episode_memory._saved(model, episode, 5)
        return found["memory"]

    monkeypatch.setattr(episode_memory, "episode_memory", measured)
    Workshop().run(recipe(tiny_bert, objective, steps=1), {"many": rows()})
    memory = found["memory"]
    assert memory.total(5) == pytest.approx(found["real"], rel=0.1)
    assert memory.total(5) > 2 * memory.total(1) > 2 * memory.total(0)
    monkeypatch.setattr(episode_memory, "free_bytes", lambda: int(memory.total(3) / 0.899))
    with pytest.raises(RecipeError, match=r"through 5 steps .* fits: inner_steps = 3; .*fomaml"):
        Workshop().run(recipe(tiny_bert, objective, steps=2), {"many": rows()})
    monkeypatch.setattr(episode_memory, "free_bytes", lambda: 1000)
    with pytest.raises(RecipeError, match="Take a smaller backbone"):
        Workshop().run(recipe(tiny_bert, objective, steps=2), {"many": rows()})
    light = objective | {"kind": "fomaml"}
    Workshop().run(recipe(tiny_bert, light, steps=1), {"many": rows()})


@pytest.mark.parametrize(
    ("values", "stage", "message"),
    [
        ({"kind": "maml", "way": 3}, {}, r"no key is called 'way'. Did you mean 'ways'"),
        ({"kind": "mamml"}, {}, r"no objective is called 'mamml'. Did you mean 'maml'"),
        ({"kind": "protonet", "ways": None}, {}, r"ways: one data set needs it"),
        ({"kind": "protonet"}, {"epochs": 2, "steps": None}, r"there are no epochs. Set steps"),
        ({"kind": "protonet"}, {"validation": 0.1}, r"classes are held out, not rows"),
        ({"kind": "protonet"}, {"patience": 2}, r"objective.validation: patience needs it"),
        ({"kind": "protonet"}, {"task": "masked-lm"}, r"learns to tell classes apart"),
        ({"kind": "maml", "inner": "lora:2"}, {"train": "lora:4"}, r"does not go with 'lora:4'"),
        ({"kind": "maml", "inner": "lora:x"}, {}, r"no word is called 'lora:x'"),
        ({"kind": "maml", "inner": "all"}, {"recompute": True}, r"recompute: cannot be"),
        ({"kind": "protonet"}, {"batch_tokens": 64}, r"an update is of episodes"),
        ({"kind": "protonet"}, {"micro_batch_tokens": 64}, r"go through the network whole"),
        ({"kind": "protonet"}, {"head": "keep"}, r"each episode has a head of its own"),
        ({"kind": "protonet"}, {"task": {"label_smoothing": 0.1}}, r"has no part in episodes"),
        ({"kind": "protonet"}, {"train": "prefix:4"}, r"cannot be merged after episodes"),
        ({"kind": "anil", "validation": ["x"], "test": ["x"]}, {}, r"named in validation already"),
    ],
)  # fmt: skip
def test_faults_of_a_recipe(values, stage, message):
    with pytest.raises(RecipeError, match=message):
        recipe("x", BASE | values, **stage)


def test_a_pattern_that_rules_nothing(tiny_bert):
    objective = BASE | {"kind": "maml", "inner": "block.1"}
    with pytest.raises(RecipeError, match=r"'block.1' rules no parameter. Did you mean 'blocks"):
        Workshop().run(recipe(tiny_bert, objective), {"many": rows()})


def test_a_recipe_goes_to_toml_and_back():
    values = BASE | OBJECTIVES["fomaml part"]
    first = recipe("x", values)
    assert Recipe.from_values(tomllib.loads(first.to_toml())) == first


def test_a_stage_is_validated_ten_times():
    assert [n for n in range(20) if EpisodeSteps(20).ends_epoch(n)] == list(range(1, 20, 2))
    assert [n for n in range(3) if EpisodeSteps(3).ends_epoch(n)] == [0, 1, 2]


def test_adapting_wants_what_the_model_learned(tiny_bert):
    objective = BASE | OBJECTIVES["maml head"]
    stage = Workshop().run(recipe(tiny_bert, objective, steps=1), {"many": rows()})[0]
    model = open_episodic(stage.folder)
    with pytest.raises(UserError, match=r"has 2 classes, and the model learned .* of 3"):
        model.adapt(rows("few", WORDS[:2], count=2))
    with pytest.raises(CheckpointError, match="did not learn from episodes"):
        tune = {"name": "tune", "data": "shop", "epochs": 1}
        some = rows("shop", WORDS[:2], count=7)
        tuned = Workshop().run(recipe(tiny_bert, objective, tune, steps=1),
                               {"many": rows(), "shop": some})[1]  # fmt: skip
        open_episodic(tuned.folder)
