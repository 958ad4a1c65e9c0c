"""Where the marks of a chart lie, in per cent of its width and height; the template draws them.

Places in per cent let a chart be as wide as the page it is read on while its text stays as large
as the text around it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from headstart.report.words import is_number

MAX_POINTS = 200
MAX_DOTS = 30


@dataclass(frozen=True)
class Tick:
    """A labelled place on an axis."""

    place: float
    label: str


@dataclass(frozen=True)
class Whisker:
    """A value between two bounds, as places on the axis."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Whiskers:
    """Intervals over one axis; `origin` is the place of 0, None where 0 is off the axis."""

    ticks: tuple[Tick, ...]
    rows: tuple[Whisker, ...]
    origin: float | None


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        label: for the legend.
        kind: "first", "other" or "checked": how it is drawn.
        points: places, x from the left and y from the top.
        dots: whether the points are few enough to be marked one by one.
    """

    label: str
    kind: str
    points: tuple[tuple[float, float], ...]

    @property
    def dots(self) -> bool:
        """Whether the points are few enough to be marked one by one."""
        return len(self.points) <= MAX_DOTS


@dataclass(frozen=True)
class Chart:
    """Lines over steps.

    Attributes:
        title: what stands above it.
        measure: what goes up.
        summary: what it shows, for those who do not see it.
        lines: back to front.
        x_ticks: from left to right.
        y_ticks: from bottom to top.
    """

    title: str
    measure: str
    summary: str
    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]

    @property
    def legend(self) -> list[tuple[str, str]]:
        """Kind and label of each kind of line; lines drawn alike are named together."""
        found: dict[str, list[str]] = {}
        for line in reversed(self.lines):
            found.setdefault(line.kind, []).append(line.label)
        first = {kind: labels[0] for kind, labels in found.items() if len(labels) == 1}
        many = {
            kind: "seeds " + ", ".join(label.split()[-1] for label in labels)
            for kind, labels in found.items()
            if kind not in first
        }
        return [(kind, (first | many)[kind]) for kind in found]


@dataclass(frozen=True)
class Axis:
    """Round numbers at equal distances that enclose what is shown."""

    low: float
    high: float
    step: float

    @classmethod
    def around(cls, values: Iterable[float], num_ticks: int = 5) -> Axis:
        """Choose steps of 1, 2 or 5 times a power of ten."""
        finite = list(values)
        low, high = min(finite), max(finite)
        spread = (high - low) or abs(high) or 1.0
        power = 10.0 ** math.floor(math.log10(spread / num_ticks))
        step = next(m * power for m in (1, 2, 5, 10) if spread / (m * power) <= num_ticks)
        low, high = math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step
        return cls(low, high if high > low else low + step, step)

    @classmethod
    def up_to(cls, high: float, num_ticks: int = 4) -> Axis:
        """From 0 to exactly `high`, with ticks at the round numbers on the way."""
        return cls(0.0, high, cls.around([0.0, high], num_ticks).step)

    def place(self, value: float) -> float:
        """Per cent of the way from low to high."""
        return round(100 * (value - self.low) / (self.high - self.low), 2)

    def ticks(self, scale: float = 1, sign: str = "") -> tuple[Tick, ...]:
        """One tick a step; labels are multiplied by `scale`."""
        count = math.floor((self.high - self.low) / self.step + 1e-9)
        digits = max(0, -math.floor(math.log10(self.step * scale) + 1e-9))
        found = []
        for i in range(count + 1):
            value = self.low + i * self.step
            label = f"{scale * value + 0.0:{sign},.{digits}f}".replace("-", "−")
            zero = abs(value) < self.step / 2
            found.append(Tick(self.place(value), "0" if zero else label))
        return tuple(found)


def whiskers(intervals: Sequence[Mapping[str, Any]], *, with_zero: bool = False) -> Whiskers:
    """Lay out intervals, each with `low`, `high` and `value` or `mean`, as per cent or points."""
    rows = [(i["value"] if "value" in i else i["mean"], i["low"], i["high"]) for i in intervals]
    axis = Axis.around([*(bound for row in rows for bound in row), *([0.0] if with_zero else [])])
    return Whiskers(
        axis.ticks(100, "+" if with_zero else ""),
        tuple(Whisker(*(axis.place(bound) for bound in row)) for row in rows),
        axis.place(0) if axis.low <= 0 <= axis.high else None,
    )


def curves(stages: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Draw the loss of each stage, its seeds in one chart, and what validation measured."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for stage in stages:
        if stage.get("log"):
            key = (stage.get("name"), *stage.get("arm", []))
            groups.setdefault(key, []).append(stage)
    charts = []
    names = [name for name, *_ in groups]
    for (name, *arms), members in groups.items():
        title = f"{name}, {' and '.join(arms)}" if names.count(name) > 1 else f"{name}"
        losses = [_series(m, lambda p: p.get("loss")) for m in members]
        checked = [_series(m, lambda p: p.get("validation", {}).get("loss")) for m in members]
        lines = _lines(members, losses) + _lines(members[:1], checked[:1], "validation, ")
        charts.append(_chart(title, "training loss", lines, from_zero=True))
        checks = (p.get("validation", {}) for m in members for p in m["log"])
        for one in dict.fromkeys(n for scores in checks for n in scores if n != "loss"):
            scored = [_series(m, lambda p, n=one: p.get("validation", {}).get(n)) for m in members]
            measure = f"validation {one.replace('_', ' ').replace('macro f1', 'macro-F1')}"
            charts.append(_chart(title, measure, _lines(members, scored), from_zero=False))
    return [chart for chart in charts if chart is not None]


Series = list[tuple[float, float]]


def _series(stage: Mapping[str, Any], read: Any) -> Series:
    found = [(point.get("step"), read(point)) for point in stage["log"]]
    return thin([(x, y) for x, y in found if is_number(x) and is_number(y)])


def thin(points: Series, limit: int = MAX_POINTS) -> Series:
    """At most `limit` points, each the mean of as many neighbours as it stands for."""
    size = math.ceil(len(points) / limit) or 1
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [(part[-1][0], sum(y for _, y in part) / len(part)) for part in parts]


def _lines(
    stages: Sequence[Mapping[str, Any]], series: Sequence[Series], prefix: str = ""
) -> list[tuple[str, str, Series]]:
    lines = []
    for number, (stage, points) in enumerate(zip(stages, series, strict=True)):
        if points:
            kind = "checked" if prefix else "other" if number else "first"
            lines.append((f"{prefix}seed {stage.get('seed', number)}", kind, points))
    return lines


def _chart(
    title: str, measure: str, lines: list[tuple[str, str, Series]], *, from_zero: bool
) -> Chart | None:
    if not lines:
        return None
    steps = Axis.up_to(max(x for _, _, points in lines for x, _ in points))
    values = [y for _, _, points in lines for _, y in points]
    heights = Axis.around([*values, *([0.0] if from_zero else [])], 4)
    label, _, points = lines[0]
    summary = (
        f"{label}: from {points[0][1]:.3f} at step {points[0][0]:,.0f} "
        f"to {points[-1][1]:.3f} at step {points[-1][0]:,.0f}"
    )
    drawn = [
        Line(label, kind, tuple((steps.place(x), round(100 - heights.place(y), 2)) for x, y in p))
        for label, kind, p in lines
    ]
    drawn.reverse()  # the first seed, which is kept, is drawn over the others
    return Chart(title, measure, summary, tuple(drawn), steps.ticks(), heights.ticks())
