"""Padding by hand, unknown tokens, and an estimate of memory and time."""

from __future__ import annotations

import numpy as np
import pytest
from tests.conftest import reviews
from tests.doctor.conftest import made, one, subject

from headstart.data.text import Tokenizer
from headstart.doctor.cost import Cost, estimate, free_bytes, memory_finding
from headstart.doctor.lengths import measure, padding, unknown_tokens
from headstart.models.checkpoint import open_checkpoint
from headstart.recipe import Stage
from headstart.training.footprint import footprint


def test_padding_by_hand() -> None:
    assert padding(np.array([3, 5, 7]), batch=3) == pytest.approx(1 - 15 / 21)
    assert padding(np.array([4, 4, 4, 4, 4]), batch=2) == 0
    assert padding(np.array([2, 11, 5]), batch=1) == 0


def test_texts_as_tokens(tiny_bert) -> None:
    tokenizer = Tokenizer.open(tiny_bert)
    texts = ["the film was great", "zorg quux", "a " * 53]
    tokens = tokenizer.encode(texts, 17)
    found = measure(tokens, tokenizer, 17)
    assert (found.shortest, found.median, found.longest) == (4, 6.0, 55)
    assert found.cut == pytest.approx((55 - 17) / (6 + 4 + 55))
    assert found.unknown == pytest.approx(2 / 27) and found.total == 27
    assert found.padding == pytest.approx(1 - 27 / 51)
    rows = subject(made(*((text, "a") for text in texts)))
    (finding,) = unknown_tokens(rows, found, "tiny")
    assert finding.severity == "warning" and "7.4 % of its tokens" in finding.message
    clean = tokenizer.encode(["the film was great"], 17)
    assert unknown_tokens(rows, measure(clean, tokenizer, 17), "tiny") == []


def test_an_estimate_adds_up(tiny_bert) -> None:
    checkpoint = open_checkpoint(tiny_bert)
    before = {k: v.clone() for k, v in checkpoint.backbone.state_dict().items()}
    tokenizer = Tokenizer.open(tiny_bert)
    tokens = {
        key: tokenizer.encode([text for text, _ in reviews(count, 3)], 37)
        for key, count in (("source", 211), ("target", 53))
    }
    stages = (
        Stage(name="source", data="source", epochs=2),
        Stage(name="probe", data="target", train="head", epochs=20),
        Stage(name="tune", data="target", epochs=7, batch_tokens=256),
    )
    cost = estimate(checkpoint, tokens, stages)
    assert cost.tokens_per_second > 0
    totals = {key: int(each.lengths.sum()) for key, each in tokens.items()}
    for key, total in totals.items():
        assert cost.pass_seconds[key] == pytest.approx(total / cost.tokens_per_second)
    passes = cost.pass_seconds
    expected = 2 * passes["source"] + passes["target"] * (7 + 1 / 2.5)
    assert cost.planned_seconds == pytest.approx(expected)
    longest = int(tokens["target"].lengths.max())
    held = footprint(checkpoint, "all", batch_tokens=1024, length=longest)
    assert cost.memory_bytes == held.total
    after = checkpoint.backbone.state_dict()
    assert all((after[name] == value).all() for name, value in before.items())
    assert estimate(checkpoint, tokens).planned_seconds is None


def test_too_little_memory_is_told() -> None:
    def cost(memory: int, free: int | None) -> Cost:
        return Cost("cpu", 1.0, {}, memory, free, None)

    assert one(memory_finding(cost(9, 7), "b"), "little memory").severity == "harmful"
    assert one(memory_finding(cost(9, 10), "b"), "little memory").severity == "warning"
    assert memory_finding(cost(9, 13), "b") == [] and memory_finding(cost(9, None), "b") == []
    free = free_bytes()
    assert free is None or free > 0
