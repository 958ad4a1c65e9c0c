"""The demo's own figures, as README shows them.

    python benchmarks/demo.py [VERDICT.json]

Runs `headstart demo`, or takes the verdict that a run of it left, and keeps arms, gain and time in
results/demo.json.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import keep


def verdict() -> dict[str, Any]:
    """The verdict of a fresh run, or of the file that was named."""
    if len(sys.argv) > 1:
        return json.loads(Path(sys.argv[1]).read_text())
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "headstart.cli", "demo", "--json", "--out", f"{out}/demo"]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def main() -> None:
    """Print the table and keep the figures."""
    from headstart.report.text import verdict_table

    found = verdict()
    print(verdict_table(found))
    kept = ("sentence", "winner", "arms", "gain", "negative_transfer", "precision", "seconds")
    keep("demo", {key: found[key] for key in kept})


if __name__ == "__main__":
    main()
