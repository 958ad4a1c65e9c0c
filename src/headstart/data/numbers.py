"""Labels that are numbers.

Shapes: N rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from headstart.data.findings import SHOWN, counted, listed
from headstart.data.labels import Labels
from headstart.errors import DataError


def number(label: str) -> float:
    """The number that a label is; not a number (nan) where it is none."""
    try:
        value = float(label)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def numbers(labels: Sequence[str]) -> np.ndarray:
    """(N,) float64 number of each label; nan where it is none."""
    coded = Labels.of(labels)
    return np.array([number(name) for name in coded.names], dtype=np.float64)[coded.codes]


def check_numbers(place: str, labels: Sequence[str], rows: np.ndarray, unit: str = "row") -> None:
    """Check that labels are numbers, not all the same.

    Args:
        place: for the message, such as "shop.csv, column 'stars'".
        labels: N labels.
        rows: (N,) number of each row, as its user counts.
        unit: what a row is called.

    Raises:
        DataError: with the rows whose label is no finite number, and examples of them.
    """
    found = numbers(labels)
    wrong = np.flatnonzero(np.isnan(found))
    if len(wrong):
        odd = list(dict.fromkeys(labels[place] for place in wrong[:1000].tolist()))
        shown = ", ".join(repr(label[:40]) for label in odd[:SHOWN])
        raise DataError(
            f"{place}: {counted(len(wrong), 'label')} of no number ({listed(unit, rows[wrong])}): "
            f"{shown}{', ...' if len(odd) > SHOWN else ''}. A number is needed to regress, such as "
            "3.5; mend or remove these rows, or name another column with label, or classify."
        )
    if len(found) and found.min() == found.max():
        raise DataError(
            f"{place}: all {counted(len(found), 'label')} are {found[0]:g}, so there is nothing to "
            "tell apart. Is it the right column (--label)?"
        )
