"""The label curve: accuracy against target labels, with the source and without.

By default a logistic regression on frozen vectors stands for every point: the untouched backbone's
without the source, the source-trained backbone's with it. The vectors are computed once for all
rows, and every draw reads its own by their places, so that the whole curve costs two passes over
the texts. With the source the regression begins at the head that the source trained and is pulled
to it rather than to zero, so that the curve begins, with no label, at what the source alone gives.
In full, the ways "target" and "source+target" are trained anew for every point.

Draws of a seed are nested: the first 8 labels are among the first 16.

Shapes: S seeds, N judged rows, M rows to draw from, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
import torch

from headstart.data.batches import derive_seed
from headstart.data.draw import stratified_order
from headstart.errors import RecipeError, unknown_name
from headstart.evaluation.curve import CurvePoint, LabelsSaved, describe_curve, labels_saved
from headstart.evaluation.outlook import outlook
from headstart.evaluation.scores import score
from headstart.training.kept import StageResult
from headstart.training.model import open_trained
from headstart.verdict.arms import Arm, build_arms
from headstart.verdict.baselines import Linear, fit_from, fit_linear
from headstart.verdict.campaign import Campaign
from headstart.verdict.rows import Part
from headstart.verdict.trials import aligned

How = Literal["frozen", "full"]
FEWEST = 8
FROZEN_SEEDS = 5
"""Draws at each point of a curve on frozen vectors, which are cheap."""

Split = tuple[Part, Part]
"""Rows to draw from, and rows that are judged by what was drawn."""

Learner = Callable[[Part, Part, int], np.ndarray]
"""Classes of the judged rows after learning from the drawn ones, with a seed."""


def check_curve(curve: str | None) -> How | None:
    """Which curve is asked for.

    Raises:
        RecipeError: there is no such.
    """
    if curve is None:
        return None
    ways: dict[str, How] = {"frozen": "frozen", "full": "full"}
    if curve in ways:
        return ways[curve]
    raise RecipeError(unknown_name("curve", "way", curve, ways))


def sizes(most: int, num_classes: int) -> list[int]:
    """Numbers of labels along the curve: 8, 16, 32, ..., and all there are."""
    first = FEWEST
    while first < num_classes:
        first *= 2
    found = []
    while first < most:
        found.append(first)
        first *= 2
    return [*found, most]


def label_curve(campaign: Campaign, how: How, arm: Arm, seeds: int) -> dict[str, Any]:
    """Draw the curve of an arm with a source, and of the target without it.

    Args:
        campaign: holds rows, folds and what is trained.
        how: "frozen" or "full".
        arm: of the way "source+target".
        seeds: draws at each point, where every point is trained in full.

    Returns:
        What verdict.json says of it.
    """
    drawer = _Drawer(campaign)
    source = _source_stage(campaign, arm)
    if how == "frozen":
        seeds = max(seeds, FROZEN_SEEDS)
        ways = {"target": _frozen(campaign, arm, None), arm.name: _frozen(campaign, arm, source)}
    else:
        ways = {"target": _full(campaign, arm, "target"), arm.name: _full(campaign, arm, arm.name)}
    points: dict[str, list[CurvePoint]] = {name: [] for name in ways}
    if set(open_trained(source.folder).task.labels) == set(campaign.trainer.classes):
        answers = campaign.trainer.answers_of(source, campaign.rows.test).argmax(-1).numpy()
        points[arm.name].append(drawer.point(0, answers[None]))
    counts = sizes(drawer.most, len(campaign.trainer.classes))
    with campaign.shop.progress.bar("label curve", len(counts) * 2 * seeds) as bar:
        for count in counts:
            for name, learn in ways.items():
                found = []
                for seed in range(seeds):
                    found.append(drawer.answers(learn, count, seed))
                    bar.advance(1, 0, f"{count} labels")
                points[name].append(drawer.point(count, np.stack(found)))
    return _described(how, arm, points)


class _Drawer:
    """Draws labels, and collects answers for all judged rows.

    Attributes:
        most: labels that any split can give.
    """

    def __init__(self, campaign: Campaign) -> None:
        self.campaign, rows = campaign, campaign.rows
        classes = campaign.trainer.classes
        index = {name: number for number, name in enumerate(classes)}
        self.truth = np.array([index[label] for label in rows.test.labels or ()], dtype=np.int64)
        splits = self.splits(0)
        self.most = min(len(part) for part, _ in splits)

    def splits(self, seed: int) -> list[Split]:
        """What is drawn from and judged: once, or by folds."""
        rows, whole = self.campaign.rows, Part(self.campaign.rows.train["target"])
        if not rows.folds:
            return [(whole, self.campaign.judged)]
        fold = self.campaign.folds(seed)
        return [
            (whole.take(np.flatnonzero(fold != number)), whole.take(np.flatnonzero(fold == number)))
            for number in range(rows.folds)
        ]

    def answers(self, learn: Learner, count: int, seed: int) -> np.ndarray:
        """(N,) class of each judged row by what learns from so many labels."""
        answers = np.empty(len(self.truth), dtype=np.int64)
        for part, judged in self.splits(seed):
            labels = part.rows.labels
            assert labels is not None
            order = stratified_order(labels, derive_seed("labels", seed))
            found = learn(part.take(np.sort(order[:count])), judged, seed)
            answers[slice(None) if judged.places is None else judged.places] = found
        return answers

    def point(self, count: int, answers: np.ndarray) -> CurvePoint:
        """A point from (S, N) answers."""
        return CurvePoint(count, score("accuracy", answers, self.truth))


def _source_stage(campaign: Campaign, arm: Arm) -> StageResult:
    """The source stage of an arm: found, or trained now."""
    recipe = arm.recipes[0]
    alone = recipe.model_copy(update={"stage": recipe.stage[:1]})
    data = {name: campaign.rows.train[name] for name in recipe.stage[0].data_names}
    return campaign.shop.run(alone, data)[0]


def _frozen(campaign: Campaign, arm: Arm, source: StageResult | None) -> Learner:
    """A logistic regression on the vectors of the checkpoint, or of a source-trained backbone."""
    trainer, recipe = campaign.trainer, arm.recipes[0]
    start = None if source is None else _head(source)

    def learn(drawn: Part, judged: Part, seed: int) -> np.ndarray:
        labels, classes = drawn.rows.labels, drawn.rows.classes
        assert labels is not None
        if len(classes) < 2:
            return np.full(len(judged), trainer.classes.index(classes[0]))
        vectors = trainer.vectors(recipe, drawn, source)
        known = start is not None and set(start) >= set(classes)
        if start is None or not known:
            linear = fit_linear(vectors, labels)
        else:
            linear = fit_from(_linear(start, classes), vectors, labels)
        logits = torch.from_numpy(linear.logits(trainer.vectors(recipe, judged, source)))
        return aligned(logits, classes, trainer.classes).argmax(-1).numpy()

    return learn


def _head(source: StageResult) -> Mapping[str, tuple[np.ndarray, float]]:
    """Weights (D,) and bias of each class of a source-trained head."""
    model = open_trained(source.folder)
    state = {
        name: tensor.double().numpy() for name, tensor in model.network.head.state_dict().items()
    }
    bias = state.get("bias", np.zeros(len(model.task.labels)))
    rows = zip(state["weight"], bias.tolist(), strict=True)
    return dict(zip(model.task.labels, rows, strict=True))


def _linear(head: Mapping[str, tuple[np.ndarray, float]], classes: tuple[str, ...]) -> Linear:
    """The rows of a head for some classes, in their order."""
    return Linear(np.stack([head[c][0] for c in classes]), np.array([head[c][1] for c in classes]))


def _full(campaign: Campaign, arm: Arm, name: str) -> Learner:
    """An arm trained in full on what is drawn."""
    common = arm.recipes[0]

    def learn(drawn: Part, judged: Part, seed: int) -> np.ndarray:
        count = len(drawn)
        built = build_arms([name], common, labels=count, label_limit=None, seeds=seed + 1)[0]
        title = f"{built.title}, {count} labels, seed {seed + 1}"
        trial = campaign.trainer.passing(built, built.recipes[seed], drawn, judged, title)
        return trial.logits.argmax(-1).numpy()

    return learn


def _described(how: How, arm: Arm, points: Mapping[str, list[CurvePoint]]) -> dict[str, Any]:
    """The points, what the source is worth in labels at each, and what more labels would bring."""
    alone, helped = points["target"], points[arm.name]
    saved = [labels_saved(point, alone) for point in helped] if len(alone) > 1 else []
    within = [found for found in saved if found.reached == "within"]
    shown = within[-1] if within else next(iter(saved), None)
    return {
        "how": how,
        "metric": "accuracy",
        "arm": arm.name,
        "with_source": describe_curve(helped),
        "without_source": describe_curve(alone),
        "saved": [_saved(found) for found in saved],
        "outlook": outlook([point for point in helped if point.labels]).to_values(),
        "sentence": None if shown is None else shown.sentence(_source_words(arm)),
    }


def _saved(found: LabelsSaved) -> dict[str, Any]:
    return asdict(found) | {"saved": found.saved}


def _source_words(arm: Arm) -> str:
    return "source" if len(arm.sources) == 1 and arm.sources[0] == "source" else arm.title
