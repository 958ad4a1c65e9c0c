"""The verdict as a table for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def verdict_table(verdict: Mapping[str, Any]) -> str:
    """Ways, labels, accuracy with its 95 % interval, time; the winner marked; the sentence."""
    rows = [("way", "target labels", "accuracy", "", "macro-F1", "time", "")]
    for arm in verdict["arms"]:
        accuracy = arm["accuracy"]
        mark = "<- winner" if arm["name"] == verdict["winner"] and len(verdict["arms"]) > 1 else ""
        rows.append(
            (
                arm["title"],
                f"{arm['labels']:,}",
                f"{100 * accuracy['mean']:.1f}",
                f"[{100 * accuracy['low']:.1f}, {100 * accuracy['high']:.1f}]",
                f"{100 * arm['macro_f1']['mean']:.1f}",
                duration(arm["seconds"]),
                mark,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(7)]
    lines = []
    for row in rows:
        name, labels, accuracy, interval, macro, seconds, mark = row
        lines.append(
            f"{name:<{widths[0]}}   {labels:>{widths[1]}}   {accuracy:<{widths[2]}} "
            f"{interval:<{widths[3]}}  {macro:>{widths[4]}}   {seconds:>{widths[5]}}   {mark}".rstrip()
        )
    return "\n".join([*lines, verdict["sentence"]])


def duration(seconds: float) -> str:
    """Seconds as one reads them: "41 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
