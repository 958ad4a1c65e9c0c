"""Runs side by side: sentences, ways, gains, label curves, cost, and what differs between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.data.atomic import write_atomically
from headstart.errors import DataError, RecipeError
from headstart.report import text
from headstart.report.charts import whiskers
from headstart.report.energy import energy
from headstart.report.html import VERDICTS, filled
from headstart.report.opening import Run, open_run
from headstart.report.plots import label_curve
from headstart.report.view import worth
from headstart.report.words import ABSENT, arrows, hundredths, number, points, seconds, watt_hours

Values = Mapping[str, Any]
NAME_WIDTH = 20


@dataclass(frozen=True)
class RunComparison:
    """Two or more runs beside each other.

    Attributes:
        runs: in the order given, names made different where they were the same.
        warnings: why figures may not be comparable.
    """

    runs: tuple[Run, ...]
    warnings: tuple[str, ...]

    def differences(self) -> list[tuple[str, list[str]]]:
        """What was not the same: a name, and of each run the value."""
        facts = [dict(_facts(run.values)) for run in self.runs]
        names = dict.fromkeys(name for one in facts for name in one)
        rows = [(name, [one.get(name, ABSENT) for one in facts]) for name in names]
        return [(name, cells) for name, cells in rows if len(set(cells)) > 1]

    def html(self) -> str:
        """One self-contained page."""
        return filled("compare.html.j2", _page(self))

    def write_html(self, path: str | Path) -> None:
        """Write the page, whole or not at all.

        Raises:
            UserError: the disk is full, or the place cannot be written.
        """
        content = self.html().encode("utf-8")
        with write_atomically(Path(path)) as file:
            file.write(content)

    def __str__(self) -> str:
        """For the terminal, 80 columns wide."""
        return "\n".join(_told(self))


def compare_runs(places: Sequence[str | Path]) -> RunComparison:
    """Lay runs side by side.

    Args:
        places: output folders of two or more comparisons of transfer.

    Raises:
        RecipeError: there are fewer than two.
        DataError: a place holds no run, or one that ended without arms.
    """
    if len(places) < 2:
        raise RecipeError(f"compare: takes two runs or more; got {len(places)}.")
    runs = [open_run(place) for place in places]
    others = [run for run in runs if run.values["schema"] not in VERDICTS]
    if others:
        raise DataError([
            f"{run.folder}: is a {run.values['schema']}, which has no ways to lay beside others'. "
            f"headstart report {run.folder} shows it alone."
            for run in others
        ])  # fmt: skip
    return RunComparison(tuple(_named(runs)), tuple(_warnings(runs)))


def _named(runs: Sequence[Run]) -> Iterator[Run]:
    """Runs of the same name by their whole path, or by their place where that is the same too."""
    names = [run.name for run in runs]
    paths = [str(run.folder) for run in runs]
    for place, run in enumerate(runs):
        name = run.name
        if names.count(name) > 1:
            name = paths[place]
            if paths.count(name) > 1:
                name = f"{name} ({place + 1})"
        yield Run(name, run.folder, run.values)


def _warnings(runs: Sequence[Run]) -> Iterator[str]:
    """Why the runs' figures may not be laid beside each other."""
    tests = {_test(run.values) for run in runs}
    if len(tests) > 1:
        yield (
            "The runs were not judged by the same rows: differences between their figures are "
            "also differences between these rows."
        )
    precisions = {str(run.values.get("precision")) for run in runs}
    if len(precisions) > 1:
        yield f"The runs computed in {' and '.join(sorted(precisions))}."


def _test(values: Values) -> tuple[Any, ...]:
    """What can be known of the judged rows: their name, number and classes."""
    test = (values.get("data") or {}).get("test") or {}
    classes = tuple(sorted((test.get("classes") or {}).items()))
    kind = (values.get("protocol") or {}).get("kind")
    return test.get("name"), test.get("rows"), classes, kind


def _facts(values: Values) -> Iterator[tuple[str, str]]:
    """What a run was made of, for `differences`."""
    data = values.get("data") or {}
    for name, part in data.items():
        if isinstance(part, Mapping):
            yield f"data: {name}", f"{part.get('name')}, {number(part.get('rows'))} rows"
            if part.get("labelled") is not None:
                yield f"data: {name}, labels", number(part["labelled"])
    protocol = values.get("protocol") or {}
    if protocol:
        folds = f", {protocol['folds']} folds" if protocol.get("folds") else ""
        yield "judged by", f"{protocol.get('kind')}{folds}"
    for arm in values.get("arms", []):
        yield f"seeds: {arrows(arm.get('title', arm.get('name')))}", number(arm.get("seeds"))
    backbone = values.get("backbone") or {}
    for key in ("name", "pooling", "max_length", "digest"):
        if key in backbone:
            yield f"backbone: {key.replace('_', ' ')}", str(backbone[key])[:60]
    for part in ("versions", "machine"):
        for name, value in (values.get(part) or {}).items():
            yield f"{part}: {name}", str(value)
    yield "precision", str(values.get("precision", ABSENT))
    yield "schema", str(values.get("schema"))


