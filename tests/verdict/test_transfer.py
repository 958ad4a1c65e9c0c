"""The main job from Python, whole, on a tiny backbone and easy reviews."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from tests.conftest import FILLER, PRODUCT, reviews

import headstart
from headstart.errors import DataError, RecipeError, UserError
from headstart.recipe import Recipe
from headstart.training.model import open_trained
from headstart.training.progress import Silent
from headstart.verdict import arms, trials


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Rates and batches that suit a backbone of 3 blocks and width 20."""
    source = arms.SOURCE.model_copy(
        update={"learning_rate": 3e-3, "batch_tokens": 64, "epochs": 12.0}
    )
    monkeypatch.setattr(arms, "SOURCE", source)


class Heard(Silent):
    """Remembers the titles of all bars: each stage that is trained opens one of its name."""

    def __init__(self) -> None:
        self.titles: list[str] = []

    def bar(self, title, total, done=0):
        self.titles.append(title)
        return super().bar(title, total, done)

    def trained(self) -> list[str]:
        stages = [t for t in self.titles if t in ("source", "probe", "target", "tune")]
        self.titles.clear()
        return sorted(stages)


def films(count: int = 331) -> list[tuple[str, str]]:
    return reviews(count, 3, FILLER)


def shop(count: int = 157, seed: int = 5) -> list[tuple[str, str]]:
    return reviews(count, seed, PRODUCT)


def frame(rows, text="text", label="label") -> pd.DataFrame:
    return pd.DataFrame(rows, columns=[text, label])


def run(tiny_bert: Path, source=None, target=None, **options) -> headstart.Verdict:
    source = films() if source is None else source
    target = shop() if target is None else target
    common = {"backbone": str(tiny_bert), "labels": 17, "pooling": "mean", "progress": False,
              "arms": "target,source,source+target"}  # fmt: skip
    return headstart.transfer(source, target, **(common | options))


def test_the_source_helps_and_everything_is_left_behind(tiny_bert, tmp_path):
    out = tmp_path / "run"
    verdict = run(tiny_bert, test=shop(101, 9), seeds=3, out=out)
    assert verdict.winner == "source+target"
    assert verdict.gain is not None and verdict.gain.low > 0
    assert verdict.sentence.startswith("The source helps: +")
    assert not verdict.negative_transfer
    target, source, both = (verdict.arm(a) for a in ("target", "source", "source+target"))
    assert (target["labels"], source["labels"], both["labels"]) == (17, 0, 17)
    assert (target["seeds"], source["seeds"], both["seeds"]) == (3, 1, 3)
    gain = both["accuracy"]["mean"] - target["accuracy"]["mean"]
    assert verdict.gain.value == pytest.approx(gain)
    kept = json.loads((out / "verdict.json").read_text())
    assert kept == verdict.values
    assert {p.name for p in out.iterdir()} >= {
        "verdict.json", "report.html", "recipe.toml", "model", "stages", ".headstart",
    }  # fmt: skip
    assert {p.name for p in (out / "stages").iterdir()} == {s["digest"] for s in kept["stages"]}
    assert "<html" in (out / "report.html").read_text()


def test_the_source_is_trained_once_for_all_arms_counts_and_runs(tiny_bert, monkeypatch):
    monkeypatch.setattr(trials, "RESTARTS", 0)
    heard = Heard()
    run(tiny_bert, seeds=2, progress=heard)
    assert heard.trained() == ["probe"] * 4 + ["source"] + ["target"] * 2 + ["tune"] * 2
    run(tiny_bert, labels=29, progress=heard)
    assert heard.trained() == ["probe", "probe", "target", "tune"]
    run(tiny_bert, seeds=2, progress=heard)
    assert heard.titles and heard.trained() == []


def test_a_source_with_flipped_labels_hurts_and_is_not_kept(tiny_bert):
    flip = {"positive": "negative", "negative": "positive"}
    verdict = run(tiny_bert, [(t, flip[y]) for t, y in films()], shop(401), labels=101, seeds=2,
                  arms=["target", "source"])  # fmt: skip
    assert verdict.arm("source")["accuracy"]["mean"] < 0.2
    assert verdict.winner == "target"
    assert verdict.gain is None


