"""The order in which arms and seeds are trained: all of them, or what a budget allows."""

from __future__ import annotations

from collections.abc import Sequence

from headstart.evaluation.intervals import gain
from headstart.verdict.arms import TITLES, Arm
from headstart.verdict.budget import Budget, OutOfTimeError
from headstart.verdict.campaign import Campaign
from headstart.verdict.chooser import Chooser

NO_TIME = "no time was left"


def train_all(campaign: Campaign) -> None:
    """Every arm, every seed."""
    for arm in campaign.arms:
        for seed in range(len(arm.recipes)):
            campaign.seed(arm, seed)


def train_within(campaign: Campaign, budget: Budget, classes: tuple[str, ...]) -> None:
    """A seed of every arm, the cheapest first; then more seeds of those that are still in the race.

    The time begins to count when there is a model to keep: a budget too small for any is overrun.
    """
    cheapest = sorted(campaign.arms, key=lambda arm: list(TITLES).index(arm.way))
    racing = [arm for arm in cheapest if _trained(campaign, budget, arm, 0)]
    for seed in range(1, max(len(arm.recipes) for arm in campaign.arms)):
        racing = _in_the_race(campaign, budget, racing, classes)
        more = [arm for arm in racing if seed < len(arm.recipes)]
        if len(racing) < 2 or not more:
            break
        done = [arm for arm in more if _trained(campaign, budget, arm, seed)]
        racing = [arm for arm in racing if arm in done or arm not in more]


def _trained(campaign: Campaign, budget: Budget, arm: Arm, seed: int) -> bool:
    """Whether a seed of an arm was trained within the time."""
    try:
        campaign.seed(arm, seed)
    except OutOfTimeError:
        budget.stop(arm.name, arm.title, seed, NO_TIME)
        return False
    budget.open = budget.open or arm.kind != "tfidf"
    if campaign.rows.folds and arm.uses_target and arm.kind != "tfidf":
        # The arm that is kept is trained once more, on all rows.
        budget.reserve = max(budget.reserve, campaign.standing[arm.name].seconds())
    return True


def _in_the_race(
    campaign: Campaign, budget: Budget, racing: Sequence[Arm], classes: tuple[str, ...]
) -> list[Arm]:
    """Stop the arms whose gain over the best lies below zero with its whole interval."""
    chooser = Chooser(campaign, classes)
    if not chooser.answers or not racing:
        return list(racing)
    answers = chooser.answers
    best = max(racing, key=lambda arm: float((answers[arm.name] == chooser.truth).mean()))
    left = []
    for arm in racing:
        worth = gain("accuracy", answers[arm.name], answers[best.name], chooser.truth)
        if arm is not best and worth.high < 0:
            seeds = len(campaign.standing[arm.name].judged)
            why = (
                f"{100 * worth.value:+.1f} points [{100 * worth.low:.1f}, {100 * worth.high:.1f}] "
                f"against {best.title}, on labelled rows that neither was trained on"
            )
            budget.stop(arm.name, arm.title, seeds, why)
        else:
            left.append(arm)
    return left
