"""A budget: what a time is, when work may begin, and what is stopped."""

from __future__ import annotations

import pytest

from headstart.errors import RecipeError
from headstart.verdict.budget import Budget, OutOfTimeError, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("10 min", 600), ("1.5h", 5400), (7, 7), (2.5, 2.5)],
)
def test_durations(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "ten", "-3", "0", "5d", "1h30"])
def test_what_is_no_duration(text):
    with pytest.raises(RecipeError, match=r"is no time\. Write, for example, 90s, 10m or 2h"):
        parse_duration(text)


def test_work_begins_while_there_is_time_and_what_is_kept_in_reserve():
    now = [100.0]
    budget = Budget(10.0, clock=lambda: now[0])
    now[0] = 150.0
    budget.check()  # nothing is kept yet, so that something will be
    budget.open = True
    with pytest.raises(OutOfTimeError):
        budget.check()
    now[0] = 107.0
    budget.check()
    budget.reserve = 4.0
    with pytest.raises(OutOfTimeError):
        budget.check()
    budget.stop("target", "target only", 1, "no time was left")
    stopped = {"arm": "target", "title": "target only", "seeds": 1, "why": "no time was left"}
    assert budget.values() == {"seconds": 10.0, "used": 7.0, "stopped": [stopped]}
