"""Stages with several tasks: one backbone, a head for each, trained together."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.data.batches import Batch, cut, derive_seed, plan_reading, take
from headstart.data.mixing import Mixture, Rule
from headstart.data.pair import are_pairs
from headstart.models.several import SharedBackbone
from headstart.objectives.balance import (
    Balance,
    History,
    LossRate,
    Nash,
    Projected,
    Sum,
    Uncertainty,
)
from headstart.objectives.multitask import MultiTask, One, Portion, Portions
from headstart.objectives.supervised import Objective
from headstart.recipe import Balance as BalanceValues
from headstart.recipe import Mix, members_of, reads_labels
from headstart.training.bound import Bound, Given
from headstart.training.inference import all_logits
from headstart.training.limbs import Beginnings, Limb, rows_of
from headstart.training.loop import Work
from headstart.training.progress import Progress, Silent
from headstart.training.shared import Answering, SharedModel, save_shared
from headstart.training.trainable import Group

MEAN = "mean"
"""The score that the best epoch is chosen by: the mean of the tasks' own."""


class MultiTaskStage(Bound):
    """A stage with several tasks, or with one that gives numbers.

    Args:
        given: what it is made of.
        provenance: what the model will have been trained from and on.

    Raises:
        RecipeError: with the faults of all tasks: one that the backbone cannot serve, a head that
            cannot be kept, validation that leaves no rows.
    """

    def __init__(self, given: Given, provenance: Mapping[str, Any]) -> None:
        super().__init__(given, provenance)
        beginnings = Beginnings(given)
        self.base = beginnings.base
        self.limbs: dict[str, Limb] = beginnings.limbs(members_of(self.stage))
        self.names = tuple(self.limbs)
        networks = {name: limb.network for name, limb in self.limbs.items()}
        self.shared = SharedBackbone(self.base.network.backbone, networks)
        self.network = self.shared
        lengths = {n: limb.tokens.lengths[limb.train_rows] for n, limb in self.limbs.items()}
        rule = rule_of(self.stage.mix, self.stage.balance, self.names)
        self.mixture = Mixture(lengths, rule, self.stage.batch_tokens, self.seed,
                               epochs=self.stage.epochs, steps=self.stage.steps)  # fmt: skip
        self.history = History(self.mixture.epoch_steps)
        self.leaving = Leaving(self.mixture, self.names, self.stage.patience, self.shop.progress)
        self.watched = Watched(
            self.leaving,
            {name: limb.task for name, limb in self.limbs.items()},
            {name: limb.member.weight for name, limb in self.limbs.items()},
            balance_of(self.stage.balance, len(self.names)),
            list(self.network.backbone.parameters()),
            self.fabric.backward,
            self.history,
            self.seed,
        )

    @classmethod
    def digested(cls, given: Given) -> str:
        """SHA-256 over the rows of each task, their labels where it reads them."""
        digest = hashlib.sha256()
        for member in members_of(given.stage):
            rows = rows_of(given, member)
            own = rows.digest if reads_labels(member.task) else rows.texts_digest
            digest.update(f"{member.name} {own}\n".encode())
        return digest.hexdigest()

    def forward(self) -> SharedBackbone:
        """The whole network, asked for one task at a time."""
        return self.shared

    def steps(self) -> Mixture:
        """Updates of all tasks."""
        return self.mixture

    def work(self, step: int) -> Work:
        """What each task of an update is asked, in parts that fit in memory."""
        portions, num_tokens = [], 0
        for number, rows in self.mixture.asked(step):
            name = self.names[number]
            lengths = self.limbs[name].tokens.lengths[self.limbs[name].train_rows]
            num_tokens += int(lengths[rows].sum())
            limit = self.stage.micro_batch_tokens
            parts = [rows] if limit is None else cut(rows, lengths, limit)
            batches = (
                self._batch(number, some, len(rows), step, part) for part, some in enumerate(parts)
            )
            portions.append(Portion(name, tuple(batches)))
        return Work(num_tokens, [Portions(tuple(portions))])

    def _batch(self, number: int, some: np.ndarray, whole: int, step: int, part: int) -> Batch:
        """Rows of a task as it shows them; of a task with labels every row counts alike."""
        limb = self.limbs[self.names[number]]
        drawn = derive_seed(self.seed, "prepare", limb.member.name, step, part)
        random = np.random.default_rng(drawn)
        mean = self.mixture.streams[number].mean_rows if limb.answers is not None else whole
        shown = limb.task.prepare(take(limb.tokens, limb.train_rows[some], limb.target), random)
        return replace(shown, weight=len(some) / mean)

    def objective(self) -> Objective:
        """All tasks' losses, balanced."""
        return self.watched

    def validation(self, forward: Any) -> Callable[[], dict[str, float]] | None:
        """Each task's scores on its rows held out, and first the mean of their first ones.

        Losses of tasks without labels are not part of the mean where others have labels: they have
        another unit.
        """
        if not all(len(limb.held_rows) for limb in self.limbs.values()):
            return None

        def validate() -> dict[str, float]:
            found = {name: self._scores(forward, limb) for name, limb in self.limbs.items()}
            firsts = {name: next(iter(scores.values())) for name, scores in found.items()}
            labelled = [firsts[n] for n, limb in self.limbs.items() if limb.answers is not None]
            self.leaving.judged(firsts, self.history.steps - 1)
            mean = float(np.mean(labelled or list(firsts.values())))
            each = {f"{n} {key}": v for n, scores in found.items() for key, v in scores.items()}
            return {MEAN: mean} | each

        return validate

    def _scores(self, forward: Any, limb: Limb) -> dict[str, float]:
        ask, device = One(forward, limb.member.name), self.fabric.device
        if limb.answers is not None and limb.target is not None:
            logits = all_logits(ask, limb.tokens, device, Silent(), "validate", limb.held_rows)
            return limb.answers.metrics(logits, limb.target[limb.held_rows])
        return {"log_likelihood": -self._mean_loss(ask, limb)}

    @torch.inference_mode()
    def _mean_loss(self, ask: One, limb: Limb) -> float:
        """Mean over everything asked for in the rows held out, the same each time; in nats."""
        plan = plan_reading(limb.tokens.lengths[limb.held_rows], self.stage.batch_tokens)
        total, count = 0.0, 0
        for number, places in enumerate(plan):
            drawn = derive_seed(self.seed, "validate", limb.member.name, number)
            batch = take(limb.tokens, limb.held_rows[places])
            batch = limb.task.prepare(batch, np.random.default_rng(drawn)).to(self.fabric.device)
            asked = len(batch.rows) if batch.target is None else len(batch.target)
            total += float(limb.task.loss(ask, batch)) * asked
            count += asked
        return total / count

    def save(self, fresh: Path, rules: list[Group]) -> dict[str, Any]:
        """The backbone with all heads."""
        model = self._model()
        proofs = {n: self.limbs[n].rows.texts for n in model.answering}
        save_shared(model, fresh, proofs)
        done, passes = self.history.steps, self.mixture.passes(self.history.steps)
        left = {self.names[k]: at for k, at in self.mixture.left.items() if at < done}
        through = dict(zip(self.names, passes, strict=True))
        return {"tasks": {"passes": through, "left_out_after": left}}

    def _model(self) -> SharedModel:
        base = self.base
        answering = {
            name: Answering(
                name=name,
                network=limb.network,  # type: ignore[arg-type]
                task=limb.answers,
                tokenizer=base.tokenizer,
                max_length=base.max_length,
                pooling=base.pooling,
                pairs=are_pairs(limb.rows.texts),
                origin=base.origin,
                provenance=dict(self.provenance),
            )
            for name, limb in self.limbs.items()
            if limb.answers is not None
        }
        return SharedModel(
            network=self.shared,
            kinds={name: limb.member.task.kind for name, limb in self.limbs.items()},
            answering=answering,
            pooling=base.pooling,
            max_length=base.max_length,
            dropout=base.network.dropout.p,
            origin=base.origin,
            provenance=dict(self.provenance),
        )


