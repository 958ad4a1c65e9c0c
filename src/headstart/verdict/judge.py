"""What the transfer was worth: arms judged on the same test rows, and the winner.

Shapes: S seeds, N test rows, C classes.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headstart.evaluation.intervals import Interval, effect, gain, interval
from headstart.evaluation.metrics import class_table, confusion
from headstart.training.kept import StageResult

SCHEMA = "headstart.verdict/1"
NUM_MISTAKES = 20


@dataclass(frozen=True)
class ArmResult:
    """What one way of transferring gave.

    Attributes:
        name: as in `--arms`.
        title: as in the table.
        labels: target rows trained on.
        stages: the finished stages of each of S seeds.
        logits: (N, C) of each seed's last stage on the test rows.
        classes: the C class names.
    """

    name: str
    title: str
    labels: int
    stages: tuple[tuple[StageResult, ...], ...]
    logits: tuple[Tensor, ...]
    classes: tuple[str, ...]

    @property
    def predictions(self) -> np.ndarray:
        """(S, N) int64 predicted class."""
        return torch.stack([logits.argmax(-1) for logits in self.logits]).numpy()

    @property
    def seconds(self) -> float:
        """Training time of one seed, the mean over seeds; shared stages count in full."""
        per_seed = [sum(s.record["seconds"] for s in stages) for stages in self.stages]
        return float(np.mean(per_seed))


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
        """Name of the best arm."""
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
        """Accuracy of source -> target minus target only; None where either was not run."""
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


def judge(
    results: Sequence[ArmResult], truth: np.ndarray, winner: str | None = None
) -> dict[str, Any]:
    """Compare arms on the test rows.

    Args:
        results: what each arm gave.
        truth: (N,) class of each test row, in the order of the arms' classes.
        winner: the arm to keep, where that is not for the figures to decide.

    Returns:
        The keys schema, sentence, winner, arms, gain, negative_transfer of verdict.json.
    """
    by_name = {result.name: result for result in results}
    worth = None
    if {"target", "source+target"} <= by_name.keys():
        with_source, without = by_name["source+target"], by_name["target"]
        worth = gain("accuracy", with_source.predictions, without.predictions, truth)
    harmful = worth is not None and effect(worth) == "hurts"
    arms = [_arm(result, truth) for result in results]
    # Where the source hurts, an arm without it is kept even if a lucky one with it looks best.
    candidates = [a for a in arms if not harmful or "source" not in a["name"]]
    best = max(candidates, key=lambda arm: arm["accuracy"]["mean"])
    kept = next((arm for arm in arms if arm["name"] == winner), best)
    return {
        "schema": SCHEMA,
        "sentence": sentence(worth, kept),
        "winner": kept["name"],
        "arms": arms,
        "gain": None if worth is None else vars(worth).copy(),
        "negative_transfer": harmful,
    }


def _arm(result: ArmResult, truth: np.ndarray) -> dict[str, Any]:
    scores = {}
    for metric in ("accuracy", "macro_f1"):
        found = interval(metric, result.predictions, truth)
        scores[metric] = {"mean": found.value, "low": found.low, "high": found.high}
    return {
        "name": result.name,
        "title": result.title,
        "labels": result.labels,
        **scores,
        "seeds": len(result.stages),
        "seconds": result.seconds,
        "stages": [stage.digest for stages in result.stages for stage in stages],
    }


def sentence(worth: Interval | None, winner: Mapping[str, Any]) -> str:
    """Say what the source was worth in points of accuracy, or, without both arms, who won."""
    if worth is None:
        accuracy = winner["accuracy"]
        return (
            f"{winner['title']} reaches {100 * accuracy['mean']:.1f} % accuracy "
            f"[{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]."
        )
    points = f"{100 * worth.value:+.1f} points [{100 * worth.low:.1f}, {100 * worth.high:.1f}]"
    if effect(worth) == "helps":
        return f"The source helps: {points} over target only."
    if effect(worth) == "hurts":
        return (
            f"The source hurts (negative transfer): {points} against target only. "
            "The model kept is one without it."
        )
    return (
        f"Whether the source helps is open: {points} over target only, and the interval holds "
        "zero. More test rows or more seeds would narrow it."
    )


def describe_winner(result: ArmResult, truth: np.ndarray, texts: Sequence[str]) -> dict[str, Any]:
    """Confusion, per-class table and the most confident mistakes of the winner's first seed."""
    probabilities = result.logits[0].softmax(-1)
    confidence, predicted = (t.numpy() for t in probabilities.max(-1))
    wrong = np.flatnonzero(predicted != truth)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")][:NUM_MISTAKES]
    mistakes = [
        {
            "text": texts[int(row)],
            "truth": result.classes[truth[row]],
            "predicted": result.classes[predicted[row]],
            "probability": float(confidence[row]),
            "row": int(row),
        }
        for row in wrong
    ]
    counts = confusion(predicted, truth, len(result.classes))
    return {
        "confusion": {"classes": list(result.classes), "counts": counts.tolist()},
        "classes": class_table(predicted, truth, result.classes),
        "mistakes": mistakes,
    }


def describe_stages(results: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """Each finished stage once, with the arms that share it."""
    found: dict[str, dict[str, Any]] = {}
    keys = ("name", "seed", "seconds", "steps", "tokens", "tokens_per_second",
            "peak_memory_bytes", "trainable", "log")  # fmt: skip
    for result in results:
        for stage in (stage for stages in result.stages for stage in stages):
            entry = {key: stage.record[key] for key in keys}
            entry |= {"digest": stage.digest, "arm": [], "cached": stage.reused}
            arms = found.setdefault(stage.digest, entry)["arm"]
            if result.name not in arms:
                arms.append(result.name)
    return list(found.values())


def machine() -> dict[str, Any]:
    """What the run ran on."""
    described = {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    return described
