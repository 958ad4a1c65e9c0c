"""Near-duplicates: against all pairs compared one by one, and in piles of many alike."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from tests.doctor.conftest import made, one, subject

from headstart.doctor.reading import read_texts, shingles, words_of
from headstart.doctor.subject import Subject, by_number
from headstart.doctor.twins import THRESHOLD, Pile, near_duplicates, near_pairs

VOCABULARY = [f"word{number}" for number in range(499)]


def written(count: int, seed: int, edits: int = 3) -> list[str]:
    """Random texts, a third of them an earlier one with a few words changed."""
    chance = random.Random(seed)
    texts: list[str] = []
    for _ in range(count):
        if texts and chance.random() < 0.35:
            words = chance.choice(texts).split()
            for _ in range(chance.randint(1, edits)):
                words[chance.randrange(len(words))] = chance.choice(VOCABULARY)
        else:
            words = chance.choices(VOCABULARY, k=chance.randint(5, 41))
        texts.append(" ".join(words))
    return list(dict.fromkeys(texts))


def pile_of(*sets: tuple[str, list[str]]) -> Pile:
    found = [subject(made(*((t, "a") for t in texts)), key) for key, texts in sets]
    return Pile.of(found, [read_texts(each) for each in found])


def jaccard(one_text: str, other: str) -> float:
    """By Python's sets of word pairs."""
    sides = []
    for text in (one_text, other):
        words = text.lower().split()
        sides.append(set(pairwise(words)))
    return len(sides[0] & sides[1]) / len(sides[0] | sides[1])


def test_words_are_without_case_and_punctuation() -> None:
    assert words_of("Don't STOP, it's 5-star!") == ["dont", "stop", "its", "5", "star"]
    assert words_of("Don’t — ÉTÉ_été 2½") == ["dont", "été", "été", "2½"]
    assert words_of("房间 ok，不错") == ["房", "间", "ok", "不", "错"]
    assert len(shingles("a b c a b")) == 3 and len(shingles("alone")) == 1
    assert len(shingles("...")) == 0


def test_signatures_estimate_the_jaccard_similarity() -> None:
    texts = written(307, 11)
    pile = pile_of(("target", texts))
    chance = np.random.default_rng(3)
    errors = []
    for a, b in chance.integers(0, len(texts), (499, 2)).tolist():
        estimate = float((pile.signatures[a] == pile.signatures[b]).mean())
        errors.append(estimate - jaccard(texts[a], texts[b]))
    close = [(a, b) for a in range(61) for b in range(a) if jaccard(texts[a], texts[b]) > 0.3]
    for a, b in close:
        errors.append(float((pile.signatures[a] == pile.signatures[b]).mean())
                      - jaccard(texts[a], texts[b]))  # fmt: skip
    assert len(close) >= 7
    assert abs(np.mean(errors)) < 0.01 and np.abs(errors).max() < 0.26  # 4 standard deviations


def test_pairs_are_those_that_comparing_all_finds() -> None:
    texts = written(499, 7)
    pile = pile_of(("target", texts))
    pairs, similar = near_pairs(pile)
    all_pairs = {
        (a, b)
        for b in range(len(texts))
        for a in range(b)
        if jaccard(texts[a], texts[b]) >= THRESHOLD
    }
    found = {(int(a), int(b)) for a, b in pairs.tolist()}
    assert found <= all_pairs
    assert len(all_pairs) > 50 and len(found) >= 0.97 * len(all_pairs)
    for (a, b), share in zip(pairs.tolist(), similar, strict=True):
        assert share == pytest.approx(jaccard(texts[a], texts[b]))


def test_every_row_of_a_large_pile_is_found_with_few_pairs() -> None:
    form = " ".join(VOCABULARY[:60])
    texts = [f"{form} number{n}" for n in range(2_003)]
    pairs, _ = near_pairs(pile_of(("target", texts)))
    assert set(pairs[:, 1].tolist()) == set(range(1, 2_003))
    assert len(pairs) <= 3 * 2_003


def test_rows_are_named_inside_and_across_data_sets() -> None:
    long = "the {} arrived on time and works as it should so I would buy it again any day"
    train = made((long.format("phone"), "a"), ("quite another text about films", "b"),
                 (long.format("phone").upper() + "!!", "a"), ("short one", "b"))  # fmt: skip
    test = made(("nothing like that", "b"), (long.format("cable"), "a"), name="test.csv", first=11)
    found = [subject(train, "target"), subject(test, "test")]
    findings = near_duplicates(found, [read_texts(each) for each in found])
    inside = one(findings, "near-duplicates")
    assert inside.data == "target" and inside.rows == (4,)
    assert inside.details[0].startswith("row 4: 1.00 like target row 2: ")
    across = one(findings, "near-duplicates of test rows")
    assert across.rows == (2, 4) and across.severity == "harmful"
    assert "0.78 like test row 12" in across.details[0] or "0.7" in across.details[0]
    assert "1 of 2 (50.0 %) rows are like that" in across.message


def test_pairs_of_one_data_set_are_none_across() -> None:
    twins = ["one two three four five six seven", "one two three four five six seven eight"]
    found = [subject(made(("else", "a")), "source"), subject(made(*((t, "a") for t in twins)))]
    findings = near_duplicates(found, [read_texts(each) for each in found])
    assert [f.kind for f in findings] == ["near-duplicates"]


def test_texts_without_words_and_empty_data_sets() -> None:
    found = [Subject("target", made(("...", "a"), ("!", "b"), ("", "a")), by_number)]
    assert near_duplicates(found, [read_texts(each) for each in found]) == []
    empty = [Subject("target", made(), by_number)]
    assert near_duplicates(empty, [read_texts(each) for each in empty]) == []
    assert near_duplicates([], []) == []
