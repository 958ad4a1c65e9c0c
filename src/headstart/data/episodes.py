"""Episodes: small problems drawn from many classes, or from many data sets.

An episode has N classes (ways), K rows of each to learn from (the support: K shots), and other rows
of the same classes to be asked about (the query). Vinyals et al. 2016, section 3.2.

Shapes: N classes of an episode, S and Q rows of its support and query.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from headstart.data.batches import Batch, Store, take
from headstart.data.examples import Examples
from headstart.data.findings import counted, fingerprints
from headstart.data.labels import Labels
from headstart.errors import DataError, unknown_name

ClassRows = Mapping[str, np.ndarray]
"""The rows of each class, by its name: (M,) int64 places in a store."""

Tasks = Mapping[str, ClassRows]
"""The classes of each data set, by its name."""

MOST_SHARED = 0.5
"""Share of a class's rows that may be among those kept apart before it is called the same class."""


@dataclass(frozen=True)
class Episode:
    """What is learned from, and what is asked afterwards.

    Attributes:
        support: S rows; `target` (S,) holds their class, 0 to N - 1, or what else is to be learned.
        query: Q rows, likewise.
        ways: N.
        weight: of the episode among those of its update; they sum to 1.
        task: name of the data set.
        classes: N names, in the order of the targets.
    """

    support: Batch
    query: Batch
    ways: int
    weight: float = 1.0
    task: str = ""
    classes: tuple[str, ...] = ()

    @property
    def rows(self) -> Tensor:
        """(S + Q,) int64 places of all rows in the data."""
        return torch.cat([self.support.rows, self.query.rows])

    @property
    def num_tokens(self) -> int:
        """Tokens in all rows."""
        return self.support.num_tokens + self.query.num_tokens

    def to(self, device: torch.device) -> Episode:
        """The same episode on another device."""
        return replace(self, support=self.support.to(device), query=self.query.to(device))


@dataclass(frozen=True)
class Shape:
    """How large episodes are.

    Attributes:
        ways: most classes; None takes all classes of a data set.
        shots: rows of each class to learn from; of several counts each episode has one.
        queries: rows of each class to be asked about, at most.
        shuffled: whether classes come in any order; else in that of their names.
    """

    ways: int | None
    shots: tuple[int, ...]
    queries: int
    shuffled: bool = True


@dataclass(frozen=True)
class Drawn:
    """The rows of an episode, before anything is made of them.

    Attributes:
        task: name of the data set.
        classes: N names.
        support: (S,) places in the store, class after class.
        support_classes: (S,) class of each, 0 to N - 1.
        query: (Q,) likewise, none of them in the support.
        query_classes: (Q,) class of each.
    """

    task: str
    classes: tuple[str, ...]
    support: np.ndarray
    support_classes: np.ndarray
    query: np.ndarray
    query_classes: np.ndarray

    def episode(self, store: Store, weight: float = 1.0) -> Episode:
        """The episode on what a store holds of its rows."""
        return Episode(
            support=_batch(store, self.support, self.support_classes),
            query=_batch(store, self.query, self.query_classes),
            ways=len(self.classes),
            weight=weight,
            task=self.task,
            classes=self.classes,
        )


def _batch(store: Store, rows: np.ndarray, classes: np.ndarray) -> Batch:
    return replace(take(store, rows), target=torch.from_numpy(classes))


class Episodes:
    """Draws episodes: first a data set, all alike, then classes, then rows.

    Args:
        tasks: what is drawn from.
        shape: how large episodes are.
        name: what messages call it, such as "meta-train".

    Raises:
        DataError: a data set has too few classes, or a class too few rows; names all of them.
    """

    def __init__(self, tasks: Tasks, shape: Shape, name: str = "episodes") -> None:
        self.tasks, self.shape = tasks, shape
        self._names = sorted(tasks)
        faults = [
            fault for task in self._names for fault in _faults(name, task, tasks[task], shape)
        ]
        if not tasks:
            faults = [f"{name}: there is no data set to draw episodes from."]
        if faults:
            raise DataError(faults)

    def draw(self, random: np.random.Generator) -> Drawn:
        """One episode; it depends on `random` alone."""
        task = self._names[int(random.integers(len(self._names)))]
        classes, shape = sorted(self.tasks[task]), self.shape
        ways = len(classes) if shape.ways is None else min(shape.ways, len(classes))
        chosen = [classes[place] for place in random.permutation(len(classes))[:ways]]
        chosen = chosen if shape.shuffled else sorted(chosen)
        shots = shape.shots[int(random.integers(len(shape.shots)))]
        support, query = [], []
        for name in chosen:
            rows = self.tasks[task][name]
            some = rows[random.permutation(len(rows))[: shots + shape.queries]]
            support.append(some[:shots])
            query.append(some[shots:])
        return Drawn(
            task,
            tuple(chosen),
            *(np.concatenate(support), _codes(support)),
            *(np.concatenate(query), _codes(query)),
        )


def _codes(rows: Sequence[np.ndarray]) -> np.ndarray:
    """(S,) int64: of each row the number of its class."""
    return np.repeat(np.arange(len(rows), dtype=np.int64), [len(some) for some in rows])


def _faults(name: str, task: str, classes: ClassRows, shape: Shape) -> Iterable[str]:
    wanted, most = 2 if shape.ways is None else shape.ways, max(shape.shots)
    place = f"{name}, {task}" if task else name
    # Of several data sets each gives the classes it has; two at least make a problem.
    if len(classes) < min(wanted, 2) or (len(classes) < wanted and not task):
        yield (
            f"{place}: has {counted(len(classes), 'class')}, and an episode {wanted}. Give more "
            "classes, ask for fewer ways, or hold fewer out."
        )
    few = [f"{label!r} {len(rows)}" for label, rows in classes.items() if len(rows) <= most]
    if few:
        shown = ", ".join(few[:5]) + (f" and {len(few) - 5} more" if few[5:] else "")
        yield (
            f"{place}: classes with too few different rows for {counted(most, 'shot')} and a "
            f"query: {shown}. Ask for fewer shots, or leave these classes out."
        )


