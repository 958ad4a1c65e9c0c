"""Recipes that end without labels: what is left is a better backbone, and how much better it is.

Shapes: N texts.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.data.batches import derive_seed
from headstart.data.corpus import Corpus
from headstart.data.examples import Examples, joined
from headstart.data.findings import remove_duplicates
from headstart.data.pairs import read_examples
from headstart.data.table import read
from headstart.errors import DataError
from headstart.evaluation.perplexity import (
    Likelihoods,
    change,
    pseudo_likelihoods,
    some_rows,
    token_likelihoods,
)
from headstart.recipe import Recipe, Stage, labels_asked, labels_read, members_of, reads_labels
from headstart.tasks.causal_lm import CausalLm
from headstart.tasks.masked_lm import MaskedLm
from headstart.training.asking import BEGINNINGS, check_served
from headstart.training.bound import Given
from headstart.training.inference import best_device
from headstart.training.kept import StageResult
from headstart.training.making import family_asked, made
from headstart.training.model import versions
from headstart.training.pretrained import Pretrained
from headstart.training.pretraining import corpus_of, mean_loss, perplexity
from headstart.training.progress import Silent
from headstart.training.stage import Workshop
from headstart.verdict.left import Left, stage_values
from headstart.verdict.results import machine

if TYPE_CHECKING:
    from headstart.verdict.compare import Comparison

SCHEMA = "headstart.pretraining/1"
HELD_SHARE, MOST_HELD, FEW = 0.05, 1000, 20
"""Share of the texts that no stage sees, and most of them. Of fewer texts than `FEW` the end of
each is held out instead: a corpus may be a single book."""

HELD_SEED = 0
READS = 400_000
"""Tokens read for a pseudo-perplexity, twice: before a stage and after it."""


class Pretraining(Left):
    """What a recipe without labels at its end left."""

    @property
    def judged(self) -> list[dict[str, Any]]:
        """For each stage without labels what held-out texts cost before and after it, in nats."""
        return self.values["judged"]


def ends_unlabelled(recipe: Recipe) -> bool:
    """Whether the last stage of a recipe reads no labels, so that nothing answers at its end."""
    return not asks_labels(recipe.stage[-1])


def as_written(comparison: Comparison, recipe: Recipe) -> Comparison:
    """What a recipe gave, in its own words, where its backbone was made for it first."""
    values = comparison.values | {"recipe": recipe.to_toml()}
    values["backbone"] = values["backbone"] | {"name": recipe.backbone}
    return replace(comparison, values=values, recipe=recipe)


def asks_labels(stage: Stage) -> bool:
    """Whether a task of a stage reads labels."""
    return any(reads_labels(member.task) for member in members_of(stage))


def is_unlabelled(recipe: Recipe, name: str) -> bool:
    """Whether no stage reads the labels of a data set."""
    return not any(labels_read(stage, name) for stage in recipe.stage)


def check_start(recipe: Recipe, shop: Workshop) -> None:
    """Whether a recipe's backbone is there and can serve all its tasks, before data is read.

    Raises:
        CheckpointError: it cannot be opened.
        RecipeError: for each stage whose task it cannot serve.
    """
    check_served(recipe, family_asked(recipe, shop))


@dataclass(frozen=True)
class Texts:
    """The rows of a recipe that ends without labels.

    Attributes:
        train: what is trained on, by data set.
        held: texts that no stage without labels sees, by data set; given ones under "test".
        given: whether they were given.
    """

    train: dict[str, Examples]
    held: dict[str, Examples]
    given: bool

    def judges(self, stage: Stage) -> Examples:
        """The texts that a stage is judged by."""
        if self.given:
            return self.held["test"]
        return joined([self.held[name] for name in stage.data_names])


def read_texts(recipe: Recipe, given: Mapping[str, Any] | None = None) -> Texts:
    """Read every data set, those that only stages without labels read without labels.

    Args:
        given: data in memory by data set name: what `headstart.data.table.read` takes.

    Raises:
        DataError: a data set cannot be read, or is a single text too short to be cut.
    """
    sets: dict[str, Examples] = {}
    faults: list[str] = []
    for name, data in recipe.data.items():
        source = (given or {}).get(name, data.path)
        unlabelled = is_unlabelled(recipe, name)
        try:
            table = read(source, name=name, split=data.split)
            label = None if unlabelled else data.label
            mapping = None if unlabelled else data.map or None
            sets[name] = read_examples(table, text=data.text, label=label, mapping=mapping,
                                       require_label=not unlabelled,
                                       kinds=labels_asked(recipe, name))  # fmt: skip
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    used = {name for stage in recipe.stage for name in stage.all_names}
    train = {name: rows for name, rows in sets.items() if name in used}
    if recipe.test is not None and recipe.test not in used:
        held = {"test": sets[recipe.test]}
    else:
        asked = {n for s in recipe.stage if not asks_labels(s) for n in s.data_names}
        parts = {name: hold_out_texts(train[name]) for name in train if name in asked}
        train |= {name: rest for name, (rest, _) in parts.items()}
        held = {name: texts for name, (_, texts) in parts.items()}
    every = joined(list(held.values()))
    train = {name: remove_duplicates(rows, every)[0] for name, rows in train.items()}
    empty = [
        f"{name}: every text is among the held-out ones, so none is left to train on."
        for name, rows in train.items()
        if not len(rows)
    ]
    if empty:
        raise DataError(empty)
    return Texts(train, held, given="test" in held and recipe.test not in used)


def hold_out_texts(rows: Examples) -> tuple[Examples, Examples]:
    """Split texts into (train, held out): a twentieth of them, 1,000 at most.

    Of fewer than 20 texts, the last twentieth of each is held out.

    Raises:
        DataError: none is long enough to be cut.
    """
    if len(rows) < FEW:
        return _cut_ends(rows)
    count = min(MOST_HELD, math.ceil(HELD_SHARE * len(rows)))
    random = np.random.default_rng(derive_seed("held-out texts", HELD_SEED))
    chosen = np.zeros(len(rows), dtype=bool)
    chosen[random.choice(len(rows), count, replace=False)] = True
    return rows.take(np.flatnonzero(~chosen)), rows.take(np.flatnonzero(chosen))


def _cut_ends(rows: Examples) -> tuple[Examples, Examples]:
    begins, ends, places = [], [], []
    for place, text in enumerate(rows.texts):
        words = text.split(" ")
        count = round(HELD_SHARE * len(words))
        begins.append(" ".join(words[: len(words) - count]))
        if count:
            ends.append(" ".join(words[len(words) - count :]))
            places.append(place)
    if not ends:
        raise DataError(
            f"{rows.name}: holds {len(rows)} short texts, too few to hold any out. Give more, or "
            "texts to judge by of their own: test = ..."
        )
    return replace(rows, texts=begins), replace(rows.take(places), texts=ends)


def pretrain(recipe: Recipe, texts: Texts, shop: Workshop) -> Pretraining:
    """Train a recipe that ends without labels, and tell what held-out texts cost before and after.

    Args:
        recipe: ends without labels.
        texts: what it trains on and is judged by.
        shop: trains and keeps stages.

    Raises:
        UserError: a stage cannot be trained as asked.
    """
    start = time.perf_counter()
    for name, rows in texts.train.items():
        shop.progress.say(f"{name}: {rows.name}, {len(rows):,} texts")
    shop.progress.say(f"held out: {sum(map(len, texts.held.values())):,} texts")
    trained = made(recipe, texts.train, shop)
    stages = shop.run(trained, texts.train)
    judged = []
    for number, (stage, result) in enumerate(zip(recipe.stage, stages, strict=True)):
        if stage.task.kind not in BEGINNINGS:
            continue
        data = {name: texts.train[name] for name in stage.data_names}
        parent = stages[number - 1] if number else None
        judged.append(_judge(Given(shop, trained, stage, parent, data), result, texts))
    values = {
        "schema": SCHEMA,
        "kind": "pretraining",
        "sentence": " ".join(map(sentence, judged)),
        "judged": judged,
        "backbone": _backbone(recipe, shop, stages[-1]),
        "data": {name: {"name": rows.name, "texts": len(rows)}
                 for name, rows in texts.train.items()},
        "held_out": {name: {"name": rows.name, "texts": len(rows), "given": texts.given}
                     for name, rows in texts.held.items()},
        "stages": [stage_values(stage) for stage in stages],
        "recipe": recipe.to_toml(),
        "versions": versions(),
        "machine": machine(),
        "precision": shop.precision,
        "seconds": time.perf_counter() - start,
    }  # fmt: skip
    return Pretraining(values, None, stages[-1], tuple(stages))


def _backbone(recipe: Recipe, shop: Workshop, stage: StageResult) -> dict[str, Any]:
    backbone = shop.checkpoint(str(stage.folder)).backbone
    return {
        "name": recipe.backbone,
        "family": backbone.family,
        "blocks": len(backbone.blocks),
        "width": backbone.width,
        "parameters": sum(p.numel() for p in backbone.parameters()),
    }


def _judge(given: Given, result: StageResult, texts: Texts) -> dict[str, Any]:
    """What held-out texts cost before a stage and after it."""
    held = texts.judges(given.stage)
    begin = BEGINNINGS[given.stage.task.kind]
    before, corpus = _cost(given, begin, given.parent, held)
    after, _ = _cost(given, begin, result, held)
    rows, asked = corpus
    found: dict[str, Any] = {
        "stage": given.stage.name,
        "task": given.stage.task.kind,
        "measure": before.measure,
        "texts": len(held),
        "rows": rows,
        "tokens": asked,
        "before": before.values,
        "after": after.values,
        "change": None,
    }
    if before.rows is not None and after.rows is not None:
        found["change"] = vars(change(before.rows, after.rows))
    return found


@dataclass(frozen=True)
class Cost:
    """What held-out texts cost a model.

    Attributes:
        measure: "perplexity", "pseudo-perplexity", or "loss" of a task that has neither.
        values: "loss", of the task as it is trained, and what is measured, both with their names.
        rows: row by row, where that is known.
    """

    measure: str
    values: dict[str, float]
    rows: Likelihoods | None


def _cost(
    given: Given, begin: Any, parent: StageResult | None, held: Examples
) -> tuple[Cost, tuple[int, int]]:
    """The cost of texts to what a stage left, or the recipe began with; rows and tokens asked."""
    import torch

    torch.manual_seed(derive_seed("head", given.seed))  # as the stage's own beginning
    quiet = copy.copy(given.shop)
    quiet.progress = Silent()  # the stage has told what there is to tell
    model: Pretrained = begin(replace(given, shop=quiet, parent=parent))
    corpus: Corpus = corpus_of(given.shop, model, held)
    device = best_device()
    network, store = model.network.to(device).eval(), corpus.store
    every = np.arange(len(store))
    values = {"loss": mean_loss(model, network, store, every, device)}
    if isinstance(model.task, CausalLm):
        likelihoods = token_likelihoods(network, model.task, store, every, device)
        values["perplexity"] = likelihoods.perplexity
        size = len(every), int(likelihoods.counts.sum())
        return Cost("perplexity", values, likelihoods), size
    if isinstance(model.task, MaskedLm):
        chosen = some_rows(store, every, READS, derive_seed("pseudo-perplexity", HELD_SEED))
        likelihoods = pseudo_likelihoods(network, model.task, store, chosen, device)
        values["pseudo-perplexity"] = likelihoods.perplexity
        size = len(chosen), int(likelihoods.counts.sum())
        return Cost("pseudo-perplexity", values, likelihoods), size
    values["perplexity of the task"] = perplexity(values["loss"])
    return Cost("loss", values, None), (len(every), int(store.lengths.sum()))


def sentence(judged: Mapping[str, Any]) -> str:
    """What a stage did to what held-out texts cost, in words."""
    measure = judged["measure"]
    before, after = (judged[when][measure] for when in ("before", "after"))
    of = f"{judged['rows']:,} held-out rows ({judged['tokens']:,} tokens)"
    change, clear = judged["change"], ""
    if change is not None and not change["high"] < 0:
        clear = ": within what other texts would give" if change["low"] <= 0 else ": it got worse"
    return f"{judged['stage']}: {measure} of {of} {before:,.1f} -> {after:,.1f}{clear}."
