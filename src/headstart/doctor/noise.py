"""Labels that are most likely wrong: confident learning on frozen vectors.

A logistic regression is trained on four fifths of the rows and asked about the last, fifth after
fifth, so that no row is judged by what learned its label. A row whose probability of another class
is at least the mean that rows of that class get for their own is confidently of that class
(Northcutt, Jiang and Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
JAIR 70, 1373; arXiv 1911.00068).

Shapes: K rows, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.data.findings import Finding, counted
from headstart.doctor.subject import percent, share_of
from headstart.doctor.vectors import STRENGTHS, Vectors, classifier

FOLDS = 5
LEAST_ROWS = 40
SURE, WARNED = 0.9, 0.03
"""Least probability of another class, and share of the rows that have it, to be warned of."""

TRUSTED = 0.85
"""Share of right answers from which a judge is asked how many labels are wrong; below, most of what
it doubts are mistakes of its own."""

BETTER = 0.05
"""How much better than always saying the commonest class a judge must be to be asked."""


@dataclass(frozen=True)
class Confident:
    """What confident learning says of K labels.

    Attributes:
        suspects: (S,) places of rows confidently of another class, the surest first.
        classes: (S,) the class that each most likely is of.
        chances: (S,) its probability.
        noise: estimated share of wrong labels.
        joint: (C, C) rows by given label and confident class.
    """

    suspects: np.ndarray
    classes: np.ndarray
    chances: np.ndarray
    noise: float
    joint: np.ndarray


def confident(probabilities: np.ndarray, labels: np.ndarray) -> Confident:
    """Count the confident joint, and list what lies off its diagonal.

    Args:
        probabilities: (K, C) out of sample.
        labels: (K,) int64 given class; each of the C classes occurs.
    """
    num_classes = probabilities.shape[1]
    thresholds = np.array([probabilities[labels == c, c].mean() for c in range(num_classes)])
    above = np.where(probabilities >= thresholds, probabilities, -1.0)
    sure = above.max(1) >= 0
    best = above.argmax(1)
    joint = np.zeros((num_classes, num_classes), dtype=np.int64)
    np.add.at(joint, (labels[sure], best[sure]), 1)
    given = np.bincount(labels, minlength=num_classes)
    shares = joint * (given / np.maximum(joint.sum(1), 1))[:, None] / len(labels)
    unsure = given[joint.sum(1) == 0].sum() / len(
        labels
    )  # of these nothing is known: taken as right
    wrong = np.flatnonzero(sure & (best != labels) & (probabilities.argmax(1) != labels))
    own = probabilities[wrong, labels[wrong]]
    order = np.argsort(own - probabilities[wrong, best[wrong]], kind="stable")
    wrong = wrong[order]
    return Confident(
        suspects=wrong,
        classes=best[wrong],
        chances=probabilities[wrong, best[wrong]],
        noise=float(1 - np.trace(shares) - unsure),
        joint=joint,
    )


def out_of_sample(vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Probabilities (K, C) of each row by a classifier that never saw it, nor its text.

    The strength of the penalty is the one of three with the least log loss.

    Args:
        vectors: (K, D).
        labels: (K,) int64; each class has `FOLDS` rows or more.
        groups: (K,) equal for rows that must stay together.
    """
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict

    folds = list(
        StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0).split(vectors, labels, groups)
    )
    best, least = np.empty(0), np.inf
    for strength in STRENGTHS:
        found = cross_val_predict(
            classifier(strength), vectors, labels, cv=folds, method="predict_proba"
        )
        loss = log_loss(labels, found)
        if loss < least:
            best, least = found, loss
    return best


def suspected_labels(vectors: Vectors) -> list[Finding]:
    """Rows of a data set whose label is most likely wrong, the surest first."""
    counts = np.bincount(vectors.codes)
    kept = np.flatnonzero(counts[vectors.codes] >= 2 * FOLDS)
    names = np.flatnonzero(counts >= 2 * FOLDS)
    if len(names) < 2 or len(kept) < LEAST_ROWS:
        return []
    labels = np.searchsorted(names, vectors.codes[kept])
    probabilities = out_of_sample(vectors.values[kept], labels, vectors.prints[kept])
    right = float((probabilities.argmax(1) == labels).mean())
    subject = vectors.subject
    judge = (
        f"a logistic regression on frozen vectors, right about {percent(right)} of "
        f"{counted(len(kept), 'row')} that it had not seen"
    )
    if right < counts.max() / counts.sum() + BETTER:
        return [Finding(
            kind="labels not judged",
            message=f"{subject.name}: whether labels are wrong cannot be told by {judge}.",
            count=0, data=subject.key,
            remedy="Look at some rows by hand, or let a backbone judge that fits the texts better "
            "(--backbone).",
        )]  # fmt: skip
    said = confident(probabilities, labels)
    if not len(said.suspects):
        return []
    places = vectors.places[kept[said.suspects]]
    classes = subject.rows.classes
    given = vectors.codes[kept[said.suspects]].tolist()
    details = tuple(
        f"{classes[old]!r}, looks {classes[int(names[new])]!r} ({chance:.2f}): "
        f"{subject.quote(place)}"
        for old, new, chance, place in zip(
            given, said.classes.tolist(), said.chances.tolist(), places.tolist(), strict=True
        )
    )
    share = "Many of these are its own mistakes."
    if right >= TRUSTED:
        share = (
            f"It puts the share of wrong labels at {percent(max(0.0, said.noise))}, its own "
            "mistakes among them."
        )
    sure = int((said.chances >= SURE).sum())
    return [subject.finding(
        "suspected labels",
        f"{share_of(len(places), len(kept))} labels are in doubt: {judge}, is confident of another "
        f"class, {SURE:.0%} or more so for {sure:,}. {share}",
        places, severity="warning" if sure >= WARNED * len(kept) else "note", details=details,
        remedy="Look at them, the surest first, and mend or leave out what is wrong.",
    )]  # fmt: skip
