"""One way, trained once on given rows: whatever it is made of, it answers in logits.

Shapes: M rows that are judged, C classes, D width.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor, nn

from headstart.data.draw import draw
from headstart.data.examples import Examples
from headstart.data.findings import remove_duplicates
from headstart.recipe import Recipe
from headstart.training.begin import begin
from headstart.training.kept import StageResult
from headstart.training.model import Trained, open_trained
from headstart.training.progress import Bar, Progress
from headstart.training.stage import Workshop
from headstart.training.tracking import Untracked
from headstart.verdict.answers import kept
from headstart.verdict.arms import Arm
from headstart.verdict.baselines import Terms, fit_linear
from headstart.verdict.budget import unlimited
from headstart.verdict.collapse import RESTARTS, again, collapsed, learns_all
from headstart.verdict.made import frozen_model, has_bias, random_backbone
from headstart.verdict.rows import Part, Rows

UNSEEN = 10.0
"""A class that a model never met stands so far below the lowest of those it knows, in nats."""

ASKED = 256
"""Training rows that tell whether a model gives them all the same class."""


@dataclass(frozen=True)
class Trial:
    """What one training gave.

    Attributes:
        logits: (M, C) of the judged rows.
        stages: the finished stages, the last of which holds the model; none of what is no stage.
        seconds: that it took, shared stages in full.
        restarts: how often it was started again since it had learned nothing.
        collapsed: whether it learned nothing in the end.
    """

    logits: Tensor
    stages: tuple[StageResult, ...]
    seconds: float
    restarts: int = 0
    collapsed: bool = False


class Muted:
    """Passes bars on under another title, and drops messages: for what is done many times over."""

    def __init__(self, progress: Progress, prefix: str) -> None:
        self.progress, self.prefix = progress, prefix

    def bar(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
        """Open a bar whose title says whose it is."""
        return self.progress.bar(f"{self.prefix}, {title}", total, done)

    def say(self, message: str) -> None:
        """Drop the message."""


class WithoutRepeats:
    """Passes on all but that a stage was found again: it is found at every further stage."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def bar(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
        """Open a bar."""
        return self.progress.bar(title, total, done)

    def say(self, message: str) -> None:
        """Write one line, unless it says what was said before."""
        if not message.endswith("trained before, reused"):
            self.progress.say(message)


