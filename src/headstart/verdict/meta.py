"""Recipes that end in learning from episodes: what a few rows of new classes make of the model.

Measured over many episodes of classes that no stage has seen, beside two ways that need no
meta-learning: logistic regression and class means on the frozen backbone, and plain fine-tuning of
the same backbone with the same rows.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from headstart.data.batches import derive_seed
from headstart.data.draw import draw
from headstart.data.episodes import Episodes, Shape
from headstart.data.examples import Examples, joined
from headstart.data.pairs import read_examples
from headstart.data.table import read
from headstart.errors import DataError, RecipeError
from headstart.evaluation.episodes import (
    FROZEN,
    Trials,
    episode_interval,
    frozen_vectors,
    tuning_stage,
)
from headstart.evaluation.intervals import effect, mean_interval
from headstart.recipe import Recipe, Stage, labels_asked, labels_read
from headstart.recipe.objectives import Episodic
from headstart.training.episodic import open_episodic
from headstart.training.kept import StageResult
from headstart.training.meta import parts_of, shape_of
from headstart.training.model import versions
from headstart.training.stage import Workshop
from headstart.verdict.left import Left, stage_values
from headstart.verdict.results import machine

SCHEMA = "headstart.meta/1"
TUNED_EPISODES = 10
"""Episodes of plain fine-tuning, which trains a whole backbone in each; the first of all."""


class Meta(Left):
    """What a recipe that ends in learning from episodes left."""

    @property
    def results(self) -> list[dict[str, Any]]:
        """The accuracy of each way at each count of shots, with its interval."""
        found: list[dict[str, Any]] = self.values["results"]
        return found


def ends_in_episodes(recipe: Recipe) -> bool:
    """Whether the last stage of a recipe learns from episodes."""
    return isinstance(recipe.stage[-1].objective, Episodic)


def run_meta(recipe: Recipe, given: Mapping[str, Any] | None, shop: Workshop) -> Meta:
    """Train a recipe that ends in learning from episodes, and measure what it adapts to.

    Args:
        recipe: its backbone is there.
        given: data in memory by data set name: what `headstart.data.table.read` takes.
        shop: trains and keeps stages.

    Raises:
        UserError: data cannot be read, a stage sees classes that are kept apart, or cannot be
            trained as asked.
    """
    start = time.perf_counter()
    check_unseen(recipe)
    data = read_sets(recipe, given or {})
    for name, rows in data.items():
        classes = f", {len(rows.classes)} classes" if rows.labels is not None else ""
        shop.progress.say(f"{name}: {rows.name}, {len(rows):,} rows{classes}")
    stages = shop.run(recipe, data)
    results = measure(recipe, data, stages[-1], shop)
    values = {
        "schema": SCHEMA,
        "kind": "meta",
        "sentence": sentence(recipe.stage[-1], results),
        "results": results,
        "data": {name: {"name": rows.name, "rows": len(rows),
                        "classes": [] if rows.labels is None else list(rows.classes)}
                 for name, rows in data.items()},
        "backbone": {"name": recipe.backbone},
        "stages": [stage_values(stage) for stage in stages],
        "recipe": recipe.to_toml(),
        "versions": versions(),
        "machine": machine(),
        "seconds": time.perf_counter() - start,
    }  # fmt: skip
    return Meta(values, None, stages[-1], tuple(stages))


def check_unseen(recipe: Recipe) -> None:
    """Whether no earlier stage learns the labels of what the last one keeps apart for its test.

    Raises:
        RecipeError: one does; says which.
    """
    last = recipe.stage[-1]
    assert isinstance(last.objective, Episodic)
    if not last.objective.test:
        return
    several = len(last.data_names) > 1
    named = last.objective.test if isinstance(last.objective.test, tuple) else last.data_names
    kept = set(named) if several else set(last.data_names)
    faults = [
        f"stage {stage.name!r}: learns the labels of {name!r}, of which stage {last.name!r} keeps "
        "classes apart for its test. Leave one of them out."
        for stage in recipe.stage[:-1]
        for name in stage.data_names
        if name in kept and labels_read(stage, name)
    ]
    if faults:
        raise RecipeError(faults)


def read_sets(recipe: Recipe, given: Mapping[str, Any]) -> dict[str, Examples]:
    """Read every data set that a stage names, `labels` rows of it where it asks so.

    Raises:
        DataError: with the faults of all of them.
    """
    sets: dict[str, Examples] = {}
    faults: list[str] = []
    used = {name for stage in recipe.stage for name in stage.data_names}
    for name in (name for name in recipe.data if name in used):
        source = given.get(name, recipe.data[name].path)
        labelled = any(labels_read(stage, name) for stage in recipe.stage)
        try:
            sets[name] = _drawn(recipe, name, _read(recipe, name, source, labelled))
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    return sets


def _read(recipe: Recipe, name: str, source: Any, labelled: bool) -> Examples:
    if isinstance(source, Examples):
        return source
    data = recipe.data[name]
    return read_examples(
        read(source, name=name, split=data.split),
        text=data.text,
        label=data.label if labelled else None,
        mapping=(data.map or None) if labelled else None,
        require_label=labelled,
        kinds=labels_asked(recipe, name),
    )


def _drawn(recipe: Recipe, name: str, rows: Examples) -> Examples:
    """As many rows as the recipe asks for, stratified by class, by its seed."""
    count = recipe.data[name].labels
    if count is None or count == len(rows):
        return rows
    if count > len(rows) or rows.labels is None:
        raise DataError(
            f"{name}: labels asks for {count:,} labelled rows; there are "
            f"{0 if rows.labels is None else len(rows):,}. Ask for that many or fewer."
        )
    return rows.take(draw(rows.labels, count, derive_seed("labels", recipe.seed))[0])


def measure(
    recipe: Recipe, data: Mapping[str, Examples], last: StageResult, shop: Workshop
) -> list[dict[str, Any]]:
    """The accuracy of each way at each count of shots; none where nothing was kept apart.

    Args:
        recipe: it ends in learning from episodes.
        data: all data sets.
        last: what its last stage left.
        shop: trains what is fine-tuned.
    """
    stage = recipe.stage[-1]
    values = stage.objective
    assert isinstance(values, Episodic)
    read = {name: data[name] for name in stage.data_names}
    parts = parts_of(read, values, recipe.seed)
    if not parts.test:
        return []
    rows, counts = joined(list(read.values())), sorted(set(values.shot_counts))
    shapes = [replace(shape_of(values), shots=(shots,)) for shots in counts]
    tried = [Trials(Episodes(parts.test, shape, "meta-test"), rows, values.test_episodes,
                    derive_seed("test", shape.shots), shop.progress)
             for shape in shapes]  # fmt: skip
    model = open_episodic(last.folder)
    shown, vectors = tried[0].read(model, shop), frozen_vectors(tried[0], shop, recipe)
    found = []
    for trials in tried:
        ways = {f"{stage.name} ({stage.objective.kind})": trials.accuracies(model, shown)}
        ways |= {name: trials.of_vectors(vectors, answer) for name, answer in FROZEN.items()}
        few = replace(trials, count=min(TUNED_EPISODES, trials.count))
        ways["plain fine-tuning"] = few.tuned(shop, recipe, tuning_stage())
        found += _described_ways(ways, trials.draws.shape)
    return found


def _described_ways(ways: Mapping[str, np.ndarray], shape: Shape) -> list[dict[str, Any]]:
    """Each way's (E,) accuracies, ours first; gains are ours over theirs on the same episodes."""
    ours = next(iter(ways.values()))
    return [
        {
            "way": name,
            "shots": shape.shots[0],
            "ways": shape.ways,
            "episodes": len(accuracies),
            "accuracy": vars(episode_interval(accuracies)),
            "gain": None if accuracies is ours else _gain(ours[: len(accuracies)], accuracies),
        }
        for name, accuracies in ways.items()
    ]


def _gain(ours: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """How much better ours is on the same episodes, and what that means in a word."""
    found = mean_interval(ours - theirs)
    return vars(found) | {"effect": effect(found)}


def sentence(stage: Stage, results: list[dict[str, Any]]) -> str:
    """What was reached, in a sentence for each count of shots."""
    if not results:
        return (
            "Nothing was kept apart to measure by: give objective.test, a share of the classes or "
            "names."
        )
    told = []
    for shots in sorted({one["shots"] for one in results}):
        mine, *others = (one for one in results if one["shots"] == shots)
        best = max((one for one in others if one["episodes"] == mine["episodes"]),
                   key=lambda one: one["accuracy"]["value"])  # fmt: skip
        words = {"helps": "better than", "hurts": "worse than", "unclear": "not told apart from"}
        low, high = (100 * mine["accuracy"][key] for key in ("low", "high"))
        told.append(
            f"With {shots} labels a class of new classes {stage.name} is right in "
            f"{100 * mine['accuracy']['value']:.1f} % [{low:.1f}, {high:.1f}], "
            f"{words[best['gain']['effect']]} {best['way']} "
            f"({100 * best['accuracy']['value']:.1f} %)."
        )
    return " ".join(told)