def test_the_winning_recipe_runs_again_to_the_same_model(tiny_bert, tmp_path):
    paths = {}
    for name, rows in {"source": films(), "target": shop()}.items():
        paths[name] = tmp_path / f"{name}.csv"
        frame(rows).to_csv(paths[name], index=False)
    verdict = run(tiny_bert, paths["source"], paths["target"], out=tmp_path / "run")
    again = headstart.run(tmp_path / "run" / "recipe.toml", out=tmp_path / "again", progress=False)
    assert again.values["stages"][-1]["digest"] in verdict.arm(verdict.winner)["stages"]
    texts = [t for t, _ in shop(13, 21)]
    first, second = (open_trained(tmp_path / n / "model").logits(texts) for n in ("run", "again"))
    assert torch.equal(first, second), "how sure it is, is fitted in the comparison alone"


def test_the_saved_model_answers(tiny_bert, tmp_path):
    run(tiny_bert, out=tmp_path / "run")
    model = headstart.load(tmp_path / "run")
    unseen = shop(53, 33)
    texts = [t for t, _ in unseen]
    right = sum(p == y for p, (_, y) in zip(model.predict(texts), unseen, strict=True))
    assert right >= 40
    probabilities = model.predict_proba(texts)
    assert probabilities.shape == (53, 2)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    assert model.classes == ("negative", "positive")
    assert model.predict([]) == []
    assert model.provenance["sentence"]


@pytest.mark.parametrize("pooling", ["family", "mean", "cls"])
def test_transformers_opens_what_is_saved(tiny_bert, tmp_path, pooling):
    transformers = pytest.importorskip("transformers")
    run(tiny_bert, out=tmp_path / "run", pooling=pooling, arms=["target"])
    folder = tmp_path / "run" / "model"
    model = headstart.load(folder)
    texts = [t for t, _ in shop(7, 33)]
    encoded = transformers.AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, return_tensors="pt"
    )
    if pooling != "family":
        theirs = transformers.AutoModel.from_pretrained(folder).eval()
        hidden = theirs(**encoded).last_hidden_state[0]
        assert hidden.shape[1] == 20
        return
    theirs = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    assert theirs.config.id2label == {0: "negative", 1: "positive"}
    logits = theirs(**encoded).logits.softmax(-1).detach().numpy()
    np.testing.assert_allclose(model.predict_proba(texts), logits, atol=1e-5)


@pytest.mark.parametrize("kind", ["frame", "list", "csv", "tsv", "jsonl", "parquet", "dataset"])
def test_inputs_of_every_kind_give_the_same_stages(tiny_bert, tmp_path, kind):
    table = frame(shop(97), "review", "sentiment")
    path = tmp_path / f"shop.{kind}"
    make = {
        "frame": lambda: table,
        "list": lambda: shop(97),
        "csv": lambda: table.to_csv(path, index=False),
        "tsv": lambda: table.to_csv(path, index=False, sep="\t"),
        "jsonl": lambda: table.to_json(path, orient="records", lines=True),
        "parquet": lambda: table.to_parquet(path),
        "dataset": lambda: pytest.importorskip("datasets").Dataset.from_pandas(table),
    }[kind]()
    target = path if make is None else make
    found = run(tiny_bert, target=target, arms=["target"]).arm("target")["stages"]
    assert found == run(tiny_bert, target=shop(97), arms=["target"]).arm("target")["stages"]


def test_duplicates_of_test_rows_are_not_trained_on(tiny_bert):
    test = shop(41, 9)
    verdict = run(tiny_bert, target=shop(60) + test[:11], test=test, labels=None, arms=["target"])
    assert verdict.arm("target")["labels"] <= 60
    kinds = {f["kind"]: f for f in verdict.values["data"]["findings"]}
    assert any("duplicate" in kind for kind in kinds)