class Trainer:
    """Trains arms on rows of the target.

    Args:
        shop: trains and keeps stages.
        rows: what may be trained on.
        classes: the C class names, in the order of the logits.
        check: called before each stage and each other piece of work; may raise.
    """

    def __init__(
        self,
        shop: Workshop,
        rows: Rows,
        classes: tuple[str, ...],
        check: Callable[[], None] = unlimited,
    ) -> None:
        self.shop, self.rows, self.classes, self.check = shop, rows, classes, check
        self._hopeless: set[str] = set()

    def final(
        self, arm: Arm, recipe: Recipe, target: Part | None, judged: Part, *, keep: bool = True
    ) -> Trial:
        """Train an arm on a part of the target, and judge other rows by it.

        Args:
            arm: which way.
            recipe: the arm's, for one seed.
            target: what is trained on; None for ways that use no target label.
            judged: M rows to answer.
            keep: whether the model is wanted; stages are kept in any case.
        """
        self.check()
        if arm.kind == "tfidf":
            assert target is not None
            return self._terms(target, judged)
        if arm.kind == "frozen":
            assert target is not None
            return self._frozen(recipe, target, judged, keep)
        return self._stages(arm, recipe, target, judged, keep)

    def passing(self, arm: Arm, recipe: Recipe, target: Part, judged: Part, title: str) -> Trial:
        """Train an arm on a part of the target only to judge other rows; the model is not kept."""

        def compute() -> tuple[np.ndarray, dict[str, Any]]:
            with self._muted(title):
                trial = self.final(arm, recipe, target, judged, keep=False)
            self._drop(recipe, trial)
            told = {"seconds": trial.seconds, "restarts": trial.restarts}
            return trial.logits.numpy(), told | {"collapsed": trial.collapsed}

        read = {name for stage in recipe.stage for name in stage.all_names} - {"target"}
        data = {name: self.rows.train[name].digest for name in sorted(read)}
        key = {
            "arm": arm.way,
            "recipe": recipe.model_dump(mode="json", exclude={"data", "backbone", "test"}),
            "backbone": self.shop.checkpoint(recipe.backbone).digest,
            "data": data | {"target": target.rows.digest, "judged": judged.rows.texts_digest},
            "classes": self.classes,
            "precision": self.shop.precision,
            "torch": torch.__version__,
        }
        values, told = kept(self.shop.cache / "features", key, compute)
        if told["collapsed"]:
            self._hopeless.add(arm.name)  # also where it was found rather than trained
        return Trial(torch.from_numpy(values), (), **told)

    def answers(self, model: Trained, rows: Examples, title: str) -> Tensor:
        """(M, C) logits of a model for rows, its classes brought into the order of `classes`."""
        encoded = self.shop.encoded(model.tokenizer, model.max_length, rows)
        logits = model.logits_of(encoded, self.shop.progress, title)
        return aligned(logits, model.task.labels, self.classes)

    def answers_of(self, stage: StageResult, rows: Examples) -> Tensor:
        """(M, C) logits of a finished stage for rows."""
        return self.answers(open_trained(stage.folder), rows, f"{stage.record['name']}, choice")

    def _data(
        self, recipe: Recipe, target: Part | None, judged: Part | None
    ) -> dict[str, Examples]:
        """What the stages read; with folds, no text of the rows that are judged."""
        names = {name for stage in recipe.stage for name in stage.all_names} - {"target"}
        data = {name: self.rows.train[name] for name in names}
        if self.rows.folds and judged is not None:
            unlabelled = [name for name in names if data[name].labels is None]
            data |= {n: remove_duplicates(data[n], judged.rows)[0] for n in unlabelled}
        return data | ({} if target is None else {"target": target.rows})

    def _stages(
        self, arm: Arm, recipe: Recipe, target: Part | None, judged: Part, keep: bool
    ) -> Trial:
        data = self._data(recipe, target, None if keep else judged)
        if arm.way == "random":
            folder = random_backbone(self.shop, recipe, self.classes)
            recipe = recipe.model_copy(update={"backbone": folder})
        results = self._run(recipe, data)
        restarts, first = 0, self._collapsed(recipe, results, data)
        while first is not None and restarts < RESTARTS and arm.name not in self._hopeless:
            restarts += 1
            self.shop.progress.say(
                f"{arm.title}: stage {recipe.stage[first].name!r} learned nothing; started again "
                f"from another seed, {restarts} of {RESTARTS}"
            )
            other = again(recipe, first, restarts)
            results = self._run(other, data)
            first = self._collapsed(other, results, data)
        if first is not None:
            self._hopeless.add(arm.name)  # it is not the seed
        model = open_trained(results[-1].folder)
        logits = self.answers(model, judged.rows, f"{results[-1].record['name']}, test rows")
        seconds = sum(result.record["seconds"] for result in results)
        return Trial(logits, tuple(results), seconds, restarts, first is not None)

    def _run(self, recipe: Recipe, data: dict[str, Examples]) -> list[StageResult]:
        """All stages; where time counts, one by one, with a look at it before each."""
        if self.check is unlimited:
            return self.shop.run(recipe, data)
        for number in range(1, len(recipe.stage)):
            before = recipe.model_copy(update={"stage": recipe.stage[:number]})
            with self._without_repeats():
                self.shop.run(before, data)
            self.check()
        with self._without_repeats():
            return self.shop.run(recipe, data)

    def _collapsed(
        self, recipe: Recipe, results: list[StageResult], data: dict[str, Examples]
    ) -> int | None:
        """The number of the first stage that learned nothing, None where all did."""
        for number, (stage, result) in enumerate(zip(recipe.stage, results, strict=True)):
            if not learns_all(stage):
                continue
            parts = [data[name] for name in stage.data_names]
            labels = [label for part in parts for label in part.labels or ()]

            def predicted(result: StageResult = result, part: Examples = parts[-1]) -> np.ndarray:
                some = draw(part.labels or (), min(ASKED, len(part)), 0)[0]
                texts = part.take(some).texts
                return open_trained(result.folder).logits(list(texts)).argmax(-1).numpy()

            if collapsed(result.record["log"], labels, predicted):
                return number
        return None

    def _terms(self, target: Part, judged: Part) -> Trial:
        start = time.perf_counter()
        rows = target.rows
        assert rows.labels is not None
        terms = Terms(rows.texts, rows.labels)
        seconds = time.perf_counter() - start
        logits = torch.from_numpy(terms.logits(judged.rows.texts)).float()
        return Trial(aligned(logits, rows.classes, self.classes), (), seconds)

    def _frozen(self, recipe: Recipe, target: Part, judged: Part, keep: bool) -> Trial:
        start, rows = time.perf_counter(), target.rows
        assert rows.labels is not None
        vectors = self.vectors(recipe, target)
        bias = has_bias(self.shop.checkpoint(recipe.backbone), recipe)
        linear = fit_linear(vectors, rows.labels, bias=bias)
        seconds = time.perf_counter() - start
        logits = torch.from_numpy(linear.logits(self.vectors(recipe, judged))).float()
        logits = aligned(logits, rows.classes, self.classes)
        if not keep:
            return Trial(logits, (), seconds)
        result = frozen_model(self.shop, recipe, rows, linear, seconds)
        return Trial(logits, (result,), result.record["seconds"])

    def vectors(self, recipe: Recipe, part: Part, stage: StageResult | None = None) -> np.ndarray:
        """(M, D) what a frozen backbone with its pooling makes of texts; computed for all at once.

        Args:
            recipe: names backbone, pooling and length.
            part: the M rows.
            stage: whose backbone it is. Default: the checkpoint's.
        """

        def compute() -> tuple[np.ndarray, dict[str, Any]]:
            checkpoint = self.shop.checkpoint(recipe.backbone)
            classes = part.whole.classes or self.classes
            model = open_trained(stage.folder) if stage else begin(checkpoint, recipe, classes)
            encoded = self.shop.encoded(model.tokenizer, model.max_length, part.whole)
            model.network.head = nn.Identity()
            return model.logits_of(encoded, self.shop.progress, "frozen part, once").numpy(), {}

        digest = stage.digest if stage else self.shop.checkpoint(recipe.backbone).digest
        key = recipe.model_dump(mode="json", include={"pooling", "max_length", "positions"})
        key |= {"vectors of": digest, "texts": part.whole.texts_digest}
        values, _ = kept(self.shop.cache / "features", key, compute)
        return values if part.places is None else values[part.places]

    def _drop(self, recipe: Recipe, trial: Trial) -> None:
        """Remove the models that were trained for this trial alone."""
        own = {"target", *(("texts", "unlabelled") if self.rows.folds else ())}
        mine = False
        for stage, result in zip(recipe.stage, trial.stages, strict=False):
            mine = mine or bool(own & set(stage.all_names))
            if mine and not result.reused:
                with FileLock(result.folder.with_suffix(".lock")):
                    shutil.rmtree(result.folder, ignore_errors=True)

    @contextmanager
    def _without_repeats(self) -> Iterator[None]:
        before, self.shop.progress = self.shop.progress, WithoutRepeats(self.shop.progress)
        try:
            yield
        finally:
            self.shop.progress = before

    @contextmanager
    def _muted(self, title: str) -> Iterator[None]:
        progress, track = self.shop.progress, self.shop.track
        # What is trained in passing is not kept, and neither is its log.
        self.shop.progress, self.shop.track = Muted(progress, title), Untracked()
        try:
            yield
        finally:
            self.shop.progress, self.shop.track = progress, track


def aligned(logits: Tensor, names: tuple[str, ...], classes: tuple[str, ...]) -> Tensor:
    """Logits (N, C) in the order of `classes`, from logits in the order of `names`.

    A class that is not among the names stands far below the others.
    """
    lowest = logits.min(-1, keepdim=True).values - UNSEEN
    columns = [logits[:, [names.index(name)]] if name in names else lowest for name in classes]
    return torch.cat(columns, 1)
