"""Confident learning: against cleanlab's published code, by hand, and with planted mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from tests.doctor.conftest import made, one, subject

from headstart.doctor.noise import confident, out_of_sample, suspected_labels
from headstart.doctor.vectors import Vectors


def test_the_joint_by_hand() -> None:
    """Thresholds are 0.7 and 0.6: row 1 is sure of neither, row 4 of the other class."""
    chances = np.array([0.9, 0.5, 0.3, 0.2, 0.8])
    probabilities = np.stack([chances, 1 - chances], 1)
    labels = np.array([0, 0, 1, 1, 1])
    probabilities[2] = [0.3, 0.7]
    said = confident(probabilities, labels)  # thresholds (0.9 + 0.5) / 2, (0.7 + 0.8 + 0.2) / 3
    assert said.joint.tolist() == [[1, 0], [1, 2]]
    assert said.suspects.tolist() == [4] and said.classes.tolist() == [0]
    assert said.chances.tolist() == [0.8]
    assert said.noise == pytest.approx(3 / 5 * 1 / 3)


def test_the_joint_as_cleanlab_counts_it() -> None:
    """Values of cleanlab 2.9.0: compute_confident_joint(calibrate=False), find_label_issues(
    filter_by="confident_learning", return_indices_ranked_by="normalized_margin")."""
    random = np.random.default_rng(7)
    labels = random.integers(0, 3, 23)
    labels[:3] = np.arange(3)
    logits = random.normal(size=(23, 3))
    true = np.where(random.random(23) < 0.3, random.integers(0, 3, 23), labels)
    logits += 1.5 * np.eye(3)[true]
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    said = confident(probabilities, labels)
    assert said.joint.tolist() == [[5, 1, 1], [0, 3, 0], [0, 1, 6]]
    assert said.suspects.tolist() == [8, 17, 10]


def cloud(count: int, flips: int, seed: int) -> tuple[Vectors, np.ndarray]:
    """Two classes of vectors, well apart, some of whose labels are turned round."""
    random = np.random.default_rng(seed)
    true = random.integers(0, 2, count)
    values = random.normal(size=(count, 11)) + 1.7 * (2 * true - 1)[:, None] / np.sqrt(2)
    wrong = random.choice(count, flips, replace=False)
    given = true.copy()
    given[wrong] = 1 - given[wrong]
    rows = made(*((f"text {n}", "ab"[label]) for n, label in enumerate(given.tolist())))
    return Vectors(subject(rows), np.arange(count), values.astype(np.float32)), wrong


def test_planted_mistakes_are_found_and_told_by_row() -> None:
    vectors, wrong = cloud(499, 41, 3)
    finding = one(suspected_labels(vectors), "suspected labels")
    planted = {int(row) + 2 for row in wrong}
    assert len(planted & set(finding.rows)) >= 36
    assert len(set(finding.rows) - planted) <= 5
    assert set(finding.rows[:20]) <= planted, "the surest come first"
    assert finding.severity == "warning" and not finding.mendable
    assert finding.details[0].startswith(f"row {finding.rows[0]}: ")
    noise = float(finding.message.split("wrong labels at ")[1].split(" %")[0])
    assert noise == pytest.approx(100 * 41 / 499, abs=1.5)


def test_without_mistakes_next_to_none_is_suspected() -> None:
    vectors, _ = cloud(499, 0, 5)
    assert all(f.count <= 5 and f.severity == "note" for f in suspected_labels(vectors))


def test_what_cannot_tell_the_classes_apart_suspects_none() -> None:
    random = np.random.default_rng(3)
    rows = made(*((f"text {n}", "ab"[n % 2]) for n in range(211)))
    values = random.normal(size=(211, 11)).astype(np.float32)
    (finding,) = suspected_labels(Vectors(subject(rows), np.arange(211), values))
    assert finding.kind == "labels not judged" and finding.count == 0


def test_a_text_is_never_judged_by_what_learned_it() -> None:
    """Vectors say nothing, and every text is there twice: only memory could know its label."""
    random = np.random.default_rng(5)
    values = np.repeat(random.normal(size=(101, 211)), 2, axis=0)
    labels = np.repeat(random.integers(0, 2, 101), 2)
    apart = out_of_sample(values, labels, np.repeat(np.arange(101), 2))
    assert (apart.argmax(1) == labels).mean() < 0.65
    memory = out_of_sample(values, labels, np.arange(202))
    assert (memory.argmax(1) == labels).mean() > 0.9


def test_few_rows_and_small_classes_are_left_out() -> None:
    vectors, _ = cloud(31, 3, 3)
    assert suspected_labels(vectors) == []
    vectors, _ = cloud(101, 0, 3)
    rows = made(*((f"text {n}", "c" if n < 4 else label) for n, label in
                  enumerate(vectors.subject.rows.labels or ())))  # fmt: skip
    found = suspected_labels(Vectors(subject(rows), vectors.places, vectors.values))
    assert all("97 rows" in f.message for f in found)
