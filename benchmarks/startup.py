"""How long a user waits before anything happens, beside the tools they would use instead.

    python benchmarks/startup.py

Each command runs nine times in a fresh process; the median counts. Kept in results/startup.json.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from common import keep

COMMANDS = {
    "import headstart": [sys.executable, "-c", "import headstart"],
    "headstart --help": [sys.executable, "-m", "headstart.cli", "--help"],
    "import headstart, touch transfer": [sys.executable, "-c", "import headstart.api"],
    "import torch": [sys.executable, "-c", "import torch"],
    "import transformers, touch Trainer": [
        sys.executable,
        "-c",
        "from transformers import Trainer",
    ],
}
REPEATS = 9


def seconds(command: list[str]) -> float:
    """Median of several runs, after one to warm the disk cache."""
    times = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - start)
    return round(statistics.median(times[1:]), 3)


def main() -> None:
    """Time each command and keep the table."""
    rows = {name: seconds(command) for name, command in COMMANDS.items()}
    for name, median in rows.items():
        print(f"{name:<36} {median:6.3f} s")
    keep("startup", {"seconds": rows, "repeats": REPEATS})


if __name__ == "__main__":
    main()
