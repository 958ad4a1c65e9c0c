"""The verdict as a table for the terminal, 80 columns wide at most."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

WIDTH = 80
MOST_NOTES = 6


def verdict_table(verdict: Mapping[str, Any]) -> str:
    """Ways, labels, accuracy with its 95 % interval, macro-F1, time; the winner; the sentence."""
    rows = [("way", "target labels", "accuracy", "F1", "time", "")]
    several = len(verdict["arms"]) > 1
    for arm in verdict["arms"]:
        mark = "<- winner" if several and arm["name"] == verdict["winner"] else ""
        rows.append((
            arm["title"],
            f"{arm['labels']:,}",
            points(arm["accuracy"]),
            f"{100 * arm['macro_f1']['mean']:.1f}",
            duration(arm["seconds"]),
            mark,
        ))  # fmt: skip
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    widths[0] = min(widths[0], WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1))
    lines = [
        f"{shortened(way, widths[0]):<{widths[0]}}  {labels:>{widths[1]}}  "
        f"{accuracy:<{widths[2]}}  {f1:>{widths[3]}}  {time:>{widths[4]}}  {mark}".rstrip()
        for way, labels, accuracy, f1, time, mark in rows
    ]
    curve = verdict.get("curve")
    said = [verdict["sentence"], *([curve["sentence"]] if curve and curve["sentence"] else [])]
    return "\n".join([*lines, *map(wrapped, said)])


def footnotes(verdict: Mapping[str, Any]) -> str:
    """What the table was measured on, what its figures are, and what was noticed in the data."""
    figures = (
        f"Judged on {_judged(verdict)}. Accuracy in % with its 95 % interval; F1 is the mean over "
        "the classes (macro-F1); time is the training of one seed."
    )
    told = [figures, *_told(verdict), *_notes(verdict["data"]["findings"])]
    return "\n".join(wrapped(text) for text in told)


def _judged(verdict: Mapping[str, Any]) -> str:
    """By which rows the arms were judged."""
    test = verdict["data"]["test"]
    rows, protocol = f"{test['rows']:,} test rows", verdict["protocol"]
    if protocol["folds"]:
        repeats = f", {protocol['repeats']} times over" if protocol["repeats"] > 1 else ""
        return (
            f"all {test['rows']:,} rows of {test['name']}, each by models trained on the others "
            f"({protocol['folds']} folds{repeats})"
        )
    if test["held_out"]:
        return f"{rows} held out of {test['name']}, a stratified fifth that no way was trained on"
    return f"the {rows} of {test['name']}"


def _told(verdict: Mapping[str, Any]) -> Iterator[str]:
    """How the winner was chosen, and which runs learned nothing."""
    chosen = verdict["chosen_by"]
    if chosen["honest"]:
        yield (
            "The winner was chosen by all folds; judged by rows that had no say in that, what is "
            f"chosen so reaches {points(chosen['honest'])}."
        )
    elif len(verdict["arms"]) > 1 and chosen["rows"]:
        yield (
            f"The winner was chosen by cross-validation on {chosen['rows']:,} labelled training "
            "rows, not by the rows that judge."
        )
    for stop in (verdict["budget"] or {"stopped": ()})["stopped"]:
        seeds = f"after {stop['seeds']} seeds" if stop["seeds"] > 1 else "after one seed"
        yield f"{stop['title']}: stopped {seeds if stop['seeds'] else 'unfinished'}: {stop['why']}."
    for arm in verdict["arms"]:
        if arm.get("restarts") or arm.get("collapsed"):
            runs = f"{arm['restarts']} restarted" if arm["restarts"] else ""
            lost = f"{arm['collapsed']} learned nothing in the end" if arm["collapsed"] else ""
            said = "; ".join(part for part in (runs, lost) if part)
            yield f"{arm['title']}: trainings that learned nothing: {said}."


def _notes(findings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each finding; a remedy that several share is said once."""
    said: set[str] = set()
    for finding in findings[:MOST_NOTES]:
        remedy = "" if finding["remedy"] in said else finding["remedy"]
        said.add(finding["remedy"])
        yield f"Note: {finding['message']} {remedy}".rstrip()
    if len(findings) > MOST_NOTES:
        yield f"{len(findings) - MOST_NOTES} more notes are in the report."


def points(score: Mapping[str, float]) -> str:
    """A score in points with its interval: "84.2 [82.1, 86.3]"."""
    # Adding zero turns the -0.0 that rounding leaves into 0.0.
    mean, low, high = (round(100 * score[key], 1) + 0.0 for key in ("mean", "low", "high"))
    return f"{mean:.1f} [{low:.1f}, {high:.1f}]"


def wrapped(text: str) -> str:
    """A paragraph of 80 columns; paths and words stay whole."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def shortened(text: str, width: int) -> str:
    """A text cut to a width, with dots where it was cut."""
    return text if len(text) <= width else text[: width - 3] + "..."


def duration(seconds: float) -> str:
    """Seconds as one reads them: "41 s", "3 min 5 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
