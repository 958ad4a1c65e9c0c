"""The verdict in words: the answer first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from headstart.evaluation.intervals import Interval, effect


def points(worth: Interval) -> str:
    """ "+3.8 points [1.6, 6.0]"."""
    # Adding zero turns the -0.0 that rounding leaves into 0.0.
    value, low, high = (round(100 * x, 1) + 0.0 for x in (worth.value, worth.low, worth.high))
    return f"{value:+.1f} points [{low:.1f}, {high:.1f}]"


def percent(score: Mapping[str, float]) -> str:
    """ "87.3 % accuracy [85.1, 89.2]"."""
    mean, low, high = (100 * score[key] for key in ("mean", "low", "high"))
    return f"{mean:.1f} % accuracy [{low:.1f}, {high:.1f}]"


def sentence(
    worth: Interval | None,
    kept: Mapping[str, Any],
    *,
    with_source: Mapping[str, Any] | None = None,
    baseline: Interval | None = None,
    several: bool = True,
) -> str:
    """Say what the source was worth in points of accuracy, who wins where it is not a Transformer,
    and which model is kept where that does not follow.

    Args:
        worth: gain of the way with the source over the target alone; None where either is missing.
        kept: the arm whose model is kept.
        with_source: the arm that the gain is of.
        baseline: gain of TF-IDF over the arm that is kept; None where it was not run.
        several: whether more than one way was compared.
    """
    if worth is None:
        said = f"{kept['title']} reaches {percent(kept['accuracy'])}."
        implied = True
    else:
        assert with_source is not None
        said = _worth(worth, kept, with_source)
        implied = effect(worth) == "hurts" or kept["name"] == with_source["name"]
    plain = "" if baseline is None or not several else _baseline(baseline, kept)
    # Where words can do without a Transformer, that is the first thing to know.
    parts = [plain, said] if baseline is not None and effect(baseline) == "helps" else [said, plain]
    if not implied and not plain:
        parts.append(f"The model kept: {kept['title']}, {percent(kept['accuracy'])}.")
    return " ".join(part for part in parts if part)


def _worth(worth: Interval, kept: Mapping[str, Any], with_source: Mapping[str, Any]) -> str:
    named = with_source["title"] != "source -> target"
    source = f"The source ({with_source['title']})" if named else "The source"
    if effect(worth) == "helps":
        return f"{source} helps: {points(worth)} over target only."
    if effect(worth) == "hurts":
        return (
            f"{source} hurts (negative transfer): {points(worth)} against target only. "
            f"The model kept is one without it: {kept['title']}."
        )
    whether = f"Whether {source[0].lower()}{source[1:]} helps is open"
    return (
        f"{whether}: {points(worth)} over target only, and the interval holds zero. "
        "More test rows or more seeds would narrow it."
    )


def _baseline(margin: Interval, kept: Mapping[str, Any]) -> str:
    if effect(margin) == "helps":
        return (
            f"The plain baseline wins: TF-IDF + logistic regression is {points(margin)} over the "
            f"model kept, {kept['title']}. A Transformer is not what these rows need."
        )
    if effect(margin) == "unclear" and margin.value >= 0:
        return (
            f"TF-IDF + logistic regression does as well as the model kept, {kept['title']}: "
            f"{points(margin)}."
        )
    return ""
