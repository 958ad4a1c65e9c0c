"""A stage on a table kept in files is the stage on the same table in memory, to the last bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.conftest import reviews

from headstart.data import mapped
from headstart.data.examples import Examples, examples
from headstart.data.table import read
from headstart.data.texts import Texts
from headstart.models.checkpoint import open_network
from headstart.recipe import Recipe
from headstart.training.stage import Workshop


def rows(path: Path) -> Examples:
    return examples(read(path))


@pytest.mark.parametrize("train", ["all", "head"])
def test_where_a_table_is_kept_changes_nothing(tiny_bert, tmp_path, monkeypatch, own_cache, train):
    path = tmp_path / "shop.csv"
    lines = [f"{text},{label}" for text, label in reviews(101, 5)]
    path.write_text("\n".join(["text,label", *lines]) + "\n")
    stage = {"name": "tune", "data": "shop", "batch_tokens": 64, "epochs": 2, "train": train,
             "validation": 0.2}  # fmt: skip
    recipe = Recipe.from_values({
        "backbone": str(tiny_bert), "data": {"shop": {"path": str(path)}}, "stage": [stage]
    })  # fmt: skip
    small = Workshop().run(recipe, {"shop": rows(path)})[0]
    monkeypatch.setattr(mapped, "LARGE", -1)
    monkeypatch.setattr(mapped, "RESIDENT", 4096)
    large = rows(path)
    assert isinstance(large.texts, Texts)
    assert Workshop().run(recipe, {"shop": large})[0].reused
    monkeypatch.setenv("HEADSTART_CACHE", str(own_cache / "other"))
    again = Workshop().run(recipe, {"shop": rows(path)})[0]
    assert (again.reused, again.digest) == (False, small.digest)
    assert [p["loss"] for p in again.record["log"]] == [p["loss"] for p in small.record["log"]]
    ours, theirs = (open_network(found.folder).state_dict() for found in (again, small))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
