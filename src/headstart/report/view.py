"""What the page of a verdict reads: its values, and what has to be computed to show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headstart.explain.shades import Shade, shades
from headstart.report.charts import curves, whiskers
from headstart.report.energy import energy
from headstart.report.plots import coverage, label_curve, reliability
from headstart.report.words import MAX_CHARACTERS, number

Values = Mapping[str, Any]

MAX_MATRIX_CLASSES = 20
MAX_LISTED = 20

SECTIONS = (
    ("arms", "The ways compared", "arms"),
    ("gain", "The gain", "gain"),
    ("curve", "How many labels", "curve_drawn"),
    ("errors", "Right and wrong", "errors"),
    ("mistakes", "Mistakes", "mistakes"),
    ("sure", "How sure it may be", "sure"),
    ("data", "Data", "looked"),
    ("ranking", "What to start from", "ranking"),
    ("layers", "Layer by layer", "layers"),
    ("curves", "Learning curves", "charts"),
    ("cost", "Cost", "stages"),
    ("moved", "What moved", "moved"),
    ("again", "How to repeat it", "again"),
)
"""Sections in their order: id, title, and what there must be for one to be shown."""

SEVERITIES = ("harmful", "warning", "note")
"""The worst first."""


def view(verdict: Values) -> dict[str, Any]:
    """All that the template reads."""
    found = {"verdict": verdict, "title": verdict.get("sentence", "verdict")}
    found |= judged(verdict) | curve_view(verdict) | sure_view(verdict) | run_view(verdict)
    found["errors"] = found["matrix"] or verdict.get("classes")
    found["sections"] = [(id_, name) for id_, name, needs in SECTIONS if found.get(needs)]
    return found


def judged(verdict: Values) -> dict[str, Any]:
    """The arms, what they gain, and where the winner is wrong."""
    arms = [arm for arm in verdict.get("arms", []) if arm.get("accuracy")]
    titles = {arm.get("name"): arm.get("title", arm.get("name")) for arm in arms}
    worth, gains = verdict.get("gain"), verdict.get("gains", [])
    source = next((g for g in gains if worth and g["of"] == "source"
                   and g["value"] == worth["value"]), None)  # fmt: skip
    confused = verdict.get("confusion")
    return {
        "arms": arms,
        "titles": titles,
        "winner": next((arm for arm in arms if arm.get("name") == verdict.get("winner")), None),
        "drawn": whiskers([arm["accuracy"] for arm in arms]) if arms else None,
        "stopped": (verdict.get("budget") or {}).get("stopped", []),
        "restarted": [arm for arm in arms if arm.get("restarts") or arm.get("collapsed")],
        "gain": worth,
        "gains": gains,
        "gain_of": titles.get(source["arm"], source["arm"]) if source else "source → target",
        "gain_drawn": whiskers([worth], with_zero=True) if worth else None,
        "matrix": matrix(confused),
        "class_names": confused["classes"] if confused else [],
        **mistakes_view(verdict),
    }


def curve_view(verdict: Values) -> dict[str, Any]:
    """The label curve, and its table: a row for each number of labels."""
    curve = dict(verdict.get("curve") or {})
    if "outlook" not in curve and verdict.get("outlook"):
        curve["outlook"] = verdict["outlook"]
    arms = {arm.get("name"): arm.get("title") for arm in verdict.get("arms", [])}
    title = arms.get(curve.get("arm")) or curve.get("arm", "with the source")
    alone = {point["labels"]: point for point in curve.get("without_source") or []}
    helped = {point["labels"]: point for point in curve.get("with_source") or []}
    saved = {one["labels"]: one for one in curve.get("saved") or []}
    rows = [
        {"labels": n, "alone": alone.get(n), "helped": helped.get(n), **worth(saved.get(n))}
        for n in sorted({*alone, *helped})
    ]
    drawn = label_curve(curve, title)
    return {"curve": curve, "curve_title": title, "curve_rows": rows, "curve_drawn": drawn}


def worth(saved: Values | None) -> dict[str, str]:
    """What labels with the source are worth alone, and how many that saves, as a table has it."""
    if saved is None:
        return {"worth": number(None), "saved": number(None)}
    if saved["worth"] is None:
        beyond = f"more than {number(saved['most'])}"
        below = f"fewer than {number(saved['least'])}"
        return {"worth": beyond if saved["reached"] == "above" else below, "saved": number(None)}
    high = "…" if saved["high"] is None else number(saved["high"])
    ends = f"[{number(saved['low'])}, {high}]"
    return {"worth": f"{number(saved['worth'])} {ends}", "saved": number(saved["saved"])}


def sure_view(verdict: Values) -> dict[str, Any]:
    """Calibration, answering the surest only, and offsets."""
    calibration, selective = verdict.get("calibration") or {}, verdict.get("selective") or {}
    return {
        "calibration": calibration,
        "selective": selective,
        "offsets": verdict.get("offsets"),
        "reliability": reliability(calibration),
        "coverage": coverage(selective),
        "sure": calibration or selective,
    }


def run_view(verdict: Values) -> dict[str, Any]:
    """Data, what was found in it, stages and what they cost; of every kind of run."""
    data = dict(verdict.get("data", {}))
    findings = data.pop("findings", verdict.get("findings"))
    stages = in_groups(verdict.get("stages", []))
    explained = verdict.get("explanation") or {}
    return {
        "data": {name: part for name, part in data.items() if isinstance(part, Mapping)},
        "test_rows": data.get("test", {}).get("rows"),
        "class_counts": class_counts(data),
        "findings": None if findings is None else by_severity(findings),
        "looked": data or findings,
        "stages": stages,
        "charts": curves(stages),
        "moved": moved(stages),
        "energy": energy(verdict),
        "machine": machine(verdict),
        "ranking": verdict.get("ranking"),
        "layers": verdict.get("layers") or explained.get("layers"),
        "again": verdict.get("command") or verdict.get("recipe") or verdict.get("versions"),
    }


def mistakes_view(verdict: Values) -> dict[str, Any]:
    """Mistakes, those of the same two classes with the same number; words marked where known."""
    given = verdict.get("mistakes") or []
    counts: dict[tuple[str, str], int] = {}
    for one in given:
        key = (one["truth"], one["predicted"])
        counts[key] = counts.get(key, 0) + 1
    order = sorted(counts, key=lambda key: -counts[key])
    explained = verdict.get("explained") or {}
    words = [*(explained.get("words") or []), *([] for _ in given)]
    mistakes = [
        {**one, "pair": order.index((one["truth"], one["predicted"])),
         "pieces": pieces(one["text"], scores) if scores else []}
        for one, scores in zip(given, words, strict=False)
    ]  # fmt: skip
    marked = sum(1 for one in mistakes if one["pieces"])
    return {
        "mistakes": mistakes,
        "pairs": [{"truth": t, "predicted": p, "count": counts[t, p]} for t, p in order],
        "explained": {**explained.get("method", {}), "count": marked} if marked else None,
    }


def pieces(text: str, words: Sequence[Any]) -> list[Shade]:
    """A text in pieces, those that matter coloured; no longer than other mistakes are shown.

    Args:
        text: all of it.
        words: start, end and score of each, in their order.
    """
    shown = [word for word in words if word["end"] <= MAX_CHARACTERS]
    if len(text) > MAX_CHARACTERS:
        text = f"{text[:MAX_CHARACTERS]} … ({number(len(text) - MAX_CHARACTERS)} characters more)"
    values: Any = {"text": text, "words": shown, "cut": None, "before": []}
    return shades(values, [word["score"] for word in shown], signed=True)


def by_severity(findings: Sequence[Values]) -> list[dict[str, Any]]:
    """The worst first; else in their order."""
    filled = [{"severity": "note", "rows": [], **one} for one in findings]
    for one in filled:
        one["count"] = one.get("count", len(one["rows"]))
    return sorted(filled, key=lambda one: SEVERITIES.index(one["severity"]))


def machine(verdict: Values) -> dict[str, Any]:
    """What it ran on, as a list of facts."""
    facts = dict(verdict.get("machine") or {})
    watts, basis = facts.pop("watts", None), facts.pop("watts_from", "")
    if watts is not None:
        facts["power"] = f"{number(watts)} W, {basis}"
    return facts


def in_groups(stages: Sequence[Values]) -> list[dict[str, Any]]:
    """The seeds of a stage one after the other, with what the cost table adds up."""
    names = list(dict.fromkeys(stage.get("name") for stage in stages))
    filled = [{"cached": False, "tokens": 0, "seconds": 0.0, "arm": [], **s} for s in stages]
    return sorted(filled, key=lambda stage: names.index(stage.get("name")))


def matrix(confusion: Values | None) -> dict[str, Any] | None:
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


def class_counts(data: Values) -> dict[str, Any] | None:
    """Rows of each class in each data set, the most frequent classes first."""
    parts = {name: rows for name, rows in data.items() if isinstance(rows, Mapping)}
    sets = {
        name: rows["classes"]
        for name, rows in parts.items()
        if rows.get("classes") and isinstance(rows["classes"], Mapping)
    }
    if not sets:
        return None
    names = dict.fromkeys(name for classes in sets.values() for name in classes)
    ordered = sorted(names, key=lambda n: -sum(classes.get(n, 0) for classes in sets.values()))
    rows = []
    for name in ordered[:MAX_LISTED]:
        counted = [(c.get(name, 0), c.get(name, 0) / (sum(c.values()) or 1)) for c in sets.values()]
        rows.append((name, counted))
    return {"sets": list(sets), "rows": rows, "left_out": len(ordered) - len(rows)}


def moved(stages: Sequence[Values]) -> list[dict[str, Any]]:
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
