"""What a recipe that ends in learning from episodes reached, for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.report.text import shortened, wrapped

NAME_WIDTH = 21


def meta_table(values: Mapping[str, Any]) -> str:
    """Each way at each count of shots, with its interval, and what ours gains over it.

    Args:
        values: what verdict.json holds.
    """
    if not values["results"]:
        return wrapped(values["sentence"])
    rows = [("way", "shots", "accuracy", "episodes", "gain")]
    for one in values["results"]:
        rows.append((shortened(one["way"], NAME_WIDTH), str(one["shots"]), _points(one["accuracy"]),
                     str(one["episodes"]), _gain(one["gain"])))  # fmt: skip
    widths = [max(len(row[place]) for row in rows) for place in range(len(rows[0]))]
    lines = [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    note = (
        "Accuracy in % over episodes of classes that were not learned from, with its 95 % "
        "interval; gain: the first way's over this one, on the same episodes. Frozen: logistic "
        "regression and class means on what the untouched backbone makes of the texts."
    )
    return "\n".join([*lines, "", wrapped(values["sentence"]), "", wrapped(note)])


def _points(figure: Mapping[str, Any]) -> str:
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _gain(worth: Mapping[str, Any] | None) -> str:
    if worth is None:
        return ""
    value, low, high = (100 * worth[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]"
