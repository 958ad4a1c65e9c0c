"""What a classifier's objective needs beside its rows: a teacher's answers, unlabelled rows."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from headstart.clock import part
from headstart.data.batches import Batch, cut, derive_seed, take
from headstart.data.examples import Examples, joined
from headstart.errors import DataError, RecipeError
from headstart.models.opened import Opened, last_attention
from headstart.objectives.beside import Beside
from headstart.objectives.distill import Distill, DistillInside, Weights
from headstart.objectives.noise import NoisedAnswers, WorstNoise
from headstart.objectives.supervised import Objective
from headstart.objectives.unlabelled import (
    Consistency,
    SelfTraining,
    TokenNoise,
    pseudo_labels,
)
from headstart.recipe import Recipe
from headstart.recipe.helped import Consistency as ConsistencyValues
from headstart.recipe.helped import Distill as DistillValues
from headstart.recipe.helped import Noise as NoiseValues
from headstart.recipe.helped import SelfTrain as SelfTrainValues
from headstart.recipe.helped import WithUnlabelled
from headstart.training.bound import Given
from headstart.training.inference import all_logits
from headstart.training.model import DESCRIPTION, Trained, described, open_trained
from headstart.training.order import Order

WEIGHTS = "model.safetensors"


class Help:
    """What is beside a stage's labelled rows, whatever its objective.

    Args:
        given: what the stage is made of.
        model: as the stage begins.
        fabric: device and precision.
        kept_head: whether the model's head answered before.

    Raises:
        RecipeError: the teacher does not fit, or there is no head that pseudo-labels come from.
        DataError: no row reaches the threshold of pseudo-labels.
    """

    def __init__(self, given: Given, model: Trained, fabric: Any, kept_head: bool) -> None:
        self.given, self.model, self.fabric = given, model, fabric
        self.stage, self.shop, self.values = given.stage, given.shop, given.stage.objective
        self.place = f"stage {given.stage.name!r}, objective"
        if isinstance(self.values, SelfTrainValues) and not kept_head:
            raise RecipeError(
                f"{self.place}: self-train learns from what a trained head says, and here the head "
                "is new. Train one in a stage before, on the same classes."
            )
        self.teacher = self._teacher() if isinstance(self.values, DistillValues) else None
        names = given.stage.unlabelled_names
        self.rows = joined([given.data[name] for name in names]) if names else None
        self.taught, self.kept = self._pseudo_labels()
        self._order: Order | None = None

    def beside(self, batches: list[Batch], step: int, total: int) -> Beside:
        """An update's labelled parts with the unlabelled rows that go with them.

        Args:
            batches: labelled, in parts.
            step: counted from 0.
            total: updates of the stage.
        """
        labelled = tuple(batches)
        if self.rows is None:
            return Beside(labelled)
        order = self._order_of(total)
        rows = order.rows(step)
        limit = self.stage.micro_batch_tokens
        parts = [rows] if limit is None else cut(rows, order.lengths, limit)
        batches = [
            replace(take(self.tokens, self.kept[some]), weight=len(some) / len(rows))
            for some in parts
        ]
        if not isinstance(self.values, ConsistencyValues):
            return Beside(labelled, tuple(batches))
        random = np.random.default_rng(derive_seed("token noise", self.given.seed, step))
        noised = tuple(self.noise(batch, random) for batch in batches)
        return Beside(labelled, tuple(batches), noised)

    def objective(self, plain: Objective) -> Objective:
        """What leaves gradients; `plain` where nothing is beside."""
        task, propagate, values = self.model.task, self.fabric.backward, self.values
        if isinstance(values, NoiseValues):
            options: dict[str, Any] = {"weight": values.weight, "size": values.size}
            options["normal"] = values.noise == "normal"
            width = self.model.network.backbone.width
            if values.kind == "r3f":
                return NoisedAnswers(task, propagate, width, **options)
            options |= {"steps": values.steps, "step_size": values.step_size}
            return WorstNoise(task, propagate, width, **options)
        if isinstance(values, DistillValues):
            return self._distill(values)
        if isinstance(values, SelfTrainValues):
            assert self.taught is not None
            return SelfTraining(task, propagate, values.weight, self.taught)
        if isinstance(values, ConsistencyValues):
            return Consistency(task, propagate, values.weight, temperature=values.temperature,
                               threshold=values.threshold)  # fmt: skip
        return plain

    @cached_property
    def tokens(self) -> Any:
        """Tokens of the unlabelled rows."""
        assert self.rows is not None
        return self.shop.tokens(self.model.tokenizer, self.model.max_length, self.rows)

    @cached_property
    def noise(self) -> TokenNoise:
        """What happens to the tokens of unlabelled rows."""
        assert isinstance(self.values, ConsistencyValues)
        tokenizer, table = self.model.tokenizer, np.asarray(self.tokens.values)
        able = np.ones(max(int(table.max()) + 1, len(tokenizer.vocabulary)), dtype=bool)
        able[list(tokenizer.special_ids)] = False
        return TokenNoise(self.values.noise, able, table[able[table]].astype(np.int64))

    def _order_of(self, total: int) -> Order:
        if self._order is None:
            assert isinstance(self.values, WithUnlabelled)
            budget = max(16, round(self.stage.batch_tokens * self.values.ratio))
            seed = derive_seed("unlabelled", self.given.seed)
            self._order = Order(self.tokens.lengths[self.kept], budget, seed, steps=total)
        return self._order

    def _pseudo_labels(self) -> tuple[Tensor | None, np.ndarray]:
        """Targets of the unlabelled rows, where they have any, and which rows are read."""
        if self.rows is None:
            return None, np.arange(0)
        if not isinstance(self.values, SelfTrainValues):
            return None, np.arange(len(self.rows))
        logits = self._answers(self.model, self.rows, "pseudo-labels")
        targets, kept = pseudo_labels(logits, self.values.threshold, self.values.soft)
        if not len(kept):
            sure = float(logits.softmax(-1).max())
            raise DataError(
                f"{self.place}.threshold: no row of {self.rows.name} reaches "
                f"{self.values.threshold:g}; the surest is answered with {sure:.3f}. Lower it; 0 "
                "takes all rows."
            )
        return targets, kept

    def _answers(self, model: Trained, rows: Examples, title: str) -> Tensor:
        """Logits (N, C) of a model on rows, in the order of this stage's classes."""
        tokens = self.shop.tokens(model.tokenizer, model.max_length, rows)
        device = self.fabric.device
        network = model.network.to(device).eval()
        with part("answers"):
            logits = all_logits(network, tokens, device, self.shop.progress, title)
        order = [model.task.labels.index(label) for label in self.model.task.labels]
        return logits[:, order].clone()

    def _distill(self, values: DistillValues) -> Objective:
        assert self.teacher is not None
        weights = Weights(labels=values.labels, logits=values.logits,
                          temperature=values.temperature, hidden=values.hidden,
                          attention=values.attention, relations=values.relations)  # fmt: skip
        labelled = self._answers(self.teacher, self.given.rows, "teacher")
        unlabelled = None
        if self.rows is not None:
            unlabelled = self._answers(self.teacher, self.rows, "teacher, unlabelled")
        given = (self.model.task, self.fabric.backward, weights, labelled, unlabelled)
        if not weights.inside:
            return Distill(*given)
        return DistillInside(Opened(self.teacher.network).eval(), *given)

    def _teacher(self) -> Trained:
        """The model that is learned from.

        Raises:
            RecipeError: other classes, another tokenizer or width where what is inside counts.
        """
        values, own = self.values, self.model
        assert isinstance(values, DistillValues)
        teacher = open_trained(model_folder(values.teacher))
        for parameter in teacher.network.parameters():
            parameter.requires_grad_(False)
        faults = []
        if set(teacher.task.labels) != set(own.task.labels):
            faults.append(
                f"{self.place}.teacher: knows the classes {list(teacher.task.labels)}, the stage "
                f"{list(own.task.labels)}. Take a teacher of the same classes."
            )
        inside = [key for key in ("hidden", "attention", "relations") if getattr(values, key)]
        if inside and teacher.tokenizer.digest != own.tokenizer.digest:
            faults.append(
                f"{self.place}.{inside[0]}: the teacher reads other tokens. Use logits alone."
            )
        if values.hidden and teacher.network.backbone.width != own.network.backbone.width:
            faults.append(
                f"{self.place}.hidden: the teacher is {teacher.network.backbone.width} wide, the "
                f"student {own.network.backbone.width}. Use relations, which need no equal widths."
            )
        if inside:
            faults += list(_heads_faults(f"{self.place}.{inside[0]}", teacher, own))
        if faults:
            raise RecipeError(faults)
        return teacher


