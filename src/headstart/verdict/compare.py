"""Train arms, judge them on the same rows, and describe everything the report shows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from headstart.data.examples import Examples
from headstart.data.findings import contradictions, length_findings
from headstart.data.text import Tokenizer
from headstart.errors import DataError
from headstart.evaluation.intervals import interval
from headstart.recipe import Recipe
from headstart.training.kept import StageResult
from headstart.training.model import open_trained, versions
from headstart.training.stage import Workshop
from headstart.verdict.arms import Arm, names_of, reads_source
from headstart.verdict.campaign import Campaign
from headstart.verdict.choose import (
    FOLDS_RULE,
    LAST_RULE,
    NO_RULE,
    ONE_RULE,
    RULE,
    Choice,
    choose,
    honest,
)
from headstart.verdict.judge import harmful_source, judge
from headstart.verdict.results import (
    ArmResult,
    describe_rows,
    describe_stages,
    describe_winner,
    machine,
)
from headstart.verdict.rows import Rows
from headstart.verdict.trials import Trainer


@dataclass(frozen=True)
class Comparison:
    """What a comparison gave.

    Attributes:
        values: the content of verdict.json.
        winner: last stage of the winner's first seed: the model that is kept.
        recipe: the winner's, runnable again.
        stages: all finished stages.
    """

    values: dict[str, Any]
    winner: StageResult
    recipe: Recipe
    stages: tuple[StageResult, ...]


class Comparer:
    """Judges models on one set of rows.

    Args:
        shop: trains and keeps stages.
        rows: what is trained on and judged by.
        classes: the C class names, in the order of the figures.
    """

    def __init__(self, shop: Workshop, rows: Rows, classes: tuple[str, ...]) -> None:
        self.shop, self.rows, self.classes = shop, rows, classes
        self.start = time.perf_counter()
        self.truth = codes_of(rows.test, classes)
        self.surveyed: dict[str, Any] = {}

    def survey(self, recipe: Recipe) -> None:
        """Describe every data set, and say what was found before any training starts."""
        checkpoint = self.shop.checkpoint(recipe.backbone)
        tokenizer = Tokenizer.open(checkpoint.folder)
        max_length = recipe.max_length or checkpoint.max_length
        findings = list(self.rows.findings)
        for name, rows in {**self.rows.train, "test": self.rows.test}.items():
            encoded = self.shop.encoded(tokenizer, max_length, rows)
            self.surveyed[name] = describe_rows(rows, encoded.full_lengths)
            if name == "test" and self.rows.folds:
                continue  # they are the target's, which were looked at
            findings += contradictions(rows) + length_findings(
                rows.name, encoded, max_length, rows.rows
            )
        self.surveyed["test"]["held_out"] = self.rows.held_out is not None
        self.surveyed["findings"] = [vars(finding).copy() for finding in findings]
        for finding in findings:
            self.shop.progress.say(finding.message)

    def after_each_stage(self, recipe: Recipe) -> list[ArmResult]:
        """Train one recipe and judge it after each stage that answers in the test's classes."""
        data = self.rows.drawn(recipe)
        stages = self.shop.run(recipe, data)
        trainer = Trainer(self.shop, self.rows, self.classes)
        results = []
        for number, (stage, result) in enumerate(zip(recipe.stage, stages, strict=True), start=1):
            read = [data[name] for name in names_of(stage)]
            if {label for rows in read for label in rows.classes} != set(self.classes):
                continue
            model, done = open_trained(result.folder), tuple(stages[:number])
            logits = trainer.answers(model, self.rows.test, f"{stage.name}, test rows")
            results.append(
                ArmResult(
                    name=stage.name,
                    title=f"after {stage.name}",
                    labels=sum(map(len, read)),
                    logits=(logits,),
                    classes=self.classes,
                    stages=(done,),
                    seconds=sum(one.record["seconds"] for one in done),
                )
            )
        return results

    def conclude(
        self,
        results: Sequence[ArmResult],
        recipe: Recipe,
        winner: str,
        *,
        with_source: str | None = None,
        more: Mapping[str, Any],
    ) -> Comparison:
        """Judge and describe.

        Args:
            results: what each arm gave.
            recipe: the winner's, to hand on.
            winner: the arm that is kept.
            with_source: the arm whose gain over the target alone is the verdict's.
            more: what else verdict.json holds.
        """
        values = judge(results, self.truth, winner=winner, with_source=with_source)
        best = next(result for result in results if result.name == winner)
        kept = best.stages[0][-1]
        values |= {"data": self._data(results), **more}
        values |= {"backbone": self._backbone(recipe, kept)}
        values |= describe_winner(best, self.truth, self.rows.test.texts)
        values |= {"stages": describe_stages(results), "recipe": recipe.to_toml()}
        values |= {"versions": versions(), "machine": machine()}
        values |= {"precision": self.shop.precision}
        values |= {"seconds": time.perf_counter() - self.start}
        trained = {s.digest: s for r in results for stages in r.stages for s in stages}
        return Comparison(values, kept, recipe, tuple(trained.values()))

    def _data(self, results: Sequence[ArmResult]) -> dict[str, Any]:
        """What `survey` found, with how many target labels were used."""
        described = dict(self.surveyed)
        if "target" in described:
            most = max(result.labels for result in results)
            labelled = described["target"]["rows"] if self.rows.folds else most
            unlabelled = described["target"]["rows"] - labelled
            described["target"] |= {"labelled": labelled, "unlabelled": unlabelled}
        return described

    def _backbone(self, recipe: Recipe, stage: StageResult) -> dict[str, Any]:
        checkpoint = self.shop.checkpoint(recipe.backbone)
        model = open_trained(stage.folder)
        backbone = model.network.backbone
        return {
            "name": recipe.backbone,
            "family": backbone.family,
            "blocks": len(backbone.blocks),
            "width": backbone.width,
            "parameters": sum(p.numel() for p in backbone.parameters()),
            "pooling": model.pooling,
            "max_length": model.max_length,
            "digest": checkpoint.digest,
        }


