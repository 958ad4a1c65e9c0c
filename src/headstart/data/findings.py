"""What is noticed about data, and what was done or can be done about it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headstart.data.text import Tokens

if TYPE_CHECKING:
    from headstart.data.examples import Examples

SHOWN_ROWS = 20


@dataclass(frozen=True)
class Finding:
    """One thing that was noticed.

    Attributes:
        kind: what sort of thing, in a few words.
        message: what was found, where, and what was done.
        count: how many rows it touches.
        rows: the first of them, as their table counts.
        remedy: what the user can do.
    """

    kind: str
    message: str
    count: int
    rows: tuple[int, ...] = ()
    remedy: str = ""


def plain(text: str) -> str:
    """A text with every run of white space as one blank, for comparing."""
    return " ".join(text.split())


def remove_duplicates(train: Examples, test: Examples) -> tuple[Examples, Finding | None]:
    """Take out training rows whose text is also a test row: they would be known by heart."""
    tested = {plain(text) for text in test.texts}
    kept = [i for i, text in enumerate(train.texts) if plain(text) not in tested]
    gone = len(train) - len(kept)
    if not gone:
        return train, None
    known = set(kept)
    rows = [int(train.rows[i]) for i in range(len(train)) if i not in known]
    finding = Finding(
        kind="duplicates of test rows",
        message=f"{train.name}: {gone:,} training rows have the text of a test row and were left out.",
        count=gone,
        rows=tuple(rows[:SHOWN_ROWS]),
        remedy="Nothing to do; remove them at the source if you can.",
    )
    return train.take(kept), finding


def contradictions(examples: Examples) -> list[Finding]:
    """The same text under different labels: one of them must be wrong."""
    labels: dict[str, set[str]] = defaultdict(set)
    rows: dict[str, list[int]] = defaultdict(list)
    for text, label, row in zip(examples.texts, examples.labels or (), examples.rows, strict=False):
        labels[plain(text)].add(label)
        rows[plain(text)].append(int(row))
    wrong = [row for text, names in labels.items() if len(names) > 1 for row in rows[text]]
    if not wrong:
        return []
    return [
        Finding(
            kind="contradicting labels",
            message=f"{examples.name}: {len(wrong):,} rows share their text with a row of another label.",
            count=len(wrong),
            rows=tuple(sorted(wrong)[:SHOWN_ROWS]),
            remedy="Decide which label is right, and remove the other rows.",
        )
    ]


def length_findings(name: str, tokens: Tokens, max_length: int) -> list[Finding]:
    """How many texts were cut, and how much of them."""
    if not tokens.cut_rows:
        return []
    share = tokens.cut_tokens / int(tokens.full_lengths.sum())
    return [
        Finding(
            kind="cut texts",
            message=(
                f"{name}: {tokens.cut_rows:,} of {len(tokens):,} texts are longer than {max_length} "
                f"tokens; {tokens.cut_tokens:,} tokens ({share:.1%}) at their ends were not read."
            ),
            count=tokens.cut_rows,
            rows=tuple((tokens.full_lengths > max_length).nonzero()[0][:SHOWN_ROWS].tolist()),
            remedy="Raise --max-length if the backbone has positions for it, or put what matters first.",
        )
    ]
