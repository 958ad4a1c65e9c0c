"""What arms gave, and what verdict.json says of them.

Shapes: S seeds or repeats, N judged rows, C classes.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headstart.data.examples import Examples
from headstart.errors import DataError
from headstart.evaluation.intervals import interval
from headstart.evaluation.metrics import class_table, confusion
from headstart.training.kept import StageResult
from headstart.verdict.power import power

NUM_MISTAKES = 20


@dataclass(frozen=True)
class ArmResult:
    """What one way of transferring gave.

    Attributes:
        name: as in `--arms`.
        title: as in the table.
        labels: target rows that the judged models were trained on.
        logits: (N, C) of each of S seeds or repeats on the judged rows.
        classes: the C class names.
        stages: the finished stages that were kept, by seed.
        seconds: training time of one seed or one fold, the mean; shared stages count in full.
        restarts: how often a training was started again since it had learned nothing.
        collapsed: how many trainings learned nothing in the end.
        way: what sort of arm, a key of `headstart.verdict.arms.TITLES`.
        sources: the data sets it learns from besides the target.
    """

    name: str
    title: str
    labels: int
    logits: tuple[Tensor, ...]
    classes: tuple[str, ...]
    stages: tuple[tuple[StageResult, ...], ...]
    seconds: float
    restarts: int = 0
    collapsed: int = 0
    way: str = ""
    sources: tuple[str, ...] = ()

    @property
    def predictions(self) -> np.ndarray:
        """(S, N) int64 predicted class."""
        return torch.stack([logits.argmax(-1) for logits in self.logits]).numpy()


def describe_arm(result: ArmResult, truth: np.ndarray) -> dict[str, Any]:
    """An arm's figures, as verdict.json holds them."""
    scores = {}
    for metric in ("accuracy", "macro_f1"):
        found = interval(metric, result.predictions, truth)
        scores[metric] = {"mean": found.value, "low": found.low, "high": found.high}
    return {
        "name": result.name,
        "title": result.title,
        "labels": result.labels,
        **scores,
        "seeds": len(result.logits),
        "seconds": result.seconds,
        "restarts": result.restarts,
        "collapsed": result.collapsed,
        "stages": [stage.digest for stages in result.stages for stage in stages],
    }


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


def describe_rows(rows: Examples, lengths: np.ndarray) -> dict[str, Any]:
    """Rows, classes and lengths in tokens of a data set, as verdict.json holds them."""
    return {
        "name": rows.name,
        "rows": len(rows),
        "classes": dict(sorted(Counter(rows.labels or []).items())),
        "lengths": {
            "min": int(lengths.min()),
            "median": float(np.median(lengths)),
            "p95": float(np.quantile(lengths, 0.95)),
            "max": int(lengths.max()),
        },
    }


def machine() -> dict[str, Any]:
    """What the run ran on."""
    described = {
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        described["gpu"] = torch.cuda.get_device_name()
    drawn = power(torch.get_num_threads(), torch.cuda.is_available())
    if drawn is not None:
        described |= {"watts": drawn.watts, "watts_from": drawn.basis}
    return described


def codes_of(rows: Examples, classes: tuple[str, ...]) -> np.ndarray:
    """(N,) class of each row.

    Raises:
        DataError: a row's class is not among them.
    """
    assert rows.labels is not None
    unknown = sorted(set(rows.labels) - set(classes))
    if unknown:
        raise DataError(
            f"{rows.name}: the test rows hold classes that no training row has: {unknown[:5]}. "
            f"Trained on: {list(classes)[:10]}. Map them, or leave those rows out."
        )
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[label] for label in rows.labels], dtype=np.int64)
