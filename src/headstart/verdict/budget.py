"""A search that keeps within a time: cheap ways first, hopeless ones stopped by their interval.

Successive halving (Jamieson and Talwalkar 2016, "Non-stochastic best arm identification and
hyperparameter optimization") over seeds: each round trains one more seed of every way that is still
in the race. What stops a way is not a share to be thrown out but evidence: the 95 % interval of its
gain over the best, on labelled rows that neither was trained on, lies wholly below zero.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from headstart.errors import RecipeError

DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|m|min|h)?")
SECONDS = {None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0}

MOST_SEEDS = 5
"""Rounds, where nobody says how many."""


class OutOfTimeError(Exception):
    """The time is used up; never seen outside of a search."""


def parse_duration(text: str | float) -> float:
    """Seconds of "90s", "10m", "1.5h" or a number of seconds.

    Raises:
        RecipeError: it is no such duration, or not above 0.
    """
    found = DURATION.fullmatch(str(text).strip().lower())
    seconds = float(found[1]) * SECONDS[found[2]] if found else 0.0
    if seconds <= 0:
        raise RecipeError(f"budget: {text!r} is no time. Write, for example, 90s, 10m or 2h.")
    return seconds


@dataclass
class Budget:
    """A time that a search keeps to.

    Attributes:
        seconds: that it has.
        clock: gives the time in seconds.
        reserve: seconds that what remains to be done at the end will take.
        open: whether the time counts: it does not before there is a model to keep.
        stopped: which arms were stopped and why.
    """

    seconds: float
    clock: Callable[[], float] = time.perf_counter
    reserve: float = 0.0
    open: bool = False
    stopped: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._start = self.clock()

    def used(self) -> float:
        """Seconds gone."""
        return self.clock() - self._start

    def check(self) -> None:
        """Whether the next piece of work may begin.

        Raises:
            OutOfTimeError: it may not.
        """
        if self.open and self.used() + self.reserve >= self.seconds:
            raise OutOfTimeError

    def stop(self, name: str, title: str, seeds: int, why: str) -> None:
        """Note that an arm was stopped."""
        self.stopped.append({"arm": name, "title": title, "seeds": seeds, "why": why})

    def values(self) -> dict[str, Any]:
        """What verdict.json says of it."""
        return {"seconds": self.seconds, "used": self.used(), "stopped": list(self.stopped)}


def unlimited() -> None:
    """The check of a search without a budget."""
