"""Texts that are nearly the same, found without comparing all pairs.

Each text is a set of pairs of neighbouring words, without case and punctuation; two texts are
nearly the same if their sets have a Jaccard similarity of `THRESHOLD` or more, as texts of 13 words
have that differ in one. Signatures of minhashes (Broder 1997) are cut into bands, and only rows
that agree in a whole band are compared (locality-sensitive hashing: Indyk and Motwani 1998; bands:
Leskovec, Rajaraman and Ullman, "Mining of Massive Datasets", 3.4): with 16 bands of 4 numbers a
pair of similarity 0.7 is compared with a chance of 99 %, one of 0.8 with 99.98 %, one of 0.1 with
0.2 %. What is compared is compared exactly.

Shapes: M rows of all data sets, H hashes, K pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.data.findings import Finding, Severity
from headstart.doctor.reading import HASHES, Reading, joined_hash, shingles
from headstart.doctor.subject import DETAILED, TEST, Subject, quoted, share_of

THRESHOLD = 0.7
"""Least Jaccard similarity of texts that are nearly the same."""

BANDS = 16
BLOCK = 100_000
"""Pairs compared at a time."""

SPAN = 16
"""Rows behind a row, of those that share a band, that it is compared with."""

ESTIMATE = THRESHOLD - 0.2
"""Least similarity by the signatures at which a pair is compared exactly: 3 standard deviations."""

KEPT = 3
"""Most similar rows of each data set that a row is compared with exactly."""

WARNED, HARMFUL = 0.01, 0.05
"""Shares of the rows, or of the test rows, from which near-duplicates are worse than a note."""


@dataclass(frozen=True)
class Pile:
    """The different texts of several data sets, one row of each data set for a text.

    Attributes:
        found: the data sets.
        subject: (M,) which of them.
        place: (M,) place of the row in it.
        prints: (M,) fingerprint of its text.
        signatures: (M, H) uint32.
    """

    found: list[Subject]
    subject: np.ndarray
    place: np.ndarray
    prints: np.ndarray
    signatures: np.ndarray

    @classmethod
    def of(cls, found: list[Subject], readings: list[Reading]) -> Pile:
        """All texts that have a word; of those that are the same in a data set, the first."""
        subject, place, prints, signed = [], [], [], []
        for number, (each, reading) in enumerate(zip(found, readings, strict=True)):
            own = each.prints[each.chosen]
            first = np.zeros(len(own), dtype=bool)
            first[np.unique(own, return_index=True)[1]] = True
            kept = np.flatnonzero(first & (reading.num_words > 0))
            subject.append(np.full(len(kept), number))
            place.append(each.chosen[kept])
            prints.append(own[kept])
            signed.append(reading.signatures[kept])
        return cls(found, np.concatenate(subject), np.concatenate(place), np.concatenate(prints),
                   np.concatenate(signed))  # fmt: skip

    def row(self, number: int) -> str:
        """What the user calls row i of the pile, its data set named."""
        subject = self.found[int(self.subject[number])]
        return f"{subject.key} {subject.row(int(self.place[number]))}"

    def text(self, number: int) -> str:
        """The text of row i of the pile."""
        return self.found[int(self.subject[number])].rows.texts[int(self.place[number])]


def near_pairs(pile: Pile) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows of a pile that are nearly the same and not quite: (K, 2), (K,) similarity.

    Each row is compared with the most similar rows of each data set alone, so that of a thousand
    copies of a form not all half a million pairs are found, but every one of its rows is.
    """
    pairs = _candidates(pile.signatures)
    pairs = pairs[pile.prints[pairs[:, 0]] != pile.prints[pairs[:, 1]]]
    agreed = _agreement(pile.signatures, pairs)
    likely = agreed >= ESTIMATE
    pairs = _most_similar(pile, pairs[likely], agreed[likely])
    sets: dict[int, np.ndarray] = {}
    for number in np.unique(pairs).tolist():
        sets[number] = shingles(pile.text(number))
    found = np.array([_jaccard(sets[a], sets[b]) for a, b in pairs.tolist()])
    return pairs[found >= THRESHOLD], found[found >= THRESHOLD]


def near_duplicates(found: list[Subject], readings: list[Reading]) -> list[Finding]:
    """Rows with an earlier row nearly the same, and rows nearly the same in two data sets."""
    if not found:
        return []
    pile = Pile.of(found, readings)
    pairs, similar = near_pairs(pile)
    findings = []
    for number in range(len(found)):
        inside = (pile.subject[pairs] == number).all(1)
        findings += _within(pile, number, pairs[inside], similar[inside])
    tests = [n for n, subject in enumerate(found) if subject.key == TEST]
    others = [n for n, subject in enumerate(found) if subject.key != TEST]
    for place, first in enumerate(others):
        for second in [*tests, *others[place + 1 :]]:
            findings += _across(pile, first, second, pairs, similar)
    return findings


