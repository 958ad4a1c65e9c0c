"""The rows of a recipe that ends in several tasks: what each is trained on, and judged by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.data.batches import derive_seed
from headstart.data.draw import draw
from headstart.data.examples import Examples, joined
from headstart.data.findings import remove_duplicates
from headstart.data.pairs import read_examples
from headstart.data.table import read
from headstart.errors import DataError, RecipeError
from headstart.recipe import Member, Recipe, labels_asked, labels_read, members_of, reads_labels
from headstart.verdict.rows import HELD_OUT_SEED, HELD_OUT_SHARE, hold_out


@dataclass(frozen=True)
class TaskRows:
    """The rows of a recipe that ends in several tasks.

    Attributes:
        train: what is trained on, by data set.
        test: what judges, by task with labels.
        held_out: tasks whose test rows were held out of their own data.
        notes: what was noticed and done.
    """

    train: dict[str, Examples]
    test: dict[str, Examples]
    held_out: frozenset[str]
    notes: tuple[str, ...]

    def drawn(self, recipe: Recipe) -> dict[str, Examples]:
        """What is trained on by the recipe's seed: `labels` rows of each data set that asks so.

        Raises:
            DataError: a data set has fewer rows than `labels`.
        """
        found, faults = {}, []
        for name, rows in self.train.items():
            count = recipe.data[name].labels
            if count is None or count == len(rows):
                found[name] = rows
            elif count > len(rows):
                faults.append(
                    f"{name}: labels asks for {count:,} rows; {len(rows):,} are left after the "
                    "test rows. Ask for that many or fewer."
                )
            else:
                seed = derive_seed("labels", recipe.seed)
                found[name] = rows.part(np.sort(_order(recipe, name, rows, seed)[:count]))
        if faults:
            raise DataError(faults)
        return found


def ends_in_tasks(recipe: Recipe) -> bool:
    """Whether the last stage is of several tasks, one with labels among them, or gives numbers."""
    last = recipe.stage[-1]
    return last.task.kind in ("several", "regress") and reads_labels(last.task)


def judged_members(recipe: Recipe) -> tuple[Member, ...]:
    """The tasks of the last stage that have labels; a lone one is judged by the recipe's `test`.

    Raises:
        RecipeError: `test` is given for several tasks.
    """
    members = [one for one in members_of(recipe.stage[-1]) if reads_labels(one.task)]
    if recipe.test is None:
        return tuple(members)
    if len(members) > 1:
        raise RecipeError(
            f"test: {recipe.test!r} cannot judge {len(members)} tasks. Name the test rows of each "
            "in its own table: task = [{ data = ..., test = ... }, ...]."
        )
    test = None if recipe.test in members[0].data_names else recipe.test
    return (members[0].model_copy(update={"test": members[0].test or test}),)


def read_task_rows(recipe: Recipe, given: Mapping[str, Any] | None = None) -> TaskRows:
    """Read every data set, and set test rows aside: those named, else a fifth of the task's own.

    Args:
        recipe: it ends in several tasks.
        given: data in memory by data set name: what `headstart.data.table.read` takes.

    Raises:
        DataError: with the faults of all data sets.
    """
    members = judged_members(recipe)
    sets, faults = _read_all(recipe, members, given or {})
    if faults:
        raise DataError(faults)
    used = {name for stage in recipe.stage for name in stage.data_names}
    train = {name: rows for name, rows in sets.items() if name in used}
    parts: dict[str, Examples] = {}
    for member in members:
        for name in member.data_names if member.test is None else ():
            if name not in parts:
                train[name], parts[name] = _hold_out(recipe, name, train[name])
    test = {
        m.name: sets[m.test] if m.test else joined([parts[name] for name in m.data_names])
        for m in members
    }
    notes = [finding.message for rows in sets.values() for finding in rows.findings]
    for name in train:
        for judge in test.values():
            train[name], finding = remove_duplicates(train[name], judge)
            notes += [finding.message] if finding else []
    return TaskRows(train, test, frozenset(m.name for m in members if m.test is None), tuple(notes))


def _read_all(
    recipe: Recipe, members: tuple[Member, ...], given: Mapping[str, Any]
) -> tuple[dict[str, Examples], list[str]]:
    sets: dict[str, Examples] = {}
    faults: list[str] = []
    judges = {member.test: member for member in members if member.test}
    for name, data in recipe.data.items():
        source = given.get(name, data.path)
        labelled = any(labels_read(stage, name) for stage in recipe.stage) or name in judges
        kinds = labels_asked(recipe, name)
        if name in judges:
            kinds = frozenset({"numbers" if judges[name].task.kind == "regress" else "classes"})
        if isinstance(source, Examples):
            sets[name] = source
            continue
        try:
            table = read(source, name=name, split=data.split)
            sets[name] = read_examples(
                table,
                text=data.text,
                label=data.label if labelled else None,
                mapping=(data.map or None) if labelled else None,
                require_label=labelled,
                kinds=kinds,
            )
        except DataError as error:
            faults += error.faults
    return sets, faults


def _hold_out(recipe: Recipe, name: str, rows: Examples) -> tuple[Examples, Examples]:
    """(train, test), a fifth for the test; stratified where labels are classes."""
    if "classes" in labels_asked(recipe, name):
        return hold_out(rows)
    count = max(2, round(HELD_OUT_SHARE * len(rows)))
    order = _order(recipe, name, rows, derive_seed("test", HELD_OUT_SEED))
    return rows.take(np.sort(order[count:])), rows.take(np.sort(order[:count]))


def _order(recipe: Recipe, name: str, rows: Examples, seed: int) -> np.ndarray:
    """All places of some rows, in an order whose beginnings are fair samples."""
    if rows.labels is not None and "classes" in labels_asked(recipe, name):
        return np.concatenate(draw(rows.labels, recipe.data[name].labels or 0, seed))
    return np.random.default_rng(seed).permutation(len(rows))
