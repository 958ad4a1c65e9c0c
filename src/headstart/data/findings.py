"""What is noticed about data, and what was done or can be done about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from headstart.data.labels import Labels
from headstart.data.mapped import at_once

if TYPE_CHECKING:
    from headstart.data.examples import Examples
    from headstart.data.text import Tokens

SHOWN_ROWS = 20
"""Row numbers that a finding keeps."""

BLOCK = 10_000
"""Texts looked at together."""

SHOWN = 5
"""Row numbers that a message lists."""

CUT_WARNED = 0.05
"""Share of all tokens from which cutting them is more than a note."""

Severity = Literal["note", "warning", "harmful"]
"""A note needs nothing done; what is warned of costs accuracy or may mislead; what is harmful makes
figures untrue, or a run impossible."""


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes:
        kind: what sort of thing, in a few words.
        message: what was found, where, and what was done.
        count: how many rows it touches.
        rows: the first of them, as their table counts.
        remedy: what the user can do.
        severity: how bad it is.
        data: the data set's key among those looked at, such as "target".
        details: about each of the first of `rows`, in their order, a few words; or none.
        mendable: whether `headstart check --fix` mends it.
    """

    kind: str
    message: str
    count: int
    rows: tuple[int, ...] = ()
    remedy: str = ""
    severity: Severity = "note"
    data: str = ""
    details: tuple[str, ...] = ()
    mendable: bool = False


def counted(count: int, noun: str) -> str:
    """ "1 row", "2,000 rows"."""
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{count:,} {noun if count == 1 else plural}"


def listed(unit: str, numbers: np.ndarray) -> str:
    """ "row 3", "rows 3, 5, 8, 9, 12 and 4 more"."""
    rest = len(numbers) - SHOWN
    shown = ", ".join(f"{number}" for number in numbers[:SHOWN].tolist())
    return f"{unit}{'s' * (len(numbers) > 1)} {shown}" + (f" and {rest:,} more" if rest > 0 else "")


def plain(text: str) -> str:
    """A text with every run of white space as one blank, for comparing."""
    return " ".join(text.split())


def fingerprints(texts: Sequence[str]) -> np.ndarray:
    """(N,) uint64: equal where texts differ in white space alone, and else different.

    In 64 bits, two different ones among 5 million texts are alike with a chance of 1 in a million.
    """
    from pandas.util import hash_array

    found = np.empty(len(texts), dtype=np.uint64)
    step = at_once(texts, BLOCK)
    for start in range(0, len(texts), step):
        some = [
            plain(text).encode("utf-8", "surrogatepass") for text in texts[start : start + step]
        ]
        found[start : start + step] = hash_array(np.array(some, dtype=object), categorize=False)
    return found


def remove_duplicates(train: Examples, test: Examples) -> tuple[Examples, Finding | None]:
    """Take out training rows whose text is also a test row: they would be known by heart."""
    gone = _among(fingerprints(train.texts), np.unique(fingerprints(test.texts)))
    if not gone.any():
        return train, None
    count = int(gone.sum())
    finding = Finding(
        kind="duplicates of test rows",
        message=f"{train.name}: {counted(count, 'training row')} left out, having the text of a "
        "test row: they would be known by heart.",
        count=count,
        rows=tuple(train.rows[gone][:SHOWN_ROWS].tolist()),
        remedy="Nothing to do; remove them at the source if you can.",
    )
    return train.take(np.flatnonzero(~gone)), finding


def _among(values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Which of N values are among some sorted ones, (N,) bool."""
    found = np.zeros(len(values), dtype=bool)
    for start in range(0, len(values) if len(wanted) else 0, BLOCK):
        some = values[start : start + BLOCK]
        places = np.minimum(np.searchsorted(wanted, some), len(wanted) - 1)
        found[start : start + BLOCK] = wanted[places] == some
    return found


def contradicting(examples: Examples, texts: np.ndarray | None = None) -> np.ndarray:
    """Places of the rows whose text has another label elsewhere, (M,) int64, ascending.

    Args:
        examples: labelled.
        texts: their fingerprints, where they are known.
    """
    assert examples.labels is not None
    labels = Labels.of(examples.labels)
    texts = fingerprints(examples.texts) if texts is None else texts
    in_order = np.sort(texts)
    twice = np.unique(in_order[1:][in_order[1:] == in_order[:-1]])
    repeated = np.flatnonzero(_among(texts, twice))
    text = np.searchsorted(twice, texts[repeated])
    pairs = np.unique(
        text * len(labels.names) + labels.codes[repeated].astype(np.int64)
    )  # of text and label
    num_labels = np.bincount(pairs // len(labels.names), minlength=len(twice))
    return repeated[num_labels[text] > 1]


def contradictions(examples: Examples) -> list[Finding]:
    """The same text under different labels: one of them must be wrong.

    Texts are the same if they differ in white space alone.
    """
    wrong = contradicting(examples)
    if not len(wrong):
        return []
    count = len(wrong)
    return [
        Finding(
            kind="contradicting labels",
            message=f"{examples.name}: {counted(count, 'row')} with the text of a row that has "
            "another label.",
            count=count,
            rows=tuple(examples.rows[wrong][:SHOWN_ROWS].tolist()),
            remedy="Decide which label is right, and remove the other rows.",
            severity="warning",
        )
    ]


def length_findings(
    name: str,
    tokens: Tokens,
    max_length: int,
    numbers: np.ndarray | None = None,
    *,
    most_rows: int | None = SHOWN_ROWS,
) -> list[Finding]:
    """How many texts were cut, and how much of them.

    Args:
        name: what messages call the texts.
        tokens: of N texts.
        max_length: tokens of a text at most.
        numbers: (N,) number of each text's row, as its user counts.
        most_rows: row numbers that a finding keeps; None keeps all.
    """
    if not tokens.cut_rows:
        return []
    lengths = tokens.full_lengths
    share = tokens.cut_tokens / int(lengths.sum())
    low, median, high, longest = np.quantile(lengths, [0, 0.5, 0.95, 1]).round().astype(int)
    cut = np.flatnonzero(lengths > tokens.lengths)
    return [
        Finding(
            kind="cut texts",
            message=(
                f"{name}: {tokens.cut_rows:,} of {counted(len(tokens), 'text')} longer than "
                f"{max_length} tokens; {tokens.cut_tokens:,} tokens ({share:.1%}) at their ends "
                f"not read. Tokens of a text: {low:,} to {longest:,}, half up to {median:,}, 95 % "
                f"up to {high:,}."
            ),
            count=tokens.cut_rows,
            rows=() if numbers is None else tuple(numbers[cut][:most_rows].tolist()),
            remedy="Raise --max-length if the backbone has positions for it, or put first what "
            "matters.",
            severity="warning" if share >= CUT_WARNED else "note",
        )
    ]
