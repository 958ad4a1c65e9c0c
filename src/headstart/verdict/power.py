"""How many watts a machine may draw, as far as it says: for the report's estimate of energy."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
"""Where Linux tells what Intel and AMD processors may draw (RAPL)."""


@dataclass(frozen=True)
class Power:
    """What a machine may draw while training.

    Attributes:
        watts: with all threads that train at work.
        basis: what says so, as a phrase.
    """

    watts: float
    basis: str


def power(threads: int, gpu: bool) -> Power | None:
    """The limit of the graphics card, or the threads' share of the processor's; None where
    neither can be read.

    Args:
        threads: that train.
        gpu: whether training is on a graphics card.
    """
    return _card() if gpu else _processor(threads)


def _processor(threads: int) -> Power | None:
    """The long-term limit of all packages, by the share of their threads."""
    limits = []
    for zone in sorted(POWERCAP.glob("intel-rapl:[0-9]*")):
        if zone.name.count(":") > 1:
            continue  # a part of a package
        try:
            limits.append(int((zone / "constraint_0_power_limit_uw").read_text()) / 1e6)
        except (OSError, ValueError):
            return None
    total = os.cpu_count() or threads
    if not limits or not sum(limits):
        return None
    share = min(1.0, threads / total)
    return Power(
        sum(limits) * share,
        f"the share of {threads} in {total} threads of what RAPL says the processor may draw",
    )


def _card() -> Power | None:
    """The power limit of the first card, as nvidia-smi tells it."""
    if shutil.which("nvidia-smi") is None:
        return None
    command = ["nvidia-smi", "--query-gpu=power.limit", "--format=csv,noheader,nounits", "-i", "0"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        watts = float(done.stdout.split()[0])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return Power(watts, "the limit of the graphics card, as nvidia-smi tells it")
