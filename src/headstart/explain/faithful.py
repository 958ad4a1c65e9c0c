"""How faithful an attribution is: does the model's answer hang on the words it names?

Words are hidden from the model, those with the highest score first, and the fall of the class's
probability is averaged over all steps: AOPC. Highest first it is called comprehensiveness (high is
good), lowest first sufficiency (low is good). How high or low it can get depends on model and text,
so it is put between the lowest and the highest that any order of words reaches: normalised AOPC
(Edin et al. 2024, https://arxiv.org/abs/2408.08137). The limits are exact for few words, and found
by beam search for more, as in the paper.

    faithfulness = (comprehensiveness + 1 - sufficiency) / 2

is 1 for the best order there is and 0.5 for a random one.

Long texts are judged in pieces of neighbouring words, as many as the work allows.

Shapes: W words of a text, D pieces of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.data.batches import derive_seed
from headstart.explain.attribution import attribute
from headstart.explain.reading import Reading
from headstart.explain.subject import Subject

EXACT = 8
"""Pieces up to which all their subsets are tried."""

BEAM = 5
"""Orders that are followed at once, as in the paper."""

WORK = 60_000
"""Tokens that the search for the limits of a text reads, about."""

RANDOM_ORDERS = 10
RANDOM = "random"

Masked = Callable[[Sequence[int]], Sequence[float]]
"""Subsets of pieces, as the bits of whole numbers, to the class's probability without each."""


@dataclass(frozen=True)
class Limits:
    """The lowest and the highest AOPC of any order of pieces.

    Attributes:
        low: the lowest that was found.
        high: the highest.
        exact: whether all orders were compared; else the limits are those of a beam search.
    """

    low: float
    high: float
    exact: bool

    def place(self, value: float) -> float | None:
        """Where a value lies, 0 at the lowest and 1 at the highest; None where they are equal."""
        width = self.high - self.low
        return (value - self.low) / width if width > 1e-9 else None


@dataclass(frozen=True)
class Faithfulness:
    """How faithful a method is, the mean over texts.

    Attributes:
        name: of the method, or `RANDOM`.
        comprehensiveness: normalised AOPC, most important words hidden first; 1 is best.
        sufficiency: normalised AOPC, least important words hidden first; 0 is best.
        num_texts: texts in which the model's answer hangs on the words at all.
    """

    name: str
    comprehensiveness: float
    sufficiency: float
    num_texts: int

    @property
    def score(self) -> float:
        """1 for the best order there is, 0.5 for a random one."""
        return (self.comprehensiveness + 1 - self.sufficiency) / 2


@dataclass(frozen=True)
class Judged:
    """Methods on one text.

    Attributes:
        aopc: comprehensiveness and sufficiency of each, normalised; None where nothing that is
            hidden changes the answer.
        scores: (W,) of each method.
        num_pieces: D.
        exact: whether the limits are exact.
    """

    aopc: dict[str, tuple[float, float] | None]
    scores: dict[str, np.ndarray]
    num_pieces: int
    exact: bool


def judge(subject: Subject, reading: Reading, methods: Sequence[str], target: int) -> Judged:
    """Measure how faithful methods are on a text, and random scores beside them.

    Args:
        subject: the model.
        reading: the text.
        methods: names in `METHODS`.
        target: number of the class that is explained.
    """
    groups = pieces(reading, num_pieces(reading))
    masked = Remembered(_hiding(subject, reading, groups, target))
    scores = {name: attribute(subject, reading, name, target).words for name in methods}
    orders = {name: [order_of(values, groups)] for name, values in scores.items()}
    orders[RANDOM] = _random_orders(len(groups))
    both = {name: [(o, o[::-1]) for o in some] for name, some in orders.items()}
    values = {name: [[aopc(o, masked) for o in pair] for pair in some]
              for name, some in both.items()}  # fmt: skip
    found = limits(len(groups), masked)
    seen = [value for some in values.values() for pair in some for value in pair]
    bounds = Limits(min(found.low, *seen), max(found.high, *seen), found.exact)
    return Judged(
        aopc={name: _normalised(bounds, some) for name, some in values.items()},
        scores=scores,
        num_pieces=len(groups),
        exact=found.exact,
    )


