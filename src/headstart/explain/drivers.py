"""Which words drive each class over many texts, in one model or in two.

A word's score in a text is the mean over its places there; its score in a file is the mean over the
texts it is in, with a t interval over texts. Words are listed by the end of that interval that is
nearer to 0, so that a word seen twice does not go before one seen often; and only those that stand
out when all words are tested at once (Benjamini & Hochberg 1995, 5 %).

Shapes: N texts, C classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.explain.attribution import attribute_all
from headstart.explain.reading import Reading
from headstart.explain.subject import Subject
from headstart.explain.values import DisagreementValues, DriverValues
from headstart.training.progress import Bar

LEAST_TEXTS = 5
SHOWN = 10
FALSE_SHARE = 0.05
LEVEL = 0.95

Scores = dict[str, dict[int, np.ndarray]]
"""By word and by number of the text, (C,) mean score over the word's places in that text."""


@dataclass(frozen=True)
class Mean:
    """A mean over texts with its interval.

    Attributes:
        value: the mean.
        low: lower end of its 95 % interval.
        high: upper end.
        chance: probability of a mean as far from 0 where there is nothing.
    """

    value: float
    low: float
    high: float
    chance: float

    @property
    def certain(self) -> float:
        """The end of the interval that is nearer to 0; 0 where 0 is inside."""
        return max(0.0, self.low) if self.value > 0 else min(0.0, self.high)


def word_scores(
    subject: Subject,
    readings: Sequence[Reading],
    method: str,
    classes: Sequence[int],
    bar: Bar,
) -> Scores:
    """Score every word of N texts for some classes.

    Args:
        subject: the model.
        readings: the texts as this model reads them.
        method: a name in `METHODS`, of a method whose scores have a sign.
        classes: C numbers of classes.
        bar: advances with every text.
    """
    scores: Scores = defaultdict(dict)
    for number, reading in enumerate(readings):
        found = attribute_all(subject, reading, method, classes)
        places: dict[str, list[int]] = defaultdict(list)
        for place, word in enumerate(reading.words):
            if any(letter.isalnum() for letter in word.text):
                places[word.text.casefold()].append(place)
        for word_text, at in places.items():
            scores[word_text][number] = found[at].mean(0)
        bar.advance(1, len(reading.ids))
    return scores


def drivers(scores: Scores, column: int, least: int = LEAST_TEXTS) -> list[DriverValues]:
    """The words that speak most for a class, the surest first.

    Args:
        scores: see `word_scores`.
        column: of the class among the scores'.
        least: texts that a word must be in.
    """
    samples = {
        word: np.array([score[column] for score in by_text.values()])
        for word, by_text in scores.items()
        if len(by_text) >= least
    }
    found = {word: mean for word, mean in standing_out(samples).items() if mean.value > 0}
    best = sorted(found, key=lambda word: (-found[word].certain, word))[:SHOWN]
    return [
        {"word": word, "texts": len(samples[word]), "mean": found[word].value,
         "low": found[word].low, "high": found[word].high}
        for word in best
    ]  # fmt: skip


def disagreements(
    after: Scores, before: Scores, column: int, least: int = LEAST_TEXTS
) -> list[DisagreementValues]:
    """The words that two models weigh otherwise in the same texts, the surest first.

    Args:
        after: of the model that is explained.
        before: of another, for the same texts and classes.
        column: of the class among the scores'.
        least: texts that a word must be in.
    """
    pairs = {}
    for word in after.keys() & before.keys():
        shared = sorted(after[word].keys() & before[word].keys())
        if len(shared) >= least:
            pairs[word] = np.array([[s[word][n][column] for s in (before, after)] for n in shared])
    found = standing_out({word: pair[:, 1] - pair[:, 0] for word, pair in pairs.items()})
    most = sorted(found, key=lambda word: (-abs(found[word].certain), word))[:SHOWN]
    return [
        {"word": word, "texts": len(pairs[word]), "before": float(pairs[word][:, 0].mean()),
         "after": float(pairs[word][:, 1].mean()), "difference": found[word].value,
         "low": found[word].low, "high": found[word].high}
        for word in most
    ]  # fmt: skip


def standing_out(samples: Mapping[str, np.ndarray]) -> dict[str, Mean]:
    """The samples whose mean is not 0, at most 5 % of them by mistake; all tested at once."""
    from scipy.stats import false_discovery_control

    if not samples:
        return {}
    means = {word: mean_of(values) for word, values in samples.items()}
    adjusted = false_discovery_control([mean.chance for mean in means.values()])
    return {
        word: mean
        for (word, mean), chance in zip(means.items(), adjusted, strict=True)
        if chance <= FALSE_SHARE
    }


def mean_of(values: np.ndarray) -> Mean:
    """The mean of (n,) values, n at least 2, with Student's t interval."""
    from scipy.stats import t as student

    value, free = float(values.mean()), len(values) - 1
    error = float(values.std(ddof=1)) / len(values) ** 0.5
    if error == 0:
        return Mean(value, value, value, float(value == 0))
    half = float(student.ppf((1 + LEVEL) / 2, free)) * error
    chance = 2 * float(student.sf(abs(value) / error, free))
    return Mean(value, value - half, value + half, chance)
