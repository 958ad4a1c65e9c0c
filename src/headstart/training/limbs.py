"""What each of several tasks begins with: a network of its own on the backbone that all share."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from headstart.data.batches import RaggedStore, derive_seed
from headstart.data.draw import draw
from headstart.data.examples import Examples, joined
from headstart.data.numbers import check_numbers
from headstart.errors import RecipeError, UserError
from headstart.models.chain import Chain
from headstart.models.checkpoint import Checkpoint
from headstart.models.network import Network
from headstart.recipe import Classify as ClassifyValues
from headstart.recipe import Member, reads_labels
from headstart.tasks.classify import Classify, class_weights
from headstart.tasks.regress import Regress
from headstart.tasks.task import Task
from headstart.training.asking import BEGINNINGS
from headstart.training.begin import begin
from headstart.training.bound import Given
from headstart.training.model import Trained, described
from headstart.training.shared import heads_in

Answers = Classify | Regress


@dataclass(frozen=True)
class Limb:
    """One task of a stage: its network, and its rows.

    Attributes:
        member: the plain values.
        task: prepares batches and gives losses.
        network: uses the shared backbone.
        rows: N examples.
        tokens: of all of them.
        target: (N,) class or standardised number of each; None without labels.
        train_rows: (M,) which are trained on.
        held_rows: the others.
    """

    member: Member
    task: Task
    network: Chain
    rows: Examples
    tokens: RaggedStore
    target: np.ndarray | None
    train_rows: np.ndarray
    held_rows: np.ndarray

    @property
    def answers(self) -> Answers | None:
        """The task where it answers; None where it has no labels."""
        return self.task if isinstance(self.task, Classify | Regress) else None


def rows_of(given: Given, member: Member) -> Examples:
    """The rows of all data sets of a task."""
    return joined([given.data[name] for name in member.data_names])


class Beginnings:
    """Makes the limbs of a stage.

    Args:
        given: what the stage is made of.

    Raises:
        RecipeError: the stage before carries what no head of several tasks can read.
    """

    def __init__(self, given: Given) -> None:
        self.given, self.stage = given, given.stage
        parent = given.parent
        if parent is not None and described(parent.folder).get("carries") is not None:
            raise RecipeError(
                f"stage {self.stage.name!r}: the stage before it left a prefix or small modules "
                "beside the backbone, which several tasks cannot share. Train it with lora, all or "
                "top:N."
            )
        name = given.recipe.backbone if parent is None else str(parent.folder)
        self.checkpoint: Checkpoint = given.shop.checkpoint(name)
        self.base: Trained = begin(self.checkpoint, given.recipe, ("a", "b"))
        self.saved = heads_in(parent.folder) if parent is not None else []

    def limbs(self, members: tuple[Member, ...]) -> dict[str, Limb]:
        """All limbs, by name.

        Raises:
            UserError: with the faults of all tasks at once.
        """
        limbs: dict[str, Limb] = {}
        faults: list[str] = []
        for member in members:
            try:
                limbs[member.name] = self._limb(member)
            except UserError as error:
                faults += [f"task {member.name!r}: {fault}" for fault in error.faults]
        if faults:
            raise RecipeError(faults)
        return limbs

    def _limb(self, member: Member) -> Limb:
        rows = rows_of(self.given, member)
        torch.manual_seed(derive_seed("head", self.given.seed, self.stage.head, member.name))
        task: Task
        network: Chain
        if reads_labels(member.task):
            task, network = self._labelled(member, rows)
            target = task.encode(rows.labels or ())
        else:
            task, network, target = *self._unlabelled(member), None
        held, train = self._split(rows, task)
        if not len(train):
            raise RecipeError(f"validation: {len(rows)} rows leave none to train on.")
        tokens = self.given.shop.tokens(self.base.tokenizer, self.base.max_length, rows)
        return Limb(member, task, network, rows, tokens, target, train, held)

    def _split(self, rows: Examples, task: Task) -> tuple[np.ndarray, np.ndarray]:
        """Rows held out and rows trained on; stratified where there are classes."""
        share, seed = self.stage.validation, derive_seed("held", self.given.seed)
        if isinstance(task, Classify):
            count = max(len(task.labels), round(share * len(rows))) if share else 0
            return draw(rows.labels or (), count, seed)
        shuffled = np.random.default_rng(seed).permutation(len(rows))
        count = int(np.ceil(share * len(rows)))
        return np.sort(shuffled[:count]), np.sort(shuffled[count:])

    def _unlabelled(self, member: Member) -> tuple[Task, Chain]:
        """A task without labels, with the network that it asks, as it would have alone."""
        kind = member.task.kind
        if kind not in BEGINNINGS:
            able = ", ".join(["classify", "regress", *BEGINNINGS])
            raise RecipeError(f"{kind} cannot share a backbone with others. These can: {able}.")
        stage = self.stage.model_copy(update={"task": member.task, "data": member.data})
        data = {name: self.given.data[name] for name in member.data_names}
        made = BEGINNINGS[kind](replace(self.given, stage=stage, data=data))
        if made.encode is not None:
            raise RecipeError(
                f"{kind} reads the texts of a pair one by one, which it cannot beside other tasks. "
                "Give it a stage of its own, or a single text column."
            )
        return made.task, made.network

    def _labelled(self, member: Member, rows: Examples) -> tuple[Answers, Network]:
        """A task with labels; its head of the stage before, or the checkpoint's, else new."""
        assert rows.labels is not None
        task: Answers
        if isinstance(member.task, ClassifyValues):
            values = member.task
            task = Classify(rows.classes)
        else:
            check_numbers(rows.name, rows.labels, rows.rows)
            task = Regress.of(rows.labels)
        old = self.base.network
        pool, (width, bias) = copy.deepcopy(old.pool), _shape(old)
        head = task.head(width, bias)
        found = None if self.stage.head == "new" else self._kept(member, task)
        if found is not None:
            told, state = found
            task = Classify(tuple(told["labels"])) if "labels" in told else task
            for start, module in (("pool.", pool), ("head.", head)):
                part = {k.removeprefix(start): t for k, t in state.items() if k.startswith(start)}
                module.load_state_dict(part)
        elif self.stage.head == "keep":
            raise RecipeError(
                'head: there is none to keep for its classes. Set head = "auto", or "new".'
            )
        if isinstance(task, Classify):
            weights = class_weights(values.class_weights, rows.labels, task.labels)
            task = replace(task, weights=weights, label_smoothing=values.label_smoothing)
        return task, Network(self.base.network.backbone, pool, head, old.dropout.p)

    def _kept(self, member: Member, task: Answers) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """A head that can go on: of the same name if there is one, else of the same classes."""
        if isinstance(task, Regress):
            same = [(t, s) for t, s in self.saved if t["name"] == member.name and "mean" in t]
            return same[0] if same else None
        alike = [(t, s) for t, s in self.saved if set(t.get("labels", ())) == set(task.labels)]
        alike.sort(key=lambda pair: bool(pair[0]["name"] != member.name))
        if alike:
            return alike[0]
        own, labels = self.checkpoint.head, self.checkpoint.labels
        if own is None or labels is None or set(labels) != set(task.labels):
            return None
        pool = {f"pool.{k}": t for k, t in self.base.network.pool.state_dict().items()}
        return {"labels": labels}, pool | {f"head.{key}": t for key, t in own.items()}


def _shape(network: Network) -> tuple[int, bool]:
    state = network.head.state_dict()
    return state["weight"].shape[1], "bias" in state
