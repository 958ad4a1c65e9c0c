"""What a frozen backbone makes of the rows of a data set, and what a plain classifier sees there.

Shapes: K rows drawn, D width, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.batches import derive_seed
from headstart.data.draw import draw
from headstart.data.labels import Labels
from headstart.data.text import Tokenizer
from headstart.doctor.subject import Subject
from headstart.models.checkpoint import Checkpoint
from headstart.training.embedding import POOLINGS, layer_vectors
from headstart.training.progress import Progress

STRENGTHS = (0.01, 0.1, 1.0)
"""Inverse strengths of the penalty that are tried, on vectors scaled to variance 1."""

MOST_STEPS = 1_000


@dataclass(frozen=True)
class Vectors:
    """Frozen vectors of some rows.

    Attributes:
        subject: the data set.
        places: (K,) int64 which of its rows, ascending.
        values: (K, D) float32, of the last layer.
    """

    subject: Subject
    places: np.ndarray
    values: np.ndarray

    @property
    def codes(self) -> np.ndarray:
        """(K,) int64 class of each row, among the sorted classes of the data set."""
        assert self.subject.rows.labels is not None
        return Labels.of(self.subject.rows.labels).codes[self.places].astype(np.int64)

    @property
    def prints(self) -> np.ndarray:
        """(K,) uint64: equal where texts are the same."""
        return self.subject.prints[self.places]


def frozen_vectors(
    subject: Subject,
    checkpoint: Checkpoint,
    tokenizer: Tokenizer,
    *,
    max_length: int,
    most_rows: int,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> Vectors:
    """The last layer's vectors of a data set, or of `most_rows` drawn from it, class by class.

    Raises:
        UserError: the cache cannot be written.
    """
    count = len(subject.rows)
    places = np.arange(count)
    if count > most_rows:
        seed = derive_seed("doctor", subject.key)
        labels = subject.rows.labels
        if labels is None or len(set(subject.rows.classes)) > most_rows:
            places = np.sort(np.random.default_rng(seed).choice(count, most_rows, replace=False))
        else:
            places = np.sort(draw(labels, most_rows, seed)[0])
    pooling = checkpoint.default_pooling
    layers = layer_vectors(
        checkpoint.backbone,
        tokenizer,
        subject.rows.take(places),
        max_length=max_length,
        pooling=pooling if pooling in POOLINGS else "mean",
        cache=cache,
        progress=progress,
    )
    return Vectors(subject, places, np.array(layers[:, -1], dtype=np.float32))


def classifier(strength: float) -> Any:
    """A logistic regression on scaled vectors, of scikit-learn."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=MOST_STEPS))
