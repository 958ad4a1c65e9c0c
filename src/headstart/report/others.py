"""What the pages of other outcomes read: rankings, and recipes that end without a verdict.

They have no arms that compete, so such a page tells its sentence, its figures in tables, and what
every run has: data, learning curves, cost, and how to repeat it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from headstart.report.view import Values, run_view
from headstart.report.words import ABSENT, hundredths, number, points

RUN = (("data", "Data", "looked"), ("curves", "Learning curves", "charts"),
       ("cost", "Cost", "stages"), ("moved", "What moved", "moved"),
       ("again", "How to repeat it", "again"))  # fmt: skip
"""Sections that every run has, as `view.SECTIONS`."""


def ranking_view(values: Values) -> dict[str, Any]:
    """Which backbone and which source to start from."""
    return _page("ranking", values, {"ranking": values}, [])


def pretraining_view(values: Values) -> dict[str, Any]:
    """What texts cost before a stage without labels, and after it."""
    rows = []
    for judged in values.get("judged", []):
        before, after, measure = (judged.get(key) for key in ("before", "after", "measure"))
        costs = [number((side or {}).get(measure), 2) for side in (before, after)]
        rows.append([judged["stage"], judged["task"], str(measure), *costs])
    head = ["stage", "task", "measured", "before", "after"]
    caption = "What texts that no stage was trained on cost, before each stage and after it"
    return _page("pre-training", values, {}, [_table(caption, head, rows)])


def tasks_view(values: Values) -> dict[str, Any]:
    """What each task reaches alone and together, and what each is worth to the others."""
    tasks = [[one["name"], number(one["test_rows"]), _figure(one["together"]),
              _figure(one.get("alone")), _gain(one.get("gain"))]
             for one in values.get("tasks", [])]  # fmt: skip
    worth = [[one["of"], one["to"], _gain(one)] for one in values.get("worth", [])]
    tables = [
        _table("Each task, in per cent with 95 % intervals: accuracy, or of numbers the share of "
               "the variance explained", ["task", "test rows", "together", "alone", "gain"], tasks),
        _table("What a task is worth to another, in points", ["worth of", "to", "gain"], worth),
    ]  # fmt: skip
    return _page("several tasks", values, {}, tables)


def meta_view(values: Values) -> dict[str, Any]:
    """What a few rows of classes that were not learned from make of the model, way by way."""
    rows = [
        [str(one["way"]), number(one["shots"]), _figure(one["accuracy"]), _gain(one.get("gain")),
         number(one["episodes"])]
        for one in values.get("results", [])
    ]  # fmt: skip
    head = ["way", "rows of a class", "accuracy", "gain over it", "episodes"]
    caption = "Accuracy over episodes of unseen classes, in per cent, and gains in points"
    return _page("learning from few", values, {}, [_table(caption, head, rows)])


OTHERS: dict[str, Callable[[Values], dict[str, Any]]] = {
    "headstart.ranking/1": ranking_view,
    "headstart.pretraining/1": pretraining_view,
    "headstart.tasks/1": tasks_view,
    "headstart.meta/1": meta_view,
}
"""By schema, what makes the values of a page."""


def _page(
    what: str, values: Values, more: Mapping[str, Any], tables: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    found = {"verdict": values, "title": values.get("sentence", what), "what": what}
    found |= run_view(values) | {"titles": {}, **more}
    found["tables"] = [table for table in tables if table["rows"]]
    own = [("figures", "Figures")] if found["tables"] else []
    own += [("ranking", "What to start from")] if found["ranking"] else []
    found["sections"] = own + [(id_, name) for id_, name, needs in RUN if found.get(needs)]
    return found


def _table(caption: str, head: list[str], rows: list[list[str]]) -> dict[str, Any]:
    return {"caption": caption, "head": head, "rows": rows}


def _figure(values: Any) -> str:
    if not values:
        return ABSENT
    mean = values["value"] if "value" in values else values["mean"]
    return f"{hundredths(mean)} [{hundredths(values['low'])}, {hundredths(values['high'])}]"


def _gain(values: Any) -> str:
    if not values:
        return ABSENT
    ends = f"[{points(values['low'])}, {points(values['high'])}]"
    return f"{points(values['value'])} {ends}"
