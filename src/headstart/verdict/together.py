"""Recipes that end in several tasks: each alone against all together, and what helps what.

Shapes: S seeds, N test rows of a task.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from headstart.errors import DataError
from headstart.evaluation.intervals import (
    difference,
    effect,
    gain,
    interval,
    mean_interval,
)
from headstart.evaluation.metrics import accuracy, macro_f1
from headstart.evaluation.scores import row_means
from headstart.models.families import family_of
from headstart.recipe import Balance, Member, Mix, Recipe, Several, members_of
from headstart.tasks.classify import Classify
from headstart.tasks.regress import Regress
from headstart.tasks.regress import scores as number_scores
from headstart.training.asking import check_served
from headstart.training.kept import StageResult
from headstart.training.model import versions
from headstart.training.shared import Answering, open_shared
from headstart.training.stage import Workshop
from headstart.verdict.left import Left, stage_values
from headstart.verdict.results import machine
from headstart.verdict.task_rows import TaskRows, judged_members

SCHEMA = "headstart.tasks/1"
TOGETHER = "together"


class Together(Left):
    """What a recipe that ends in several tasks left."""

    @property
    def tasks(self) -> list[dict[str, Any]]:
        """Each task: what it reaches together and alone, and the gain with its interval."""
        return self.values["tasks"]

    def task(self, name: str) -> dict[str, Any]:
        """One of `tasks`."""
        return next(task for task in self.tasks if task["name"] == name)


def alone(recipe: Recipe, name: str) -> Recipe:
    """The recipe with one of its last stage's tasks; as many passes over its rows as it had."""
    return _with_tasks(recipe, [m for m in members_of(recipe.stage[-1]) if m.name == name], name)


def without(recipe: Recipe, name: str) -> Recipe:
    """The recipe with all of its last stage's tasks but one."""
    members = [m for m in members_of(recipe.stage[-1]) if m.name != name]
    return _with_tasks(recipe, members, f"without {name}")


def _with_tasks(recipe: Recipe, members: Sequence[Member], called: str) -> Recipe:
    last = recipe.stage[-1]
    update: dict[str, Any] = {
        "name": called,
        "task": Several(tasks=tuple(members)),
        "data": tuple(dict.fromkeys(n for m in members for n in m.data_names)),
        "compare": "no",
    }
    if len(members) == 1:
        update |= {"mix": Mix(), "balance": Balance()}
        update["task"] = Several(tasks=(members[0].model_copy(update={"weight": 1.0}),))
    elif last.mix.shares:
        shares = {m.name: last.mix.shares[m.name] for m in members}
        update["mix"] = last.mix.model_copy(update={"shares": shares})
    return recipe.model_copy(update={"stage": (*recipe.stage[:-1], last.model_copy(update=update))})


class Judge:
    """Trains what is compared, and asks each model for each task's test rows.

    Args:
        recipe: it ends in several tasks.
        rows: what is trained on and judged by.
        shop: trains and keeps stages.
        seeds: repeats, of the recipe's seed and those that follow it.
    """

    def __init__(self, recipe: Recipe, rows: TaskRows, shop: Workshop, seeds: int = 1) -> None:
        self.recipe, self.rows, self.shop, self.seeds = recipe, rows, shop, seeds
        self.members = judged_members(recipe)
        self.answers: dict[tuple[str, str], list[np.ndarray]] = {}
        self.stages: dict[str, StageResult] = {}
        self.tasks: dict[str, Classify | Regress] = {}
        self.results: dict[str, list[StageResult]] = {}

    def train(self, variant: str, recipe: Recipe) -> None:
        """Train a recipe for each seed and keep what it answers.

        Args:
            variant: what it is compared as.
            recipe: with some of the tasks.
        """
        for seed in range(self.seeds):
            seeded = recipe.model_copy(update={"seed": recipe.seed + seed})
            trained = self.shop.run(seeded, self.rows.drawn(seeded))
            self.stages |= {stage.digest: stage for stage in trained}
            self.results.setdefault(variant, []).append(trained[-1])
            for name, answering in open_shared(trained[-1].folder).items():
                found = self._answer(name, answering)
                self.answers.setdefault((variant, name), []).append(found)

    def _answer(self, name: str, answering: Answering) -> np.ndarray:
        """(N,) class, or number, of each test row of a task."""
        task = self.tasks.setdefault(name, answering.task)
        logits = answering.logits(self.rows.test[name].texts, self.shop.progress)
        if isinstance(answering.task, Regress):
            return answering.task.numbers(logits)
        assert isinstance(task, Classify)
        places = np.array([task.labels.index(label) for label in answering.task.labels])
        return np.asarray(places[logits.argmax(-1).numpy()])

    def truth(self, name: str) -> np.ndarray:
        """(N,) class, or number, that is true of each test row of a task.

        Raises:
            DataError: a test row has a class that no training row has.
        """
        task, rows = self.tasks[name], self.rows.test[name]
        labels = rows.labels or ()
        if isinstance(task, Regress):
            from headstart.data.numbers import numbers

            return numbers(labels)
        unknown = sorted(set(labels) - set(task.labels))
        if unknown:
            raise DataError(
                f"task {name!r}: the test rows hold classes that no training row has: "
                f"{unknown[:5]}. Trained on: {list(task.labels)[:10]}. Map them."
            )
        return task.encode(labels)

    def figures(self, variant: str, name: str) -> dict[str, Any]:
        """What a task reaches: the measure that is compared, with its interval, and others."""
        found, truth = np.stack(self.answers[variant, name]), self.truth(name)
        if isinstance(self.tasks[name], Regress):
            measured = mean_interval(explained(found, truth))
            others = [number_scores(one, truth) for one in found]
        else:
            measured = interval("accuracy", found, truth)
            others = [{"accuracy": accuracy(one, truth), "macro_f1": macro_f1(one, truth)}
                      for one in found]  # fmt: skip
        means = {key: float(np.mean([one[key] for one in others])) for key in others[0]}
        return vars(measured) | {"means": means}

    def gain(self, name: str, ours: str, theirs: str) -> dict[str, Any]:
        """How much better a task is in one variant than in another, rows and seeds paired."""
        a, b = (np.stack(self.answers[variant, name]) for variant in (ours, theirs))
        truth = self.truth(name)
        if isinstance(self.tasks[name], Regress):
            worth = difference(row_means(explained(a, truth)), row_means(explained(b, truth)))
        else:
            worth = gain("accuracy", a, b, truth)
        return vars(worth) | {"effect": effect(worth)}


