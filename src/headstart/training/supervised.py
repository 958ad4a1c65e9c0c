"""Stages that learn from labels: one task, its head, and the frozen prefix computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.clock import part
from headstart.data.batches import Batch, Store, StorePart, cut, derive_seed, take
from headstart.data.draw import draw
from headstart.errors import RecipeError
from headstart.models.opened import Opened
from headstart.objectives.mixout import Mixout, linear_weights
from headstart.objectives.sharpness import Sharpness
from headstart.objectives.supervised import Objective, Supervised
from headstart.recipe import Classify as ClassifyValues
from headstart.recipe.helped import Consistency, Distill, SelfTrain
from headstart.recipe.objectives import Plain
from headstart.tasks.classify import Classify, class_weights
from headstart.training.adapting import begin_adapter, keep_adapter
from headstart.training.begin import begin
from headstart.training.bound import Bound, Given
from headstart.training.features import Suffix, features, frozen_depth
from headstart.training.fresh import renew_blocks
from headstart.training.helped import Help, asks_inside, helped_digest
from headstart.training.inference import all_logits
from headstart.training.kept import code_digest
from headstart.training.loop import Work
from headstart.training.model import Trained, answers, open_trained, save_trained
from headstart.training.order import Order
from headstart.training.progress import Silent
from headstart.training.shared import task_of_classes
from headstart.training.trainable import Group


class SupervisedStage(Bound):
    """A stage that classifies.

    Args:
        given: what it is made of.
        provenance: what the model will have been trained from and on.

    Raises:
        RecipeError: the head cannot be kept, validation leaves no rows; see `begin`, `attach`.
    """

    def __init__(self, given: Given, provenance: Mapping[str, Any]) -> None:
        super().__init__(given, provenance)
        self.model, kept_head = _start(given)
        self.model.provenance = dict(provenance)
        parent = given.parent
        base = str(parent.folder) if parent else given.recipe.backbone
        begin_adapter(self.model, self.stage, base, self.seed)
        self.network = self.model.network
        self.help = Help(given, self.model, self.fabric, kept_head)
        self.examples = given.rows
        assert self.examples.labels is not None
        self.target = self.model.task.encode(self.examples.labels)
        share = self.stage.validation
        count = max(len(self.model.task.labels), round(share * len(self.examples))) if share else 0
        seed = derive_seed("held", self.seed)
        self.held_rows, self.train_rows = draw(self.examples.labels, count, seed)
        if not len(self.train_rows):
            raise RecipeError(
                f"stage {self.stage.name!r}, validation: {len(self.examples)} rows leave none to "
                "train on."
            )
        # Batches are cut by tokens even where a cached row is one vector: an update then means
        # the same number of texts with and without the cache.
        self.tokens = self.shop.tokens(self.model.tokenizer, self.model.max_length, self.examples)
        self.order = Order(self.tokens.lengths[self.train_rows], self.stage.batch_tokens, self.seed,
                           epochs=self.stage.epochs, steps=self.stage.steps)  # fmt: skip

    @classmethod
    def digested(cls, given: Given) -> str:
        """SHA-256 over the rows, and what the objective reads beside them."""
        return given.rows.digest + helped_digest(given)

    def cached_parts(self) -> int:
        """How many leading parts do not move, if that is worth keeping."""
        plain = isinstance(self.stage.objective, Plain)
        return frozen_depth(self.model.network) if plain else 0

    def forward(self) -> Suffix | Opened:
        """The parts of the network that are not cached; the others are computed, or found."""
        depth = self.cached_parts()
        self.store = self._store(depth)
        if asks_inside(self.stage.objective):
            return Opened(self.model.network, self.fabric.autocast)
        return Suffix(self.model.network, depth)

    def _store(self, depth: int) -> Store:
        """What the network reads of each row: its tokens, or the output of the frozen parts."""
        if depth == 0:
            return self.tokens
        model, whole = self.model, self.examples.whole or self.examples
        tokens = self.shop.tokens(model.tokenizer, model.max_length, whole)
        key = f"{whole.texts_digest} {model.tokenizer.digest} {model.max_length} "
        key += f"{self.shop.precision} {code_digest()} {torch.__version__}"
        with part("frozen"):
            found = features(self.fabric, model.network, depth, tokens, key=key,
                             folder=self.shop.cache / "features",
                             progress=self.shop.progress)  # fmt: skip
        places = self.examples.places
        return found if places is None else StorePart(found, places)

    def steps(self) -> Order:
        """Passes over the rows."""
        return self.order

    def work(self, step: int) -> Work:
        """The rows of an update, in parts that fit in memory."""
        rows, limit = self.order.rows(step), self.stage.micro_batch_tokens
        parts = [rows] if limit is None else cut(rows, self.order.lengths, limit)
        batches = [self._batch(some) for some in parts]
        if not isinstance(self.stage.objective, Distill | SelfTrain | Consistency):
            return Work(self.order.num_tokens(rows), batches)
        beside = self.help.beside(batches, step, self.order.total)
        num_tokens = sum(batch.num_tokens for batch in (*batches, *beside.unlabelled))
        return Work(num_tokens, [beside])

    def _batch(self, rows: np.ndarray) -> Batch:
        batch = take(self.store, self.train_rows[rows], self.target)
        return replace(batch, weight=len(rows) / self.order.mean_rows)

    def objective(self) -> Objective:
        """The task's own loss, and what the stage puts beside and around it."""
        found = self.help.objective(Supervised(self.model.task, self.fabric.backward))
        if self.stage.mixout:
            weights = linear_weights(self.network.backbone)
            found = Mixout(found, weights, self.stage.mixout)
        return Sharpness(found, self.stage.sharpness) if self.stage.sharpness else found

    def validation(self, forward: Any) -> Callable[[], dict[str, float]] | None:
        """Scores on the rows held out."""
        if not len(self.held_rows):
            return None
        target = self.target[self.held_rows]

        def validate() -> dict[str, float]:
            device = self.fabric.device
            logits = all_logits(forward, self.store, device, Silent(), "validate", self.held_rows)
            return self.model.task.metrics(logits, target)

        return validate

    def save(self, fresh: Path, rules: list[Group]) -> dict[str, Any]:
        """A model folder, and an adapter beside it where one was trained."""
        texts, progress = self.examples.texts, self.shop.progress
        adapter = keep_adapter(self.model, self.stage, rules, fresh, texts, progress)
        save_trained(self.model, fresh, texts)
        return {"adapter": adapter}


