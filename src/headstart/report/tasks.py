"""What a recipe that ends in several tasks did, for the terminal, 80 columns wide at most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.report.text import shortened, wrapped

NAME_WIDTH = 18


def tasks_table(values: Mapping[str, Any]) -> str:
    """Each task together and alone with what it gains; below it, what each is worth to others.

    Args:
        values: what verdict.json holds.
    """
    compared = any(task["gain"] for task in values["tasks"])
    head = ("task", "test rows", "together", *(("alone", "gain", "") if compared else ()))
    rows: list[tuple[str, ...]] = [head]
    for task in values["tasks"]:
        row = [shortened(task["name"], NAME_WIDTH), f"{task['test_rows']:,}",
               _points(task["together"])]  # fmt: skip
        if compared:
            row += [_points(task["alone"]), *_gain(task["gain"])]
        rows.append(tuple(row))
    lines = [*_aligned(rows), "", wrapped(values["sentence"])]
    if values["worth"]:
        worth: list[tuple[str, ...]] = [("worth of", "to", "gain", "")]
        for one in values["worth"]:
            names = (shortened(one[key], NAME_WIDTH) for key in ("of", "to"))
            worth.append((*names, *_gain(one)))
        lines += ["", *_aligned(worth)]
    return "\n".join([*lines, "", *(wrapped(text) for text in _notes(values))])


def _points(figure: Mapping[str, Any]) -> str:
    value, low, high = (100 * figure[key] for key in ("value", "low", "high"))
    return f"{value:.1f} [{low:.1f}, {high:.1f}]"


def _gain(worth: Mapping[str, Any]) -> tuple[str, str]:
    value, low, high = (100 * worth[key] for key in ("value", "low", "high"))
    return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]", worth["effect"]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            f"{cell:>{width}}" if place == 1 and cell[:1].isdigit() else f"{cell:<{width}}"
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _notes(values: Mapping[str, Any]) -> list[str]:
    tasks = values["tasks"]
    seeds = f", {values['seeds']} seeds" if values["seeds"] > 1 else ""
    notes = []
    if any(task["kind"] == "classify" for task in tasks):
        notes.append(f"Accuracy in % with its 95 % interval over test rows{seeds}.")
    for task in tasks:
        if task["kind"] == "regress":
            means = task["together"]["means"]
            notes.append(
                f"{task['name']}: share of the variance explained, in %, of a regression; Pearson "
                f"{means['pearson']:.3f}, Spearman {means['spearman']:.3f}, root mean squared "
                f"error {means['rmse']:.3g}."
            )
    if any(task["gain"] for task in tasks):
        notes.append("Alone: the same backbone and as many passes over the task's own rows.")
    if values["seeds"] == 1:
        notes.append("One seed: the intervals are of these very models; others may differ.")
    left = [task["name"] for task in tasks if task["left_out"]]
    if left:
        notes.append(f"Left out in time, being no better any more: {', '.join(left)}.")
    return notes
