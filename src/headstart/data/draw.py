"""Which rows are labelled and which are held out: stratified, and found again from the seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.data.labels import Labels


def stratified_order(labels: Sequence[object], seed: int) -> np.ndarray:
    """Order all rows so that every beginning has the classes in proportion.

    Row k of the n of its class, in random order, gets the place (k + 1/2) / n; rows are sorted by
    place, but the first row of every class comes before all second ones. So a beginning of C rows
    or more has all C classes, and the first 64 of a seed are among its first 256: the points of a
    label curve are nested.

    Returns:
        (N,) int64 row indices.
    """
    random = np.random.default_rng(seed)
    classes, num_classes = _classes(labels)
    shuffled = random.permutation(len(classes))
    if len(classes) < 2**31:
        shuffled = shuffled.astype(np.int32)  # half the memory, where rows are many
    by_class = np.argsort(classes[shuffled], kind="stable")  # each class in its random order
    sizes = np.bincount(classes, minlength=num_classes)
    ends = np.cumsum(sizes)
    place = np.empty(len(classes))
    for members in np.split(by_class, ends[:-1]):
        place[members] = (np.arange(len(members)) + 0.5) / max(1, len(members))
    firsts = by_class[(ends - sizes)[sizes > 0]]
    firsts = firsts[np.lexsort((firsts, place[firsts]))]
    later = np.ones(len(classes), dtype=bool)
    later[firsts] = False
    del by_class
    order = np.argsort(place, kind="stable")
    return shuffled[np.concatenate([firsts, order[later[order]]])].astype(np.int64)


def _classes(labels: Sequence[object]) -> tuple[np.ndarray, int]:
    """The number of each label among the sorted ones, and how many there are."""
    if isinstance(labels, Labels):
        return labels.codes, len(labels.names)
    names, classes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    return classes, len(names)


def draw(labels: Sequence[object], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into `count` drawn ones, stratified, and the rest; both in ascending order.

    Every class gets a row where `count` allows it; a smaller draw is part of a larger one of the
    same seed.
    """
    if not count:
        return np.empty(0, dtype=np.int64), np.arange(len(labels))
    order = stratified_order(labels, seed)
    return np.sort(order[:count]), np.sort(order[count:])
