"""Candidates put in order by what measures say of them.

Shapes: N rows of the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.evaluation.intervals import Interval, effect, gain, interval

FEATURES = {"hscore": "H-score", "logme": "LogME", "nleep": "NLEEP", "knn": "kNN", "probe": "probe"}
"""Measures of frozen features and the target's labels, by key, as the table calls them."""

MEASURES = {"leep": "LEEP", "answers": "answers", "similarity": "similarity", **FEATURES}
"""All measures: LEEP, answers and similarity tell of sources, LEEP of backbones with a head too."""

MEAN_RANK = "mean-rank"

JUDGES = {"backbones": "hscore", "sources": "leep"}
"""What orders where nothing is asked for: see docs/ranking.md and benchmarks/ranking.py."""


@dataclass(frozen=True)
class Score:
    """What a measure says of a candidate; more is better.

    Attributes:
        value: accuracies as a share of 1.
        low: end of the 95 % interval over the target's rows, where the measure has one.
        high: the other end.
        answers: (N,) class of each target row, where the measure is the accuracy of answers.
    """

    value: float
    low: float | None = None
    high: float | None = None
    answers: NDArray[np.integer[Any]] | None = field(default=None, repr=False, compare=False)

    @property
    def values(self) -> dict[str, float]:
        """As the JSON has it."""
        ends = {"low": self.low, "high": self.high}
        return {"value": self.value} | {k: v for k, v in ends.items() if v is not None}


@dataclass(frozen=True)
class Candidate:
    """A backbone or a source with what the measures say of it.

    Attributes:
        name: as it was asked for.
        kind: "backbone", "data" or "model".
        scores: by measure.
        absent: why a measure is not computed, by measure.
        mean_rank: mean over the measures that all candidates have; 1 is best.
    """

    name: str
    kind: str
    scores: Mapping[str, Score]
    absent: Mapping[str, str]
    mean_rank: float = 0.0


@dataclass(frozen=True)
class Order:
    """Candidates, best first.

    Attributes:
        what: "backbones" or "sources".
        backbone: whose features sources that are data were judged by; None for backbones.
        candidates: best first.
        judge: the measure that orders, or "mean-rank".
        note: why the judge is not the one that was asked for, or "".
        lead: of the first over the second in accuracy (of the probe, or of the sources' answers)
            on the same rows; None where one lacks it.
    """

    what: str
    backbone: str | None
    candidates: tuple[Candidate, ...]
    judge: str
    note: str
    lead: Interval | None

    @property
    def best(self) -> Candidate:
        """The first."""
        return self.candidates[0]

    @property
    def values(self) -> dict[str, Any]:
        """As the JSON has it."""
        lead = self.lead
        return {
            "backbone": self.backbone,
            "judge": self.judge,
            "note": self.note,
            "lead": lead and {"value": lead.value, "low": lead.low, "high": lead.high},
            "candidates": [
                {
                    "name": candidate.name,
                    "kind": candidate.kind,
                    "place": place,
                    "mean_rank": candidate.mean_rank,
                    "measures": {key: score.values for key, score in candidate.scores.items()},
                    "absent": dict(candidate.absent),
                }
                for place, candidate in enumerate(self.candidates, start=1)
            ],
        }


def accuracy(answers: NDArray[np.integer[Any]], truth: NDArray[np.integer[Any]]) -> Score:
    """The share of right answers (N,), with its interval over the rows."""
    found = interval("accuracy", answers, truth)
    return Score(found.value, found.low, found.high, answers)


def in_order(
    what: str,
    candidates: Sequence[Candidate],
    truth: NDArray[np.integer[Any]],
    *,
    by: str | None = None,
    backbone: str | None = None,
) -> Order:
    """Put candidates in order.

    Args:
        what: "backbones" or "sources".
        candidates: one or more.
        truth: (N,) class of each row of the target.
        by: a measure or "mean-rank"; None takes the judge of `what`.
        backbone: whose features the candidates were judged by.

    Returns:
        Best first. Candidates that the judge finds equal are ordered by their mean rank, then as
        they were given. Where the judge lacks a candidate, the mean rank orders.
    """
    ranked = _with_mean_ranks(candidates)
    judge, note = _judge(what, ranked, by)
    if judge == MEAN_RANK:
        ordered = sorted(ranked, key=lambda c: c.mean_rank)
    else:
        ordered = sorted(ranked, key=lambda c: (-c.scores[judge].value, c.mean_rank))
    told = "probe" if what == "backbones" else "answers"
    pair = [c.scores[told].answers for c in ordered[:2] if told in c.scores]
    lead = None
    if len(pair) == 2 and pair[0] is not None and pair[1] is not None:
        lead = gain("accuracy", pair[0], pair[1], truth)
    return Order(what, backbone, tuple(ordered), judge, note, lead)


def _with_mean_ranks(candidates: Sequence[Candidate]) -> list[Candidate]:
    from scipy.stats import rankdata

    shared = [key for key in candidates[0].scores if all(key in c.scores for c in candidates)]
    assert shared, "every way of judging gives all candidates one measure at least"
    ranks = np.mean(
        [rankdata([-c.scores[key].value for c in candidates]) for key in shared], axis=0
    )
    return [replace(c, mean_rank=float(r)) for c, r in zip(candidates, ranks, strict=True)]


def _judge(what: str, candidates: Sequence[Candidate], by: str | None) -> tuple[str, str]:
    """What orders, and why that is not what was asked for."""
    judge, note = by or JUDGES[what], ""
    if judge != MEAN_RANK and not any(judge in c.scores for c in candidates):
        judge, note = JUDGES[what], f"{title(judge)} says nothing of these {what}"
    lacking = sum(judge not in c.scores for c in candidates) if judge != MEAN_RANK else 0
    if lacking:
        note = f"{title(judge)} is not computed for {lacking} of {len(candidates)} {what}"
        judge = MEAN_RANK
    return judge, note


def title(measure: str) -> str:
    """A measure as people call it."""
    return MEASURES.get(measure, "mean rank")


def sentence(kind: str, order: Order) -> str:
    """Which candidate to start from, and how far it is ahead."""
    best, judge = order.best, title(order.judge)
    if len(order.candidates) == 1:
        return f"The only {kind} is {best.name}."
    said = f"Start from the {kind} {best.name}: first of {len(order.candidates)} by {judge}."
    if order.lead is None:
        return said
    lead = order.lead
    points = f"{100 * lead.value:+.1f} points [{100 * lead.low:.1f}, {100 * lead.high:.1f}]"
    what = "a probe on it is" if kind == "backbone" else "its answers are"
    sure = {
        "helps": "more than chance explains",
        "unclear": "which these rows cannot tell from nothing",
        "hurts": "so accuracy says otherwise",
    }
    return f"{said} Against the second {what} {points}, {sure[effect(lead)]}."
