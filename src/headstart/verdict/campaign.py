"""Every arm, every seed: trained, judged, and cross-validated for the choice.

Where test rows are kept apart, an arm is trained on the labelled rows, once for each seed, and
answers the test rows; and it is cross-validated inside those rows, in the same folds for all arms,
for the choice. Where none are, every row of the target is judged by models that did not see it,
once in each repeat, and the same answers are what the choice goes by.

Shapes: N judged rows, M rows trained on, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headstart.data.batches import derive_seed
from headstart.training.kept import StageResult
from headstart.training.stage import Workshop
from headstart.verdict.arms import Arm
from headstart.verdict.budget import unlimited
from headstart.verdict.folds import assign, choice_folds
from headstart.verdict.results import ArmResult
from headstart.verdict.rows import Part, Rows
from headstart.verdict.trials import Trainer, Trial

PROOF_ROWS = 16


@dataclass
class Standing:
    """What is known of an arm so far.

    Attributes:
        judged: (N, C) logits of the judged rows, by seed.
        unseen: (M, C) logits of labelled rows that take part in the choice, by seed; each by a
            model that did not see it. With folds they are the judged ones.
        trials: all trainings.
        stages: finished stages that are kept, by seed.
        labels: target rows that the judged models were trained on.
    """

    judged: list[Tensor] = field(default_factory=list)
    unseen: list[Tensor] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    stages: list[tuple[StageResult, ...]] = field(default_factory=list)
    labels: int = 0

    def seconds(self) -> float:
        """Mean time of a training."""
        return float(np.mean([trial.seconds for trial in self.trials])) if self.trials else 0.0


class Campaign:
    """Trains arms by the same protocol.

    Args:
        arms: what is compared.
        rows: what is trained on and judged by.
        shop: trains and keeps stages.
        classes: the C class names.
        check: called before each piece of work; may raise.
        every_seed: whether all seeds are cross-validated rather than the first alone.
    """

    def __init__(
        self,
        arms: Sequence[Arm],
        rows: Rows,
        shop: Workshop,
        classes: tuple[str, ...],
        *,
        check: Callable[[], None] = unlimited,
        every_seed: bool = False,
    ) -> None:
        self.arms, self.rows, self.shop = tuple(arms), rows, shop
        self.trainer, self.every_seed = Trainer(shop, rows, classes, check), every_seed
        self.standing = {arm.name: Standing() for arm in arms}
        self.judged = Part(rows.test)

    def seed(self, arm: Arm, seed: int) -> None:
        """Train and judge one seed of an arm, and what the choice needs of it; all or nothing."""
        standing = self.standing[arm.name]
        if self.rows.folds and arm.uses_target:
            self._repeat(arm, standing, seed)
            return
        target = self.target(arm, seed)
        chosen = self._cross_validated(arm, seed) if self.choosing(seed) else None
        if arm.uses_target and len(arm.recipes) > 1:
            self.shop.progress.say(f"{arm.title}, seed {seed + 1} of {len(arm.recipes)}")
        trial = self.trainer.final(arm, arm.recipes[seed], target, self.judged)
        standing.judged.append(trial.logits)
        standing.trials.append(trial)
        standing.stages.append(trial.stages)
        standing.labels = 0 if target is None else len(target)
        if self.rows.folds:
            chosen = trial.logits
        elif target is None and len(self.arms) > 1:
            chosen = self.trainer.answers_of(trial.stages[-1], self.labelled(arm).rows)
        standing.unseen += [] if chosen is None else [chosen]

    def choosing(self, seed: int) -> bool:
        """Whether a seed is cross-validated: the first, and all where more is known by more."""
        return len(self.arms) > 1 and (seed == 0 or self.every_seed)

    def labelled(self, arm: Arm) -> Part:
        """The rows that the choice goes by: those of the first seed."""
        users = [a for a in self.arms if a.uses_target] or [arm]
        target = self.target(users[0], 0)
        return Part(self.rows.train["target"]) if target is None else target

    def target(self, arm: Arm, seed: int) -> Part | None:
        """The rows of the target that a seed of an arm is trained on."""
        if not arm.uses_target:
            return None
        return self.rows.part(arm.recipes[seed], "target")

    def folds(self, seed: int) -> np.ndarray:
        """(N,) fold of each row in a repeat, the same for all arms."""
        rows = self.rows.test
        assert rows.labels is not None
        return assign(rows.labels, rows.texts, self.rows.folds, derive_seed("folds", seed))

    def keep(self, arm: Arm) -> None:
        """Train the arm that is kept on all rows, where folds judged others like it."""
        if self.rows.folds and arm.uses_target:
            some = self.judged.take(np.arange(min(PROOF_ROWS, len(self.judged))))
            self.shop.progress.say(f"{arm.title}: the model that is kept, on all rows")
            trial = self.trainer.final(arm, arm.recipes[0], self.target(arm, 0), some)
            self.standing[arm.name].stages.insert(0, trial.stages)

    def result(self, arm: Arm) -> ArmResult:
        """What an arm gave."""
        standing = self.standing[arm.name]
        return ArmResult(
            name=arm.name,
            title=arm.title,
            labels=standing.labels,
            logits=tuple(standing.judged),
            classes=self.trainer.classes,
            stages=tuple(standing.stages),
            seconds=standing.seconds(),
            restarts=sum(trial.restarts for trial in standing.trials),
            collapsed=sum(trial.collapsed for trial in standing.trials),
            way=arm.way,
            sources=arm.sources,
        )

    def _cross_validated(self, arm: Arm, seed: int) -> Tensor | None:
        """(M, C) answers for the first seed's labelled rows, each by a model that did not see it.

        None where there are too few rows, or the arm is trained on none of them.
        """
        part = self.target(arm, 0)
        if part is None:
            return None
        held = self.choice_parts(part)
        answers = torch.full((len(part), len(self.trainer.classes)), torch.nan)
        for number, places in enumerate(held, start=1):
            rest = np.setdiff1d(np.arange(len(part)), places)
            title = f"{arm.title}, choice {number}/{len(held)}"
            trial = self.trainer.passing(
                arm, arm.recipes[seed], part.take(rest), part.take(places), title
            )
            answers[torch.from_numpy(places)] = trial.logits
        return answers if held else None

    def choice_parts(self, part: Part) -> list[np.ndarray]:
        """Places, among rows that are trained on, to hold out in turn; the same for all arms."""
        labels = part.rows.labels
        assert labels is not None
        return choice_folds(labels, part.rows.texts, derive_seed("choice", 0))

    def _repeat(self, arm: Arm, standing: Standing, seed: int) -> None:
        """Judge every row of the target by a model that did not see it."""
        fold, whole = self.folds(seed), self.judged
        answers, trials = torch.empty(len(whole), len(self.trainer.classes)), []
        repeat = f", repeat {seed + 1}/{len(arm.recipes)}" if len(arm.recipes) > 1 else ""
        for number in range(self.rows.folds):
            held, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
            title = f"{arm.title}{repeat}, fold {number + 1}/{self.rows.folds}"
            recipe = arm.recipes[seed]
            trial = self.trainer.passing(arm, recipe, whole.take(rest), whole.take(held), title)
            answers[torch.from_numpy(held)] = trial.logits
            trials.append(trial)
        standing.labels = len(whole) - int(np.bincount(fold).max())
        standing.trials += trials
        standing.judged.append(answers)
        standing.unseen.append(answers)


def protocol(campaign: Campaign) -> dict[str, Any]:
    """By which rows the arms were judged, and how often each was."""
    rows = campaign.rows
    kind = "folds" if rows.folds else "held out" if rows.held_out else "given"
    most = max(len(s.judged) for s in campaign.standing.values())
    return {"kind": kind, "folds": rows.folds, "repeats": most, "rows": len(rows.test)}