@dataclass(frozen=True)
class Split:
    """Classes that are learned from, and others that are not; no class is in two parts.

    Attributes:
        train: what is learned from.
        validation: what the best point of training is chosen by; may be empty.
        test: what the result is measured on; may be empty.
    """

    train: Tasks
    validation: Tasks
    test: Tasks

    def __post_init__(self) -> None:
        parts = {"meta-train": self.train, "meta-validation": self.validation,
                 "meta-test": self.test}  # fmt: skip
        check_apart(parts)


def check_apart(parts: Mapping[str, Tasks]) -> None:
    """Check that no class, and no row, is in two parts.

    Raises:
        DataError: names each class that is in two, or that shares rows with a class of another.
    """
    faults = []
    owner: dict[tuple[str, str], str] = {}
    seen: list[tuple[str, np.ndarray]] = []
    for part, tasks in parts.items():
        for task, classes in tasks.items():
            for label, rows in classes.items():
                called = f"{label!r}" + (f" of {task}" if task else "")
                before = owner.setdefault((task, label), part)
                if before != part:
                    faults.append(f"class {called} is in {before} and in {part}.")
                    continue
                for other, theirs in seen:
                    shared = np.isin(rows, theirs).sum()
                    if other != part and shared:
                        common = counted(int(shared), "row")
                        faults.append(f"class {called} of {part} shares {common} with {other}.")
        all_rows = [rows for classes in tasks.values() for rows in classes.values()]
        seen += [(part, np.concatenate(all_rows))] if all_rows else []
    if faults:
        raise DataError(faults)


def split(
    tasks: Tasks,
    validation: float | Sequence[str] = (),
    test: float | Sequence[str] = (),
    seed: int = 0,
) -> Split:
    """Keep classes apart: of one data set some classes, of several some data sets.

    Args:
        tasks: everything.
        validation: a share, or names.
        test: likewise, drawn first, so that it does not depend on `validation`.
        seed: of shares.

    Raises:
        DataError: a name is not known or is given twice, or nothing is left to learn from.
    """
    only = next(iter(tasks)) if len(tasks) == 1 else None
    names = sorted(tasks if only is None else tasks[only])
    kind = "data set" if only is None else "class"
    random = np.random.default_rng(seed)
    order = [names[place] for place in random.permutation(len(names))]
    parts: dict[str, list[str]] = {}
    faults = []
    for key, asked in (("test", test), ("validation", validation)):
        left = [name for name in order if name not in parts.get("test", ())]
        if isinstance(asked, float):
            parts[key] = left[: max(1, round(asked * len(names)))]
            continue
        parts[key] = list(asked)
        faults += [unknown_name(key, kind, name, names) for name in asked if name not in names]
    twice = sorted(set(parts["test"]) & set(parts["validation"]))
    faults += [f"{kind} {name!r} is in both test and validation. Keep one." for name in twice]
    rest = [name for name in names if name not in {*parts["test"], *parts["validation"]}]
    if not rest and not faults:
        faults = [f"every {kind} is held out, so that none is left to learn from."]
    if faults:
        raise DataError(faults)

    def some(chosen: Sequence[str]) -> Tasks:
        if only is None:
            return {name: tasks[name] for name in chosen}
        return {only: {name: tasks[only][name] for name in chosen}} if chosen else {}

    return Split(some(rest), some(parts["validation"]), some(parts["test"]))


def tasks_of(sets: Mapping[str, Examples]) -> Tasks:
    """The rows of each class of each data set, as places in all of them joined.

    A text that a data set repeats counts once: it could be learned from and asked about. One data
    set is called "".

    Args:
        sets: labelled.

    Raises:
        DataError: a data set has no labels.
    """
    tasks: dict[str, dict[str, np.ndarray]] = {}
    start = 0
    for name, rows in sets.items():
        if rows.labels is None:
            raise DataError(f"{name}: has no labels, and an episode is made of classes.")
        coded = Labels.of(rows.labels)
        first = np.unique(fingerprints(rows.texts), return_index=True)[1]
        once = np.zeros(len(rows), dtype=bool)
        once[first] = True
        tasks["" if len(sets) == 1 else name] = {
            label: start + np.flatnonzero(once & (coded.codes == code))
            for code, label in enumerate(coded.names)
        }
        start += len(rows)
    return tasks


def without_known(parts: Split, texts: Sequence[str]) -> Split:
    """Take out of what is learned from the rows whose text is also held out.

    Args:
        parts: of N rows.
        texts: all N, in the order of the places.

    Raises:
        DataError: a class loses most of its rows, so that it is one that is held out.
    """
    held = [rows for part in (parts.validation, parts.test) for classes in part.values()
            for rows in classes.values()]  # fmt: skip
    if not held:
        return parts
    prints = fingerprints(texts)
    known = np.isin(prints, prints[np.concatenate(held)])
    faults = []
    train: dict[str, dict[str, np.ndarray]] = {}
    for task, classes in parts.train.items():
        train[task] = {}
        for label, rows in classes.items():
            train[task][label] = rows[~known[rows]]
            if known[rows].mean() > MOST_SHARED:
                faults.append(
                    f"{task or 'the data'}, class {label!r}: {int(known[rows].sum())} of "
                    f"{counted(len(rows), 'text')} are among those held out, so it is a class that "
                    "is held out under another name. Leave one of them out."
                )
    if faults:
        raise DataError(faults)
    return replace(parts, train=train)