def _heads_faults(place: str, teacher: Trained, own: Trained) -> list[str]:
    try:
        many = [last_attention(m.network).form.num_heads for m in (teacher, own)]
    except ValueError as error:
        return [f"{place}: {error}. Use logits alone."]
    if many[0] != many[1]:
        return [
            f"{place}: the teacher has {many[0]} heads in its last block, the student {many[1]}. "
            "Use logits alone."
        ]
    return []


def model_folder(folder: str) -> Path:
    """A model's folder, also where that of its run is named."""
    inner = Path(folder) / "model"
    return inner if inner.is_dir() else Path(folder)


def helped_digest(given: Given) -> str:
    """SHA-256 over what a stage's objective reads beside the labelled rows; "" without any."""
    values, digest = given.stage.objective, hashlib.sha256()
    names = given.stage.unlabelled_names
    for name in names:
        digest.update(given.data[name].texts_digest.encode())
    if isinstance(values, DistillValues):
        folder = model_folder(values.teacher)
        open_trained(folder)  # says what is wrong with it, if anything is
        for name in (DESCRIPTION, WEIGHTS):
            digest.update((folder / name).read_bytes())
    return digest.hexdigest() if names or isinstance(values, DistillValues) else ""


def check_teachers(recipe: Recipe) -> None:
    """Whether all teachers are there, before anything is trained.

    Raises:
        CheckpointError: one is not.
    """
    for stage in recipe.stage:
        if isinstance(stage.objective, DistillValues):
            described(model_folder(stage.objective.teacher))


def asks_inside(values: Any) -> bool:
    """Whether an objective asks the network for more than its logits."""
    inside = isinstance(values, DistillValues) and (
        values.hidden or values.attention or values.relations
    )
    return bool(inside) or isinstance(values, NoiseValues)
