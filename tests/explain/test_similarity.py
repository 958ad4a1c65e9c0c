"""CKA against its definition, a mean over texts that all differ; probes on what is known."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from headstart.explain.similarity import cka, hsic, layer_cka, probe

RANDOM = np.random.default_rng(7)


def by_definition(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased HSIC as a U-statistic: Song et al. 2012, equation 4, over all different texts."""
    k, n = len(first), first
    two = [n[i, j] * second[i, j] for i, j in permutations(range(k), 2)]
    three = [n[i, j] * second[i, q] for i, j, q in permutations(range(k), 3)]
    four = [n[i, j] * second[q, r] for i, j, q, r in permutations(range(k), 4)]
    return float(np.mean(two) - 2 * np.mean(three) + np.mean(four))


def test_hsic_is_the_mean_over_different_texts():
    first, second = (x @ x.T for x in (RANDOM.normal(size=(7, 3)), RANDOM.normal(size=(7, 5))))
    for kernel in (first, second):
        np.fill_diagonal(kernel, 0)
    assert hsic(first, second) == pytest.approx(by_definition(first, second))


def test_turning_scaling_and_moving_change_nothing():
    vectors = RANDOM.normal(size=(31, 5))
    turn, _ = np.linalg.qr(RANDOM.normal(size=(5, 5)))
    assert cka(vectors, 3.7 * vectors @ turn + 11) == pytest.approx(1)


def test_unrelated_vectors_are_unlike_on_average_however_wide_they_are():
    """The biased estimate would say nearly 1 for 13 texts in 97 dimensions."""
    values = [cka(RANDOM.normal(size=(13, 97)), RANDOM.normal(size=(13, 89))) for _ in range(300)]
    assert np.mean(values) == pytest.approx(0, abs=0.05)


def test_each_layer_is_compared_with_the_same_layer():
    first = RANDOM.normal(size=(17, 3, 5))
    second = first.copy()
    second[:, 2] = RANDOM.normal(size=(17, 5))
    same, also_same, other = layer_cka(first, second)
    assert same == pytest.approx(1) and also_same == pytest.approx(1)
    assert other is not None and abs(other) < 0.7


def test_what_tells_no_text_apart_is_like_nothing():
    assert cka(np.ones((7, 3)), RANDOM.normal(size=(7, 3))) is None


def test_too_few_texts_are_refused():
    with pytest.raises(ValueError, match="4 or more texts"):
        cka(np.ones((3, 2)), np.ones((3, 2)))


def test_a_probe_reads_what_is_there_and_nothing_else():
    labels = ["no", "yes"] * 41
    told = RANDOM.normal(size=(82, 3)) + np.array([[0], [6]] * 41)
    assert probe(told, labels).value > 0.95
    found = probe(RANDOM.normal(size=(82, 3)), labels)
    assert found.low < 0.5 < found.high