def explained(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(S, N) what each row adds to the share of the variance that is explained, its mean."""
    return np.asarray(1 - (found - truth) ** 2 / truth.var())


def run_together(recipe: Recipe, rows: TaskRows, shop: Workshop, *, seeds: int = 1) -> Together:
    """Train a recipe that ends in several tasks, and what its last stage's `compare` asks besides.

    Args:
        recipe: its backbone is there.
        rows: what is trained on and judged by.
        shop: trains and keeps stages.
        seeds: repeats.

    Raises:
        UserError: a stage cannot be trained as asked.
    """
    start = time.perf_counter()
    check_served(recipe, family_of(shop.checkpoint(recipe.backbone).config))
    _say(rows, shop)
    judge, last = Judge(recipe, rows, shop, seeds), recipe.stage[-1]
    judge.train(TOGETHER, recipe)
    names, every = [m.name for m in judge.members], [m.name for m in members_of(last)]
    compared = last.compare if len(every) > 1 else "no"
    for name in names if compared != "no" else ():
        judge.train(name, _passes_of(alone(recipe, name), judge.results[TOGETHER][0], name))
    left = every if compared == "each" and len(every) > 2 else []
    for name in left:
        judge.train(f"without {name}", without(recipe, name))
    tasks = [_told(judge, member, compared != "no") for member in judge.members]
    worth = [
        {"of": name, "to": to, **judge.gain(to, TOGETHER, f"without {name}")}
        for name in left
        for to in names
        if to != name
    ]
    kept = judge.results[TOGETHER][0]
    values = {
        "schema": SCHEMA,
        "kind": "tasks",
        "sentence": sentence(tasks),
        "tasks": tasks,
        "worth": worth,
        "seeds": seeds,
        "backbone": {"name": recipe.backbone},
        "notes": list(rows.notes),
        "stages": [stage_values(stage) for stage in judge.stages.values()],
        "recipe": recipe.to_toml(),
        "versions": versions(),
        "machine": machine(),
        "precision": shop.precision,
        "seconds": time.perf_counter() - start,
    }
    return Together(values, None, kept, tuple(judge.stages.values()))


def _say(rows: TaskRows, shop: Workshop) -> None:
    for name, part in rows.train.items():
        shop.progress.say(f"{name}: {part.name}, {len(part):,} rows")
    for name, part in rows.test.items():
        how = "held out" if name in rows.held_out else f"of {part.name}"
        shop.progress.say(f"task {name}: {len(part):,} test rows {how}")
    for note in rows.notes:
        shop.progress.say(note)


def _passes_of(recipe: Recipe, trained: StageResult, name: str) -> Recipe:
    """A task alone, where updates were asked for: as many passes over its rows as it had."""
    last = recipe.stage[-1]
    if last.steps is None:
        return recipe
    epochs = trained.record["tasks"]["passes"][name]
    fitted = last.model_copy(update={"steps": None, "epochs": epochs})
    return recipe.model_copy(update={"stage": (*recipe.stage[:-1], fitted)})


def _told(judge: Judge, member: Member, compared: bool) -> dict[str, Any]:
    name = member.name
    number = isinstance(judge.tasks[name], Regress)
    return {
        "name": name,
        "kind": member.task.kind,
        "data": list(member.data_names),
        "rows": sum(len(judge.rows.train[n]) for n in member.data_names),
        "test_rows": len(judge.rows.test[name]),
        "held_out": name in judge.rows.held_out,
        "measure": "explained" if number else "accuracy",
        TOGETHER: judge.figures(TOGETHER, name),
        "alone": judge.figures(name, name) if compared else None,
        "gain": judge.gain(name, TOGETHER, name) if compared else None,
        "passes": judge.results[TOGETHER][0].record["tasks"]["passes"][name],
        "left_out": name in judge.results[TOGETHER][0].record["tasks"]["left_out_after"],
    }


def sentence(tasks: Sequence[Mapping[str, Any]]) -> str:
    """Which tasks are better off together than alone, in words."""
    if tasks[0]["gain"] is None:
        reached = ", ".join(f"{t['name']} {100 * t[TOGETHER]['value']:.1f} %" for t in tasks)
        return f"Reached: {reached}."
    said = {"helps": "helped", "hurts": "hurt", "unclear": "neither clearly"}
    parts = []
    for word, verb in said.items():
        names = [f"{t['name']} ({100 * t['gain']['value']:+.1f})" for t in tasks
                 if t["gain"]["effect"] == word]  # fmt: skip
        parts += [f"{verb}: {', '.join(names)}"] if names else []
    return f"By the other tasks, in points: {'; '.join(parts)}."
