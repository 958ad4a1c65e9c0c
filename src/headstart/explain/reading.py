"""A text as a model reads it, and the words that people see in it.

Tokens are what a model reads; words are what its user reads. A word owns the tokens that were made
of its letters. Where no space tells words apart (Chinese, Japanese, Thai), the tokens do.

Shapes: L tokens of a text, W words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from headstart.data.text import Tokenizer
from headstart.errors import DataError

UNSPACED = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF)),  # Thai and Lao, Burmese, Khmer
    *((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF)),  # kana, Han
    *((0xF900, 0xFAFF), (0x20000, 0x3FFFF)),  # Han
)
"""Code points of scripts that put no space between words, first and last."""

JOINERS = "'’-"
GLUE = "\u200c\u200d\ufe0f"
UNITS = re.compile(r"w+(?:[jg]+w+)*|c|e[eg]*|[pj]+")
"""Over one letter for each character, see `_kind`."""


@dataclass(frozen=True)
class Word:
    """A word of a text.

    Attributes:
        text: as it is written.
        start: place of its first character in the text.
        end: place behind its last.
        tokens: places of its tokens in the row that the model reads.
    """

    text: str
    start: int
    end: int
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class Reading:
    """A text as a model reads it.

    Attributes:
        text: all of it.
        ids: L token ids, special tokens included.
        tokens: L tokens, to be shown.
        words: W words of which the model reads something.
        content: places of the tokens that are no special ones.
        num_tokens: how many tokens the text has; more than L where it was cut.
        unread: the characters text[start:end] that were cut off; None where none were.
    """

    text: str
    ids: tuple[int, ...]
    tokens: tuple[str, ...]
    words: tuple[Word, ...]
    content: tuple[int, ...]
    num_tokens: int
    unread: tuple[int, int] | None

    def without(self, words: Collection[int], stand_in: int) -> list[int]:
        """The L token ids with a stand-in for each token of the words at these places."""
        gone = {place for word in words for place in self.words[word].tokens}
        return [stand_in if place in gone else token for place, token in enumerate(self.ids)]

    def emptied(self, stand_in: int) -> list[int]:
        """The L token ids with a stand-in for each that is no special token."""
        gone = set(self.content)
        return [stand_in if place in gone else token for place, token in enumerate(self.ids)]


def read(tokenizer: Tokenizer, text: str, max_length: int, name: str = "text") -> Reading:
    """Read a text as a model does.

    Args:
        tokenizer: the model's.
        text: what is read.
        max_length: tokens at most; the rest is cut, as in `Tokenizer.encode`.
        name: what messages call the text.

    Raises:
        DataError: the text is empty, or nothing in it becomes a token.
    """
    if not text.strip():
        raise DataError(
            f"{name}: is empty, so there is nothing to explain. Give it a word or more."
        )
    encoded = tokenizer.encode([text], max_length)
    spans = [_trimmed(text, span) for span in tokenizer.spans(text, max_length)]
    words = words_of(text, spans)
    if not words:
        raise DataError(
            f"{name}: {text[:40]!r} holds no character that the model's tokenizer knows. Give it a "
            "word or more."
        )
    ids = tuple(encoded.values.tolist())
    num_tokens = int(encoded.full_lengths[0])
    return Reading(
        text=text,
        ids=ids,
        tokens=tuple(_shown(tokenizer, text, *pair) for pair in zip(ids, spans, strict=True)),
        words=words,
        content=tuple(place for place, (start, end) in enumerate(spans) if end > start),
        num_tokens=num_tokens,
        unread=_unread(text, words) if num_tokens > len(ids) else None,
    )


def words_of(text: str, spans: Sequence[tuple[int, int]]) -> tuple[Word, ...]:
    """The words of a text that tokens were made of.

    Words that share a token are one word.

    Args:
        text: what was tokenised.
        spans: start and end of the characters of each token; empty ones are of no word.
    """
    units = split(text)
    owner = {place: i for i, (start, end) in enumerate(units) for place in range(start, end)}
    first = list(range(len(units)))  # the first unit of the word that each unit is in
    for start, end in spans:
        touched = sorted({owner[place] for place in range(start, end) if place in owner})
        for unit in range(touched[0], touched[-1] + 1) if touched else ():
            first[unit] = min(first[unit], first[touched[0]])
    tokens: dict[int, list[int]] = {}
    ends: dict[int, int] = {}
    for unit, (_, end) in enumerate(units):
        ends[first[unit]] = end
    for number, (start, end) in enumerate(spans):
        owned = [owner[place] for place in range(start, end) if place in owner]
        if owned:
            tokens.setdefault(first[owned[0]], []).append(number)
    return tuple(
        Word(text[units[unit][0] : ends[unit]], units[unit][0], ends[unit], tuple(places))
        for unit, places in sorted(tokens.items())
    )


def split(text: str) -> list[tuple[int, int]]:
    """Start and end of each word and each run of punctuation in a text.

    A character of a script without spaces, and a run of symbols such as an emoji, is one too.
    """
    kinds = "".join(map(_kind, text))
    return [found.span() for found in UNITS.finditer(kinds)]


def _kind(letter: str) -> str:
    """Of a word, of a script without spaces, joiner, glue, emoji, punctuation, or a space."""
    if letter in JOINERS:
        return "j"
    if letter in GLUE:
        return "g"
    code, category = ord(letter), unicodedata.category(letter)
    if any(low <= code <= high for low, high in UNSPACED):
        return "c"
    if category[0] in "LMN" or letter == "_":
        return "w"
    if letter.isspace() or category[0] in "ZC":
        return " "
    return "p" if code < 0x80 else "e"


def _trimmed(text: str, span: tuple[int, int]) -> tuple[int, int]:
    """A span without the spaces at its ends."""
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _shown(tokenizer: Tokenizer, text: str, token: int, span: tuple[int, int]) -> str:
    said = tokenizer.decode([token], skip_special=False).strip()
    return (text[slice(*span)] or said) if said else "␣"


def _unread(text: str, words: Sequence[Word]) -> tuple[int, int]:
    """The longer of what lies before the first word and what lies behind the last."""
    before, behind = words[0].start, words[-1].end
    return (behind, len(text)) if len(text) - behind >= before else (0, before)