class Leaving:
    """Leaves a task out of the mixture when it has stopped to become better.

    Args:
        mixture: what it is left out of.
        names: of the tasks.
        patience: epochs without a better score; None leaves none out.
        progress: where it is said.
    """

    def __init__(
        self, mixture: Mixture, names: tuple[str, ...], patience: int | None, progress: Progress
    ) -> None:
        self.mixture, self.names = mixture, names
        self.patience, self.progress = patience, progress
        self.best: dict[str, float] = {}
        self.stale: dict[str, int] = {}

    def judged(self, scores: Mapping[str, float], step: int) -> None:
        """Take note of each task's score after an update, counted from 0; the last task stays."""
        for number, name in enumerate(self.names):
            better = name not in self.best or scores[name] > self.best[name]
            self.stale[name] = 0 if better else self.stale[name] + 1
            self.best[name] = max(scores[name], self.best.get(name, scores[name]))
            over = self.patience is not None and self.stale[name] >= self.patience
            alone = len(self.mixture.left) + 1 >= len(self.names)
            if over and not alone and number not in self.mixture.left:
                self.mixture.leave(number, step)
                self.progress.say(
                    f"{name}: no better for {self.stale[name]} epochs (best {self.best[name]:.4f}),"
                    " so it is left out from here on"
                )

    def state_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"best": self.best, "stale": self.stale, "left": self.mixture.left}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        self.best, self.stale = dict(state["best"]), dict(state["stale"])
        self.mixture.left = dict(state["left"])


class Watched(MultiTask):
    """Several tasks, some of which may be left out in time; what is known of that is saved too."""

    def __init__(self, leaving: Leaving, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.leaving = leaving

    def state_dict(self) -> dict[str, Any]:
        """What must be known to go on from here."""
        return {"history": super().state_dict(), "leaving": self.leaving.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        super().load_state_dict(state["history"])
        self.leaving.load_state_dict(state["leaving"])


def rule_of(mix: Mix, balance: BalanceValues, names: tuple[str, ...]) -> Rule:
    """How tasks are mixed; a task alone needs no rule."""
    several = mix.batches == "several" or (mix.batches == "auto" and balance.by != "sum")
    if len(names) == 1:
        return Rule()
    given = tuple(mix.shares[name] for name in names) if mix.by == "hand" else None
    return Rule(mix.by, mix.temperature, given, several)


def balance_of(values: BalanceValues, num_tasks: int) -> Balance:
    """How gradients become one; there is nothing to balance in a task alone."""
    if values.by == "sum" or num_tasks == 1:
        return Sum()
    if values.by == "uncertainty":
        return Uncertainty(values.temperature or 1.0)
    if values.by == "dwa":
        return LossRate(values.temperature or 2.0)
    return Projected() if values.by == "pcgrad" else Nash()
