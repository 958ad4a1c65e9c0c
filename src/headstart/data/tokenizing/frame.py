"""What stands round the tokens of a text, and how a pair of texts shares the room between.

Longest first, the sharing of tokenizers and transformers: tokens are cut from whichever of the two
texts is longer, until both fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import tokenizers

FIRST, SECOND = -1, -2
"""Places of the two texts among the special tokens' ids, which are never negative."""


@dataclass(frozen=True)
class Frame:
    """Special tokens round one text, or round and between two.

    Attributes:
        slots: token ids, and FIRST and SECOND where the texts go, each with its segment.
    """

    slots: tuple[tuple[int, int], ...]

    @property
    def special(self) -> int:
        """Number of special tokens."""
        return sum(token >= 0 for token, _ in self.slots)

    def fill(self, first: Sequence[int], second: Sequence[int] = ()) -> list[int]:
        """Token ids of the whole."""
        ids: list[int] = []
        for token, _ in self.slots:
            ids += first if token == FIRST else second if token == SECOND else (token,)
        return ids

    def segments(self, first: int, second: int) -> list[int]:
        """Segment of each token of the whole.

        Args:
            first: tokens of the first text.
            second: tokens of the second.
        """
        sizes = {FIRST: first, SECOND: second}
        return [segment for token, segment in self.slots for _ in range(sizes.get(token, 1))]


BARE = Frame(((FIRST, 0),))
BARE_PAIR = Frame(((FIRST, 0), (SECOND, 1)))


def frames(tokenizer: tokenizers.Tokenizer) -> tuple[Frame, Frame]:
    """The frame of one text and of a pair, found by looking at what the tokenizer makes.

    Raises:
        ValueError: the tokenizer knows no word to look at.
    """
    for probe in _probes(tokenizer):
        if tokenizer.encode(probe, add_special_tokens=False).ids:
            return _frame(tokenizer.encode(probe)), _frame(tokenizer.encode(probe, probe))
    raise ValueError("it makes no token of any text")


def _probes(tokenizer: tokenizers.Tokenizer) -> Iterator[str]:
    yield from ("a", "0")
    yield from islice(tokenizer.get_vocab(), 64)


def _frame(encoding: tokenizers.Encoding) -> Frame:
    slots: list[tuple[int, int]] = []
    parts = zip(encoding.ids, encoding.sequence_ids, encoding.type_ids, strict=True)
    for token, part, segment in parts:
        slot = token if part is None else (FIRST, SECOND)[part]
        if slot >= 0 or not any(slot == known for known, _ in slots):
            slots.append((slot, segment))
    return Frame(tuple(slots))


def shares(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens each of two texts keeps, longest first.

    Args:
        first: tokens of the first text.
        second: tokens of the second.
        room: tokens that both may keep together.
    """
    if first + second <= room:
        return first, second
    short = min(first, second, room // 2)
    return (short, room - short) if first <= second else (room - short, short)