def _random_orders(count: int) -> list[list[int]]:
    """Random orders, each with its reverse: so their faithfulness is 0.5, without an error of
    chance."""
    chance = np.random.default_rng(derive_seed("explain", count))
    orders = [chance.permutation(count).tolist() for _ in range(RANDOM_ORDERS // 2)]
    return [*orders, *(order[::-1] for order in orders)]


def _normalised(bounds: Limits, pairs: Sequence[Sequence[float]]) -> tuple[float, float] | None:
    placed = [[bounds.place(value) for value in pair] for pair in pairs]
    if placed[0][0] is None:
        return None
    comprehensiveness, sufficiency = np.array(placed, dtype=np.float64).mean(0).tolist()
    return comprehensiveness, sufficiency


def averaged(judged: Sequence[Judged]) -> list[Faithfulness]:
    """The mean over texts of each method and of random scores, the most faithful method first.

    Empty where no text's answer hangs on its words.
    """
    names = judged[0].aopc if judged else {}
    means = []
    for name in names:
        values = [pair for one in judged if (pair := one.aopc[name]) is not None]
        if values:
            comprehensiveness, sufficiency = np.mean(values, axis=0).tolist()
            means.append(Faithfulness(name, comprehensiveness, sufficiency, len(values)))
    return sorted(means, key=lambda one: (one.name == RANDOM, -one.score))


def num_pieces(reading: Reading) -> int:
    """In how many pieces a text is judged: its words, or fewer where that would take too long."""
    affordable = int((WORK / (BEAM * len(reading.ids))) ** 0.5)
    return min(len(reading.words), max(EXACT, affordable))


def pieces(reading: Reading, count: int) -> list[list[int]]:
    """The words of a text in so many pieces of neighbours, each of about as many tokens."""
    sizes = np.array([len(word.tokens) for word in reading.words])
    if count == len(sizes):
        return [[word] for word in range(len(sizes))]
    middles = np.cumsum(sizes) - sizes / 2
    place = np.minimum((middles * count / sizes.sum()).astype(int), count - 1)
    return [np.flatnonzero(place == piece).tolist() for piece in np.unique(place)]


def order_of(scores: np.ndarray, groups: Sequence[Sequence[int]]) -> list[int]:
    """Pieces by the sum of their words' scores, highest first; the earlier first where equal."""
    sums = np.array([scores[list(words)].sum() for words in groups])
    return np.argsort(-sums, kind="stable").tolist()


def aopc(order: Sequence[int], masked: Masked) -> float:
    """The mean fall of the probability over the steps in which pieces are hidden in this order."""
    steps, hidden = [], 0
    for piece in order:
        hidden |= 1 << piece
        steps.append(hidden)
    whole, *rest = masked([0, *steps])
    return whole - float(np.mean(rest))


def limits(count: int, masked: Masked) -> Limits:
    """The lowest and highest AOPC of any order of `count` pieces: exact, or by beam search."""
    search = exact_limits if count <= EXACT else beam_limits
    return search(count, masked)


def exact_limits(count: int, masked: Masked) -> Limits:
    """The limits over all orders.

    The best order of a subset is the best order of one piece less, and that piece: so 2^D answers
    of the model are enough where there are D! orders.
    """
    subsets = range(1 << count)
    probability = masked(subsets)
    best: dict[str, list[float]] = {"low": [0.0], "high": [0.0]}
    for subset in subsets[1:]:
        before = [subset & ~(1 << piece) for piece in range(count) if subset >> piece & 1]
        fall = probability[0] - probability[subset]
        best["low"].append(fall + min(best["low"][one] for one in before))
        best["high"].append(fall + max(best["high"][one] for one in before))
    return Limits(best["low"][-1] / count, best["high"][-1] / count, exact=True)


def beam_limits(count: int, masked: Masked, beam: int = BEAM) -> Limits:
    """The limits among the orders that a beam search follows, one for each end."""
    ends: dict[int, dict[int, float]] = {1: {0: 0.0}, -1: {0: 0.0}}
    whole = masked([0])[0]
    for _ in range(count):
        for sign, states in ends.items():
            grown = _grow(states, count, sign)
            falls = [whole - probability for probability in masked(list(grown))]
            totals = {s: t + fall for (s, t), fall in zip(grown.items(), falls, strict=True)}
            kept = sorted(totals, key=lambda s, t=totals, k=sign: -k * t[s])[:beam]  # type: ignore[misc]
            ends[sign] = {subset: totals[subset] for subset in kept}
    low, high = (next(iter(ends[sign].values())) / count for sign in (-1, 1))
    return Limits(low, high, exact=False)


def _grow(states: Mapping[int, float], count: int, sign: int) -> dict[int, float]:
    """Every subset of one piece more, with the best total on the way to it."""
    grown: dict[int, float] = {}
    for subset, total in states.items():
        for piece in range(count):
            larger = subset | 1 << piece
            if larger != subset and (larger not in grown or sign * total > sign * grown[larger]):
                grown[larger] = total
    return grown


class Remembered:
    """Asks for the probability without each subset once.

    Args:
        masked: computes it.
    """

    def __init__(self, masked: Masked) -> None:
        self._masked = masked
        self._known: dict[int, float] = {}

    def __call__(self, subsets: Sequence[int]) -> list[float]:
        """The class's probability without each of the subsets."""
        fresh = sorted({subset for subset in subsets if subset not in self._known})
        if fresh:
            self._known |= dict(zip(fresh, self._masked(fresh), strict=True))
        return [self._known[subset] for subset in subsets]


def _hiding(
    subject: Subject, reading: Reading, groups: Sequence[Sequence[int]], target: int
) -> Masked:
    def masked(subsets: Sequence[int]) -> list[float]:
        rows = []
        for subset in subsets:
            words = [w for piece, some in enumerate(groups) if subset >> piece & 1 for w in some]
            rows.append(reading.without(words, subject.stand_in))
        return subject.logits(rows).double().softmax(-1)[:, target].tolist()

    return masked
