"""What a run cost in electricity, estimated, and by what.

Energy is time multiplied by power, as in Lannelongue, Grealey and Inouye 2021, "Green Algorithms:
Quantifying the Carbon Footprint of Computation" (Advanced Science 8, 2100707), without their factor
for the cooling of data centres. Power is the limit that the processor's maker gave it, where the
run's machine could be asked for it; else so many watts for each thread.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headstart.report.words import count, is_number, number

WATTS_OF_A_CORE = 12.0
"""Of a processor about which nothing is known: Green Algorithms' default, green-algorithms.org."""

WATTS_OF_A_GIGABYTE = 0.3725
"""Of memory (Green Algorithms, from Karyakin and Salem 2017)."""


@dataclass(frozen=True)
class Energy:
    """An estimate.

    Attributes:
        watts: power while training.
        basis: how the power is known, as a sentence goes on after "power is".
    """

    watts: float
    basis: str

    def watt_hours(self, seconds: Any) -> float | None:
        """Of so many seconds; None where the time is not known."""
        return self.watts * seconds / 3600 if is_number(seconds) else None


def energy(verdict: Mapping[str, Any]) -> Energy | None:
    """The power that a run drew; None where the verdict does not say what it ran on."""
    machine = verdict.get("machine") or {}
    watts, basis = machine.get("watts", math.nan), machine.get("watts_from")
    if is_number(watts) and basis:
        return Energy(watts + _memory(verdict), f"{number(watts)} W, {basis}{_and_memory(verdict)}")
    threads = machine.get("threads", math.nan)
    if not is_number(threads) or machine.get("gpu"):
        return None
    return Energy(
        threads * WATTS_OF_A_CORE + _memory(verdict),
        f"{number(WATTS_OF_A_CORE)} W for each of {count(threads, 'thread')}, as this processor "
        f"did not say what it may draw{_and_memory(verdict)}",
    )


def _peak(verdict: Mapping[str, Any]) -> float:
    """Gigabytes that the largest stage held."""
    held = [stage.get("peak_memory_bytes") for stage in verdict.get("stages") or []]
    return max((one / 1e9 for one in held if is_number(one)), default=0.0)


def _memory(verdict: Mapping[str, Any]) -> float:
    return _peak(verdict) * WATTS_OF_A_GIGABYTE


def _and_memory(verdict: Mapping[str, Any]) -> str:
    held = _peak(verdict)
    return f", and {WATTS_OF_A_GIGABYTE} W for each of {held:.1f} GB of memory" if held else ""
