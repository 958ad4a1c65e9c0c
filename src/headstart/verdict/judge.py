"""What the transfer was worth: arms judged on the same rows, and the winner.

Shapes: S seeds or repeats, N judged rows, C classes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.evaluation.intervals import Interval, effect, gain
from headstart.verdict.arms import TITLES, reads_source
from headstart.verdict.results import ArmResult, describe_arm
from headstart.verdict.schema import SCHEMA
from headstart.verdict.sentence import sentence

REFERENCE = "target"
"""The way that the others are measured against."""


@dataclass(frozen=True)
class Verdict:
    """The comparison as plain values, which verdict.json holds, and where the winner lies.

    Attributes:
        values: the content of verdict.json.
        folder: the output folder; None where none was asked for.
    """

    values: dict[str, Any]
    folder: Path | None = None

    @property
    def winner(self) -> str:
        """Name of the arm whose model is kept."""
        return self.values["winner"]

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        return self.values["sentence"]

    @property
    def negative_transfer(self) -> bool:
        """Whether the interval of the gain lies below zero."""
        return self.values["negative_transfer"]

    @property
    def gain(self) -> Interval | None:
        """Accuracy with the source minus without, target labels in both; None where either was
        not run. With several sources it is that of the one that cross-validation chooses."""
        found = self.values["gain"]
        return Interval(**found) if found else None

    def arm(self, name: str) -> dict[str, Any]:
        """The figures of one arm.

        Raises:
            KeyError: there is no such arm.
        """
        return {arm["name"]: arm for arm in self.values["arms"]}[name]

    def to_json(self) -> str:
        """The text of verdict.json."""
        return json.dumps(self.values, indent=1, ensure_ascii=False) + "\n"

    def __repr__(self) -> str:
        return f"Verdict(winner={self.winner!r}: {self.sentence})"


def measured(result: ArmResult) -> bool:
    """Whether the gain over the target alone tells what a source was worth: both use labels."""
    return reads_source(result.way) and result.labels > 0


def harmful_source(results: Sequence[ArmResult], truth: np.ndarray, with_source: str) -> bool:
    """Whether the judged rows say that the source hurts: the interval of the gain is below zero."""
    worth = _gain_over(results, truth, with_source, REFERENCE)
    return worth is not None and effect(worth) == "hurts"


def judge(
    results: Sequence[ArmResult],
    truth: np.ndarray,
    *,
    winner: str,
    with_source: str | None = None,
) -> dict[str, Any]:
    """Compare arms on the judged rows.

    Args:
        results: what each arm gave.
        truth: (N,) class of each judged row, in the order of the arms' classes.
        winner: the arm that is kept; chosen by other rows.
        with_source: the arm whose gain over the target alone is the verdict's.

    Returns:
        The keys schema, sentence, winner, arms, gain, gains, negative_transfer of verdict.json.
    """
    arms = {result.name: describe_arm(result, truth) for result in results}
    worth = None if with_source is None else _gain_over(results, truth, with_source, REFERENCE)
    if worth is None:
        with_source = None
    plain = None if winner == "tfidf" else _gain_over(results, truth, "tfidf", winner)
    said = sentence(
        worth,
        arms[winner],
        with_source=arms[with_source] if with_source else None,
        baseline=plain,
        several=len(results) > 1,
    )
    return {
        "schema": SCHEMA,
        "sentence": said,
        "winner": winner,
        "arms": list(arms.values()),
        "gain": None if worth is None else vars(worth).copy(),
        "gains": gains(results, truth, winner),
        "negative_transfer": worth is not None and effect(worth) == "hurts",
    }


def gains(results: Sequence[ArmResult], truth: np.ndarray, winner: str) -> list[dict[str, Any]]:
    """What each difference between two arms tells: the sources, the pre-training, the baselines."""
    pairs: list[tuple[str, str, str]] = []
    for result in results:
        if result.name == REFERENCE or result.way not in TITLES:
            continue
        if measured(result):
            pairs.append(("source", result.name, REFERENCE))
        elif result.way == "random":
            pairs.append(("pre-training", REFERENCE, result.name))
        elif result.way == "tfidf" and winner != result.name:
            pairs.append(("Transformer", winner, result.name))
        elif result.way == "frozen":
            pairs.append(("fine-tuning", REFERENCE, result.name))
    found = [(what, one, two, _gain_over(results, truth, one, two)) for what, one, two in pairs]
    return [
        {"of": what, "arm": one, "over": two, **vars(worth), "effect": effect(worth)}
        for what, one, two, worth in found
        if worth is not None
    ]


def _gain_over(
    results: Sequence[ArmResult], truth: np.ndarray, one: str, two: str
) -> Interval | None:
    """Accuracy of one arm minus that of another, on the same rows."""
    there: Mapping[str, ArmResult] = {result.name: result for result in results}
    if one not in there or two not in there:
        return None
    return gain("accuracy", there[one].predictions, there[two].predictions, truth)
