"""Stages that train little beside a frozen backbone: LoRA, prefixes, bottlenecks, biases."""

from __future__ import annotations

import json
import os
import signal

import pytest
import torch
from tests.conftest import PRODUCT, reviews
from tests.training.test_stage import equal, recipe, rows, train, weights

import headstart
from headstart.data.examples import examples
from headstart.data.table import read
from headstart.errors import CheckpointError, InterruptedRunError, RecipeError
from headstart.models.adapters import bare, open_adapter
from headstart.models.checkpoint import open_checkpoint, open_network
from headstart.training import loop
from headstart.training.model import open_trained
from headstart.training.stage import Workshop

TEXTS = [text for text, _ in reviews(23, 5, PRODUCT)]
TABLE = {"kind": "lora", "rank": 2, "targets": "query|value"}


def logits(model) -> torch.Tensor:
    return model.logits(TEXTS)


def moving_and_network(monkeypatch) -> list:
    """What moves in each stage, by name, and the network as the loop saw it last."""
    seen = []
    real = loop.train

    def spy(training, progress):
        state = real(training, progress)
        network = training.network
        moved = {n for n, p in network.named_parameters() if p.requires_grad}
        grads = {n for n, p in network.named_parameters() if p.grad is not None}
        base = {n: t.clone() for n, t in bare(network).state_dict().items()}
        seen.append((moved, grads, base))
        return state

    monkeypatch.setattr("headstart.training.bound.train", spy)
    return seen


@pytest.mark.parametrize(
    ("train_", "ends"),
    [
        ("lora:3", (".lora.down", ".lora.up")),
        (TABLE | {"dora": True}, (".lora.down", ".lora.up", ".lora_magnitude")),
        ("prefix:3", (".prefix.key", ".prefix.value")),
        ("adapter:5", (".down.weight", ".down.bias", ".up.weight", ".up.bias")),
        ("bitfit", (".bias",)),
        ({"lora:3": 1e-3, "bitfit": 1e-3, ".*": 0.0}, (".lora.down", ".lora.up", ".bias")),
    ],
)
@pytest.mark.parametrize("pooling", ["mean", "family"])
def test_only_what_is_added_and_the_head_move(tiny_bert, monkeypatch, train_, ends, pooling):
    seen = moving_and_network(monkeypatch)
    result = train(tiny_bert, {"train": train_, "epochs": 1}, pooling=pooling)[0]
    moved, grads, base = seen[0]
    assert moved == grads
    assert all(name.endswith(ends) for name in moved if name.startswith("backbone."))
    assert {"head.weight", "head.bias"} <= moved
    assert ("pool.dense.weight" in moved) == (pooling == "family")
    before = open_checkpoint(tiny_bert).backbone.state_dict()
    for name, tensor in before.items():
        if f"backbone.{name}" not in moved:
            assert torch.equal(base[f"backbone.{name}"], tensor), name
    told = {row["pattern"]: row["parameters"] for row in result.record["trainable"]}
    assert "head|pool" in told and told[".*"] > 0


