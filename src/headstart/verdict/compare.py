"""Train arms, judge them on the same test rows, and describe everything the report shows."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from headstart.data.examples import Examples
from headstart.data.findings import contradictions, length_findings
from headstart.data.text import Tokenizer
from headstart.errors import DataError
from headstart.recipe import Recipe
from headstart.training.kept import StageResult
from headstart.training.model import open_trained, versions
from headstart.training.stage import Workshop
from headstart.verdict.arms import Arm
from headstart.verdict.judge import (
    ArmResult,
    describe_stages,
    describe_winner,
    judge,
    machine,
)
from headstart.verdict.rows import Rows


@dataclass(frozen=True)
class Comparison:
    """What a comparison gave.

    Attributes:
        values: the content of verdict.json.
        winner: last stage of the winner's first seed: the model that is kept.
        recipe: the winner's, runnable again.
        stages: all finished stages.
    """

    values: dict[str, Any]
    winner: StageResult
    recipe: Recipe
    stages: tuple[StageResult, ...]


class Comparer:
    """Judges models on one set of test rows.

    Args:
        shop: trains and keeps stages.
        rows: what is trained on and judged by.
        classes: the C class names, in the order of the figures.
    """

    def __init__(self, shop: Workshop, rows: Rows, classes: tuple[str, ...]) -> None:
        self.shop, self.rows, self.classes = shop, rows, classes
        self.start = time.perf_counter()
        self.truth = _truth(rows.test, classes)
        self.surveyed: dict[str, Any] = {}

    def survey(self, recipe: Recipe) -> None:
        """Describe every data set, and say what was found before any training starts."""
        checkpoint = self.shop.checkpoint(recipe.backbone)
        tokenizer = Tokenizer.open(checkpoint.folder)
        max_length = recipe.max_length or checkpoint.max_length
        findings = list(self.rows.findings)
        for name, rows in {**self.rows.train, "test": self.rows.test}.items():
            encoded = self.shop.encoded(tokenizer, max_length, rows)
            findings += contradictions(rows) + length_findings(
                rows.name, encoded, max_length, rows.rows
            )
            self.surveyed[name] = describe_rows(rows, encoded.full_lengths)
        self.surveyed["test"]["held_out"] = self.rows.held_out is not None
        self.surveyed["findings"] = [vars(finding).copy() for finding in findings]
        for finding in findings:
            self.shop.progress.say(finding.message)

    def arm(self, arm: Arm) -> ArmResult:
        """Train an arm, every seed of it, and read its answers on the test rows."""
        stages, logits, labels = [], [], 0
        for seed, recipe in enumerate(arm.recipes):
            if len(arm.recipes) > 1:
                self.shop.progress.say(f"{arm.title}, seed {seed + 1} of {len(arm.recipes)}")
            data = self.rows.drawn(recipe)
            labels = len(data["target"]) if arm.uses_target else 0
            stages.append(tuple(self.shop.run(recipe, data)))
            logits.append(self.logits(stages[-1][-1]))
        return ArmResult(arm.name, arm.title, labels, tuple(stages), tuple(logits), self.classes)

    def after_each_stage(self, recipe: Recipe) -> list[ArmResult]:
        """Train one recipe and judge it after each stage that answers in the test's classes."""
        data = self.rows.drawn(recipe)
        stages = self.shop.run(recipe, data)
        results = []
        for number, (stage, result) in enumerate(zip(recipe.stage, stages, strict=True), start=1):
            if set(data[stage.data].classes) == set(self.classes):
                done = (tuple(stages[:number]),)
                title, labels = f"after {stage.name}", len(data[stage.data])
                logits = (self.logits(result),)
                results.append(ArmResult(stage.name, title, labels, done, logits, self.classes))
        return results

    def logits(self, stage: StageResult) -> Tensor:
        """(N, C) of a finished stage on the test rows, columns in the order of `classes`."""
        model = open_trained(stage.folder)
        encoded = self.shop.encoded(model.tokenizer, model.max_length, self.rows.test)
        title = f"{stage.record['name']}, test rows"
        logits = model.logits_of(encoded, self.shop.progress, title)
        return logits[:, [model.task.labels.index(name) for name in self.classes]]

    def conclude(
        self, results: Sequence[ArmResult], recipes: dict[str, Recipe], winner: str | None = None
    ) -> Comparison:
        """Judge and describe.

        Args:
            results: what each arm gave.
            recipes: the recipe to hand on for each arm.
            winner: the arm to keep, where that is not for the figures to decide.
        """
        values = judge(results, self.truth, winner)
        best = next(result for result in results if result.name == values["winner"])
        kept, recipe = best.stages[0][-1], recipes[best.name]
        values |= {"data": self._data(results)}
        values |= {"backbone": self._backbone(recipe, kept)}
        values |= describe_winner(best, self.truth, self.rows.test.texts)
        values |= {"stages": describe_stages(results), "recipe": recipe.to_toml()}
        values |= {"versions": versions(), "machine": machine()}
        values |= {"precision": self.shop.precision}
        values |= {"seconds": time.perf_counter() - self.start}
        trained = {s.digest: s for r in results for stages in r.stages for s in stages}
        return Comparison(values, kept, recipe, tuple(trained.values()))

    def _data(self, results: Sequence[ArmResult]) -> dict[str, Any]:
        """What `survey` found, with how many target labels were used."""
        described = dict(self.surveyed)
        if "target" in described:
            labelled = max(result.labels for result in results)
            unlabelled = described["target"]["rows"] - labelled
            described["target"] |= {"labelled": labelled, "unlabelled": unlabelled}
        return described

    def _backbone(self, recipe: Recipe, stage: StageResult) -> dict[str, Any]:
        checkpoint = self.shop.checkpoint(recipe.backbone)
        model = open_trained(stage.folder)
        backbone = model.network.backbone
        return {
            "name": recipe.backbone,
            "family": backbone.family,
            "blocks": len(backbone.blocks),
            "width": backbone.width,
            "parameters": sum(p.numel() for p in backbone.parameters()),
            "pooling": model.pooling,
            "max_length": model.max_length,
            "digest": checkpoint.digest,
        }


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


def _truth(test: Examples, classes: tuple[str, ...]) -> np.ndarray:
    """(N,) class of each test row.

    Raises:
        DataError: a class of the test rows is in no training row.
    """
    assert test.labels is not None
    unknown = sorted(set(test.labels) - set(classes))
    if unknown:
        raise DataError(
            f"{test.name}: the test rows hold classes that no training row has: {unknown[:5]}. "
            f"Trained on: {list(classes)[:10]}. Map them, or leave those rows out."
        )
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[label] for label in test.labels], dtype=np.int64)


def compare_arms(arms: Sequence[Arm], rows: Rows, shop: Workshop) -> Comparison:
    """Train all arms and give the verdict."""
    comparer = Comparer(shop, rows, rows.train["target"].classes)
    comparer.survey(arms[0].recipes[0])
    results = [comparer.arm(arm) for arm in arms]
    return comparer.conclude(results, {arm.name: arm.recipes[0] for arm in arms})


def run_recipe(recipe: Recipe, rows: Rows, shop: Workshop) -> Comparison:
    """Train one recipe; the verdict compares its stages, and its last stage is kept."""
    last = recipe.stage[-1]
    comparer = Comparer(shop, rows, rows.train[last.data].classes)
    comparer.survey(recipe)
    results = comparer.after_each_stage(recipe)
    cut = {
        stage.name: recipe.model_copy(update={"stage": recipe.stage[:number]})
        for number, stage in enumerate(recipe.stage, start=1)
    }
    return comparer.conclude(results, cut, winner=last.name)
