"""From the data sets of a recipe to the rows trained on and the rows that judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from headstart.data.batches import derive_seed
from headstart.data.draw import draw
from headstart.data.examples import Examples, check_labels
from headstart.data.findings import Finding, remove_duplicates
from headstart.data.labels import Labels
from headstart.data.pairs import read_examples
from headstart.data.table import read
from headstart.errors import DataError, RecipeError
from headstart.recipe import Data, Recipe, Stage, labels_asked, labels_read, reads_labels
from headstart.verdict.folds import SPLIT_ABOVE, judging_folds

HELD_OUT_SHARE = 0.2
HELD_OUT_SEED = 0
"""One fixed split whatever the recipe's seed, so that all seeds and runs face the same rows."""

SHOWN_CLASSES = 6

SHARED = 4
"""Up to so many times the rows that are drawn, what is frozen is computed for the whole data set:
other draws and folds then find it."""


@dataclass(frozen=True)
class Part:
    """Some rows of a data set, known by their places, so that what is computed for all is shared.

    Attributes:
        whole: the data set.
        places: (M,) which of its rows; None means all.
    """

    whole: Examples
    places: np.ndarray | None = None

    @cached_property
    def rows(self) -> Examples:
        """The M rows; what is frozen is computed for all of the data set, once."""
        return self.whole if self.places is None else self.whole.part(self.places)

    def take(self, places: np.ndarray) -> Part:
        """Some rows of these, by their places among them."""
        return Part(self.whole, places if self.places is None else self.places[places])

    def __len__(self) -> int:
        return len(self.whole) if self.places is None else len(self.places)


@dataclass(frozen=True)
class Rows:
    """The labelled rows of a recipe.

    Attributes:
        train: all rows that may be trained on, by data set.
        test: rows that no stage sees; with folds, all rows of the target.
        held_out: the data set that the test rows were taken from; None where they were given.
        findings: what was noticed and done.
        folds: where above 0, no rows are kept apart: the target is cut into so many parts, and
            each is judged by models that were trained on the others.
    """

    train: dict[str, Examples]
    test: Examples
    held_out: str | None
    findings: tuple[Finding, ...]
    folds: int = 0

    @property
    def num_texts(self) -> int:
        """Texts of the target's kind that are read without labels."""
        return sum(len(rows) for name, rows in self.train.items() if rows.labels is None)

    def drawn(self, recipe: Recipe) -> dict[str, Examples]:
        """What the stages train on: `labels` rows of each data set, drawn by the recipe's seed.

        Raises:
            DataError: a data set has fewer rows than `labels`.
        """
        return {name: self.part(recipe, name).rows for name in self.train if name in recipe.data}

    def part(self, recipe: Recipe, name: str) -> Part:
        """The rows of a data set that are drawn, as a part of it where most of it is drawn.

        Raises:
            DataError: a data set has fewer rows than `labels`.
        """
        whole, places = self.train[name], self.places(recipe, name)
        if places is None or len(whole) <= SHARED * len(places):
            return Part(whole, places)
        return Part(whole.take(places))

    def places(self, recipe: Recipe, name: str) -> np.ndarray | None:
        """Which rows of a data set are drawn, (M,) ascending; None where all are.

        Raises:
            DataError: a data set has fewer rows than `labels`.
        """
        few = [
            f"{name}: --labels asks for {data.labels:,} rows; {len(self.train[name]):,} labelled "
            "rows are left after the test rows. Ask for that many or fewer."
            for name, data in recipe.data.items()
            if name in self.train and (data.labels or 0) > len(self.train[name])
        ]
        if few:
            raise DataError(few)
        rows, count = self.train[name], recipe.data[name].labels
        if count is None or count == len(rows):
            return None
        assert rows.labels is not None
        return draw(rows.labels, count, derive_seed("labels", recipe.seed))[0]


def describe(rows: Rows, labelled: int | None = None) -> list[str]:
    """What will be trained on and judged by, a line each: rows, and how many of each class.

    Args:
        labelled: how many of the target's rows are trained on; None means all.
    """
    lines = []
    parts = rows.train if rows.folds else {**rows.train, "test": rows.test}
    for name, part in parts.items():
        counts = Counter(part.labels or ()).most_common()
        shown = ", ".join(f"{count:,} {label}" for label, count in counts[:SHOWN_CLASSES])
        more = f", and {len(counts) - SHOWN_CLASSES} more classes" if counts[SHOWN_CLASSES:] else ""
        held = ", held out" if part is rows.test and rows.held_out else ""
        few = name == "target" and labelled not in (None, len(part))
        used = f"; {labelled:,} of them are trained on" if few else ""
        path = "" if name == part.name else f"{part.name}, "
        told = f" ({shown}{more})" if counts else ", unlabelled"
        lines.append(f"{name}: {path}{len(part):,} rows{held}{told}{used}")
    if rows.folds:
        lines.append(
            f"test: {rows.test.name}, all {len(rows.test):,} rows in turn, each judged by models "
            f"trained on the other {rows.folds - 1} of {rows.folds} folds"
        )
    return lines


