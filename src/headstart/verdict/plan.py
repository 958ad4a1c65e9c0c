"""What is asked of a transfer, checked before anything is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headstart.errors import RecipeError
from headstart.recipe import Stage
from headstart.verdict.arms import DEFAULT_ARMS, adapt_stage, expanded, parse_arms, stages_of
from headstart.verdict.budget import MOST_SEEDS
from headstart.verdict.rows import Rows
from headstart.verdict.sources import named_sources

FEW = 64
"""Up to so many rows, folds are cut three times over: they are quick, and each row weighs much."""

FEW_REPEATS = 3

ANSWERING = ("source", "joint")
"""Ways that need a source with the target's own classes."""


@dataclass(frozen=True)
class Asked:
    """What a user asked for.

    Attributes:
        arms: names of ways; None for the default ones.
        labels: target labels to train on; None for all.
        seeds: repeats; None for the default.
        folds: parts of the target that judge in turn; None for the default.
        tests: whether test rows are given.
        unlabelled: whether more texts are given.
        budget: seconds that the search may take; None for all that is asked.
        curve: how the label curve is drawn; None draws none.
    """

    arms: str | Sequence[str] | None
    labels: int | None
    seeds: int | None
    folds: int | None
    tests: bool
    unlabelled: bool = False
    budget: float | None = None
    curve: str | None = None


@dataclass(frozen=True)
class Plan:
    """What follows from it.

    Attributes:
        names: the arms.
        stages: the stages of the widest of them, which name every data set that is read.
        answering: sources whose own classes must be the target's: a model that never met a label
            of the target answers, or both are learned at once.
    """

    names: tuple[str, ...]
    stages: tuple[Stage, ...]
    answering: tuple[str, ...]


def plan(asked: Asked, source: Any, others: Mapping[str, Any]) -> tuple[dict[str, Any], Plan]:
    """Check what is asked.

    Args:
        asked: the values.
        source: one source or several, as `named_sources` takes them.
        others: the target, the test rows and the unlabelled ones; those that are None are left
            out.

    Returns:
        All data sets by name, sources first, and the plan.

    Raises:
        RecipeError: with every fault at once.
    """
    faults = list(_faults(asked))
    sources = named_sources(source)
    names: tuple[str, ...] = ()
    try:
        names = parse_arms(DEFAULT_ARMS if asked.arms is None else asked.arms, tuple(sources))
    except RecipeError as error:
        faults += error.faults
    if faults:
        raise RecipeError(faults)
    there = expanded(tuple(sources))
    if all(there[arm][0] == "tfidf" for arm in names):
        raise RecipeError("arms: tfidf alone leaves no model to keep. Add frozen or target.")
    ways = {there[arm][0] for arm in names}
    if asked.curve is not None and "source+target" not in ways:
        raise RecipeError(
            "curve: compares source+target with target at every number of labels. Add "
            "source+target to arms."
        )
    used = dict.fromkeys(name for arm in names for name in there[arm][1])
    adapts = any(way.startswith("adapt") for way in ways)
    others = {"texts": others["target"] if adapts else None} | dict(others)
    others["unlabelled"] = others["unlabelled"] if adapts else None
    given = {name: sources[name] for name in sources if name in used}
    given |= {name: rows for name, rows in others.items() if rows is not None}
    answering = dict.fromkeys(
        name for arm in names for name in there[arm][1] if there[arm][0] in ANSWERING
    )
    stages = stages_of("source+target" if used else "target", asked.labels or 1, tuple(used))
    if adapts:
        stages = (adapt_stage(1, asked.unlabelled), *stages)
    return given, Plan(names, stages, tuple(answering))


def _faults(asked: Asked) -> list[str]:
    faults = []
    if asked.seeds is not None and asked.seeds < 1:
        faults.append(f"seeds: must be 1 or more; got {asked.seeds}.")
    if asked.folds is not None and (asked.folds < 0 or asked.folds == 1):
        faults.append(f"folds: must be 2 or more, or 0 for none; got {asked.folds}.")
    if asked.unlabelled and "adapt" not in str(asked.arms):
        faults.append(
            "unlabelled: texts without labels are read by adapt+target and adapt+source+target. "
            "Name one of them with arms, or leave unlabelled out."
        )
    if asked.folds and asked.tests:
        faults.append("folds: judge where no test rows are given. Leave out folds or test.")
    if asked.folds and asked.labels is not None:
        faults.append(
            "folds: train on all labels there are, and so cannot go with labels. Leave out one."
        )
    return faults


def num_seeds(asked: Asked, rows: Rows) -> int:
    """How often what is trained on the target is repeated."""
    if asked.seeds is not None:
        return asked.seeds
    if asked.budget is not None:
        return MOST_SEEDS
    return FEW_REPEATS if rows.folds and len(rows.test) <= FEW else 1
