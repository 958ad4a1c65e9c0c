"""The benchmarks' own helpers: rows and table, the arithmetic, texts of given lengths, turns."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from headstart.data.examples import Examples
from headstart.data.text import Tokenizer
from headstart.models.checkpoint import open_checkpoint
from headstart.nn.attention import kernel
from headstart.nn.ragged import Layout, Ragged

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import arithmetic
import common
import growth
import table
from table import Row

FAST = Row("job", 2.0, "other", 7.0, 0.75, 0.5, needed=3.5, note="three seeds")
SLOW = Row("job", 2.0, "another", 1.0, needed=2.0)
LIMITED = Row("start", 0.8, limit=0.7)
MEMORY = Row("memory", 800.0, "other", 1200.0, needed=1.0, unit="MB")


def test_ratio_is_how_many_times_as_much_the_peer_takes():
    assert FAST.ratio == 3.5
    assert SLOW.ratio == 0.5
    assert LIMITED.ratio is None


def test_rows_are_kept_with_what_the_figure_depends_on(tmp_path):
    file = tmp_path / "results" / "bench.json"
    table.keep_rows([FAST, SLOW], file=file)
    first, second = json.loads(file.read_text())
    described = {"machine", "versions", "date"}
    assert first.keys() == second.keys()
    assert {k: v for k, v in first.items() if k not in described} == {
        "name": "job", "ours_s": 2.0, "peer": "other", "peer_s": 7.0, "ratio": 3.5,
        "ours_accuracy": 0.75, "peer_accuracy": 0.5, "needed": 3.5, "limit": None,
        "note": "three seeds",
    }  # fmt: skip
    assert first["versions"]["torch"] == torch.__version__
    assert first["machine"]["cores"] >= 1


def test_a_row_takes_the_place_of_its_elder(tmp_path):
    file = tmp_path / "bench.json"
    table.keep_rows([FAST, SLOW, MEMORY], file=file)
    table.keep_rows([Row("job", 4.0, "another", 2.0), LIMITED], file=file)
    kept = json.loads(file.read_text())
    assert [(row["name"], row["peer"]) for row in kept] == [
        ("job", "other"), ("job", "another"), ("memory", "other"), ("start", ""),
    ]  # fmt: skip
    assert [row["ours_s"] for row in kept] == [2.0, 4.0, None, 0.8]
    assert [path.name for path in tmp_path.iterdir()] == ["bench.json"]


def test_rows_of_a_small_run_leave_the_results_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "SMALL", tmp_path / "small.json")
    monkeypatch.setattr(table, "RESULTS", tmp_path / "results")
    table.keep_rows([FAST], small=True)
    assert [path.name for path in tmp_path.iterdir()] == ["small.json"]


def test_memory_is_not_called_seconds():
    values = MEMORY.values()
    assert (values["ours_s"], values["peer_s"]) == (None, None)
    assert (values["ours_mb"], values["peer_mb"], values["ratio"]) == (800.0, 1200.0, 1.5)


def test_the_table_says_what_holds():
    rows = [row.values() for row in (FAST, SLOW, LIMITED, MEMORY)]
    assert table.table(rows).split("\n") == [
        "what         ours  beside        theirs  ratio    needed         accuracy",
        "job        2.00 s  other         7.00 s    3.5       3.5  holds  0.750 / 0.500",
        "job        2.00 s  another       1.00 s    0.5         2  FAILS",
        "start      0.80 s                               <= 0.7 s  FAILS",
        "memory  800.00 MB  other    1,200.00 MB    1.5         1  holds",
        "  job / other: three seeds",
    ]


def test_training_flops_by_hand():
    sizes = arithmetic.Sizes(width=3, inner=5, blocks=2)
    assert sizes.parameters == 2 * (4 * 9 + 2 * 15) == 132
    matrices = 6 * 132 * 18
    attention = 12 * (7 * 7 + 11 * 11) * 3 * 2
    assert arithmetic.training_flops(sizes, [7, 11]) == matrices + attention == 26_496


def test_training_flops_are_those_that_torch_counts(tiny_bert):
    backbone = open_checkpoint(tiny_bert).backbone.train()
    lengths = [13] * 5  # of one length, so that the kernel has nothing to pad
    tokens = Ragged(torch.randint(5, 20, (65,)), Layout(lengths))
    with FlopCounterMode(display=False) as counter, kernel("eager"):
        backbone(tokens).values.sum().backward()
    sizes = arithmetic.Sizes(width=20, inner=29, blocks=3)
    assert counter.get_total_flops() == arithmetic.training_flops(sizes, lengths)


def test_the_products_that_are_timed_are_those_of_a_block():
    sizes, tokens = arithmetic.Sizes(width=3, inner=5, blocks=1), 7
    products = list(arithmetic._products(sizes, tokens, torch.float32))
    flops = sum(2 * a.shape[0] * a.shape[1] * b.shape[1] for a, b in products)
    assert flops == 6 * sizes.parameters * tokens
    assert arithmetic.matrix_rate(sizes, tokens, torch.float32, rounds=2) > 0


def test_random_texts_have_the_lengths_asked_for(tiny_bert):
    tokenizer = Tokenizer.open(tiny_bert)
    texts = common.random_texts(tokenizer, [3, 11, 7, 5], seed=0)
    assert tokenizer.encode(texts, 37).lengths.tolist() == [3, 11, 7, 5]
    assert texts != common.random_texts(tokenizer, [3, 11, 7, 5], seed=1)


def test_synthetic_sentences_have_the_words_and_lengths_of_the_given_ones():
    given = ["a b c", "d e f g h"]
    made = growth.sentences(given, 300, seed=0)
    assert len(made) == 300
    assert {len(text.split(" ")) for text in made} == {3, 5}
    words = [word for text in made for word in text.split(" ")]
    fresh = [word for word in words if word not in set("abcdefgh")]
    assert words[:: growth.NEW_WORD] == fresh
    assert len(set(fresh)) == len(fresh)


def test_ways_take_turns():
    seen = []
    ways = {name: lambda number, name=name: seen.append((name, number)) or number for name in "ab"}
    assert common.alternate(ways, 2) == {"a": [0, 1], "b": [0, 1]}
    assert seen == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]


def test_median_and_share():
    assert common.middle([(5.0, None), (1.0, None), (2.0, None)]) == 2.0
    rows = Examples("x", ["p", "q", "r"], ["yes", "no", "yes"], np.arange(3))
    assert common.right(["yes", "yes", "yes"], rows) == pytest.approx(2 / 3)
    assert len(common.some(rows, 2)) == 2
    assert common.some(rows, 3) is rows
