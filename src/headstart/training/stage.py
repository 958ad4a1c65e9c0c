"""Stages one after the other: each trained once, and found again by what went into it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from headstart.data.atomic import full_disk_is_a_user_error
from headstart.data.examples import Examples
from headstart.recipe import Recipe, Regress, Several, Stage, reads_labels
from headstart.recipe.objectives import Episodic
from headstart.training.bound import Bound, Given
from headstart.training.helped import check_teachers
from headstart.training.kept import StageResult, code_digest, found, provenance
from headstart.training.meta import MetaStage
from headstart.training.multitask import MultiTaskStage
from headstart.training.pretraining import PretrainingStage
from headstart.training.progress import Progress
from headstart.training.room import LIMIT, limit_bytes, make_room
from headstart.training.shop import Shop
from headstart.training.supervised import SupervisedStage


def kind_of(stage: Stage) -> type[Bound]:
    """What trains a stage."""
    if isinstance(stage.objective, Episodic):
        return MetaStage
    if isinstance(stage.task, Several | Regress):
        return MultiTaskStage
    return SupervisedStage if reads_labels(stage.task) else PretrainingStage


class Workshop(Shop):
    """Trains stages and keeps them, with all that several of them share.

    Args:
        progress: where bars and messages go.
        cache: where finished stages and frozen features live. Default: $HEADSTART_CACHE.
    """

    def __init__(self, progress: Progress | None = None, cache: Path | None = None) -> None:
        super().__init__(progress, cache)
        self._limit, self._used = limit_bytes(), set[Path]()

    def run(self, recipe: Recipe, data: Mapping[str, Examples]) -> list[StageResult]:
        """Train the stages of a recipe, first to last; those trained before are found again.

        Args:
            data: the rows of each data set that a stage names.
        """
        check_teachers(recipe)
        results: list[StageResult] = []
        for stage in recipe.stage:
            parent = results[-1] if results else None
            read = {name: data[name] for name in stage.all_names}
            results.append(self._stage(Given(self, recipe, stage, parent, read)))
            self._used.add(results[-1].folder)
            gone = make_room(self.cache, self._limit, self._used)
            if gone:
                freed = sum(entry.num_bytes for entry in gone) / 1e9
                self.progress.say(
                    f"cache: {len(gone)} least recently used entries removed, {freed:,.1f} GB "
                    f"(${LIMIT} = {self._limit / 1e9:g})"
                )
        return results

    def _stage(self, given: Given) -> StageResult:
        kind, name = kind_of(given.stage), given.stage.name
        inputs = self._inputs(given, kind)
        canonical = json.dumps(inputs, sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        folder = self.cache / "stages" / digest
        with full_disk_is_a_user_error(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        with self._alone(folder.with_suffix(".lock"), name):
            before = found(folder, digest)
            if before is not None:
                self.progress.say(f"{name}: trained before, reused")
                self.track.found(before.record)
                return before
            origin = provenance(given.recipe, given.stage, given.parent, given.rows, digest)
            return kind(given, origin).train(folder, digest, inputs)

    @contextmanager
    def _alone(self, lock: Path, name: str) -> Iterator[None]:
        """Hold a stage for this process; another that wants it waits and then finds it done."""
        held = FileLock(lock)
        try:
            held.acquire(timeout=0)
        except Timeout:
            self.progress.say(f"{name}: another run is training this very stage; waiting for it")
            held.acquire()
        try:
            yield
        finally:
            held.release()

    def _inputs(self, given: Given, kind: type[Bound]) -> dict[str, Any]:
        """All that the outcome depends on, as plain values."""
        recipe, parent, rows = given.recipe, given.parent, given.rows
        values = given.stage.model_dump(mode="json", exclude={"name", "data", "seed"})
        return {
            "parent": parent.digest if parent else self.checkpoint(recipe.backbone).digest,
            "stage": values,
            "kind": kind.__name__,
            "pooling": recipe.pooling,
            "max_length": recipe.max_length,
            "positions": recipe.positions,
            "seed": given.seed,
            "data": kind.digested(given),
            "whole": rows.whole.texts_digest if rows.whole else None,
            "precision": self.precision,
            "code": code_digest(),
            "torch": torch.__version__,
        }
