"""Stages that learn without labels: any text will do, and what is left is a better backbone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.data.batches import Batch, cut, derive_seed, plan_reading, take
from headstart.errors import RecipeError
from headstart.models.chain import Chain
from headstart.objectives.supervised import Objective, Supervised
from headstart.training.asking import BEGINNINGS
from headstart.training.bound import Bound, Given
from headstart.training.loop import Work
from headstart.training.order import Order
from headstart.training.pretrained import save_pretrained
from headstart.training.trainable import Group

PROOF_ROWS = 8


class PretrainingStage(Bound):
    """A stage with a task that needs no labels.

    Args:
        given: what it is made of.
        provenance: what the model will have been trained from and on.

    Raises:
        RecipeError: the backbone cannot serve the task, or validation leaves no rows.
    """

    def __init__(self, given: Given, provenance: Mapping[str, Any]) -> None:
        super().__init__(given, provenance)
        torch.manual_seed(derive_seed("head", self.seed))
        self.model = BEGINNINGS[self.stage.task.kind](given)
        self.model.provenance = provenance
        self.network = self.model.network
        rows = given.rows
        self.tokens = self.shop.tokens(self.model.tokenizer, self.model.max_length, rows)
        shuffled = np.random.default_rng(derive_seed("held", self.seed)).permutation(len(rows))
        count = math.ceil(self.stage.validation * len(rows))
        self.held_rows, self.train_rows = np.sort(shuffled[:count]), np.sort(shuffled[count:])
        if not len(self.train_rows):
            raise RecipeError(
                f"stage {self.stage.name!r}, validation: {len(rows)} rows leave none to train on."
            )
        self.order = Order(self.tokens.lengths[self.train_rows], self.stage.batch_tokens, self.seed,
                           epochs=self.stage.epochs, steps=self.stage.steps)  # fmt: skip

    @classmethod
    def digested(cls, given: Given) -> str:
        """SHA-256 over the texts: labels are not read."""
        return given.rows.texts_digest

    def forward(self) -> Chain:
        """The whole network: what is asked of it changes from batch to batch."""
        return self.network

    def steps(self) -> Order:
        """Passes over the rows."""
        return self.order

    def work(self, step: int) -> Work:
        """The rows of an update as the task shows them, in parts that fit in memory."""
        rows, limit = self.order.rows(step), self.stage.micro_batch_tokens
        parts = [rows] if limit is None else cut(rows, self.order.lengths, limit)
        batches = [
            replace(self._batch(self.train_rows[some], "prepare", step, number),
                    weight=len(some) / len(rows))
            for number, some in enumerate(parts)
        ]  # fmt: skip
        return Work(self.order.num_tokens(rows), batches)

    def _batch(self, rows: np.ndarray, *drawn_for: object) -> Batch:
        random = np.random.default_rng(derive_seed(self.seed, *drawn_for))
        return self.model.task.prepare(take(self.tokens, rows), random)

    def objective(self) -> Objective:
        """The task's own loss."""
        return Supervised(self.model.task, self.fabric.backward)

    def validation(self, forward: Any) -> Callable[[], dict[str, float]] | None:
        """The loss on the rows held out, asked the same each time."""
        if not len(self.held_rows):
            return None

        def validate() -> dict[str, float]:
            loss = self._mean_loss(forward, self.held_rows)
            return {"log_likelihood": -loss, "perplexity": math.exp(min(loss, 700.0))}

        return validate

    @torch.inference_mode()
    def _mean_loss(self, forward: Any, rows: np.ndarray) -> float:
        """Mean over everything asked for in some rows, in nats."""
        plan = plan_reading(self.tokens.lengths[rows], self.stage.batch_tokens)
        total, count = 0.0, 0
        for number, places in enumerate(plan):
            batch = self._batch(rows[places], "validate", number).to(self.fabric.device)
            asked = len(batch.rows) if batch.target is None else len(batch.target)
            total += float(self.model.task.loss(forward, batch)) * asked
            count += asked
        return total / count

    def save(self, fresh: Path, rules: list[Group]) -> dict[str, Any]:
        """A folder that opens as a checkpoint, its map to the vocabulary with it."""
        save_pretrained(self.model, fresh, self._batch(self.train_rows[:PROOF_ROWS], "proof"))
        return {}