def test_seeds_draw_other_labels(tiny_bert):
    verdict = run(tiny_bert, seeds=2, arms=["target"])
    assert len(set(verdict.arm("target")["stages"])) == 4


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (
            {"labels": 1000},
            DataError,
            "--labels asks for 1,000 rows; 12[0-9] labelled rows are left",
        ),
        ({"arms": "target,sorce"}, RecipeError, "no way is called 'sorce'. Did you mean 'source'"),
        ({"arms": "target,target"}, RecipeError, "'target' is given twice"),
        ({"seeds": 0}, RecipeError, "seeds: must be 1 or more"),
        ({"pooling": "men"}, RecipeError, "no choice is called 'men'. Did you mean 'mean'"),
        ({"max_length": 64}, RecipeError, "64 tokens do not fit; .* has 37 positions"),
        ({"text": "txet"}, DataError, "txet"),
        ({"target": [("a b", "1"), ("c d", "5")] * 20}, DataError, "none is left"),
        (
            {"target": [(f"a {i}", "15"[i % 2]) for i in range(20)]},
            DataError,
            "share no class: the source has .*--target-map 1=negative,5=positive",
        ),
        ({"target": [("a b", "positive")] * 20}, DataError, "all 20 labels are .positive."),
    ],
)
def test_what_cannot_be_is_said(tiny_bert, options, error, message):
    with pytest.raises(error, match=message):
        run(tiny_bert, **options)


def test_an_unknown_backbone_is_named(tmp_path):
    with pytest.raises(UserError, match="all-MiniLM-L6-v3"):
        run(tmp_path, backbone="sentence-transformers/all-MiniLM-L6-v3")


def test_other_classes_need_a_new_head_and_no_source_only_arm(tiny_bert):
    words = {"positive": "good", "negative": "bad"}
    target = [(t, words[y]) for t, y in shop()]
    verdict = run(tiny_bert, target=target, arms=["target", "source+target"])
    assert verdict.values["confusion"]["classes"] == ["bad", "good"]
    with pytest.raises(DataError):
        run(tiny_bert, target=target)


def test_run_judges_after_each_stage(tiny_bert, tmp_path):
    recipe = Recipe.from_values({
        "backbone": str(tiny_bert),
        "data": {"films": {"path": "f"}, "shop": {"path": "s"}},
        "stage": [
            {"name": "source", "data": "films", "epochs": 3, "learning_rate": 3e-3},
            {"name": "probe", "data": "shop", "train": "head", "head": "new", "epochs": 5},
            {"name": "tune", "data": "shop", "epochs": 2},
        ],
    })  # fmt: skip
    data = {"films": films(), "shop": frame(shop())}
    verdict = headstart.run(recipe, data=data, out=tmp_path / "run", progress=False)
    assert [arm["title"] for arm in verdict.values["arms"]] == [
        "after source", "after probe", "after tune",
    ]  # fmt: skip
    assert verdict.winner == "tune", "the last stage is what the recipe is for"
    assert "tune" in verdict.sentence
    assert headstart.load(tmp_path / "run").classes == ("negative", "positive")


def test_an_output_folder_that_is_not_ours_is_left_alone(tiny_bert, tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(UserError, match=r"thesis\.tex.*nothing there was touched"):
        run(tiny_bert, out=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(UserError, match="is a file"):
        run(tiny_bert, out=tmp_path / "thesis.tex")


def test_two_runs_in_one_folder_at_once(tiny_bert, tmp_path):
    from headstart.verdict.output import output_folder

    with output_folder(tmp_path / "run"), pytest.raises(UserError, match="another run is at work"):
        run(tiny_bert, out=tmp_path / "run")
    assert run(tiny_bert, out=tmp_path / "run", arms=["target"]).winner == "target"


def test_a_full_disk_leaves_no_half_written_model(tiny_bert, tmp_path, monkeypatch):
    from headstart.training import model

    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model, "save_network", full)
    with pytest.raises(UserError, match="the disk is full"):
        run(tiny_bert, out=tmp_path / "run", arms=["target"])
    left = {p.name for p in (tmp_path / "run").iterdir()}
    assert left == {".headstart", ".headstart.lock"}
