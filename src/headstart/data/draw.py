"""Which rows are labelled and which are held out: stratified, and found again from the seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def stratified_order(labels: Sequence[object], seed: int) -> np.ndarray:
    """Order all rows so that every beginning has the classes in proportion.

    Row k of the n of its class, in random order, gets the place (k + 1/2) / n; rows are sorted by
    place. So the first 64 of a seed are among its first 256: points of a label curve are nested.

    Returns:
        (N,) int64 row indices.
    """
    random = np.random.default_rng(seed)
    _, classes = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
    shuffled = random.permutation(len(classes))
    place = np.empty(len(classes))
    for c in range(int(classes.max()) + 1):
        members = shuffled[classes[shuffled] == c]
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    return shuffled[np.argsort(place[shuffled], kind="stable")]


def draw(labels: Sequence[object], count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows into `count` drawn ones, stratified, and the rest; both in ascending order.

    Every class gets a row where `count` allows it.
    """
    order = stratified_order(labels, seed)
    names = np.asarray(labels, dtype=str)[order]
    # A rare class may come late in the order: its first row moves to the front.
    _, first = np.unique(names, return_index=True)
    late = np.sort(first[first >= count])
    order = np.concatenate([order[late], np.delete(order, late)])
    return np.sort(order[:count]), np.sort(order[count:])