def _candidates(signatures: np.ndarray) -> np.ndarray:
    """(K, 2) rows that agree in a whole band, the smaller first, each pair once."""
    count = max(len(signatures), 1)
    width = HASHES // BANDS
    codes = np.empty(0, dtype=np.int64)
    for band in range(BANDS):
        key = joined_hash(signatures[:, band * width : (band + 1) * width])
        order = np.argsort(key, kind="stable")
        key = key[order]
        found = [codes]
        for step in range(1, min(SPAN, len(key) - 1) + 1):
            near = np.flatnonzero(key[step:] == key[:-step])
            if not len(near):
                break
            found.append(order[near] * count + order[near + step])
        first = np.searchsorted(key, key, side="left")
        far = np.flatnonzero(np.arange(len(key)) - first > SPAN)
        found.append(order[first[far]] * count + order[far])
        codes = np.unique(np.concatenate(found))
    return np.stack([codes // count, codes % count], 1)


def _agreement(signatures: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """(K,) share of the numbers of two signatures that agree."""
    shares = np.empty(len(pairs))
    for start in range(0, len(pairs), BLOCK):
        some = pairs[start : start + BLOCK]
        same = signatures[some[:, 0]] == signatures[some[:, 1]]
        shares[start : start + BLOCK] = same.mean(1)
    return shares


def _most_similar(pile: Pile, pairs: np.ndarray, agreed: np.ndarray) -> np.ndarray:
    """Of a row's pairs with each data set (with its own: with earlier rows) the most similar."""
    first, second = pairs[:, 0], pairs[:, 1]
    num_sets = len(pile.found)
    kept = _best(second * num_sets + pile.subject[first], agreed)
    across = np.flatnonzero(pile.subject[first] != pile.subject[second])
    other = first[across] * num_sets + pile.subject[second[across]]
    kept[across] |= _best(other, agreed[across])
    return pairs[kept]


def _best(groups: np.ndarray, agreed: np.ndarray) -> np.ndarray:
    """(K,) whether a pair is among the `KEPT` of its group that agree most."""
    order = np.lexsort((-agreed, groups))
    in_order = groups[order]
    rank = np.arange(len(order)) - np.searchsorted(in_order, in_order, side="left")
    best = np.zeros(len(order), dtype=bool)
    best[order] = rank < KEPT
    return best


def _jaccard(one: np.ndarray, other: np.ndarray) -> float:
    """Share of two sets' members that both have; each ascending, without repeats."""
    both = len(np.intersect1d(one, other, assume_unique=True))
    return both / max(1, len(one) + len(other) - both)


def _within(pile: Pile, number: int, pairs: np.ndarray, similar: np.ndarray) -> list[Finding]:
    """Rows of one data set that have an earlier row nearly the same."""
    if not len(pairs):
        return []
    subject = pile.found[number]
    later, best = _of_each(pairs[:, 1], similar)
    partner = pairs[best, 0]
    total = len(subject.chosen)
    return [subject.finding(
        "near-duplicates",
        f"{share_of(len(later), total)} texts are nearly the same as an earlier one "
        f"({THRESHOLD:.0%} or more of their word pairs in common).",
        pile.place[later],
        severity="warning" if len(later) >= HARMFUL * total else "note",
        remedy="Keep one of each kind; what is repeated weighs more, and folds leak.",
        details=_details(pile, later, partner, similar[best]),
    )]  # fmt: skip


def _across(
    pile: Pile, first: int, second: int, pairs: np.ndarray, similar: np.ndarray
) -> list[Finding]:
    """Rows of one data set that are nearly the same as rows of another."""
    sides = pile.subject[pairs]
    there = (sides == [first, second]).all(1) | (sides == [second, first]).all(1)
    if not there.any():
        return []
    pairs, similar = pairs[there], similar[there]
    turned = pile.subject[pairs[:, 0]] == second
    pairs = np.where(turned[:, None], pairs[:, ::-1], pairs)
    own, best = _of_each(pairs[:, 0], similar)
    subject, other = pile.found[first], pile.found[second]
    touched, total = len(np.unique(pairs[:, 1])), len(other.chosen)
    leak = other.key == TEST
    severity: Severity = "note"
    if leak:
        severity = "harmful" if touched >= WARNED * total else "warning"
    return [subject.finding(
        f"near-duplicates of {other.key} rows",
        f"{share_of(len(own), len(subject.chosen))} texts are nearly the same as one of "
        f"{other.name}, of which {share_of(touched, total)} rows are like that.",
        pile.place[own], severity=severity,
        remedy="Take these rows out of the training rows: what is tested is nearly known by heart."
        if leak else "Nothing to do; such rows count in both.",
        details=_details(pile, own, pairs[best, 1], similar[best]),
    )]  # fmt: skip


def _of_each(rows: np.ndarray, similar: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different rows, ascending, and for each the place of its most similar pair."""
    order = np.lexsort((-similar, rows))
    kept, first = np.unique(rows[order], return_index=True)
    return kept, order[first]


def _details(
    pile: Pile, rows: np.ndarray, partners: np.ndarray, similar: np.ndarray
) -> tuple[str, ...]:
    first = (rows[:DETAILED].tolist(), partners[:DETAILED].tolist(), similar[:DETAILED].tolist())
    return tuple(
        f"{share:.2f} like {pile.row(partner)}: {quoted(pile.text(row))}"
        for row, partner, share in zip(*first, strict=True)
    )
