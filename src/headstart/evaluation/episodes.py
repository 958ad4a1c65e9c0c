"""What a few labelled rows make of a model, over many episodes of classes it has not seen.

All ways are tried on the same episodes: the number of an episode and a seed say which rows it has.

Shapes: E episodes, N rows, D width.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.batches import RaggedStore, Store, derive_seed
from headstart.data.episodes import Drawn, Episodes
from headstart.data.examples import Examples
from headstart.evaluation.intervals import Interval, mean_interval
from headstart.models.functional import Vectors
from headstart.models.network import Network
from headstart.recipe import Recipe, Stage
from headstart.training.begin import begin
from headstart.training.bound import Given
from headstart.training.episodic import EpisodicModel, inside
from headstart.training.inference import all_logits, best_device
from headstart.training.meta import Trial
from headstart.training.progress import Progress, Silent
from headstart.training.shop import Shop
from headstart.training.supervised import SupervisedStage
from headstart.training.trainable import Group

TUNED_EPOCHS = 20
"""Passes over an episode's rows in plain fine-tuning, unless a stage says otherwise."""

Answer = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""Maps vectors (S, D) to learn from, their classes (S,) and vectors (Q, D) to classes (Q,)."""


def episode_interval(accuracies: np.ndarray) -> Interval:
    """The mean of (E,) accuracies, and where that over all episodes is with 95 %; in [0, 1]."""
    found = mean_interval(accuracies)
    return Interval(found.value, max(0.0, found.low), min(1.0, found.high))


@dataclass(frozen=True)
class Read:
    """What a network reads.

    Attributes:
        store: tokens of each row, or what the network's first parts gave.
        depth: how many parts those were.
    """

    store: Store
    depth: int


@dataclass(frozen=True)
class Trials:
    """Which episodes ways are tried on.

    Attributes:
        draws: where episodes come from.
        rows: all N rows, which the draws are places in.
        count: E.
        seed: of the episodes.
        progress: shows a bar for each way.
    """

    draws: Episodes
    rows: Examples
    count: int
    seed: int = 0
    progress: Progress | None = None

    def drawn(self, number: int) -> Drawn:
        """An episode by its number."""
        return self.draws.draw(np.random.default_rng(derive_seed(self.seed, number)))

    @property
    def places(self) -> np.ndarray:
        """(M,) rows that may be in an episode, ascending."""
        every = [rows for classes in self.draws.tasks.values() for rows in classes.values()]
        return np.unique(np.concatenate(every))

    def accuracies(self, model: EpisodicModel, read: Read) -> np.ndarray:
        """(E,) of a model that learned from episodes, on what its network reads of each row."""
        learner = model.learner(lambda loss: None)
        trial = Trial(self.draws, read.store, best_device(), model.test_steps)
        return trial.accuracies(learner, model.functional(read.depth), self.count, self.seed,
                                self.progress)  # fmt: skip

    def read(self, model: EpisodicModel, shop: Shop) -> Read:
        """What a model's network reads of each row: whatever the count of shots.

        Where nothing but the head moves in an episode, each row goes through the backbone once.
        """
        network = model.network.to(best_device()).eval()
        tokens = shop.tokens(model.tokenizer, model.max_length, self.rows)
        if inside(network, model.values):
            return Read(tokens, 0)
        lengths = np.zeros(len(self.rows), dtype=np.int64)
        lengths[self.places] = 1
        vectors = self.vectors(network, tokens)
        return Read(RaggedStore(vectors, np.concatenate([[0], np.cumsum(lengths)])), network.depth)

    def vectors(self, network: Network, tokens: Store) -> np.ndarray:
        """(M, D) what the head of a network reads of each of `places`."""
        network = network.to(best_device()).eval()
        return all_logits(Vectors(network), tokens, best_device(), self.progress or Silent(),
                          "frozen features", self.places).numpy()  # fmt: skip

    def of_vectors(self, vectors: np.ndarray, answer: Answer) -> np.ndarray:
        """(E,) of a way of answering from frozen vectors (M, D), those of `places`."""
        places, found = self.places, np.empty(self.count)
        for number in range(self.count):
            one = self.drawn(number)
            support, query = (vectors[np.searchsorted(places, rows)]
                              for rows in (one.support, one.query))  # fmt: skip
            answers = answer(support, one.support_classes, query)
            found[number] = np.mean(answers == one.query_classes)
        return found

    def tuned(self, shop: Shop, recipe: Recipe, stage: Stage) -> np.ndarray:
        """(E,) of plain fine-tuning with an episode's rows, from the recipe's backbone.

        Args:
            shop: has the backbone.
            recipe: names the backbone, its pooling and the longest text.
            stage: how it is fine-tuned; on data called "rows".
        """
        found = np.empty(self.count)
        with (self.progress or Silent()).bar("fine-tuned episodes", self.count) as bar:
            for number in range(self.count):
                one = self.drawn(number)
                support, query = self.rows.take(one.support), self.rows.take(one.query)
                answers = _tuned_answers(Given(shop, recipe, stage, None, {"rows": support}), query)
                found[number] = np.mean([a == b for a, b in zip(answers, query.labels or (),
                                                                strict=True)])  # fmt: skip
                bar.advance()
        return found


def tuning_stage(**values: Any) -> Stage:
    """How a backbone is fine-tuned on an episode's rows: everything moves, for 20 passes."""
    usual = {"name": "fine-tuned", "data": "rows", "epochs": TUNED_EPOCHS, "batch_tokens": 512}
    return Stage.model_validate(usual | values)


class _Unkept(SupervisedStage):
    """A stage that is trained, asked and forgotten."""

    def _keep(self, folder: Path, record: dict[str, Any], rules: list[Group]) -> None:
        self.network.to("cpu")


def _tuned_answers(given: Given, query: Examples) -> list[str]:
    quiet = given.shop.progress
    given.shop.progress = Silent()
    try:
        with tempfile.TemporaryDirectory() as folder:
            stage = _Unkept(given, {})
            stage.train(Path(folder) / "stage", "", {})
    finally:
        given.shop.progress = quiet
    return stage.model.task.decode(stage.model.logits(query.texts))


def logistic(support: np.ndarray, classes: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Logistic regression on frozen vectors, as scikit-learn has it by default."""
    from sklearn.linear_model import LogisticRegression

    answers = LogisticRegression(max_iter=1000).fit(support, classes).predict(query)
    return np.asarray(answers)


def nearest_mean(support: np.ndarray, classes: np.ndarray, query: np.ndarray) -> np.ndarray:
    """The class whose mean of frozen vectors is nearest."""
    ways = int(classes.max()) + 1
    means = np.stack([support[classes == place].mean(0) for place in range(ways)])
    scores = 2 * query @ means.T - np.square(means).sum(1)
    return np.asarray(scores.argmax(1))


FROZEN: dict[str, Answer] = {
    "frozen + regression": logistic,
    "frozen + class means": nearest_mean,
}
"""Ways of answering from frozen vectors, by what a table calls them."""


def frozen_vectors(trials: Trials, shop: Shop, recipe: Recipe) -> np.ndarray:
    """(M, D) what a head reads of a recipe's backbone as it was before any stage."""
    begun = begin(shop.checkpoint(recipe.backbone), recipe, ("one", "other"))
    tokens = shop.tokens(begun.tokenizer, begun.max_length, trials.rows)
    return trials.vectors(begun.network, tokens)
