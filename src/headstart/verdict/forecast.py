"""How long a comparison will take, told before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.data.text import Tokenizer
from headstart.doctor.cost import UNSTORED, steps_per_second
from headstart.recipe import Stage
from headstart.training.progress import Silent
from headstart.verdict.arms import Arm
from headstart.verdict.campaign import Campaign
from headstart.verdict.folds import CHOICE_FOLDS, SPLIT_ABOVE, SPLIT_SHARE


def tell_time(campaign: Campaign) -> None:
    """Say how long it will take, from a few training steps; nothing where nobody reads it."""
    progress = campaign.shop.progress
    if isinstance(progress, Silent):
        return
    recipe = campaign.arms[0].recipes[0]
    checkpoint = campaign.shop.checkpoint(recipe.backbone)
    tokenizer = Tokenizer.open(checkpoint.folder)
    length = recipe.max_length or checkpoint.max_length
    sets = {name: campaign.shop.encoded(tokenizer, length, rows)
            for name, rows in campaign.rows.train.items()}  # fmt: skip
    totals = {name: int(tokens.lengths.sum()) for name, tokens in sets.items()}
    work = planned_tokens(campaign, totals)
    if work:
        seconds = work / steps_per_second(checkpoint, sets["target"])
        progress.say(
            f"time: about {spoken(seconds)} on this machine; what was trained before is not "
            "trained again"
        )


def planned_tokens(campaign: Campaign, totals: Mapping[str, int]) -> float:
    """Tokens that go through training steps, all arms together; shared stages count once.

    Args:
        campaign: what is planned.
        totals: tokens of each data set, by name.
    """
    shared: dict[Any, float] = {}
    own = 0.0
    for arm in campaign.arms:
        if arm.kind != "stages":
            continue
        part = campaign.target(arm, 0)
        share = 0.0 if part is None else len(part) / len(campaign.rows.train["target"])
        sizes = {**totals, "target": totals["target"] * share}
        times, before = repeats(campaign, arm), True
        for stage in arm.recipes[0].stage:
            before = before and "target" not in stage.data_names
            cost = _tokens(stage, sizes)
            if before:
                shared[(stage.name, stage.data, stage.epochs)] = cost
            else:
                own += times * cost
    return own + sum(shared.values())


def repeats(campaign: Campaign, arm: Arm) -> float:
    """How often an arm passes over its target rows: seeds, folds and the choice together."""
    seeds, folds = len(arm.recipes), campaign.rows.folds
    if folds:
        return seeds * (folds - 1)
    if len(campaign.arms) < 2:
        return seeds
    part = campaign.target(arm, 0)
    few = part is not None and len(part) < SPLIT_ABOVE
    return seeds + (CHOICE_FOLDS - 1 if few else 1 - 1 / SPLIT_SHARE)


def _tokens(stage: Stage, sizes: Mapping[str, float]) -> float:
    total = sum(sizes[name] for name in stage.data_names)
    if stage.train == "head":
        return total / UNSTORED  # what is frozen runs once, and forward alone
    return total * (stage.epochs or 0.0)


def spoken(seconds: float) -> str:
    """ "40 s", "7 min", "3 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{round(seconds / 3600)} h"
