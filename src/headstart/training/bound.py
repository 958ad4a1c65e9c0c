"""A stage bound to its model and its rows: what all kinds of stages do alike.

What a kind does differently is in its own module: `supervised`, `pretraining`.
"""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from headstart.clock import part
from headstart.data.atomic import folder_atomically
from headstart.data.examples import Examples, joined
from headstart.models.chain import Chain
from headstart.objectives.supervised import Objective
from headstart.recipe import Recipe, Stage
from headstart.training.companions import companions
from headstart.training.kept import RECORD, StageResult, peak_memory
from headstart.training.loop import State, Steps, Training, Work, train
from headstart.training.model import versions
from headstart.training.precision import PRECISIONS
from headstart.training.shop import Shop
from headstart.training.trainable import Group, describe, freeze, groups, optimizer


@dataclass(frozen=True)
class Given:
    """What a stage is made of.

    Attributes:
        shop: what the stages of a run share.
        recipe: that the stage is of.
        stage: the plain values.
        parent: the stage before; None for the first.
        data: the rows of each data set that the stage reads, in its order; then of those that its
            objective reads without labels.
    """

    shop: Shop
    recipe: Recipe
    stage: Stage
    parent: StageResult | None
    data: Mapping[str, Examples]

    @property
    def seed(self) -> int:
        """Of what the stage draws."""
        return self.recipe.seed if self.stage.seed is None else self.stage.seed

    @cached_property
    def rows(self) -> Examples:
        """The rows of all its data sets as one, without those that its objective reads."""
        return joined([self.data[name] for name in self.stage.data_names])


class Bound(ABC):
    """A stage with its model and rows, ready to train.

    Args:
        given: what it is made of.
        provenance: what the model will have been trained from and on.
    """

    network: Chain

    def __init__(self, given: Given, provenance: Mapping[str, Any]) -> None:
        self.given, self.provenance = given, provenance
        self.shop, self.stage, self.seed = given.shop, given.stage, given.seed
        from lightning_fabric import Fabric  # seconds that a fault in the data should not cost

        precision = PRECISIONS[self.shop.precision]
        self.fabric = Fabric(accelerator="auto", devices=1, precision=precision)

    @classmethod
    def digested(cls, given: Given) -> str:
        """SHA-256 over the rows as far as this kind of stage reads them."""
        return given.rows.digest

    @abstractmethod
    def forward(self) -> Chain | Any:
        """The module that the objective asks, after what moves is settled."""

    @abstractmethod
    def steps(self) -> Steps:
        """How many updates there are, and where epochs end."""

    @abstractmethod
    def work(self, step: int) -> Work:
        """What an update, counted from 0, works on; made ahead, in a thread."""

    @abstractmethod
    def objective(self) -> Objective:
        """What leaves gradients."""

    @abstractmethod
    def validation(self, forward: Any) -> Callable[[], dict[str, float]] | None:
        """What scores the network on held-out rows, the first score to choose by; None without."""

    @abstractmethod
    def save(self, fresh: Path, rules: list[Group]) -> dict[str, Any]:
        """Write the trained model into a fresh folder and prove it; what the record should say."""

    def cached_parts(self) -> int:
        """How many leading parts of the network are read from the store of features."""
        return 0

    def train(self, folder: Path, digest: str, inputs: dict[str, Any]) -> StageResult:
        """Train, save, and prove what was saved."""
        network = self.network
        rules = groups(network, self.stage)
        freeze(network, rules)
        self.shop.progress.say(f"{self.stage.name}: {describe(rules)}")
        start = time.perf_counter()
        module = self.forward()
        prepared = time.perf_counter() - start
        network.recompute(self.stage.recompute)
        rowwise = optimizer(network, rules, self.stage)
        forward, adam = self.fabric.setup(module, rowwise)
        steps = self.steps()
        state_file = folder.with_suffix(".state")
        training = Training(
            stage=self.stage,
            fabric=self.fabric,
            network=network,
            forward=forward,
            objective=self.objective(),
            optimizer=adam,
            decay=rowwise.finish,
            steps=steps,
            work=self.work,
            validate=self.validation(forward),
            seed=self.seed,
            save_file=state_file,
            save_seconds=self.shop.save_seconds,
            companions=companions(network, self.stage, steps.total, rowwise.finish),
        )
        facts = self.stage.model_dump(mode="json", exclude_defaults=True)
        with self.shop.track.run(self.stage.name, self.seed, digest, facts) as tell:
            state = train(replace(training, tell=tell), self.shop.progress)
        state.seconds += prepared
        record = self._record(rules, state, digest, inputs)
        self._keep(folder, record, rules)
        state_file.unlink(missing_ok=True)
        return StageResult(digest, folder, record, reused=False)

    def _record(
        self, rules: list[Group], state: State, digest: str, inputs: dict[str, Any]
    ) -> dict[str, Any]:
        moved = [
            {"pattern": g.pattern, "parameters": g.num_parameters, "learning_rate": g.learning_rate}
            for g in rules
        ]
        return {
            "digest": digest,
            "name": self.stage.name,
            "inputs": inputs,
            "provenance": self.provenance,
            "seed": self.seed,
            "seconds": state.seconds,
            "steps": state.step,
            "tokens": state.tokens,
            "tokens_per_second": state.tokens / max(state.seconds, 1e-9),
            "peak_memory_bytes": peak_memory(),
            "cached_parts": self.cached_parts(),
            "trainable": moved,
            "log": state.log,
            "versions": versions(),
        }

    def _keep(self, folder: Path, record: dict[str, Any], rules: list[Group]) -> None:
        self.network.to("cpu")
        with part("saving"), folder_atomically(folder) as fresh:
            record |= self.save(fresh, rules)
            text = json.dumps(record, indent=1, ensure_ascii=False)
            (fresh / RECORD).write_text(text + "\n", encoding="utf-8")
            lines = (json.dumps(point) for point in record["log"])
            (fresh / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
