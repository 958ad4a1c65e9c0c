"""The cache: what it holds, and what goes first."""

from __future__ import annotations

import json
import os

import pytest
from filelock import FileLock

from headstart.errors import UserError
from headstart.training.room import LIMIT, entries, limit_bytes, make_room, remove


@pytest.fixture
def cache(tmp_path):
    """Features of 700 bytes used first, a stage of about 1,100 then, a stopped stage last."""
    features = tmp_path / "features" / "f"
    features.mkdir(parents=True)
    (features / "description.json").write_text(json.dumps({"shape": [101, 13]}))
    (features / "values.npy").write_bytes(b"x" * 700)
    stage = tmp_path / "stages" / "a"
    stage.mkdir(parents=True)
    stages = [{"name": "source", "data": "films"}, {"name": "probe", "data": "shop"}]
    record = {"provenance": {"backbone": "tiny", "stages": stages}}
    (stage / "stage.json").write_text(json.dumps(record))
    (stage / "model.safetensors").write_bytes(b"x" * 1100)
    (tmp_path / "stages" / "b.state").write_bytes(b"x" * 300)
    for age, place in enumerate((tmp_path / "stages" / "b.state", stage, features)):
        os.utime(place, (1_000_000 - age, 1_000_000 - age))
    return tmp_path


def test_what_is_there_the_least_recently_used_first(cache):
    there = entries(cache)
    assert [entry.kind for entry in there] == ["features", "stages", "unfinished"]
    assert [entry.what for entry in there] == [
        "101 vectors of width 13",
        "source -> probe (tiny, shop)",
        "a stage that was stopped; it would go on from here",
    ]
    assert there[2].num_bytes == 300
    assert there[0].num_bytes == 700 + len('{"shape": [101, 13]}')


def test_room_is_made_by_the_least_recently_used(cache):
    total = sum(entry.num_bytes for entry in entries(cache))
    assert make_room(cache, total) == []
    assert [entry.kind for entry in make_room(cache, total - 1)] == ["features"]
    assert [entry.kind for entry in entries(cache)] == ["stages", "unfinished"]


def test_what_is_needed_or_held_stays(cache):
    features, stage, state = (entry.place for entry in entries(cache))
    with FileLock(stage.with_suffix(".lock")):
        removed = make_room(cache, 0, keep={features})
    assert [entry.place for entry in removed] == [state]
    assert features.exists() and stage.exists() and not state.exists()


def test_a_damaged_entry_is_told_and_can_be_removed(cache):
    (cache / "stages" / "a" / "stage.json").write_text("{")
    entry = entries(cache)[1]
    assert entry.what == "damaged; it would be computed again"
    assert remove(entry) and not entry.place.exists()


@pytest.mark.parametrize(
    ("kind", "described", "what"),
    [
        ("tables", {"rows": 5_003}, "a table of 5,003 rows"),
        ("tokens", {"rows": 5_003, "tokens": 70_001}, "70,001 tokens of 5,003 texts"),
    ],
)
def test_what_large_tables_leave_is_shown_and_makes_room(tmp_path, kind, described, what):
    place = tmp_path / kind / "d"
    place.mkdir(parents=True)
    (place / "description.json").write_text(json.dumps(described))
    (entry,) = entries(tmp_path)
    assert (entry.kind, entry.what, entry.place) == (kind, what, place)
    assert make_room(tmp_path, 0) == [entry] and not place.exists()


def test_an_empty_cache(tmp_path):
    assert entries(tmp_path / "none") == []


def test_the_limit_is_read_from_the_environment(monkeypatch):
    monkeypatch.delenv(LIMIT, raising=False)
    assert limit_bytes() == 20e9
    monkeypatch.setenv(LIMIT, "0.5")
    assert limit_bytes() == 5e8


@pytest.mark.parametrize("given", ["0", "-1", "much", "nan"])
def test_a_limit_that_is_none(monkeypatch, given):
    monkeypatch.setenv(LIMIT, given)
    with pytest.raises(UserError, match=rf"\$HEADSTART_CACHE_GB: .* got '{given}'"):
        limit_bytes()