def codes_of(rows: Examples, classes: tuple[str, ...]) -> np.ndarray:
    """(N,) class of each row.

    Raises:
        DataError: a row's class is not among them.
    """
    assert rows.labels is not None
    unknown = sorted(set(rows.labels) - set(classes))
    if unknown:
        raise DataError(
            f"{rows.name}: the test rows hold classes that no training row has: {unknown[:5]}. "
            f"Trained on: {list(classes)[:10]}. Map them, or leave those rows out."
        )
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[label] for label in rows.labels], dtype=np.int64)


@dataclass(frozen=True)
class Chosen:
    """Which arm is kept, by which rows, and what they said of each.

    Attributes:
        kept: the arm whose model is kept: the best that is a model of headstart.
        with_source: the best of those that use a source and target labels; None without.
        values: what verdict.json says of the choice.
    """

    kept: str
    with_source: str | None
    values: dict[str, Any]


class Chooser:
    """Chooses among arms by rows that they were not trained on, and that judge none of them."""

    def __init__(self, campaign: Campaign, classes: tuple[str, ...]) -> None:
        self.campaign = campaign
        self.arms = sorted(
            (a for a in campaign.arms if campaign.standing[a.name].judged), key=lambda a: a.rank
        )
        self.answers: dict[str, np.ndarray] = {}
        self.truth = np.empty(0, dtype=np.int64)
        self._look(classes)

    def _look(self, classes: tuple[str, ...]) -> None:
        """Collect what every arm says of the rows that choose."""
        unseen = {arm.name: self.campaign.standing[arm.name].unseen for arm in self.arms}
        if not all(unseen.values()):
            return
        if self.campaign.rows.folds:
            rows = self.campaign.rows.test
            places = np.arange(len(rows))
        else:
            part = self.campaign.labelled(self.arms[0])
            rows, held = part.rows, self.campaign.choice_parts(part)
            places = np.concatenate(held) if held else np.empty(0, dtype=np.int64)
        self.truth = codes_of(rows, classes)[places]
        self.answers = {
            name: torch.stack(logits).argmax(-1).numpy()[:, places]
            for name, logits in unseen.items()
        }

    def choose(self, names: Sequence[str]) -> Choice | None:
        """The best of some arms; None where there is nothing to choose by."""
        if not len(self.truth):
            return None
        return choose({n: self.answers[n] for n in names}, self.truth, names)

    def chosen(self, harmful: bool = False) -> Chosen:
        """Choose; where the source hurts, among the arms that learned from none."""
        names = [arm.name for arm in self.arms]
        models = [a for a in self.arms if a.kind != "tfidf"] or list(self.arms)
        without = [a for a in models if not reads_source(a.way)]
        pool = [a.name for a in (without if harmful and without else models)]
        pairs = [a.name for a in self.arms if reads_source(a.way) and a.uses_target]
        everything, kept = self.choose(names), self.choose(pool)
        best_pair = self.choose(pairs) if pairs else None
        with_source = (best_pair.best if best_pair else pairs[0]) if pairs else None
        values = {
            "rule": self._rule(),
            "rows": len(self.truth),
            "best": everything.best if everything else names[0],
            "equal": list(everything.equal) if everything else names[:1],
            "accuracy": everything.accuracy if everything else {},
            "without_source": harmful,
            "honest": self._honest(pool),
        }
        return Chosen(kept.best if kept else pool[0], with_source, values)

    def _rule(self) -> str:
        if len(self.arms) == 1:
            return ONE_RULE
        if not len(self.truth):
            return NO_RULE
        return FOLDS_RULE if self.campaign.rows.folds else RULE

    def _honest(self, names: Sequence[str]) -> dict[str, float] | None:
        """With folds: accuracy of whichever arm the rows of the other folds choose."""
        if not self.campaign.rows.folds or len(self.arms) == 1:
            return None
        repeats = max(len(self.answers[name]) for name in names)
        answers = {
            name: np.broadcast_to(self.answers[name], (repeats, len(self.truth)))
            if len(self.answers[name]) == 1
            else self.answers[name]
            for name in names
        }
        if len({len(a) for a in answers.values()}) > 1:
            return None  # a budget stopped some of them earlier
        folds = np.stack([self.campaign.folds(seed) for seed in range(repeats)])
        found = interval("accuracy", honest(answers, self.truth, folds, names), self.truth)
        return {"mean": found.value, "low": found.low, "high": found.high}


