"""Duplicates, contradictions and cut texts, counted by hand."""

from __future__ import annotations

import numpy as np

from headstart.data.examples import Examples
from headstart.data.findings import (
    contradictions,
    counted,
    length_findings,
    listed,
    remove_duplicates,
)
from headstart.data.text import Tokens


def made(*rows: tuple[str, str], first: int = 2) -> Examples:
    return Examples("shop.csv", [text for text, _ in rows], [label for _, label in rows],
                    np.arange(len(rows)) + first)  # fmt: skip


def test_training_rows_that_are_tested_are_taken_out() -> None:
    train = made(
        ("A good cup.", "a"), ("It leaks.", "b"), ("A  good\ncup. ", "b"), ("a good cup.", "a")
    )
    test = made(("A good cup.", "a"), ("Unseen.", "b"))
    kept, finding = remove_duplicates(train, test)
    assert kept.texts == ["It leaks.", "a good cup."] and kept.labels == ["b", "a"]
    assert kept.rows.tolist() == [3, 5]
    assert finding is not None and finding.count == 2 and finding.rows == (2, 4)
    assert "2 training rows left out" in finding.message


def test_without_duplicates_nothing_changes() -> None:
    train = made(("One.", "a"), ("Two.", "b"))
    kept, finding = remove_duplicates(train, made(("Three.", "a")))
    assert kept is train and finding is None


def test_one_text_under_two_labels_is_told() -> None:
    rows = made(("Ok.", "a"), ("Fine.", "a"), ("Ok. ", "b"), ("Fine.", "a"), ("Ok.", "a"))
    (finding,) = contradictions(rows)
    assert finding.count == 3 and finding.rows == (2, 4, 6)
    assert contradictions(made(("Fine.", "a"), ("Fine.", "a"))) == []


def test_cut_texts_are_counted() -> None:
    full = np.array([3, 11, 5, 7, 13])
    kept = np.minimum(full, 7)
    tokens = Tokens(np.zeros(kept.sum(), np.int32), np.concatenate([[0], np.cumsum(kept)]), full)
    assert tokens.cut_rows == 2 and tokens.cut_tokens == 4 + 6
    (finding,) = length_findings("shop", tokens, 7, numbers=np.array([2, 3, 5, 8, 9]))
    assert finding.count == 2 and finding.rows == (3, 9)
    assert "2 of 5 texts longer than 7 tokens; 10 tokens (25.6%)" in finding.message
    assert "3 to 13, half up to 7, 95 % up to 13" in finding.message
    whole = Tokens(tokens.values, tokens.offsets, kept)
    assert length_findings("shop", whole, 7) == []


def test_counts_and_lists_read_well() -> None:
    assert [counted(n, "row") for n in (1, 2, 2_003)] == ["1 row", "2 rows", "2,003 rows"]
    assert counted(2, "class") == "2 classes"
    assert listed("row", np.array([3])) == "row 3"
    assert listed("line", np.arange(7)) == "lines 0, 1, 2, 3, 4 and 2 more"
