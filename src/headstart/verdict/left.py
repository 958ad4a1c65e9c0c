"""What a recipe leaves that ends in something else than one judged task."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from headstart.data.atomic import folder_atomically, write_atomically
from headstart.training.kept import RECORD, StageResult
from headstart.training.model import DESCRIPTION
from headstart.verdict.output import link_folder

NOT_KEPT = (RECORD, "log.jsonl")
"""What a stage's folder holds besides the model."""


@dataclass(frozen=True, repr=False)
class Left:
    """What was left, as plain values, which verdict.json holds.

    Attributes:
        values: the content of verdict.json.
        folder: the output folder; None where none was asked for.
        last: the last stage.
        stages: all stages, those that were trained to compare with among them.
    """

    values: dict[str, Any]
    folder: Path | None
    last: StageResult
    stages: tuple[StageResult, ...]

    @property
    def sentence(self) -> str:
        """What came of it, in a sentence or a few."""
        return str(self.values["sentence"])

    def to_json(self) -> str:
        """The text of verdict.json."""
        return json.dumps(self.values, indent=1, ensure_ascii=False) + "\n"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.sentence})"


L = TypeVar("L", bound=Left)


def stage_values(stage: StageResult) -> dict[str, Any]:
    """A finished stage, as verdict.json holds it."""
    keys = ("digest", "name", "seed", "seconds", "steps", "tokens", "tokens_per_second",
            "peak_memory_bytes", "trainable", "log")  # fmt: skip
    return {key: stage.record[key] for key in keys} | {"cached": stage.reused}


def leave(result: L, folder: Path, command: str, judged: Sequence[Any]) -> L:
    """Write model/, which is the last stage's, recipe.toml, and verdict.json last.

    Args:
        result: what the recipe left.
        folder: the output folder, held.
        command: how it was asked for.
        judged: what the model's provenance is to tell of it.
    """
    result = replace(result, values=result.values | {"command": command}, folder=folder)
    for stage in result.stages:
        link_folder(stage.folder, folder / "stages" / stage.digest)
    with folder_atomically(folder / "model") as fresh:
        shutil.copytree(result.last.folder, fresh, dirs_exist_ok=True,
                        ignore=shutil.ignore_patterns(*NOT_KEPT))  # fmt: skip
        described = json.loads((fresh / DESCRIPTION).read_text(encoding="utf-8"))
        described["provenance"]["judged"] = judged
        text = json.dumps(described, indent=2, ensure_ascii=False)
        (fresh / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    with write_atomically(folder / "recipe.toml") as file:
        file.write(f"# {command}\n{result.values['recipe']}".encode())
    with write_atomically(folder / "verdict.json") as file:
        file.write(result.to_json().encode())
    return result
