"""What a recipe that ends without labels did, for the terminal, 80 columns wide at most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.report.text import duration, wrapped


def pretraining_table(values: Mapping[str, Any]) -> str:
    """A line for each stage without labels, with what held-out texts cost before and after it.

    Args:
        values: what verdict.json holds.
    """
    rows = [("stage", "task", "measured", "before", "after", "time")]
    seconds = {stage["name"]: stage["seconds"] for stage in values["stages"]}
    for judged in values["judged"]:
        measure = judged["measure"]
        rows.append((
            judged["stage"],
            judged["task"],
            measure,
            f"{judged['before'][measure]:,.2f}",
            f"{judged['after'][measure]:,.2f}",
            duration(seconds[judged["stage"]]),
        ))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            f"{cell:<{width}}" if place < 3 else f"{cell:>{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    held = sum(one["texts"] for one in values["held_out"].values())
    kept = "given ones" if any(one["given"] for one in values["held_out"].values()) else "held out"
    told = (
        f"Measured on {held:,} texts that no stage without labels was trained on ({kept}); "
        "perplexity is the exponential of the mean loss of a token. A pseudo-perplexity hides each "
        "token alone (Salazar et al. 2020), on as many texts as that takes little time for."
    )
    return "\n".join([*lines, wrapped(values["sentence"]), "", wrapped(told)])