def _start(given: Given) -> tuple[Trained, bool]:
    """The model that a stage begins with, and whether its head answered before."""
    stage, recipe, parent = given.stage, given.recipe, given.parent
    labels = given.rows.classes
    torch.manual_seed(derive_seed("head", given.seed, stage.head))
    kept = None if parent is None else task_of_classes(parent.folder, labels, stage.data_names)
    if parent is not None and (kept is not None or answers(parent.folder)):
        model = open_trained(parent.folder, kept)
        model.adapter = None  # it was made for other weights than those to come
    else:
        name = recipe.backbone if parent is None else str(parent.folder)
        if parent is not None:  # its positions were stretched when it began
            length = recipe.max_length or recipe.positions
            recipe = recipe.model_copy(update={"positions": None, "max_length": length})
        model = begin(given.shop.checkpoint(name), recipe, labels)
    same = set(model.task.labels) == set(labels)
    if stage.head == "keep" and not same:
        raise RecipeError(
            f"stage {stage.name!r}, head: cannot keep a head for {list(model.task.labels)} "
            f'where the data has {list(labels)}. Map the labels, or set head = "new".'
        )
    kept_head = same and stage.head != "new" and parent is not None and answers(parent.folder)
    if stage.head == "new" or not same:
        model.task = Classify(labels)
        old = model.network.head.state_dict()
        model.network.head = model.task.head(old["weight"].shape[1], "bias" in old)
    assert isinstance(stage.task, ClassifyValues)
    renew_blocks(model.network, stage, given.seed)
    weights = class_weights(stage.task.class_weights, given.rows.labels or [], model.task.labels)
    smoothing = stage.task.label_smoothing
    model.task = replace(model.task, weights=weights, label_smoothing=smoothing)
    return model, kept_head or kept is not None