def compare_arms(arms: Sequence[Arm], rows: Rows, shop: Workshop) -> Comparison:
    """Train all arms and give the verdict."""
    classes = rows.train["target"].classes
    comparer = Comparer(shop, rows, classes)
    comparer.survey(arms[0].recipes[0])
    campaign = Campaign(arms, rows, shop, classes)
    for arm in arms:
        for seed in range(len(arm.recipes)):
            campaign.seed(arm, seed)
    return _verdict(comparer, campaign)


def _verdict(comparer: Comparer, campaign: Campaign) -> Comparison:
    """Choose, judge and keep."""
    chooser = Chooser(campaign, comparer.classes)
    results = [campaign.result(arm) for arm in chooser.arms]
    found = chooser.chosen()
    if found.with_source and harmful_source(results, comparer.truth, found.with_source):
        found = chooser.chosen(harmful=True)
    arm = next(arm for arm in campaign.arms if arm.name == found.kept)
    campaign.keep(arm)
    listed = [campaign.result(a) for a in campaign.arms if campaign.standing[a.name].judged]
    return comparer.conclude(
        listed,
        arm.recipes[0],
        found.kept,
        with_source=found.with_source,
        more={"chosen_by": found.values, "protocol": protocol(campaign)},
    )


def protocol(campaign: Campaign) -> dict[str, Any]:
    """By which rows the arms were judged, and how often each was."""
    rows = campaign.rows
    kind = "folds" if rows.folds else "held out" if rows.held_out else "given"
    most = max(len(s.judged) for s in campaign.standing.values())
    return {"kind": kind, "folds": rows.folds, "repeats": most, "rows": len(rows.test)}


def run_recipe(recipe: Recipe, rows: Rows, shop: Workshop) -> Comparison:
    """Train one recipe; the verdict compares its stages, and its last stage is kept."""
    last = recipe.stage[-1]
    classes = tuple(
        sorted({label for name in names_of(last) for label in rows.train[name].classes})
    )
    comparer = Comparer(shop, rows, classes)
    comparer.survey(recipe)
    results = comparer.after_each_stage(recipe)
    more = {
        "chosen_by": {
            "rule": LAST_RULE,
            "rows": 0,
            "best": last.name,
            "equal": [last.name],
            "accuracy": {},
            "without_source": False,
            "honest": None,
        },
        "protocol": {
            "kind": "held out" if rows.held_out else "given",
            "folds": 0,
            "repeats": 1,
            "rows": len(rows.test),
        },
    }
    return comparer.conclude(results, recipe, last.name, more=more)
