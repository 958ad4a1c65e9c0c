"""Folds: stratified, of equal size, the same text in one of them."""

from __future__ import annotations

import numpy as np
import pytest

from headstart.verdict.folds import assign, choice_folds, judging_folds


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_classes_and_sizes_differ_by_a_row_at_most(count):
    labels = np.random.default_rng(3).choice(list("abc"), 211, p=[0.7, 0.2, 0.1]).tolist()
    texts = [f"text {number}" for number in range(211)]
    fold = assign(labels, texts, count, 13)
    sizes = np.bincount(fold, minlength=count)
    assert sizes.sum() == 211 and np.ptp(sizes) <= 1
    for name in "abc":
        held = np.bincount(fold[np.array(labels) == name], minlength=count)
        assert np.ptp(held) <= 1
    assert not np.array_equal(fold, assign(labels, texts, count, 17))


def test_the_same_text_stays_in_one_fold():
    texts = [f"text {number % 31}" + "  " * (number % 3) for number in range(93)]
    labels = ["ab"[number % 2] for number in range(93)]
    fold = assign(labels, texts, 3, 5)
    plain = np.array([" ".join(text.split()) for text in texts])
    assert all(len(set(fold[plain == text].tolist())) == 1 for text in plain)
    assert len(set(fold.tolist())) == 3


def test_the_choice_takes_three_folds_and_from_2000_labels_on_one_split():
    few = choice_folds(["ab"[n % 2] for n in range(61)], [str(n) for n in range(61)], 1)
    assert sorted(np.concatenate(few).tolist()) == list(range(61)) and len(few) == 3
    many = choice_folds(["ab"[n % 2] for n in range(2003)], [str(n) for n in range(2003)], 1)
    assert [len(part) for part in many] == [401]


@pytest.mark.parametrize("labels", ["ab", "aaaab", "aaaaa"])
def test_there_is_no_choice_where_a_class_would_be_left_alone(labels):
    assert choice_folds(list(labels), [str(n) for n in range(len(labels))], 1) == []


def test_few_rows_are_judged_by_more_folds():
    assert (judging_folds(83), judging_folds(499), judging_folds(500)) == (5, 5, 3)
