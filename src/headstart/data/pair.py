"""Two texts that are read as one row, with a segment each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from headstart.data.text import Tokenizer
from headstart.data.tokens import Tokens
from headstart.errors import DataError

BETWEEN = " \u2016 "
"""What is shown between the texts of a pair."""


class Pair(str):
    """Two texts that are read together.

    It is a text itself, both with a line between them, so that what compares, shows or digests
    texts does so with pairs; what tokenises asks for `first` and `second`.
    """

    __slots__ = ("first", "second")

    first: str
    second: str

    def __new__(cls, first: str, second: str) -> Pair:
        """A text that shows both."""
        pair = super().__new__(cls, f"{first}{BETWEEN}{second}")
        pair.first, pair.second = first, second
        return pair

    def __reduce__(self) -> tuple[type[Pair], tuple[str, str]]:
        return Pair, (self.first, self.second)


def are_pairs(texts: Sequence[str]) -> bool:
    """Whether texts are pairs; of a data set all are, or none is."""
    return isinstance(texts, (list, tuple)) and bool(texts) and isinstance(texts[0], Pair)


def as_texts(texts: Sequence[Any]) -> list[str]:
    """Texts as they are, and (first, second) as a `Pair`.

    Raises:
        DataError: some are pairs and some are not.
    """
    made = [Pair(*text) if isinstance(text, (tuple, list)) else text for text in texts]
    if len({isinstance(text, Pair) for text in made}) > 1:
        first = isinstance(made[0], Pair)
        odd = next(i for i, text in enumerate(made) if isinstance(text, Pair) != first)
        raise DataError(
            f"text {odd} (from 0): pairs (first, second) and single texts do not go together. Give "
            "only one kind."
        )
    return made


def encode(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    max_length: int,
    progress: Callable[[int], None] | None = None,
) -> Tokens:
    """Tokens of N texts or N pairs, the pairs with their segments; see `Tokenizer.encode`.

    Raises:
        DataError: as `Tokenizer.encode`.
    """
    if not are_pairs(texts):
        return tokenizer.encode(texts, max_length, progress)
    pairs = [text for text in texts if isinstance(text, Pair)]
    assert len(pairs) == len(texts), "pairs and single texts are told apart where they are read"
    first, second = [pair.first for pair in pairs], [pair.second for pair in pairs]
    return tokenizer.encode_pairs(first, second, max_length, progress)
