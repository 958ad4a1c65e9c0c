"""Stages that learn without labels: any text will do, and what is left is a better backbone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.clock import part
from headstart.data.batches import Batch, RaggedStore, cut, derive_seed, plan_reading, take
from headstart.data.corpus import Corpus, corpus
from headstart.data.examples import Examples
from headstart.errors import RecipeError
from headstart.models.chain import Chain
from headstart.objectives.supervised import Objective, Supervised
from headstart.training.asking import BEGINNINGS
from headstart.training.bound import Bound, Given
from headstart.training.inference import READ_TOKENS
from headstart.training.loop import Work
from headstart.training.order import Order
from headstart.training.pretrained import Pretrained, save_pretrained
from headstart.training.shop import Shop
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
        texts = given.rows
        self.corpus = corpus_of(self.shop, self.model, texts)
        self.tokens = self.corpus.store
        shuffled = np.random.default_rng(derive_seed("held", self.seed)).permutation(len(texts))
        count = math.ceil(self.stage.validation * len(texts))
        self.held_rows = self.corpus.rows_of(shuffled[:count])
        self.train_rows = self.corpus.rows_of(shuffled[count:])
        if not len(self.train_rows):
            raise RecipeError(
                f"stage {self.stage.name!r}, validation: {len(texts)} texts leave none to train on."
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
            self._batch(self.train_rows[some], "prepare", step, number)
            for number, some in enumerate(parts)
        ]
        total = max(1, sum(map(asked, batches)))
        weighed = [replace(batch, weight=asked(batch) / total) for batch in batches]
        return Work(self.order.num_tokens(rows), weighed)

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
            loss = mean_loss(self.model, forward, self.tokens, self.held_rows, self.fabric.device)
            return {"log_likelihood": -loss, "perplexity": perplexity(loss)}

        return validate

    def save(self, fresh: Path, rules: list[Group]) -> dict[str, Any]:
        """A folder that opens as a checkpoint, its map to the vocabulary with it."""
        save_pretrained(self.model, fresh, self._batch(self.train_rows[:PROOF_ROWS], "proof"))
        return {}


def corpus_of(shop: Shop, model: Pretrained, texts: Examples) -> Corpus:
    """The rows of a data set as a model reads them.

    Raises:
        DataError: a text cannot be written in UTF-8.
        UserError: the cache cannot be written.
    """
    with part("tokens"):
        if model.cutting is not None:
            return corpus(model.tokenizer, texts, model.cutting, cache=shop.cache)
        if model.encode is not None:
            made = model.encode(texts.texts, model.max_length)
            return Corpus(RaggedStore(made.values, made.offsets, made.segments),
                          np.arange(len(made)))  # fmt: skip
        store = shop.tokens(model.tokenizer, model.max_length, texts)
        return Corpus(store, np.arange(len(store)))


def asked(batch: Batch) -> int:
    """How many questions a prepared batch asks: its loss is the mean over them."""
    return len(batch.rows) if batch.target is None else len(batch.target)


def perplexity(loss: float) -> float:
    """Of a mean loss in nats; what is beyond a number's range counts as its largest."""
    return math.exp(min(loss, 700.0))


@torch.inference_mode()
def mean_loss(
    model: Pretrained,
    forward: Any,
    store: RaggedStore,
    rows: np.ndarray,
    device: torch.device,
) -> float:
    """Mean over everything asked of some rows, in nats; what is drawn is the same each time.

    Args:
        model: its task asks.
        forward: its network, as Fabric set it up, or bare; in eval mode.
        store: rows of tokens.
        rows: (M,) which of them.
        device: of the network.
    """
    total, count = 0.0, 0
    for number, places in enumerate(plan_reading(store.lengths[rows], READ_TOKENS)):
        random = np.random.default_rng(derive_seed("asked again", number))
        batch = model.task.prepare(take(store, rows[places]), random).to(device)
        total += float(model.task.loss(forward, batch)) * asked(batch)
        count += asked(batch)
    return total / max(1, count)
