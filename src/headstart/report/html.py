"""The verdict as one self-contained HTML file: no script, no request, good on paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, PackageLoader

from headstart.data.atomic import write_atomically
from headstart.report import words
from headstart.report.charts import curves, whiskers

MAX_MATRIX_CLASSES = 20
MAX_LISTED = 20


def render(verdict: Mapping[str, Any]) -> str:
    """Lay out the content of verdict.json; what it does not hold is left out of the page."""
    environment = Environment(
        loader=PackageLoader("headstart.report", "."),
        autoescape=True,
        undefined=ChainableUndefined,
        finalize=lambda value: words.ABSENT if value is None else value,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for shown in (words.number, words.share, words.hundredths, words.points, words.rate,
                  words.memory, words.seconds, words.arrows, words.way, words.clip,
                  words.count):  # fmt: skip
        environment.filters[shown.__name__] = shown
    # Empty sections are as good as absent ones.
    given = {key: value for key, value in verdict.items() if value not in (None, [], {}, "")}
    page = environment.get_template("template.html.j2").render(view(given))
    return words.printable(page)


def write_report(verdict: Mapping[str, Any], path: str | Path) -> None:
    """Write the report, whole or not at all.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    page = render(verdict).encode("utf-8")
    with write_atomically(Path(path)) as file:
        file.write(page)


def view(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """What the template reads: the verdict, and what has to be computed to show it."""
    arms = [arm for arm in verdict.get("arms", []) if arm.get("accuracy")]
    worth = verdict.get("gain")
    data = dict(verdict.get("data", {}))
    findings = data.pop("findings", None)
    stages = in_groups(verdict.get("stages", []))
    return {
        "verdict": verdict,
        "arms": arms,
        "titles": {arm.get("name"): arm.get("title", arm.get("name")) for arm in arms},
        "winner": next((arm for arm in arms if arm.get("name") == verdict.get("winner")), None),
        "drawn": whiskers([arm["accuracy"] for arm in arms]) if arms else None,
        "gain": worth,
        "gain_drawn": whiskers([worth], with_zero=True) if worth else None,
        "test_rows": data.get("test", {}).get("rows"),
        "charts": curves(stages),
        "matrix": matrix(verdict.get("confusion")),
        "data": data,
        "class_counts": class_counts(data),
        "findings": findings,
        "stages": stages,
        "moved": moved(stages),
    }


def in_groups(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The seeds of a stage one after the other, with what the cost table adds up."""
    names = list(dict.fromkeys(stage.get("name") for stage in stages))
    filled = [{"cached": False, "tokens": 0, "seconds": 0.0, "arm": [], **s} for s in stages]
    return sorted(filled, key=lambda stage: names.index(stage.get("name")))


def matrix(confusion: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Rows of (count, share of its row); with many classes only which are mixed up most."""
    if not confusion:
        return None
    classes, counts = confusion["classes"], confusion["counts"]
    if len(classes) <= MAX_MATRIX_CLASSES:
        rows = [[(n, n / (sum(row) or 1)) for n in row] for row in counts]
        return {"classes": classes, "rows": rows, "pairs": None}
    pairs = [
        {"truth": classes[i], "predicted": classes[j], "count": n, "share": n / sum(row)}
        for i, row in enumerate(counts)
        for j, n in enumerate(row)
        if n and i != j
    ]
    pairs.sort(key=lambda pair: -pair["count"])
    return {"classes": classes, "rows": None, "pairs": pairs[:MAX_LISTED]}


def class_counts(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """Rows of each class in each data set, the most frequent classes first."""
    sets = {name: rows["classes"] for name, rows in data.items() if rows.get("classes")}
    if not sets:
        return None
    names = dict.fromkeys(name for classes in sets.values() for name in classes)
    ordered = sorted(names, key=lambda n: -sum(classes.get(n, 0) for classes in sets.values()))
    rows = []
    for name in ordered[:MAX_LISTED]:
        counted = [(c.get(name, 0), c.get(name, 0) / (sum(c.values()) or 1)) for c in sets.values()]
        rows.append((name, counted))
    return {"sets": list(sets), "rows": rows, "left_out": len(ordered) - len(rows)}


def moved(stages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each kind of stage once, with its patterns and how much of the model moved."""
    found: dict[Any, dict[str, Any]] = {}
    for stage in stages:
        table = stage.get("trainable")
        if table and stage.get("name") not in found:
            total = sum(row["parameters"] for row in table)
            moving = sum(row["parameters"] for row in table if row.get("learning_rate"))
            found[stage.get("name")] = {
                "name": stage.get("name"),
                "groups": table,
                "total": total,
                "moving": moving,
            }
    return list(found.values())
