"""Stratified folds: every row is judged once, by a model that did not see it.

Shapes: N rows, K folds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.data.findings import fingerprints
from headstart.data.labels import Labels

CHOICE_FOLDS = 3
"""Folds inside the training rows that the winner is chosen by."""

SPLIT_ABOVE = 2000
"""From so many labels on, one split takes the place of folds: a fifth of them tells enough."""

SPLIT_SHARE = 5
"""The split above holds out one row in so many."""


def assign(labels: Sequence[str], texts: Sequence[str], count: int, seed: int) -> np.ndarray:
    """The fold, 0 to K - 1, of each row, (N,) int64.

    The rows of each class, in random order, are dealt to the folds in turn, and each class goes on
    where the one before it ended: so classes and sizes of any two folds differ by a row at most.
    Rows of the same text share a fold, since a model that saw one of them knows the others by
    heart; this alone can make the folds differ by more.
    """
    codes = Labels.of(labels).codes
    _, first, text = np.unique(fingerprints(texts), return_index=True, return_inverse=True)
    chance = np.random.default_rng(seed)
    dealt = np.empty(len(codes), dtype=np.int64)
    start = 0
    for code in np.unique(codes[first]):
        members = chance.permutation(np.sort(first[codes[first] == code]))
        dealt[members] = (start + np.arange(len(members))) % count
        start += len(members)
    return dealt[first[text.ravel()]]


def choice_folds(labels: Sequence[str], texts: Sequence[str], seed: int) -> list[np.ndarray]:
    """Rows to hold out in turn when ways are compared inside the rows that are trained on.

    Three folds below 2,000 labels, and one split of a fifth above.

    Returns:
        Ascending row numbers of each part; none where there are too few labels: what remains must
        hold two classes, whichever part is taken out.
    """
    count = CHOICE_FOLDS if len(labels) < SPLIT_ABOVE else SPLIT_SHARE
    fold = assign(labels, texts, count, seed)
    parts = [np.flatnonzero(fold == k) for k in range(count)]
    parts = parts if count == CHOICE_FOLDS else parts[:1]
    codes = Labels.of(labels).codes
    for part in parts:
        rest = np.delete(codes, part)
        if not len(part) or len(np.unique(rest)) < 2:
            return []
    return parts


def judging_folds(count: int) -> int:
    """How many folds judge a target of so many rows, where none are held out or given.

    More folds leave more rows to learn from, and cost as many trainings: few rows need them most
    and train fastest.
    """
    return 5 if count < 500 else 3
