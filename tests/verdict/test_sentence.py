"""The sentence: the answer first, and right in every case."""

from __future__ import annotations

from typing import Any

import pytest

from headstart.evaluation.intervals import Interval
from headstart.verdict.sentence import sentence

HELPS, HURTS, OPEN = (
    Interval(0.034, 0.011, 0.056), Interval(-0.05, -0.08, -0.02), Interval(0.01, -0.02, 0.04),
)  # fmt: skip


def arm(name: str, title: str) -> dict[str, Any]:
    return {"name": name, "title": title, "accuracy": {"mean": 0.881, "low": 0.86, "high": 0.899}}


BOTH = arm("source+target", "source -> target")
TARGET = arm("target", "target only")
FROZEN = arm("frozen", "frozen + logistic")


@pytest.mark.parametrize(
    ("worth", "kept", "more", "said"),
    [
        (HELPS, BOTH, {}, "The source helps: +3.4 points [1.1, 5.6] over target only."),
        (
            HELPS,
            FROZEN,
            {},
            "The source helps: +3.4 points [1.1, 5.6] over target only. The model kept: frozen + "
            "logistic, 88.1 % accuracy [86.0, 89.9].",
        ),
        (
            HURTS,
            TARGET,
            {},
            "The source hurts (negative transfer): -5.0 points [-8.0, -2.0] against target only. "
            "The model kept is one without it: target only.",
        ),
        (
            OPEN,
            BOTH,
            {},
            "Whether the source helps is open: +1.0 points [-2.0, 4.0] over target only, and the "
            "interval holds zero. More test rows or more seeds would narrow it.",
        ),
        (
            HELPS,
            BOTH,
            {"baseline": Interval(0.021, 0.004, 0.038)},
            "The plain baseline wins: TF-IDF + logistic regression is +2.1 points [0.4, 3.8] over "
            "the model kept, source -> target. A Transformer is not what these rows need. The "
            "source helps: +3.4 points [1.1, 5.6] over target only.",
        ),
        (
            OPEN,
            BOTH,
            {"baseline": Interval(0.0, -0.02, 0.02)},
            "Whether the source helps is open: +1.0 points [-2.0, 4.0] over target only, and the "
            "interval holds zero. More test rows or more seeds would narrow it. TF-IDF + logistic "
            "regression does as well as the model kept, source -> target: +0.0 points [-2.0, 2.0].",
        ),
        (
            HELPS,
            BOTH,
            {"baseline": HURTS},
            "The source helps: +3.4 points [1.1, 5.6] over target only.",
        ),
    ],
)
def test_with_a_source(worth, kept, more, said):
    assert sentence(worth, kept, with_source=BOTH, **more) == said


def test_of_several_sources_the_one_is_named():
    films = arm("films+target", "films -> target")
    said = sentence(OPEN, films, with_source=films)
    assert said.startswith("Whether the source (films -> target) helps is open: +1.0 points")
    said = sentence(HURTS, TARGET, with_source=films)
    assert said.startswith("The source (films -> target) hurts (negative transfer): -5.0 points")


def test_one_way_alone():
    said = sentence(None, TARGET, several=False, baseline=None)
    assert said == "target only reaches 88.1 % accuracy [86.0, 89.9]."
