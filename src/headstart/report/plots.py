"""Charts of how many labels it takes and of how sure a model may be: marks as places in per cent.

What they are drawn from is in verdict.json; the same figures stand in a table beside each chart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headstart.report.charts import Axis, Tick
from headstart.report.words import hundredths, number

Values = Mapping[str, Any]
Places = tuple[tuple[float, float], ...]
LEAST_GAP = 13.0
"""Per cent of the width between two labels of an axis, so that they do not touch."""


@dataclass(frozen=True)
class Mark:
    """A measured point.

    Attributes:
        x: place from the left.
        y: place from the top.
        low: place of the lower end of its interval, from the top; None where none is drawn.
        high: place of the upper end.
        title: what it says.
    """

    x: float
    y: float
    title: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Stroke:
    """A line with its marks.

    Attributes:
        kind: "with", "alone", "ideal", or "... ahead" for what is foretold: how it is drawn.
        label: for the legend; "" for a line without an entry.
        points: of the line.
        band: outline of its intervals; empty for none.
        marks: its points one by one.
    """

    kind: str
    label: str
    points: Places
    band: Places = ()
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True)
class Plot:
    """Lines over two axes.

    Attributes:
        summary: what it shows, for those who do not see it.
        x_title: what goes to the right.
        y_title: what goes up.
        strokes: back to front.
        x_ticks: from left to right.
        y_ticks: from bottom to top.
        bridge: a line from a point to where another line is as high, and its label.
    """

    summary: str
    x_title: str
    y_title: str
    strokes: tuple[Stroke, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    bridge: tuple[Mark, Mark, str] | None = None
    legend: tuple[tuple[str, str], ...] = field(init=False)

    def __post_init__(self) -> None:
        entries = tuple((stroke.kind, stroke.label) for stroke in self.strokes if stroke.label)
        object.__setattr__(self, "legend", entries)


class Labels:
    """An axis of numbers of labels: each doubling is as wide as the next; 0 stands at the left.

    Args:
        counts: numbers that it must hold.
    """

    def __init__(self, counts: Iterable[float]) -> None:
        self.counts = sorted(set(counts))
        positive = [count for count in self.counts if count > 0]
        first = math.log2(min(positive, default=1))
        self.low = first - 1 if 0 in self.counts else first
        self.high = max(math.log2(max(positive, default=2)), self.low + 1)

    def place(self, count: float) -> float:
        """Per cent of the way."""
        value = math.log2(count) if count > 0 else self.low
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def ticks(self) -> tuple[Tick, ...]:
        """One at each number, as far as there is room; the first and the last in any case."""
        kept: list[Tick] = []
        for count in reversed(self.counts):
            here = self.place(count)
            if not kept or kept[-1].place - here >= LEAST_GAP:
                kept.append(Tick(here, number(count)))
        return tuple(reversed(kept))


def label_curve(curve: Values, title: str) -> Plot | None:
    """Accuracy against labels, with the source and without, and what is foretold.

    Args:
        curve: of verdict.json.
        title: of the arm with the source.
    """
    sides = [("alone", "target only", curve.get("without_source") or []),
             ("with", title, curve.get("with_source") or [])]  # fmt: skip
    ahead = (curve.get("outlook") or {}).get("expected") or []
    points = [point for _, _, side in sides for point in side]
    if not points:
        return None
    across = Labels([*(p["labels"] for p in points), *(p["labels"] for p in ahead)])
    bounds = [p[end] for p in points for end in ("low", "high")]
    bounds += [p["value"][end] for p in ahead for end in ("low", "high")]
    up = Axis.around(bounds, 5)
    strokes = [_stroke(kind, label, side, across, up) for kind, label, side in sides if side]
    if ahead:
        strokes.append(_foretold(curve, ahead, across, up))
    said = [f"{label}: {_first_and_last(side)}" for _, label, side in sides if side]
    return Plot("; ".join(said), "labels of the target, each doubling as wide as the next",
                "accuracy in per cent", tuple(strokes), across.ticks(), up.ticks(100),
                _bridge(curve, across, up))  # fmt: skip


def _stroke(kind: str, label: str, side: Sequence[Values], across: Labels, up: Axis) -> Stroke:
    ordered = sorted(side, key=lambda point: point["labels"])
    xs = [across.place(p["labels"]) for p in ordered]
    mean, low, high = ([_top(up, p[key]) for p in ordered] for key in ("mean", "low", "high"))
    marks = tuple(
        Mark(x, y, f"{label}, {number(p['labels'])} labels: {_interval(p)}")
        for x, y, p in zip(xs, mean, ordered, strict=True)
    )
    band = (*zip(xs, high, strict=True), *reversed([*zip(xs, low, strict=True)]))
    return Stroke(kind, label, tuple(zip(xs, mean, strict=True)), band, marks)


def _foretold(curve: Values, ahead: Sequence[Values], across: Labels, up: Axis) -> Stroke:
    """The curve carried on from its last point, that of the arm the outlook is about."""
    last = max(curve["outlook"]["labels"], 0)
    sides = [*(curve.get("with_source") or []), *(curve.get("without_source") or [])]
    start = next((p for p in sides if p["labels"] == last), None)
    known = [] if start is None else [{"labels": last} | {k: start[k] for k in ("low", "high")} |
                                      {"value": start["mean"]}]  # fmt: skip
    known += [{"labels": p["labels"], **p["value"]} for p in ahead]
    xs = [across.place(p["labels"]) for p in known]
    value, low, high = ([_top(up, p[key]) for p in known] for key in ("value", "low", "high"))
    marks = tuple(
        Mark(across.place(p["labels"]), _top(up, p["value"]["value"]),
             f"expected at {number(p['labels'])} labels: {_interval(p['value'])}")
        for p in ahead
    )  # fmt: skip
    band = (*zip(xs, high, strict=True), *reversed([*zip(xs, low, strict=True)]))
    return Stroke("ahead", "expected", tuple(zip(xs, value, strict=True)), band, marks)


def _bridge(curve: Values, across: Labels, up: Axis) -> tuple[Mark, Mark, str] | None:
    """From the last point with the source that labels alone match, to where they do."""
    within = [s for s in curve.get("saved") or [] if s.get("worth") is not None]
    if not within:
        return None
    saved = within[-1]
    points = {p["labels"]: p["mean"] for p in curve.get("with_source") or []}
    if saved["labels"] not in points or not saved["worth"] > max(1, saved["labels"]):
        return None
    height = _top(up, points[saved["labels"]])
    worth = f"{number(saved['labels'])} labels and the source match {number(saved['worth'])} alone"
    ends = (Mark(across.place(saved[key]), height, worth) for key in ("labels", "worth"))
    start, end = ends
    return start, end, worth


def reliability(calibration: Values) -> Plot | None:
    """How often the model is right where it is about equally sure, before and after scaling."""
    sides = [(kind, label, (calibration.get(key) or {}).get("bins") or [])
             for kind, label, key in (("alone", "as it is", "before"),
                                      ("with", "with its temperature", "after"))]  # fmt: skip
    bins = [one for _, _, side in sides for one in side]
    if not bins:
        return None
    lows = [min(b["confidence"], b["accuracy"]["low"]) for b in bins]
    axis = Axis(math.floor(10 * min(lows)) / 10, 1.0, 0.1)
    if axis.high - axis.low > 0.55:
        axis = Axis(math.floor(5 * min(lows) + 1e-9) / 5, 1.0, 0.2)
    strokes = [Stroke("ideal", "as sure as right", ((0, 100), (100, 0)))]
    for kind, label, side in sides:
        marks = tuple(
            Mark(axis.place(b["confidence"]), _top(axis, b["accuracy"]["value"]),
                 f"{label}: {number(b['count'])} rows, sure of {hundredths(b['confidence'])} %, "
                 f"right in {_interval(b['accuracy'])}",
                 _top(axis, b["accuracy"]["low"]), _top(axis, b["accuracy"]["high"]))
            for b in side
        )  # fmt: skip
        if marks:
            strokes.append(Stroke(kind, label, tuple((m.x, m.y) for m in marks), (), marks))
    summary = "Points on the diagonal are as sure as they are right; those below it are too sure"
    return Plot(summary, "how sure, in per cent", "how often right, in per cent", tuple(strokes),
                axis.ticks(100), axis.ticks(100))  # fmt: skip


def coverage(selective: Values) -> Plot | None:
    """Accuracy of the rows that the model is surest of, by how many are answered."""
    curve = [point for point in selective.get("curve") or [] if point["coverage"] > 0]
    if not curve:
        return None
    across = Axis(0.0, 1.0, 0.2)
    # The few surest rows tell little, and would press the rest of the line flat.
    shown = [p for p in curve if p["coverage"] >= 0.1] or curve
    up = Axis.around([1.0, *(1 - point["risk"] for point in shown)], 4)
    points = tuple((across.place(p["coverage"]), _top(up, 1 - p["risk"])) for p in shown)
    first, last = shown[0], shown[-1]
    summary = (
        f"From {hundredths(1 - first['risk'])} % right when the surest "
        f"{hundredths(first['coverage'])} % are answered, to {hundredths(1 - last['risk'])} % "
        "when all are"
    )
    return Plot(summary, "share answered, in per cent", "accuracy of these, in per cent",
                (Stroke("with", "", points),), across.ticks(100), up.ticks(100))  # fmt: skip


def _top(axis: Axis, value: float) -> float:
    """A place from the top, inside the chart."""
    return round(100 - min(100.0, max(0.0, axis.place(value))), 2)


def _interval(values: Values) -> str:
    mean = values["value"] if "value" in values else values["mean"]
    ends = f"[{hundredths(values['low'])}, {hundredths(values['high'])}]"
    return f"{hundredths(mean)} % {ends}"


def _first_and_last(side: Sequence[Values]) -> str:
    ordered = sorted(side, key=lambda point: point["labels"])
    ends = [
        f"{hundredths(point['mean'])} % at {number(point['labels'])}"
        for point in (ordered[0], ordered[-1])
    ]
    return " to ".join(ends)
