"""Where the time goes: counted by part, told, and traced."""

from __future__ import annotations

import json
import time

import pytest
from tests.commands import Here, write_reviews

from headstart import clock
from headstart.training.profiling import table


@pytest.fixture
def headstart(capsys, monkeypatch, tmp_path) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(capsys, monkeypatch)


def test_a_part_in_a_part_counts_for_itself(monkeypatch):
    now = iter([0.0, 1.0, 3.0, 7.0, 15.0])
    monkeypatch.setattr(time, "perf_counter", lambda: next(now))
    with clock.running() as counted, clock.part("outer"), clock.part("inner"):
        pass
    assert counted.seconds == {"outer": 2.0 + 8.0, "inner": 4.0}


def test_nothing_is_counted_where_nobody_asked():
    with clock.part("forward"):
        pass
    with clock.running() as counted:
        pass
    assert counted.seconds == {}


def test_the_table_by_hand():
    assert table({"forward": 3.0, "own": 0.5, "data": 0.5}) == [
        "waiting for batches      0.50 s  12.5%",
        "forward                  3.00 s  75.0%",
        "own                      0.50 s  12.5%",
    ]


def test_a_run_tells_where_its_time_went(headstart, tmp_path, tiny_bert):
    write_reviews(tmp_path, films=307)
    options = ("--source", "films.csv", "--target", "shop.csv", "--backbone", tiny_bert,
               "--out", "out", "--profile")  # fmt: skip
    done = headstart("transfer", *options)
    assert done.code == 0
    for name in ("texts to tokens", "forward", "backward", "clipping and optimiser", "saving"):
        assert name in done.err
    assert "forward" in (tmp_path / "out" / "profile.txt").read_text()
    assert json.loads((tmp_path / "out" / "trace.json").read_text())["traceEvents"]