def read_rows(
    recipe: Recipe, given: Mapping[str, Any] | None = None, *, folds: int | None = 0
) -> Rows:
    """Read every data set of a recipe and set its test rows aside.

    Args:
        given: data in memory by data set name: what `headstart.data.table.read` takes. A data set
            that is not given is read from its path.
        folds: parts that judge in turn where no test rows are given; 0 holds out a fifth instead,
            and None takes folds where all rows are to be trained on and there are few.

    Raises:
        RecipeError: no stage reads labels.
        DataError: a data set cannot be read, or leaves no rows to train or test on.
    """
    judge = recipe.test or last_labelled(recipe).data_names[-1]
    sets: dict[str, Examples] = {}
    faults: list[str] = []
    findings: list[Finding] = []
    for name, data in recipe.data.items():
        try:
            source = (given or {}).get(name, data.path)
            sets[name] = _read(name, data, source, labelled=_is_labelled(recipe, name),
                               kinds=labels_asked(recipe, name))  # fmt: skip
            findings += sets[name].findings
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    used = {name for stage in recipe.stage for name in stage.all_names}
    train = {name: rows for name, rows in sets.items() if name in used}
    held_out = judge if judge in used else None
    test = sets[judge]
    count = _folds(test, recipe.data[judge].labels, folds) if held_out else 0
    if held_out and not count:
        train[judge], test = hold_out(train[judge])
    for name in train:
        labelled = train[name].labels is not None
        if count and (name == judge or not labelled):
            continue  # rows of the same text share a fold, and texts are left out fold by fold
        train[name], finding = remove_duplicates(train[name], test)
        findings += [finding] if finding and labelled else []
        if not len(train[name]):
            raise DataError(
                f"{name}: every training row has the text of a test row, so none is left. Give "
                "test rows that are not among them."
            )
    return Rows(train, test, held_out, tuple(findings), count)


def _folds(rows: Examples, labels: int | None, asked: int | None) -> int:
    """How many folds judge; 0 holds out test rows instead."""
    if asked is not None:
        return asked
    rarest = min(Labels.of(rows.labels or ()).counts.values())
    few = len(rows) < SPLIT_ABOVE and rarest > 1
    return judging_folds(len(rows)) if few and labels in (None, len(rows)) else 0


def last_labelled(recipe: Recipe) -> Stage:
    """The last stage that reads labels: what the recipe is for.

    Raises:
        RecipeError: there is none.
    """
    stages = [stage for stage in recipe.stage if reads_labels(stage.task)]
    if not stages:
        raise RecipeError(
            "recipe: no stage reads labels, so there is nothing to judge. Add one that classifies."
        )
    return stages[-1]


def _is_labelled(recipe: Recipe, name: str) -> bool:
    """Whether the labels of a data set are read: by a stage, or to judge by."""
    readers = [stage for stage in recipe.stage if name in stage.data_names]
    if not readers and any(name in stage.unlabelled_names for stage in recipe.stage):
        return False
    return not readers or any(labels_read(stage, name) for stage in readers)


def _read(
    name: str, data: Data, source: Any, *, labelled: bool, kinds: Collection[str]
) -> Examples:
    if isinstance(source, Examples):
        return source if labelled else replace(source, labels=None)
    table = read(source, name=name, split=data.split)
    label = data.label if labelled else None
    return read_examples(table, text=data.text, label=label, mapping=data.map or None,
                         require_label=labelled, kinds=kinds)  # fmt: skip


def hold_out(rows: Examples) -> tuple[Examples, Examples]:
    """Split labelled rows into (train, test), a stratified fifth for the test.

    Raises:
        DataError: a class has fewer than two rows, so that one part would lack it.
    """
    assert rows.labels is not None
    counts = Labels.of(rows.labels).counts
    if min(counts.values()) < 2:
        rare = ", ".join([repr(name) for name, count in counts.items() if count < 2][:5])
        raise DataError(
            f"{rows.name}: no test rows can be held out, as {rare} has a single row. Give test "
            "rows of their own (--test), more rows of that class, or leave it out with a map."
        )
    count = max(len(counts), round(HELD_OUT_SHARE * len(rows)))
    held, rest = draw(rows.labels, count, derive_seed("test", HELD_OUT_SEED))
    return rows.take(rest), rows.take(held)


def check_classes(
    rows: Rows, *, source_answers: bool, sources: Sequence[str] = ("source",)
) -> None:
    """Whether source and target fit each other and have something to tell apart.

    Args:
        source_answers: whether a model trained on the source alone is to answer for the target;
            else a new head can be trained, and the classes may differ.
        sources: the data sets that such models are trained on.

    Raises:
        DataError: the classes do not fit; says which, and how to map them.
    """
    for name in sources if source_answers else ():
        check_labels(rows.train[name], rows.train["target"])
