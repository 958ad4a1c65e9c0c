"""The choice among the arms of a campaign, by rows that none of them was trained on.

Nothing here is given test rows: a campaign's answers for them lie in `Standing.judged`, and what is
read is `Standing.unseen`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from headstart.evaluation.intervals import interval
from headstart.verdict.arms import reads_source
from headstart.verdict.campaign import Campaign
from headstart.verdict.choose import (
    FOLDS_RULE,
    NO_RULE,
    ONE_RULE,
    RULE,
    Choice,
    choose,
    honest,
)
from headstart.verdict.results import codes_of

MEASURED = ("source+target", "joint", "adapt+source+target")
"""Ways whose gain over the target alone is the source's, the plainest first."""


@dataclass(frozen=True)
class Chosen:
    """Which arm is kept, by which rows, and what they said of each.

    Attributes:
        kept: the arm whose model is kept: the best that is a model of headstart.
        with_source: the best of those that use a source and target labels; None without.
        values: what verdict.json says of the choice.
    """

    kept: str
    with_source: str | None
    values: dict[str, Any]


class Chooser:
    """Chooses among arms by rows that they were not trained on, and that judge none of them."""

    def __init__(self, campaign: Campaign, classes: tuple[str, ...]) -> None:
        self.campaign = campaign
        self.arms = sorted(
            (a for a in campaign.arms if campaign.standing[a.name].judged), key=lambda a: a.rank
        )
        self.answers: dict[str, np.ndarray] = {}
        self.truth = np.empty(0, dtype=np.int64)
        self.places = np.empty(0, dtype=np.int64)
        self._look(classes)

    def _look(self, classes: tuple[str, ...]) -> None:
        """Collect what every arm says of the rows that choose."""
        unseen = {arm.name: self.campaign.standing[arm.name].unseen for arm in self.arms}
        if not all(unseen.values()):
            return
        if self.campaign.rows.folds:
            rows = self.campaign.rows.test
            places = np.arange(len(rows))
        else:
            part = self.campaign.labelled(self.arms[0])
            rows, held = part.rows, self.campaign.choice_parts(part)
            places = np.concatenate(held) if held else self.places
        self.places = places
        self.truth = codes_of(rows, classes)[places]
        self.answers = {
            name: torch.stack(logits).argmax(-1).numpy()[:, places]
            for name, logits in unseen.items()
        }

    def logits(self, name: str) -> np.ndarray:
        """(S, M, C) what an arm says of the rows that choose; M is 0 where there are none."""
        if not len(self.truth):
            return np.empty((1, 0, 0))
        found = torch.stack(self.campaign.standing[name].unseen).double().numpy()
        return np.asarray(found[:, self.places])

    def choose(self, names: Sequence[str]) -> Choice | None:
        """The best of some arms; None where there is nothing to choose by."""
        if not len(self.truth):
            return None
        return choose({n: self.answers[n] for n in names}, self.truth, names)

    def chosen(self, harmful: bool = False) -> Chosen:
        """Choose; where the source hurts, among the arms that learned from none."""
        names = [arm.name for arm in self.arms]
        models = [a for a in self.arms if a.kind != "tfidf"] or list(self.arms)
        without = [a for a in models if not reads_source(a.way)]
        pool = [a.name for a in (without if harmful and without else models)]
        pairs = self._measured()
        everything, kept = self.choose(names), self.choose(pool)
        best_pair = self.choose(pairs) if pairs else None
        with_source = (best_pair.best if best_pair else pairs[0]) if pairs else None
        values = {
            "rule": self._rule(),
            "rows": len(self.truth),
            "best": everything.best if everything else names[0],
            "equal": list(everything.equal) if everything else names[:1],
            "accuracy": everything.accuracy if everything else {},
            "without_source": harmful,
            "honest": self._honest(pool),
        }
        return Chosen(kept.best if kept else pool[0], with_source, values)

    def _measured(self) -> list[str]:
        """The arms that may tell what the source was worth: plain ones where there are."""
        for way in MEASURED:
            names = [arm.name for arm in self.arms if arm.way == way]
            if names:
                return names
        return []

    def _rule(self) -> str:
        if len(self.arms) == 1:
            return ONE_RULE
        if not len(self.truth):
            return NO_RULE
        return FOLDS_RULE if self.campaign.rows.folds else RULE

    def _honest(self, names: Sequence[str]) -> dict[str, float] | None:
        """With folds: accuracy of whichever arm the rows of the other folds choose."""
        if not self.campaign.rows.folds or len(self.arms) == 1:
            return None
        repeats = max(len(self.answers[name]) for name in names)
        answers = {
            name: np.broadcast_to(self.answers[name], (repeats, len(self.truth)))
            if len(self.answers[name]) == 1
            else self.answers[name]
            for name in names
        }
        if len({len(a) for a in answers.values()}) > 1:
            return None  # a budget stopped some of them earlier
        folds = np.stack([self.campaign.folds(seed) for seed in range(repeats)])
        found = interval("accuracy", honest(answers, self.truth, folds, names), self.truth)
        return {"mean": found.value, "low": found.low, "high": found.high}