def _arms(runs: Sequence[Run]) -> list[tuple[str, list[Values | None]]]:
    """Each way that some run has, with each run's figures of it."""
    found: dict[str, list[Values | None]] = {}
    for place, run in enumerate(runs):
        for arm in run.values.get("arms", []):
            title = arm.get("title", arm["name"])
            found.setdefault(title, [None] * len(runs))[place] = arm
    return list(found.items())


def _points(arm: Values | None) -> str:
    return ABSENT if arm is None else text.points(arm["accuracy"])


def _gain(values: Values) -> str:
    gain = values.get("gain")
    if not gain:
        return ABSENT
    return f"{points(gain['value'])} [{points(gain['low'])}, {points(gain['high'])}]"


def _cost(values: Values) -> dict[str, str]:
    """What a run cost."""
    stages = [stage for stage in values.get("stages", []) if not stage.get("cached")]
    power = energy(values)
    used = None if power is None else power.watt_hours(values.get("seconds"))
    return {
        "time of the whole comparison": seconds(values.get("seconds")),
        "trained in it": seconds(sum(stage.get("seconds") or 0 for stage in stages)),
        "tokens trained on": number(sum(stage.get("tokens") or 0 for stage in stages)),
        "energy, estimated": watt_hours(used),
    }


def _told(comparison: RunComparison) -> Iterator[str]:
    """The terminal's lines: a run a line, tables narrow enough for 80 columns."""
    runs = comparison.runs
    for run in runs:
        yield text.wrapped(f"{run.name}: {run.values.get('sentence', 'no verdict')}")
    yield ""
    for title, arms in _arms(runs):
        yield arrows(title)
        for run, arm in zip(runs, arms, strict=True):
            if arm is not None:
                won = "  <- winner" if run.values.get("winner") == arm["name"] else ""
                labels = f"{number(arm.get('labels'))} labels"
                name = text.shortened(run.name, NAME_WIDTH)
                yield f"  {name:<{NAME_WIDTH}}  {labels:>14}  {_points(arm)}{won}"
    yield ""
    yield "gain of the source, in points; time"
    for run in runs:
        name = text.shortened(run.name, NAME_WIDTH)
        cost = seconds(run.values.get("seconds"))
        yield f"  {name:<{NAME_WIDTH}}  {_gain(run.values):<22}  {cost}"
    different = comparison.differences()
    if different:
        yield ""
        yield "What differs"
    for name, cells in different:
        yield f"  {name}"
        for run, cell in zip(runs, cells, strict=True):
            where = text.shortened(run.name, NAME_WIDTH)
            yield text.shortened(f"    {where:<{NAME_WIDTH}}  {cell}", text.WIDTH)
    for warning in comparison.warnings:
        yield ""
        yield text.wrapped(warning)


def _page(comparison: RunComparison) -> dict[str, Any]:
    """What the template reads."""
    runs = comparison.runs
    arms = _arms(runs)
    rows = [(title, run.name, arm) for title, found in arms
            for run, arm in zip(runs, found, strict=True) if arm is not None]  # fmt: skip
    gains = [(run.name, run.values["gain"]) for run in runs if run.values.get("gain")]
    sections = [("sentences", "Verdicts"), ("ways", "The ways"), ("gains", "The gains"),
                ("curve", "How many labels"), ("cost", "Cost"), ("differs", "What differs"),
                ("again", "How to repeat them")]  # fmt: skip
    curves = _curves(runs)
    empty = {"gains": not gains, "curve": not curves, "differs": not comparison.differences()}
    return {
        "title": " and ".join(run.name for run in runs),
        "runs": runs,
        "warnings": comparison.warnings,
        "rows": rows,
        "drawn": whiskers([arm["accuracy"] for _, _, arm in rows]) if rows else None,
        "gains": gains,
        "gains_drawn": whiskers([gain for _, gain in gains], with_zero=True) if gains else None,
        "curves": curves,
        "cost": _across([_cost(run.values) for run in runs]),
        "differences": comparison.differences(),
        "sections": [(id_, name) for id_, name in sections if not empty.get(id_)],
    }


def _curves(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The label curves of the runs that have one, a chart for each, and a table of all."""
    found = []
    for run in runs:
        curve = run.values.get("curve") or {}
        drawn = label_curve(curve, "with the source")
        if drawn is not None:
            alone = {point["labels"]: point for point in curve.get("without_source") or []}
            saved = {one["labels"]: one for one in curve.get("saved") or []}
            table = [
                (number(point["labels"]), _mean(alone.get(point["labels"])), _mean(point),
                 worth(saved.get(point["labels"]))["worth"])
                for point in curve.get("with_source") or []
            ]  # fmt: skip
            found.append({"run": run.name, "drawn": drawn, "rows": table,
                          "sentence": curve.get("sentence")})  # fmt: skip
    return found


def _mean(point: Values | None) -> str:
    if point is None:
        return ABSENT
    return f"{hundredths(point['mean'])} [{hundredths(point['low'])}, {hundredths(point['high'])}]"


def _across(columns: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """Rows of a table, of its columns."""
    return [(name, [column[name] for column in columns]) for name in columns[0]]
