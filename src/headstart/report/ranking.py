"""A ranking as tables for the terminal: 80 columns where names and measures allow it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.report.text import WIDTH, points, shortened, wrapped
from headstart.verdict.order import MEAN_RANK, Candidate, Order, Score, title

if TYPE_CHECKING:
    from headstart.verdict.ranking import Ranking

SHARES = ("knn", "probe", "answers")
"""Measures that are accuracies: in percent."""

WITH_INTERVAL = ("probe", "answers")
SHORTEST_NAME = 14
MOST_NOTES = 6
COLUMNS = {
    "backbones": ("hscore", "logme", "nleep", "leep", "knn", "probe"),
    "sources": ("leep", "answers", "similarity"),
    "features": ("hscore", "logme", "nleep", "knn", "probe"),
}
"""What a table shows; features of trained models have one of their own, beside the backbone's."""

LEGEND = "More is better; rank is the mean rank over the measures that all have, 1 the best."
ACCURACIES = {
    "answers": "answers is what the source alone says of the target's rows",
    "knn": "kNN is the vote of five neighbours",
    "probe": "probe is a logistic regression on frozen features, cross-validated",
}


def ranking_text(ranking: Ranking) -> str:
    """Tables, best first; what to start from; what they rest on."""
    orders = [ranking.backbones] if len(ranking.backbones.candidates) > 1 else []
    for order in ranking.sources:
        orders += [order, *_features(order, ranking.backbones.candidates)]
    notes = "\n".join(wrapped(line) for line in _notes(ranking, orders))
    return "\n\n".join([*map(order_table, orders), wrapped(ranking.sentence), notes])


def _features(order: Order, backbones: Sequence[Candidate]) -> Iterator[Order]:
    """The features of sources that are trained models, beside those of the backbone."""
    models = [candidate for candidate in order.candidates if candidate.kind == "model"]
    if models:
        own = [candidate for candidate in backbones if candidate.name == order.backbone]
        yield replace(order, what="features", candidates=(*own, *models), judge="", note="")


def order_table(order: Order) -> str:
    """A line for each candidate, best first; a measure that none has is left out."""
    columns = dict.fromkeys([*COLUMNS[order.what], order.judge])
    measures = [m for m in columns if any(m in c.scores for c in order.candidates)]
    head = [_head(order), *(title(m) + "*" * (m == order.judge) for m in measures)]
    ranked = [f"{c.mean_rank:.1f}" for c in order.candidates]
    if order.judge:
        head.append("rank" + "*" * (order.judge == MEAN_RANK))
    names = tails([candidate.name for candidate in order.candidates])
    rows = [
        [name, *(_cell(m, candidate.scores.get(m)) for m in measures), *[rank] * bool(order.judge)]
        for name, candidate, rank in zip(names, order.candidates, ranked, strict=True)
    ]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    room = WIDTH - sum(widths[1:]) - 2 * (len(widths) - 1)
    widths[0] = min(widths[0], max(SHORTEST_NAME, room))
    return "\n".join(
        "  ".join(
            [f"{shortened(row[0], widths[0]):<{widths[0]}}"]
            + [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        ).rstrip()
        for row in [head, *rows]
    )


def tails(names: Sequence[str]) -> list[str]:
    """The last parts of paths, as many as tell them apart."""
    whole = [Path(name).parts or (name,) for name in names]
    for count in range(1, max(len(parts) for parts in whole)):
        short = ["/".join(parts[-count:]) for parts in whole]
        if len(set(short)) == len(names):
            return short
    return list(names)


def _head(order: Order) -> str:
    if order.what == "features":
        return "features of"
    if order.backbone is None:
        return "backbone"
    return f"source, {tails([order.backbone])[0]}"


def _cell(measure: str, score: Score | None) -> str:
    if score is None:
        return "-"
    if measure not in SHARES:
        return f"{score.value:.3f}"
    if measure in WITH_INTERVAL and score.low is not None and score.high is not None:
        return points({"mean": score.value, "low": score.low, "high": score.high})
    return f"{100 * score.value:.1f}"


def _notes(ranking: Ranking, orders: Sequence[Order]) -> Iterator[str]:
    target = ranking.target
    yield (
        f"Judged on {_rows(target)} of {target['name']}, {len(target['classes'])} classes. Nothing "
        "but probes was trained."
    )
    few = {n: d for n, d in ranking.data.items() if d["looked_at"] < d["rows"]}
    if few:
        short = tails(list(few))
        told = [f"{n}, {_rows(d)}" for n, d in zip(short, few.values(), strict=True)]
        yield f"Of the sources: {'; '.join(told)}."
    yield f"* orders the table. {LEGEND}"
    shown = {m for o in orders for c in o.candidates for m in c.scores if m in COLUMNS[o.what]}
    told = [what for measure, what in ACCURACIES.items() if measure in shown]
    if told:
        yield f"Accuracies in %, with their 95 % interval: {'; '.join(told)}."
    yield from dict.fromkeys(f"Ordered by {title(o.judge)}, as {o.note}." for o in orders if o.note)
    yield from _absent(orders)
    for finding in ranking.findings[:MOST_NOTES]:
        yield f"Note: {finding.message} {finding.remedy}".rstrip()
    if len(ranking.findings) > MOST_NOTES:
        yield f"{len(ranking.findings) - MOST_NOTES} more notes are in the JSON (--json)."


def _rows(values: Mapping[str, object]) -> str:
    if values["looked_at"] == values["rows"]:
        return f"{values['rows']:,} rows"
    return f"{values['looked_at']:,} of {values['rows']:,} rows"


def _absent(orders: Sequence[Order]) -> Iterator[str]:
    """What is not computed, and why: each reason once, with whom it concerns."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for order in orders:
        for candidate in order.candidates:
            for measure, why in candidate.absent.items():
                if measure in COLUMNS[order.what]:
                    names = found.setdefault((title(measure), why), {})
                    names[tails([candidate.name])[0]] = None
    together: dict[tuple[str, str], list[str]] = {}
    for (measure, why), names in found.items():
        together.setdefault((", ".join(names), why), []).append(measure)
    for (concerned, why), measures in together.items():
        yield f"Not computed for {concerned}: {', '.join(measures)}, as {why}."
