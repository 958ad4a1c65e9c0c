"""Which tokens of a batch are hidden: single ones, whole words, or spans of words.

Shapes: T tokens of all rows, W words of all rows, M hidden tokens, V words in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from headstart.nn.ragged import Ragged

SPAN_SHARE, LONGEST_SPAN = 0.2, 10
"""Of the geometric distribution of a span's length in words (Joshi et al. 2020, section 3.1)."""


@dataclass(frozen=True)
class Hidden:
    """What is hidden.

    Attributes:
        places: (M,) in the packed tokens, ascending.
        fates: (M,) whole numbers from 0; tokens of one number are shown alike: all as the mask, all
            as other words, or all as they are.
    """

    places: np.ndarray
    fates: np.ndarray


class Hiding(Protocol):
    """Chooses what is hidden."""

    def __call__(
        self, tokens: Ragged, able: np.ndarray, count: int, random: np.random.Generator
    ) -> Hidden:
        """Choose.

        Args:
            tokens: (T,) int64.
            able: (T,) bool, which can be hidden at all.
            count: how many to hide, 1 at least and no more than can be.
            random: all that is drawn from.
        """
        ...


def single_tokens(
    tokens: Ragged, able: np.ndarray, count: int, random: np.random.Generator
) -> Hidden:
    """Tokens by themselves, exactly so many (Devlin et al. 2019)."""
    places = np.sort(random.choice(np.flatnonzero(able), count, replace=False))
    return Hidden(places, np.arange(count))


@dataclass(frozen=True)
class WholeWords:
    """All tokens of a word, or none, as BERT's models "with whole word masking" of May 2019.

    A word that would not fit into the count is passed over, as there; where not even one fits, the
    shortest drawn is hidden.

    Attributes:
        begins: (V,) bool, which tokens begin a word.
    """

    begins: np.ndarray

    def __call__(
        self, tokens: Ragged, able: np.ndarray, count: int, random: np.random.Generator
    ) -> Hidden:
        """Choose words until the count is reached."""
        starts, stops, _ = words_of(tokens, able, self.begins)
        left, chosen = count, []
        order = random.permutation(len(starts))
        for word in order:
            size = stops[word] - starts[word]
            if size <= left:
                chosen.append(word)
                left -= size
            if not left:
                break
        chosen = chosen or [order[np.argmin((stops - starts)[order])]]
        places = np.concatenate([np.arange(starts[word], stops[word]) for word in sorted(chosen)])
        return Hidden(places, np.arange(len(places)))


@dataclass(frozen=True)
class Spans:
    """Spans of words, their lengths geometric (SpanBERT: Joshi et al. 2020, section 3.1).

    A span begins where a word does. The last one is cut where the count is reached, so that it is
    met exactly; one that runs into another, or into the end of its row, ends there.

    Attributes:
        begins: (V,) bool, which tokens begin a word.
    """

    begins: np.ndarray

    def __call__(
        self, tokens: Ragged, able: np.ndarray, count: int, random: np.random.Generator
    ) -> Hidden:
        """Choose spans until the count is reached."""
        starts, stops, runs = words_of(tokens, able, self.begins)
        order = random.permutation(len(starts))
        lengths = random.choice(LONGEST_SPAN, len(starts), p=span_lengths()) + 1
        taken = np.zeros(len(starts), dtype=bool)
        fates = np.full(len(able), -1)
        left = count
        for number, (first, length) in enumerate(zip(order, lengths, strict=True)):
            for word in range(first, min(first + length, len(starts))):
                if taken[word] or runs[word] != runs[first] or not left:
                    break
                taken[word] = True
                stop = min(stops[word], starts[word] + left)
                fates[starts[word] : stop] = number
                left -= stop - starts[word]
            if not left:
                break
        places = np.flatnonzero(fates >= 0)
        return Hidden(places, np.unique(fates[places], return_inverse=True)[1])


def span_lengths() -> np.ndarray:
    """(10,) how likely spans of 1 to 10 words are; 3.8 words in the mean."""
    shares = SPAN_SHARE * (1 - SPAN_SHARE) ** np.arange(LONGEST_SPAN)
    return shares / shares.sum()


def words_of(
    tokens: Ragged, able: np.ndarray, begins: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The words among the tokens that can be hidden.

    Args:
        tokens: (T,) int64.
        able: (T,) bool, which can be hidden; the others stand between words.
        begins: (V,) bool, which tokens begin a word; the first behind a gap always does.

    Returns:
        (W,) where each begins and (W,) where it ends, in the packed tokens; (W,) the run of words
        without a gap that it is of.
    """
    gap = np.ones(len(able), dtype=bool)
    gap[1:] = ~able[:-1]
    gap[np.cumsum(tokens.lengths.numpy())[:-1]] = True  # a row begins
    first = able & (gap | begins[tokens.values.numpy()])
    starts = np.flatnonzero(first)
    ends = np.flatnonzero(able & np.append(first[1:] | ~able[1:] | gap[1:], True)) + 1
    return starts, ends, np.cumsum(gap & able)[starts]
