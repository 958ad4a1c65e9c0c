"""Training texts that a model takes for nearly the same as a text.

Shapes: N texts, D width.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from headstart.data.batches import RaggedStore, plan_reading, take
from headstart.data.examples import Examples
from headstart.explain.subject import Subject
from headstart.explain.values import NeighbourValues
from headstart.training.inference import READ_TOKENS
from headstart.training.progress import Progress, Silent

SHOWN = 3


@torch.inference_mode()
def pooled(subject: Subject, texts: Sequence[str], progress: Progress | None = None) -> np.ndarray:
    """What a model's head reads of each text, (N, D) float32."""
    encoded = subject.trained.tokenizer.encode(texts, subject.max_length)
    store = RaggedStore(encoded.values, encoded.offsets)
    plan = plan_reading(store.lengths, READ_TOKENS)
    rows: dict[int, np.ndarray] = {}
    with (progress or Silent()).bar("training texts", len(plan)) as bar:
        for places in plan:
            batch = take(store, places).to(subject.device)
            x = subject.network.prefix(batch.inputs, batch.segments, subject.network.depth)
            rows |= dict(zip(places.tolist(), x.values.float().cpu().numpy(), strict=True))
            bar.advance(1, batch.num_tokens)
    return np.stack([rows[number] for number in range(len(texts))])


def nearest(
    subject: Subject,
    texts: Sequence[str],
    train: Examples,
    progress: Progress | None = None,
) -> list[list[NeighbourValues]]:
    """For each text the training texts whose pooled vectors point most in its direction.

    Args:
        subject: the model.
        texts: N texts.
        train: one training text or more.
        progress: shows a bar over the training texts.

    Returns:
        For each text up to `SHOWN` training texts, the nearest first: their rows, labels and cosine
        similarities.
    """
    known = _directions(pooled(subject, train.texts, progress))
    asked = _directions(pooled(subject, texts))
    found = []
    for similarity in asked @ known.T:
        best = np.argsort(-similarity, kind="stable")[:SHOWN]
        found.append([_neighbour(train, int(place), float(similarity[place])) for place in best])
    return found


def _neighbour(train: Examples, place: int, similarity: float) -> NeighbourValues:
    return {
        "row": int(train.rows[place]),
        "text": train.texts[place],
        "label": None if train.labels is None else train.labels[place],
        "similarity": round(similarity, 4),
    }


def _directions(vectors: np.ndarray) -> np.ndarray:
    """Vectors (N, D) scaled to length 1."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(length, np.finfo(vectors.dtype).tiny)
