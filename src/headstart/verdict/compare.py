"""Train arms, judge them on the same rows, and describe everything the report shows."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from headstart.data.findings import contradictions, length_findings
from headstart.data.text import Tokenizer
from headstart.recipe import Recipe, reads_labels
from headstart.recipe.objectives import Episodic
from headstart.training.kept import StageResult
from headstart.training.model import open_trained, versions
from headstart.training.stage import Workshop
from headstart.verdict.arms import Arm
from headstart.verdict.budget import Budget
from headstart.verdict.campaign import Campaign, protocol
from headstart.verdict.choose import LAST_RULE
from headstart.verdict.chooser import Chooser
from headstart.verdict.curve import How, label_curve
from headstart.verdict.forecast import tell_time
from headstart.verdict.judge import harmful_source, judge
from headstart.verdict.results import (
    ArmResult,
    codes_of,
    describe_rows,
    describe_stages,
    describe_winner,
    machine,
)
from headstart.verdict.rows import Rows, last_labelled
from headstart.verdict.search import train_all, train_within
from headstart.verdict.sureness import sureness
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
            findings += contradictions(rows) if rows.labels is not None else []
            findings += length_findings(rows.name, encoded, max_length, rows.rows)
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
            read = [data[name] for name in stage.data_names]
            found = {label for rows in read for label in rows.classes}
            answering = reads_labels(stage.task) and not isinstance(stage.objective, Episodic)
            if not answering or found != set(self.classes):
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


def compare_arms(
    arms: Sequence[Arm],
    rows: Rows,
    shop: Workshop,
    budget: Budget | None = None,
    curve: How | None = None,
) -> Comparison:
    """Train all arms, or what the budget allows, and give the verdict.

    Args:
        arms: what is compared.
        rows: what is trained on and judged by.
        shop: trains and keeps stages.
        budget: the time that the search may take.
        curve: how to draw the label curve; None draws none.
    """
    classes = rows.train["target"].classes
    comparer = Comparer(shop, rows, classes)
    comparer.survey(arms[0].recipes[0])
    if budget is None:
        campaign = Campaign(arms, rows, shop, classes)
        tell_time(campaign)
        train_all(campaign)
    else:
        campaign = Campaign(arms, rows, shop, classes, check=budget.check, every_seed=True)
        train_within(campaign, budget, classes)
    return _verdict(comparer, campaign, budget, curve)


def _verdict(
    comparer: Comparer, campaign: Campaign, budget: Budget | None, curve: How | None
) -> Comparison:
    """Choose, judge and keep."""
    chooser = Chooser(campaign, comparer.classes)
    results = {arm.name: campaign.result(arm) for arm in chooser.arms}
    found = chooser.chosen()
    listed = list(results.values())
    if found.with_source and harmful_source(listed, comparer.truth, found.with_source):
        found = chooser.chosen(harmful=True)
    arm = next(arm for arm in campaign.arms if arm.name == found.kept)
    if budget is not None:
        budget.open = False  # time was kept in reserve for this
    campaign.keep(arm)
    judged = np.stack([logits.double().numpy() for logits in results[arm.name].logits])
    fold = campaign.folds(0) if campaign.rows.folds and arm.uses_target else None
    sure = sureness(judged, comparer.truth, chooser.logits(arm.name), chooser.truth, fold)
    more = {"chosen_by": found.values, "protocol": protocol(campaign), **sure}
    more["budget"] = budget.values() if budget else None
    more["curve"] = _curve(campaign, curve, found.with_source)
    return comparer.conclude(
        [campaign.result(a) for a in campaign.arms if campaign.standing[a.name].judged],
        arm.recipes[0],
        found.kept,
        with_source=found.with_source,
        more=more,
    )


def _curve(campaign: Campaign, how: How | None, with_source: str | None) -> dict[str, Any] | None:
    """The label curve of the arm that tells what the source was worth, where it is asked for."""
    plain = [arm for arm in campaign.arms if arm.way == "source+target"]
    arm = next((arm for arm in plain if arm.name == with_source), None)
    if how is None or arm is None:
        return None
    return label_curve(campaign, how, arm, len(arm.recipes))


def run_recipe(recipe: Recipe, rows: Rows, shop: Workshop) -> Comparison:
    """Train one recipe; the verdict compares its stages, and its last stage is kept."""
    last = last_labelled(recipe)
    classes = tuple(
        sorted({label for name in last.data_names for label in rows.train[name].classes})
    )
    comparer = Comparer(shop, rows, classes)
    comparer.survey(recipe)
    results = comparer.after_each_stage(recipe)
    judged = np.stack([logits.double().numpy() for logits in results[-1].logits])
    none = np.empty((1, 0, len(classes)))
    more = {
        **sureness(judged, comparer.truth, none, np.empty(0, dtype=np.int64)),
        "budget": None,
        "curve": None,
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
