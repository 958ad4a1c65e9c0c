"""The classifier two-sample test: no alarm for one distribution, alarm for two."""

from __future__ import annotations

import numpy as np
from scipy.stats import binomtest
from tests.doctor.conftest import made, one, subject

from headstart.doctor.two_samples import turned_labels, two_sample_findings, two_samples
from headstart.doctor.vectors import Vectors


def vectors(count: int, seed: int, *, key: str, shift: float = 0.0, flip: bool = False) -> Vectors:
    random = np.random.default_rng(seed)
    classes = random.integers(0, 2, count)
    values = random.normal(size=(count, 7)) + classes[:, None] * 1.5 + shift * np.eye(7)[3]
    given = 1 - classes if flip else classes
    rows = made(*((f"{key} {seed} {n}", "ab"[c]) for n, c in enumerate(given.tolist())), name=key)
    return Vectors(subject(rows, key), np.arange(count), values.astype(np.float32))


def test_one_distribution_is_told_apart_as_often_as_chance_has_it() -> None:
    chances = [
        two_samples(vectors(83, seed, key="test"), vectors(97, seed + 1_000, key="target")).chance
        for seed in range(101)
    ]
    assert sum(chance < 0.05 for chance in chances) <= 11  # 5 expected
    assert 0.4 < float(np.mean(chances)) < 0.7


def test_two_distributions_are_told_apart() -> None:
    test, target = vectors(211, 3, key="test", shift=2.0), vectors(307, 5, key="target")
    found = two_samples(test, target)
    assert found is not None and (found.data, found.target) == ("test", "target")
    assert found.chance < 1e-6 and found.accuracy.low > 0.6
    assert found.num_rows == 210, "half of 210 and 210"
    right = round(found.accuracy.value * found.num_rows)
    assert found.chance == binomtest(right, found.num_rows, alternative="greater").pvalue
    assert one(two_sample_findings(found, test, target), "test rows of another kind")
    source = vectors(211, 3, key="source", shift=2.0)
    found = two_samples(source, target)
    assert found is not None and two_sample_findings(found, source, target) == []


def test_repeats_teach_nothing() -> None:
    """Each side is seven texts again and again: were they learned, they would tell the sides."""
    sides = []
    for seed, key in ((3, "test"), (5, "target")):
        few = vectors(7, seed, key=key)
        again = np.tile(np.arange(7), 31)
        rows = few.subject.rows.take(again)
        sides.append(Vectors(subject(rows, key), np.arange(217), few.values[again]))
    assert two_samples(*sides) is None


def test_turned_labels_are_noticed() -> None:
    source, target = vectors(211, 3, key="source", flip=True), vectors(199, 5, key="target")
    (finding,) = turned_labels(source, target)
    assert finding.severity == "harmful" and "--source-map a=b,b=a" in finding.remedy
    assert turned_labels(vectors(211, 3, key="source"), target) == []
