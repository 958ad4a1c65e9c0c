"""How many cores this process may use, which is not how many there are."""

from __future__ import annotations

import math
import os
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")


def num_cores(cgroup: Path = CGROUP) -> int:
    """Cores given to this process: by its affinity, and by its container's quota (cgroup 1 and 2).

    torch counts the cores of the machine; in a container with 2 of 64 its threads would spend their
    time waiting for each other.
    """
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    quota = _quota(cgroup)
    return max(1, min(there or 1, math.ceil(quota) if math.isfinite(quota) else there or 1))


def use_given_cores() -> None:
    """Let torch use as many threads as there are cores, unless $OMP_NUM_THREADS says otherwise."""
    import torch

    if "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() > num_cores():
        torch.set_num_threads(num_cores())


def _quota(cgroup: Path) -> float:
    """Cores' worth of time that the container may use; infinite where nothing limits it."""
    both = _words(cgroup / "cpu.max")  # "200000 100000", or "max 100000"
    if len(both) != 2:
        folder = cgroup / "cpu"
        both = [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
    if len(both) != 2 or not both[0].isdigit() or not both[1].isdigit() or int(both[1]) == 0:
        return math.inf
    return int(both[0]) / int(both[1])


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError):
        return []
