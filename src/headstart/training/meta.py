"""Stages that learn from episodes: what is left is a model that adapts to new classes by few rows.

Training is in float32 whatever the machine is good at: what an episode's steps change is small
beside what they change it in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from headstart.clock import part
from headstart.data.batches import Store, derive_seed
from headstart.data.episodes import (
    Episode,
    Episodes,
    Shape,
    Split,
    Tasks,
    split,
    tasks_of,
    without_known,
)
from headstart.data.examples import Examples
from headstart.errors import DataError
from headstart.models.attach import merge
from headstart.models.functional import Functional
from headstart.objectives.episodes import EpisodeObjective
from headstart.objectives.supervised import Objective
from headstart.recipe import adapter_of
from headstart.recipe.objectives import Episodic, Inner, inner_of
from headstart.training.adapting import begin_adapter
from headstart.training.begin import begin
from headstart.training.bound import Bound, Given
from headstart.training.episode_memory import check_episode_memory
from headstart.training.episodic import EpisodicModel, inside, prepare, save_episodic
from headstart.training.features import features, frozen_depth
from headstart.training.kept import code_digest
from headstart.training.loop import Work
from headstart.training.precision import PRECISIONS
from headstart.training.progress import Progress, Silent
from headstart.training.rowwise import ask_for_rows
from headstart.training.trainable import Group

VALIDATION_EPISODES = 100
VALIDATIONS = 10
"""How often a stage is validated."""


@dataclass(frozen=True)
class EpisodeSteps:
    """How many updates there are; the stage is validated at the end of each tenth of them.

    Attributes:
        total: updates in the whole stage.
    """

    total: int

    def ends_epoch(self, step: int) -> bool:
        """Whether a step, counted from 0, is the last of its tenth."""
        done = step + 1
        return done * VALIDATIONS // self.total > step * VALIDATIONS // self.total


class MetaStage(Bound):
    """A stage that learns from episodes.

    Args:
        given: what it is made of.
        provenance: what the model will have been trained from and on.

    Raises:
        DataError: classes that are held out are learned from too, or there are too few of them.
        RecipeError: see `begin`, `attach`.
    """

    def __init__(self, given: Given, provenance: Mapping[str, Any]) -> None:
        super().__init__(given, provenance)
        from lightning_fabric import Fabric  # seconds that a fault in the data should not cost

        self.fabric = Fabric(accelerator="auto", devices=1, precision=PRECISIONS["float32"])
        self.values = values_of(given)
        parts = parts_of(given.data, self.values, given.recipe.seed)
        shape = shape_of(self.values)
        self.draws = Episodes(parts.train, shape, "meta-train")
        self.watched = _draws(parts.validation, shape, "meta-validation")
        judged = _draws(parts.test, shape, "meta-test")
        ways = _ways(self.values, [self.draws, self.watched, judged])
        self.model = _start(given, self.values, ways, dict(provenance))
        self.network = self.model.network
        self.tokens = self.shop.tokens(self.model.tokenizer, self.model.max_length, given.rows)

    @classmethod
    def digested(cls, given: Given) -> str:
        """SHA-256 over each data set by its name: where one ends is where its classes do."""
        parts = [f"{name} {rows.digest}" for name, rows in given.data.items()]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def cached_parts(self) -> int:
        """How many leading parts move neither in training nor in an episode, if worth keeping."""
        network, own = self.model.network, dict(self.network.named_parameters())
        moving = {id(own[name]) for name in inside(network, self.values)}
        depth = 0
        while depth < frozen_depth(network) and not any(
            id(p) in moving for module in network.part_modules(depth) for p in module.parameters()
        ):
            depth += 1
        return depth if depth > 1 else 0

    def forward(self) -> Functional:
        """The parts of the network that are not cached, asked with parameters of an episode's."""
        depth = self.cached_parts()
        self.store = self._store(depth)
        return self.model.functional(depth)

    def _store(self, depth: int) -> Store:
        """What the network reads of each row: its tokens, or the output of the frozen parts."""
        if depth == 0:
            return self.tokens
        model, rows = self.model, self.given.rows
        key = f"{rows.texts_digest} {model.tokenizer.digest} {model.max_length} "
        key += f"float32 {code_digest()} {torch.__version__}"
        with part("frozen"):
            return features(self.fabric, model.network, depth, self.tokens, key=key,
                            folder=self.shop.cache / "features",
                            progress=self.shop.progress)  # fmt: skip

    def steps(self) -> EpisodeSteps:
        """Updates of a few episodes each."""
        assert self.stage.steps is not None, "the recipe was checked"
        return EpisodeSteps(self.stage.steps)

    def work(self, step: int) -> Work:
        """The episodes of an update: drawn by seed and step alone."""
        random = np.random.default_rng(derive_seed("episodes", self.seed, step))
        count = self.values.episodes
        drawn = [self.draws.draw(random) for _ in range(count)]
        episodes = [one.episode(self.store, 1 / count) for one in drawn]
        return Work(sum(episode.num_tokens for episode in episodes), episodes)

    def _first(self) -> Episode:
        """The first episode of all."""
        random = np.random.default_rng(derive_seed("episodes", self.seed, 0))
        return self.draws.draw(random).episode(self.store)

    def objective(self) -> Objective:
        """How it learns from episodes.

        Raises:
            RecipeError: going through an episode's steps takes more memory than there is.
        """
        ask_for_rows(self.network, [])  # rows of a table have no second derivative
        check_episode_memory(self.model, self._first(), self.stage.name)
        return self.model.learner(self.fabric.backward)

    def validation(self, forward: Any) -> Callable[[], dict[str, float]] | None:
        """Mean accuracy over episodes of the classes kept apart, always the same ones."""
        if self.watched is None:
            return None
        learner, watched = self.model.learner(self.fabric.backward), self.watched
        seed = derive_seed("validation", self.seed)

        def validate() -> dict[str, float]:
            test = Trial(watched, self.store, self.fabric.device, self.model.test_steps)
            found = test.accuracies(learner, forward, VALIDATION_EPISODES, seed)
            return {"accuracy": float(found.mean())}

        return validate

    def save(self, fresh: Path, rules: list[Group]) -> dict[str, Any]:
        """A folder that opens as a checkpoint, and adapts."""
        if not any(adapter_of(word) is not None for word in inner_of(self.values)):
            merge(self.model.network)  # what no episode moves is a part of the backbone from now on
        drawn = self.draws.draw(np.random.default_rng(derive_seed("proof", self.seed)))
        proof = self.given.rows.take(drawn.support)
        save_episodic(self.model, fresh, proof)
        parts = {"train": self.draws.tasks, "validation": self.watched and self.watched.tasks}
        return {"classes": {name: {task: sorted(classes) for task, classes in tasks.items()}
                            for name, tasks in parts.items() if tasks}}  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """Episodes that a model is tried on.

    Attributes:
        draws: where they come from.
        store: what the network reads of each row.
        device: where it is.
        steps: inside an episode; None where there are none to count.
    """

    draws: Episodes
    store: Store
    device: torch.device
    steps: int | None = None

    def accuracies(
        self,
        learner: EpisodeObjective,
        network: Any,
        count: int,
        seed: int,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """(E,) share of right answers in each of so many episodes.

        Args:
            learner: makes a classifier of a support.
            network: a functional one, in eval mode.
            count: E.
            seed: of the episodes: each depends on it and on its number alone.
            progress: shows a bar.
        """
        found = np.empty(count)
        with (progress or Silent()).bar("episodes", count) as bar:
            for number in range(count):
                random = np.random.default_rng(derive_seed(seed, number))
                one = self.draws.draw(random).episode(self.store).to(self.device)
                learned = learner.learned(network, one.support, one.ways, self.steps)
                answers = learner.answers(network, learned, one.query)
                assert one.query.target is not None
                found[number] = float((answers.argmax(-1) == one.query.target).float().mean())
                bar.advance(1, one.num_tokens)
        return found


def values_of(given: Given) -> Episodic:
    """A stage's objective, which is one that learns from episodes."""
    assert isinstance(given.stage.objective, Episodic)
    return given.stage.objective


def shape_of(values: Episodic) -> Shape:
    """How large episodes are."""
    shuffled = not isinstance(values, Inner) or values.permute_labels
    return Shape(values.ways, values.shot_counts, values.queries, shuffled)


def parts_of(data: Mapping[str, Examples], values: Episodic, seed: int) -> Split:
    """What is learned from, and the classes or data sets that are kept apart; by the recipe's seed.

    Raises:
        DataError: see `split` and `without_known`.
    """
    parts = split(tasks_of(data), values.validation, values.test, derive_seed("classes", seed))
    return without_known(parts, [text for rows in data.values() for text in rows.texts])


def _draws(tasks: Tasks, shape: Shape, name: str) -> Episodes | None:
    return Episodes(tasks, shape, name) if tasks else None


def _ways(values: Episodic, draws: list[Episodes | None]) -> int | None:
    """Classes of every episode, where the beginning of a head is learned; else None.

    Raises:
        DataError: episodes differ in them.
    """
    if not isinstance(values, Inner) or values.head != "learned":
        return None
    sizes = {
        task or "the data": min(len(classes), values.ways or len(classes))
        for one in draws
        if one is not None
        for task, classes in one.tasks.items()
    }
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{task} {count}" for task, count in sizes.items())
        raise DataError(
            'objective.head: a "learned" beginning has as many classes in every episode; found '
            f'{told}. Set ways to the least of these, or head = "means".'
        )
    return next(iter(sizes.values()))


def _start(
    given: Given, values: Episodic, ways: int | None, provenance: dict[str, Any]
) -> EpisodicModel:
    """The model that a stage begins with: the backbone so far, and what episodes need."""
    recipe, parent = given.recipe, given.parent
    torch.manual_seed(derive_seed("head", given.seed))
    name = recipe.backbone if parent is None else str(parent.folder)
    begun = begin(given.shop.checkpoint(name), recipe, ("one", "other"))
    begin_adapter(begun, given.stage, name, given.seed)
    torch.manual_seed(derive_seed("inside", given.seed))
    prepare(begun.network, values, ways)
    return EpisodicModel(
        network=begun.network,
        values=values,
        ways=ways,
        tokenizer=begun.tokenizer,
        max_length=begun.max_length,
        pooling=begun.pooling,
        origin=begun.origin,
        provenance=provenance,
    )