@pytest.mark.parametrize("pooling", ["mean", "family"])
@pytest.mark.parametrize("train_", ["lora:3", TABLE | {"dora": True}, "bitfit"])
def test_a_stage_leaves_merged_weights_and_the_adapter(tiny_bert, train_, pooling):
    result = train(tiny_bert, {"train": train_, "epochs": 1}, pooling=pooling)[0]
    model = open_trained(result.folder)
    assert not any("lora" in name for name in model.network.state_dict())
    opened = open_adapter(result.folder / "adapter", tiny_bert)
    merged = logits(model)
    model.network = opened.network
    torch.testing.assert_close(logits(model), merged, atol=1e-5, rtol=1e-5)
    assert opened.labels == model.task.labels and opened.pooling == pooling
    form = "headstart" if train_ == "bitfit" else "peft"
    assert result.record["adapter"]["form"] == form
    assert 0 <= result.record["adapter"]["merge_difference"] < 1e-4
    if form == "peft":
        config = json.loads((result.folder / "adapter" / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == str(tiny_bert)


@pytest.mark.filterwarnings("ignore")
def test_transformers_and_peft_open_what_a_stage_leaves(tiny_bert):
    hf, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    result = train(tiny_bert, {"train": "lora:3", "epochs": 1}, pooling="family")[0]
    model = open_trained(result.folder)
    encoded = model.tokenizer.encode(["the lovely phone was great"], model.max_length)
    tokens = torch.as_tensor(encoded.values, dtype=torch.int64)[None]
    want = logits_of_one(model)
    merged = hf.AutoModelForSequenceClassification.from_pretrained(result.folder).eval()
    torch.testing.assert_close(merged(tokens).logits.detach(), want, atol=1e-5, rtol=1e-5)
    base = hf.AutoModelForSequenceClassification.from_pretrained(tiny_bert, num_labels=2)
    both = peft.PeftModel.from_pretrained(base, result.folder / "adapter").eval()
    torch.testing.assert_close(both(tokens).logits.detach(), want, atol=1e-5, rtol=1e-5)


def logits_of_one(model) -> torch.Tensor:
    return model.logits(["the lovely phone was great"])


@pytest.mark.parametrize("train_", ["prefix:3", "adapter:5"])
def test_what_cannot_be_merged_is_carried_and_trained_on(tiny_bert, monkeypatch, train_):
    seen = moving_and_network(monkeypatch)
    stages = [{"train": train_, "epochs": 1}, {"train": "head", "epochs": 1},
              {"train": train_, "epochs": 1}]  # fmt: skip
    first, head, again = train(tiny_bert, *stages, pooling="mean")
    models = [open_trained(r.folder) for r in (first, head, again)]
    names = {n for n in models[0].network.state_dict() if ".prefix." in n or ".adapter." in n}
    assert names
    for name in names:
        before, between, after = (m.network.state_dict()[name] for m in models)
        assert torch.equal(before, between)
        assert not torch.equal(between, after)
    assert head.record["cached_parts"] == 5, "a frozen prefix is computed once like all else"
    assert seen[0][0] == seen[2][0]
    assert models[0].max_length == (34 if train_ == "prefix:3" else 37)
    opened = open_adapter(first.folder / "adapter", tiny_bert)
    want = logits(models[0])
    models[0].network = opened.network
    torch.testing.assert_close(logits(models[0]), want, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("train_", ["prefix:3", "lora:3"])
def test_cached_blocks_below_give_the_same(tiny_bert, monkeypatch, own_cache, train_):
    """The last block alone moves: what is below is computed once, also under a prefix."""

    two = ({"train": train_, "epochs": 1}, {"train": "top:1", "epochs": 2})
    cached = train(tiny_bert, *two)[1]
    assert cached.record["cached_parts"] == 3
    monkeypatch.setattr("headstart.training.supervised.frozen_depth", lambda network: 0)
    monkeypatch.setenv("HEADSTART_CACHE", str(own_cache / "other"))
    plain = train(tiny_bert, *two)[1]
    losses = [[point["loss"] for point in r.record["log"]] for r in (cached, plain)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def test_lora_in_the_last_block_leaves_those_below_frozen_and_cached(tiny_bert):
    table = TABLE | {"targets": "blocks.2.attention.(query|value)"}
    result = train(tiny_bert, {"train": table, "epochs": 1})[0]
    assert result.record["cached_parts"] == 3


def test_the_next_stage_starts_from_the_merged_weights(tiny_bert):
    still = {"epochs": 0.1, "learning_rate": 1e-9, "warmup": 0.0}
    first, second = train(tiny_bert, {"train": "lora:3"}, {"train": "lora:2"} | still)
    before, after = weights(first), weights(second)
    for name, tensor in before.items():
        torch.testing.assert_close(after[name], tensor, atol=1e-6, rtol=1e-6)
    config = json.loads((second.folder / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(first.folder)


@pytest.mark.parametrize("train_", ["lora:3", TABLE | {"dora": True, "dropout": 0.1}, "prefix:3"])
def test_stopped_and_resumed_equals_uninterrupted(tiny_bert, monkeypatch, own_cache, train_):
    stage = {"train": train_, "validation": 0.2}
    whole = train(tiny_bert, stage)[0]
    monkeypatch.setenv("HEADSTART_CACHE", str(own_cache / "other"))
    update = loop.update

    def interrupt(training, batch, step):
        if step == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return update(training, batch, step)

    monkeypatch.setattr(loop, "update", interrupt)
    with pytest.raises(InterruptedRunError):
        train(tiny_bert, stage)
    monkeypatch.setattr(loop, "update", update)
    resumed = train(tiny_bert, stage)[0]
    assert equal(open_trained(whole.folder).network.state_dict(),
                 open_trained(resumed.folder).network.state_dict())  # fmt: skip
    name = "adapter_model.safetensors"
    files = [(r.folder / "adapter" / name).read_bytes() for r in (whole, resumed)]
    assert files[0] == files[1]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        (
            [{"train": TABLE | {"targets": "qeury"}}],
            r"stage 'stage0', train, targets: 'qeury' .*'qu",
        ),
        ([{"train": "prefix:36"}], "a prefix of 36 leaves no room"),
        ([{"train": "prefix:3"}, {"train": "lora:2"}], "stage 'stage1', train: the model has a pr"),
        ([{"train": "prefix:3"}, {"train": "prefix:2"}], "the model has a prefix from before"),
        (
            [{"train": {"lora:2": 1e-3, "haed": 1e-3, ".*": 0}}],
            "'haed' rules no.*Did you mean 'head",
        ),
    ],
)
def test_faults(tiny_bert, stages, message):
    with pytest.raises(RecipeError, match=message):
        train(tiny_bert, *({"epochs": 0.1} | stage for stage in stages))


def test_rates_in_the_same_ordered_patterns(tiny_bert):
    rates = {"blocks.2.*lora": 0.5, "lora": 1e-3, "head": 1e-2, ".*": 0.0}
    result = train(tiny_bert, {"train": TABLE | {"rates": rates}, "epochs": 0.1})[0]
    told = [(r["pattern"], r["parameters"], r["learning_rate"]) for r in result.record["trainable"]]
    size = 2 * 2 * (20 + 20)
    assert told[:3] == [("blocks.2.*lora", size, 0.5), ("lora", 2 * size, 1e-3),
                        ("head|pool", 42 + 20 * 21, 1e-2)]  # fmt: skip


def test_headstart_runs_a_recipe_with_lora(tiny_bert, tmp_path):
    values = {
        "backbone": str(tiny_bert),
        "data": {"shop": {"path": "<memory>"}},
        "stage": [{"name": "tune", "data": "shop", "train": "lora:3", "epochs": 2}],
    }
    verdict = headstart.run(values, data={"shop": reviews(101, 3, PRODUCT)}, out=tmp_path / "run",
                            progress=False)  # fmt: skip
    assert (tmp_path / "run" / "model" / "adapter" / "adapter_config.json").exists()
    assert 'train = "lora:3"' in (tmp_path / "run" / "recipe.toml").read_text()
    assert verdict.values["schema"]
    assert len(headstart.load(tmp_path / "run").predict(TEXTS)) == len(TEXTS)
    assert open_network(tmp_path / "run" / "model") is not None


def shop(count: int, seed: int, words: dict[str, str]) -> list[tuple[str, str]]:
    return [(text, words[label]) for text, label in reviews(count, seed, PRODUCT)]


@pytest.fixture
def two_shops(tiny_bert):
    """A model, and two adapters trained on it for classes of their own."""
    classes = {"shoes": ("fits", "pinches"), "books": ("good", "bad")}
    data = {"shop": rows(101)} | {
        name: examples(read(shop(41, 2, {"positive": yes, "negative": no}), name=name))
        for name, (yes, no) in classes.items()
    }
    paths = {name: {"path": "<memory>"} for name in data}

    def run(name: str, way: str) -> list:
        second = {"data": name, "train": way}
        return Workshop().run(recipe(tiny_bert, {}, second, data=paths), data)

    base, first = run("shoes", "lora:3")
    return base.folder, first.folder, run("books", "prefix:3")[1].folder


def test_several_adapters_on_one_backbone_chosen_per_call(two_shops):
    base, shoes, books = two_shops
    model = headstart.load(base)
    alone, own = model.predict_proba(TEXTS), model._trained.network.state_dict()
    before = {name: (t.data_ptr(), t.clone()) for name, t in own.items()}
    model.add_adapter("shoes", shoes / "adapter")
    model.add_adapter("books", books / "adapter")
    assert model.adapters == ("shoes", "books")
    assert model.adapter("shoes").classes == ("fits", "pinches")
    merged = headstart.load(shoes).predict_proba(TEXTS)
    for _ in range(2):
        assert set(model.predict(TEXTS, adapter="books")) <= {"good", "bad"}
        got = model.predict_proba(TEXTS, adapter="shoes")
        torch.testing.assert_close(torch.from_numpy(got), torch.from_numpy(merged), atol=1e-5,
                                   rtol=1e-5)  # fmt: skip
        carried = headstart.load(books).predict_proba(TEXTS)
        assert (model.predict_proba(TEXTS, adapter="books") == carried).all()
        assert (model.predict_proba(TEXTS) == alone).all()
    for name, tensor in model._trained.network.state_dict().items():
        place, clone = before[name]
        assert tensor.data_ptr() == place and torch.equal(tensor, clone)
    for adapter in ("shoes", "books"):
        view = dict(model.adapter(adapter)._trained.network.named_parameters())
        mine = dict(model._trained.network.named_parameters())
        assert all(p is view[n] for n, p in mine.items() if n.startswith("backbone."))


def test_an_adapter_is_opened_with_the_base_it_names(two_shops):
    _, shoes, books = two_shops
    model = headstart.load(shoes / "adapter")
    got, want = model.predict_proba(TEXTS), headstart.load(shoes).predict_proba(TEXTS)
    torch.testing.assert_close(torch.from_numpy(got), torch.from_numpy(want), atol=1e-5, rtol=1e-5)
    model.add_adapter("books", books / "adapter")
    assert set(model.predict(TEXTS, adapter="books")) <= {"good", "bad"}


def test_adapters_that_cannot_be_added(two_shops):
    base, shoes, books = two_shops
    model = headstart.load(shoes)
    with pytest.raises(CheckpointError, match=r"adapter: was made for .* On other weights"):
        model.add_adapter("shoes", shoes / "adapter")
    model = headstart.load(base)
    model.add_adapter("shoes", shoes / "adapter")
    with pytest.raises(CheckpointError, match="there is one of that name"):
        model.add_adapter("shoes", books / "adapter")
    with pytest.raises(CheckpointError, match=r"no adapter is called 'shoe'. Did you mean 'shoes'"):
        model.predict(TEXTS, adapter="shoe")
