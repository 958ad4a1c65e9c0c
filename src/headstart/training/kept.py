"""What is kept of a finished stage, and what it is found again by."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shutil
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch

from headstart.data.examples import Examples
from headstart.errors import UserError
from headstart.recipe import Recipe, Stage

CODE_PARTS = ("nn", "models", "data", "tasks", "objectives", "training")
RECORD = "stage.json"
MADE = "description.json"
"""In the folder of a backbone that was made for a recipe: what it is called there."""


@dataclass(frozen=True)
class StageResult:
    """A finished stage.

    Attributes:
        digest: of what went into it.
        folder: a model folder that also holds stage.json and log.jsonl.
        record: what stage.json holds: values, seconds, steps, tokens, trainable table, log.
        reused: whether it was found rather than trained.
    """

    digest: str
    folder: Path
    record: dict[str, Any]
    reused: bool


@cache
def code_digest() -> str:
    """SHA-256 over the sources that a trained stage depends on."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for package in CODE_PARTS:
        for file in sorted((root / package).rglob("*.py")):
            digest.update(file.relative_to(root).as_posix().encode() + file.read_bytes())
    return digest.hexdigest()


def found(folder: Path, digest: str) -> StageResult | None:
    """A finished stage; one whose record is damaged is removed and trained again."""
    if not folder.exists():
        return None
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        shutil.rmtree(folder)
        return None
    os.utime(folder)  # the least recently used goes first when room is made
    return StageResult(digest, folder, record, reused=True)


def before(stage: StageResult) -> StageResult | None:
    """The finished stage that another one went on from; None for the first of a recipe."""
    digest = str(stage.record["inputs"]["parent"])
    return found(stage.folder.parent / digest, digest)


def provenance(
    recipe: Recipe, stage: Stage, parent: StageResult | None, examples: Examples, digest: str
) -> dict[str, Any]:
    """What a model was trained from and on, stage by stage."""
    this = {
        "name": stage.name,
        "digest": digest,
        "data": examples.name,
        "rows": len(examples),
        "stage": stage.model_dump(mode="json", exclude_defaults=True),
    }
    before = open_record(parent.folder)["provenance"]["stages"] if parent else []
    return {"backbone": called(recipe.backbone), "stages": [*before, this]}


def called(backbone: str) -> str:
    """What a recipe calls a backbone that was made for it; any other as it is."""
    try:
        return str(json.loads((Path(backbone) / MADE).read_text(encoding="utf-8"))["name"])
    except (OSError, ValueError, KeyError, TypeError):
        return backbone


def open_record(folder: Path) -> dict[str, Any]:
    """What a finished stage's stage.json holds."""
    return json.loads((folder / RECORD).read_text(encoding="utf-8"))


def save_seconds() -> float:
    """Time between saves of a stage at work: $HEADSTART_SAVE_SECONDS, a minute by default.

    Raises:
        UserError: it is no number of seconds.
    """
    given = os.environ.get("HEADSTART_SAVE_SECONDS", "60")
    try:
        seconds = float(given)
    except ValueError:
        seconds = -1.0
    if not seconds >= 0:
        raise UserError(
            f"$HEADSTART_SAVE_SECONDS: must be a number of seconds, 0 or more; got {given!r}."
        )
    return seconds


def peak_memory() -> int:
    """Most bytes that this process held at once: of the GPU where there is one, else resident."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
