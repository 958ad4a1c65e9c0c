"""The models that are explained: of a run, a model folder, or any classifier that can be opened."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headstart.data.text import Tokenizer
from headstart.errors import CheckpointError, UserError, nearest
from headstart.models.checkpoint import open_checkpoint, open_network
from headstart.tasks.classify import Classify
from headstart.training.model import DESCRIPTION, Trained, open_trained
from headstart.training.serving import is_adapter, open_through_adapter
from headstart.verdict.output import MARKER


class NoClassifierError(CheckpointError):
    """A model can be opened, and answers nothing that could be explained."""


def open_model(name: str | Path) -> Trained:
    """Open a classifier.

    Args:
        name: a run's folder, a model's folder, an adapter's folder with its base in reach, or a
            classifier of transformers: a folder, or a name on the Hugging Face hub.

    Raises:
        CheckpointError: there is no such model, or a file of it is damaged; `NoClassifierError`
            where it is no classifier.
    """
    folder = Path(name)
    inner = folder / "model"
    if (folder / MARKER).exists() and not inner.exists():
        raise CheckpointError(
            f"{folder}: the run in this folder has not finished, so it holds no model yet. Give "
            "its command again: it goes on where it stopped."
        )
    if is_adapter(folder):
        return open_through_adapter(folder)[0]
    for place in (inner, folder):
        if (place / DESCRIPTION).exists():
            return open_trained(place)
    return _published(name)


def _published(name: str | Path) -> Trained:
    """A classifier that others made."""
    checkpoint = open_checkpoint(name)
    labels = checkpoint.labels or ()
    what = None
    if checkpoint.backbone.patch_values is not None:
        what = "reads images"
    elif checkpoint.head is None:
        what = "holds a backbone without a classification head"
    elif len(labels) < 2:
        what = "has a head of a single value, as for regression"
    if what is not None:
        raise NoClassifierError(
            f"{name}: {what}, so it is no classifier of texts and answers nothing that could be "
            "explained. Train one on it with headstart transfer; or look at its attention alone: "
            "--attention."
        )
    return Trained(
        network=open_network(checkpoint.folder),
        tokenizer=Tokenizer.open(checkpoint.folder),
        task=Classify(labels),
        max_length=checkpoint.max_length,
        pooling="family" if checkpoint.pooler is not None else checkpoint.default_pooling,
        origin=checkpoint.folder,
        provenance={"backbone": str(name)},
    )


def ways(run: str | Path) -> dict[str, Path]:
    """The models that a run compared, by name: the folder of each way's last stage.

    Of a way that was repeated it is the first repeat; empty where the folder is no run's.
    """
    folder = Path(run)
    try:
        verdict: dict[str, Any] = json.loads((folder / "verdict.json").read_text(encoding="utf-8"))
        arms = [(arm["name"], arm["stages"], arm["seeds"]) for arm in verdict["arms"]]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    found = {}
    for name, stages, seeds in arms:
        each = len(stages) // max(1, seeds)
        place = folder / "stages" / stages[each - 1] if each else folder / "stages"
        if (place / DESCRIPTION).exists():
            found[name] = place
    return found


def open_before(name: str, model: str | Path) -> Trained:
    """Open a model to compare with.

    Args:
        name: a way of the run that `model` belongs to, such as "source"; or as in `open_model`.
        model: what is explained.

    Raises:
        CheckpointError: see `open_model`.
        UserError: it is neither a way of the run nor anything that can be opened.
    """
    run = Path(model)
    known = ways(run) or ways(run.parent)
    if name in known:
        return open_model(known[name])
    if Path(name).exists() or not known or "/" in name:
        return open_model(name)
    raise UserError(
        f"--before: {name!r} is neither a folder nor a way of the run in {run}."
        f"{nearest(name, known)} Its ways: {', '.join(known)}."
    )
