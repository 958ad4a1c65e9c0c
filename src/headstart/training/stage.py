"""A stage: bound to model and data, trained once, and found again by what went into it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric

from headstart.clock import part
from headstart.data.atomic import folder_atomically, full_disk_is_a_user_error
from headstart.data.batches import Batch, RaggedStore, derive_seed, take
from headstart.data.cache import headstart_cache
from headstart.data.draw import draw
from headstart.data.examples import Examples
from headstart.data.text import Tokenizer, Tokens
from headstart.data.tokenised import tokenised
from headstart.errors import RecipeError
from headstart.models.checkpoint import Checkpoint, open_checkpoint
from headstart.models.network import Network
from headstart.objectives.supervised import Supervised
from headstart.recipe import Recipe, Stage
from headstart.tasks.classify import Classify, class_weights
from headstart.training.adapting import begin_adapter, keep_adapter
from headstart.training.begin import begin
from headstart.training.cores import use_given_cores
from headstart.training.features import Suffix, features, frozen_depth
from headstart.training.inference import all_logits
from headstart.training.kept import (
    RECORD,
    StageResult,
    code_digest,
    found,
    peak_memory,
    provenance,
    save_seconds,
)
from headstart.training.loop import State, Training, train
from headstart.training.model import Trained, open_trained, save_trained, versions
from headstart.training.order import Order
from headstart.training.precision import PRECISIONS, choose_precision
from headstart.training.progress import Progress, Silent
from headstart.training.room import LIMIT, limit_bytes, make_room
from headstart.training.trainable import Group, describe, freeze, groups, optimizer


class Workshop:
    """Trains stages and keeps them, with all that several of them share.

    Args:
        progress: where bars and messages go.
        cache: where finished stages and frozen features live. Default: $HEADSTART_CACHE.
    """

    def __init__(self, progress: Progress | None = None, cache: Path | None = None) -> None:
        self.progress = progress or Silent()
        self.cache = cache or headstart_cache()
        self.precision = choose_precision()
        self.save_seconds = save_seconds()
        self._limit, self._used = limit_bytes(), set[Path]()
        use_given_cores()
        self._checkpoints: dict[str, Checkpoint] = {}
        self._encoded: dict[tuple[str, str, int], Tokens] = {}

    def checkpoint(self, name: str) -> Checkpoint:
        """Open a backbone that reads texts, once.

        Raises:
            RecipeError: it reads images.
        """
        if name not in self._checkpoints:
            checkpoint = open_checkpoint(name)
            if checkpoint.backbone.patch_values is not None:
                raise RecipeError(
                    f"backbone {name!r}: a {checkpoint.family} reads images, and stages read texts."
                    " Choose one that reads texts, such as 'bert-base-uncased'."
                )
            self._checkpoints[name] = checkpoint
        return self._checkpoints[name]

    def run(self, recipe: Recipe, data: Mapping[str, Examples]) -> list[StageResult]:
        """Train the stages of a recipe, first to last; those trained before are found again.

        Args:
            data: the rows of each data set that a stage names.
        """
        results: list[StageResult] = []
        for stage in recipe.stage:
            parent = results[-1] if results else None
            results.append(self._stage(recipe, stage, parent, data[stage.data]))
            self._used.add(results[-1].folder)
            gone = make_room(self.cache, self._limit, self._used)
            if gone:
                freed = sum(entry.num_bytes for entry in gone) / 1e9
                self.progress.say(
                    f"cache: {len(gone)} least recently used entries removed, {freed:,.1f} GB "
                    f"(${LIMIT} = {self._limit / 1e9:g})"
                )
        return results

    def _stage(
        self, recipe: Recipe, stage: Stage, parent: StageResult | None, examples: Examples
    ) -> StageResult:
        inputs = self._inputs(recipe, stage, parent, examples)
        canonical = json.dumps(inputs, sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        folder = self.cache / "stages" / digest
        with full_disk_is_a_user_error(folder):
            folder.parent.mkdir(parents=True, exist_ok=True)
        with self._alone(folder.with_suffix(".lock"), stage.name):
            before = found(folder, digest)
            if before is not None:
                self.progress.say(f"{stage.name}: trained before, reused")
                return before
            start = self._start(recipe, stage, parent, examples)
            start.provenance = provenance(recipe, stage, parent, examples, digest)
            seed = _seed(recipe, stage)
            begin_adapter(start, stage, str(parent.folder) if parent else recipe.backbone, seed)
            bound = _Bound(self, stage, start, examples, seed)
            return bound.train(folder, digest, inputs)

    @contextmanager
    def _alone(self, lock: Path, name: str) -> Iterator[None]:
        """Hold a stage for this process; another that wants it waits and then finds it done."""
        held = FileLock(lock)
        try:
            held.acquire(timeout=0)
        except Timeout:
            self.progress.say(f"{name}: another run is training this very stage; waiting for it")
            held.acquire()
        try:
            yield
        finally:
            held.release()

    def _inputs(
        self, recipe: Recipe, stage: Stage, parent: StageResult | None, examples: Examples
    ) -> dict[str, Any]:
        """All that the outcome depends on, as plain values."""
        values = stage.model_dump(mode="json", exclude={"name", "data", "seed"})
        return {
            "parent": parent.digest if parent else self.checkpoint(recipe.backbone).digest,
            "stage": values,
            "pooling": recipe.pooling,
            "max_length": recipe.max_length,
            "positions": recipe.positions,
            "seed": _seed(recipe, stage),
            "data": examples.digest,
            "precision": self.precision,
            "code": code_digest(),
            "torch": torch.__version__,
        }

    def _start(
        self, recipe: Recipe, stage: Stage, parent: StageResult | None, examples: Examples
    ) -> Trained:
        """The model that the stage begins with, its head kept or new."""
        checkpoint = self.checkpoint(recipe.backbone)
        labels = examples.classes
        torch.manual_seed(derive_seed("head", _seed(recipe, stage), stage.head))
        if parent is not None:
            model = open_trained(parent.folder)
            model.adapter = None  # it was made for other weights than those to come
        else:
            model = begin(checkpoint, recipe, labels)
        same = set(model.task.labels) == set(labels)
        if stage.head == "keep" and not same:
            raise RecipeError(
                f"stage {stage.name!r}, head: cannot keep a head for {list(model.task.labels)} "
                f'where the data has {list(labels)}. Map the labels, or set head = "new".'
            )
        if stage.head == "new" or not same:
            model.task = Classify(labels)
            old = model.network.head.state_dict()
            model.network.head = model.task.head(old["weight"].shape[1], "bias" in old)
        weights = class_weights(stage.task.class_weights, examples.labels or [], model.task.labels)
        smoothing = stage.task.label_smoothing
        model.task = replace(model.task, weights=weights, label_smoothing=smoothing)
        return model

    def encoded(self, tokenizer: Tokenizer, max_length: int, rows: Examples) -> Tokens:
        """Tokens of a data set and how many were cut, made once for a tokenizer and length."""
        key = (rows.texts_digest, tokenizer.digest, max_length)
        if key not in self._encoded:
            with part("tokens"):
                self._encoded[key] = tokenised(tokenizer, rows, max_length, cache=self.cache)
        return self._encoded[key]

    def tokens(self, model: Trained, rows: Examples) -> RaggedStore:
        """Tokens of a data set, made once for a tokenizer and length."""
        encoded = self.encoded(model.tokenizer, model.max_length, rows)
        return RaggedStore(encoded.values, encoded.offsets)


def _seed(recipe: Recipe, stage: Stage) -> int:
    return recipe.seed if stage.seed is None else stage.seed


class _Bound:
    """A stage with its model and rows."""

    def __init__(
        self, shop: Workshop, stage: Stage, model: Trained, examples: Examples, seed: int
    ) -> None:
        self.shop, self.stage, self.model, self.examples = shop, stage, model, examples
        self.seed = seed
        assert examples.labels is not None
        self.target = model.task.encode(examples.labels)
        share = stage.validation
        count = max(len(model.task.labels), round(share * len(examples))) if share else 0
        self.held_rows, self.train_rows = draw(examples.labels, count, derive_seed("held", seed))
        if not len(self.train_rows):
            raise RecipeError(
                f"stage {stage.name!r}, validation: {len(examples)} rows leave none to train on."
            )
        self.fabric = Fabric(accelerator="auto", devices=1, precision=PRECISIONS[shop.precision])

    def train(self, folder: Path, digest: str, inputs: dict[str, Any]) -> StageResult:
        """Train, save, and prove what was saved."""
        network = self.model.network
        rules = groups(network, self.stage)
        freeze(network, rules)
        self.shop.progress.say(f"{self.stage.name}: {describe(rules)}")
        depth = frozen_depth(network)
        start = time.perf_counter()
        store = self._store(network, depth)
        prepared = time.perf_counter() - start
        network.recompute(self.stage.recompute)
        rowwise = optimizer(network, rules, self.stage)
        forward, adam = self.fabric.setup(Suffix(network, depth), rowwise)
        state_file = folder.with_suffix(".state")
        order = self._order()
        training = Training(
            stage=self.stage,
            fabric=self.fabric,
            network=network,
            forward=forward,
            objective=Supervised(self.model.task, self.fabric.backward),
            optimizer=adam,
            decay=rowwise.finish,
            order=order,
            batch=lambda rows: self._batch(store, rows, order.mean_rows),
            validate=self._validation(forward, store) if len(self.held_rows) else None,
            seed=self.seed,
            save_file=state_file,
            save_seconds=self.shop.save_seconds,
        )
        state = train(training, self.shop.progress)
        state.seconds += prepared
        record = self._record(rules, state, digest, inputs, depth)
        self._keep(folder, record, rules)
        state_file.unlink(missing_ok=True)
        return StageResult(digest, folder, record, reused=False)

    def _store(self, network: Network, depth: int) -> RaggedStore:
        tokens = self.shop.tokens(self.model, self.examples)
        if depth == 0:
            return tokens
        key = f"{self.examples.texts_digest} {self.model.tokenizer.digest} {self.model.max_length} "
        key += f"{self.shop.precision} {code_digest()} {torch.__version__}"
        with part("frozen"):
            place = self.shop.cache / "features"
            return features(self.fabric, network, depth, tokens, folder=place, key=key,
                            progress=self.shop.progress)  # fmt: skip

    def _order(self) -> Order:
        # Batches are cut by tokens even where a cached row is one vector: an update then means
        # the same number of texts with and without the cache.
        lengths = self.shop.tokens(self.model, self.examples).lengths[self.train_rows]
        return Order(lengths, self.stage.batch_tokens, self.seed,
                     epochs=self.stage.epochs, steps=self.stage.steps)  # fmt: skip

    def _batch(self, store: RaggedStore, rows: np.ndarray, mean_rows: float) -> Batch:
        batch = take(store, self.train_rows[rows], self.target)
        return replace(batch, weight=len(rows) / mean_rows)

    def _validation(self, forward: Any, store: RaggedStore) -> Any:
        target = self.target[self.held_rows]

        def validate() -> dict[str, float]:
            device = self.fabric.device
            logits = all_logits(forward, store, device, Silent(), "validate", self.held_rows)
            return self.model.task.metrics(logits, target)

        return validate

    def _record(
        self, rules: list[Group], state: State, digest: str, inputs: dict[str, Any], depth: int
    ) -> dict[str, Any]:
        moved = [
            {"pattern": g.pattern, "parameters": g.num_parameters, "learning_rate": g.learning_rate}
            for g in rules
        ]
        return {
            "digest": digest,
            "name": self.stage.name,
            "inputs": inputs,
            "provenance": self.model.provenance,
            "seed": self.seed,
            "seconds": state.seconds,
            "steps": state.step,
            "tokens": state.tokens,
            "tokens_per_second": state.tokens / max(state.seconds, 1e-9),
            "peak_memory_bytes": peak_memory(),
            "cached_parts": depth,
            "trainable": moved,
            "log": state.log,
            "versions": versions(),
        }

    def _keep(self, folder: Path, record: dict[str, Any], rules: list[Group]) -> None:
        self.model.network.to("cpu")
        texts = self.examples.texts
        with part("saving"), folder_atomically(folder) as fresh:
            record["adapter"] = keep_adapter(
                self.model, self.stage, rules, fresh, texts, self.shop.progress
            )
            save_trained(self.model, fresh, texts)
            text = json.dumps(record, indent=1, ensure_ascii=False)
            (fresh / RECORD).write_text(text + "\n", encoding="utf-8")
            lines = (json.dumps(point) for point in record["log"])
            (fresh / "log.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
