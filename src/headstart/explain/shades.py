"""A text in pieces, each as deeply coloured as its word matters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from headstart.explain.values import TextValues

TOLD = 0.25
"""Depth from which a word's score is told to a screen reader, and marked by more than colour."""


@dataclass(frozen=True)
class Shade:
    """A piece of a text.

    Attributes:
        text: its characters.
        score: of the word; None between words and where nothing is known.
        depth: from 0 to 1, the highest score that a word of the text has in any model.
        kind: "for" and "against" the class, "much" where scores have no sign, "" for none.
        unread: whether the model does not read it.
    """

    text: str
    score: float | None = None
    depth: float = 0.0
    kind: str = ""
    unread: bool = False

    @property
    def told(self) -> bool:
        """Whether the word stands out."""
        return self.depth >= TOLD


def shades(text: TextValues, scores: Sequence[float | None], *, signed: bool) -> list[Shade]:
    """Cut a text at its words.

    Depths are shares of the highest score in any model, so that models can be compared.

    Args:
        text: with its words.
        scores: of each word, in the model that is explained or in another; None where it has none.
        signed: whether a score below 0 speaks against the class.
    """
    highest = highest_score(text)
    found: list[Shade] = []
    place = 0
    for word, score in zip(text["words"], scores, strict=True):
        found += _between(text, place, word["start"])
        depth = abs(score) / highest if score is not None and highest > 0 else 0.0
        kind = ("for" if (score or 0) > 0 else "against") if signed else "much"
        shown = text["text"][word["start"] : word["end"]]
        found.append(Shade(shown, score, round(depth, 3), kind if depth else ""))
        place = word["end"]
    return found + _between(text, place, len(text["text"]))


def highest_score(text: TextValues) -> float:
    """The largest absolute score of a word, in the model that is explained or in another."""
    own = [word["score"] for word in text["words"]]
    theirs = [score for other in text["before"] for score in other["scores"] or []]
    return max((abs(score) for score in [*own, *theirs] if score is not None), default=0.0)


def _between(text: TextValues, start: int, end: int) -> list[Shade]:
    """What lies between words; what was cut off on its own."""
    cut = text["cut"]
    if start >= end:
        return []
    if cut is None or cut["end"] <= start or cut["start"] >= end:
        return [Shade(text["text"][start:end])]
    first, last = max(start, cut["start"]), min(end, cut["end"])
    pieces = (Shade(text["text"][start:first]), Shade(text["text"][first:last], unread=True),
              Shade(text["text"][last:end]))  # fmt: skip
    return [piece for piece in pieces if piece.text]
