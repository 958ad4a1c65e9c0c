"""Which rows to label next: those the model is unsure of, spread over what there is.

The least sure rows alone are a poor choice for few labels: they are alike, and often odd. So all
rows are clustered by what the head reads of them, each weighing as much as the model is unsure of
it (k-means with weights: Zhdanov 2019, "Diverse mini-batch Active Learning", arXiv 1901.05954),
into as many clusters as there will be labels. Clusters that hold a labelled row are done; of the
others those that hold the most doubt are taken, and of each the row that is both unsure and near
the middle, so typical (TypiClust: Hacohen, Dekel and Weinshall 2022, "Active Learning on a Budget:
Opposite Strategies Suit High and Low Budgets"). docs/statistics.md says what that gains over
chance, and where it does not.

Shapes: N rows to choose from, M labelled rows, C classes, D width, K clusters.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.data.batches import RaggedStore
from headstart.data.examples import Examples
from headstart.data.findings import counted, fingerprints
from headstart.errors import DataError
from headstart.models.network import Network
from headstart.training.inference import all_logits, best_device
from headstart.training.model import Trained
from headstart.training.progress import Progress, Silent

Floats = NDArray[np.floating[Any]]

MOST_CLUSTERS = 500
"""As in TypiClust, which found no more to be of use."""

MANY_ROWS = 20_000
"""With more, k-means reads them in batches."""

BATCH = 4096


@dataclass(frozen=True)
class NextLabel:
    """A row that is worth a label, and why.

    Attributes:
        row: its number, as its table counts.
        text: what is to be labelled.
        guess: the class that the model would answer.
        probability: how likely it takes it to be, in [0, 1].
        other: the second likeliest class.
        uncertainty: 1 minus the difference of their probabilities, in [0, 1].
        cluster: number of its cluster, from 1 for the one that holds the most doubt.
        stands_for: rows to choose from in that cluster, itself included.
    """

    row: int
    text: str
    guess: str
    probability: float
    other: str
    uncertainty: float
    cluster: int
    stands_for: int

    @property
    def why(self) -> str:
        """The reason in a few words."""
        doubt = f"{self.guess} {self.probability:.0%}, or {self.other}?"
        alike = self.stands_for - 1
        return f"{doubt} {counted(alike, 'row')} like it" if alike else f"{doubt} none like it"


@dataclass(frozen=True)
class Choice:
    """Rows chosen, the first being worth most.

    Attributes:
        places: (K,) of the rows among the N.
        clusters: (K,) number of each one's cluster, from 0 for the one that holds the most doubt.
        sizes: (K,) rows in that cluster.
    """

    places: NDArray[np.int64]
    clusters: NDArray[np.int64]
    sizes: NDArray[np.int64]


def uncertainty(probabilities: Floats) -> NDArray[np.float64]:
    """(N,) 1 minus the margin between the two likeliest classes of (N, C) probabilities."""
    two = np.sort(np.asarray(probabilities, dtype=np.float64), axis=1)[:, -2:]
    return np.asarray(1 - (two[:, 1] - two[:, 0]))


def choose(
    vectors: Floats,
    probabilities: Floats,
    count: int,
    *,
    labelled: Floats | None = None,
    seed: int = 0,
) -> Choice:
    """Choose the rows to label next; the same seed chooses the same rows.

    Args:
        vectors: (N, D) of the rows; only their directions count.
        probabilities: (N, C) of a model's answers.
        count: rows to choose, N at most.
        labelled: (M, D) of rows that have labels.
        seed: of k-means.

    Raises:
        ValueError: there are fewer rows than are to be chosen, or the shapes do not fit.
    """
    if len(vectors) != len(probabilities) or not 0 < count <= len(vectors):
        raise ValueError(
            f"vectors must be (N, D), probabilities (N, C) and count between 1 and N; got "
            f"{vectors.shape}, {probabilities.shape} and {count}."
        )
    doubt = uncertainty(probabilities)
    done = np.empty((0, vectors.shape[1])) if labelled is None else labelled
    points = _directions(np.concatenate([vectors, done]))
    weights = np.concatenate([doubt, np.full(len(done), doubt.mean())]) + 1e-6
    num_clusters = max(count, min(count + len(done), MOST_CLUSTERS, len(points)))
    cluster, middles = _clusters(points, weights, num_clusters, seed)
    mine, covered = cluster[: len(vectors)], np.zeros(num_clusters, dtype=bool)
    covered[cluster[len(vectors) :]] = True
    apart = ((points[: len(vectors)] - middles[mine]) ** 2).sum(1)
    worth = doubt * np.exp(-apart / max(float(apart.mean()), 1e-12))
    held = np.bincount(mine, doubt, minlength=num_clusters)
    by_doubt = np.lexsort((-held, covered))
    rank = np.empty(num_clusters, dtype=np.int64)
    rank[by_doubt] = np.arange(num_clusters)
    order = np.lexsort((-worth, rank[mine]))
    turn = np.empty(len(vectors), dtype=np.int64)  # the place of a row within its cluster
    starts = np.flatnonzero(np.diff(rank[mine][order], prepend=-1))
    turn[order] = np.arange(len(order)) - np.repeat(starts, np.diff([*starts, len(order)]))
    # The best row of each open cluster, then of each covered one, then the second best of each.
    best = np.lexsort((rank[mine], turn))[:count]
    sizes = np.bincount(mine, minlength=num_clusters)
    return Choice(best, rank[mine][best], sizes[mine][best])


def _directions(points: Floats) -> NDArray[np.float32]:
    lengths = np.linalg.norm(points, axis=1, keepdims=True)
    return np.asarray(points / np.maximum(lengths, 1e-12), dtype=np.float32)


def _clusters(
    points: NDArray[np.float32], weights: NDArray[np.float64], num_clusters: int, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The cluster (N + M,) of each point, and the middle (K, D) of each cluster."""
    from sklearn.cluster import KMeans, MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    if len(points) > MANY_ROWS:
        method = MiniBatchKMeans(num_clusters, batch_size=BATCH, n_init=1, random_state=seed)
    else:
        method = KMeans(num_clusters, n_init=1, random_state=seed)
    with warnings.catch_warnings():
        # Fewer different points than clusters: some clusters stay empty, which does no harm.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = method.fit(points, sample_weight=weights)
    return found.labels_.astype(np.int64), found.cluster_centers_


class _Read(nn.Module):
    """What the head of a network reads, in the place of what it gives."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, tokens: Any, segments: Tensor | None = None) -> Tensor:
        """Map tokens to pooled vectors (B, D)."""
        return self.network.prefix(tokens, segments, self.network.depth).values


def read(model: Trained, rows: Examples, progress: Progress) -> tuple[Floats, Floats]:
    """Vectors (N, D) that the head reads of N texts, and probabilities (N, C)."""
    device = best_device()
    encoded = model.encode(rows.texts)
    store = RaggedStore(encoded.values, encoded.offsets, encoded.segments)
    forward = _Read(model.network).to(device).eval()
    vectors = all_logits(forward, store, device, progress, f"read {rows.name}")
    with torch.inference_mode():
        head = model.network.head
        logits = torch.cat(
            [head(part.to(device)).float().cpu() for part in torch.split(vectors, BATCH)]
        )
        probabilities = model.probabilities(logits)
    return vectors.numpy(), probabilities.numpy()


def next_labels(
    model: Trained,
    rows: Examples,
    count: int,
    *,
    labelled: Examples | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> list[NextLabel]:
    """Which rows to label next.

    Args:
        model: what answers so far.
        rows: N texts to choose from.
        count: how many.
        labelled: rows that have labels: none of their texts is chosen, nor what is much like them.
        seed: of k-means.
        progress: shows a bar, and says what is left out.

    Raises:
        DataError: fewer rows are left to choose from than are asked for.
    """
    progress = progress or Silent()
    fresh = _fresh(rows, labelled, progress)
    if count > len(fresh):
        raise DataError(
            f"--count: asks for {counted(count, 'row')}; {rows.name} has {len(fresh):,} different "
            "ones that are not labelled yet. Ask for that many or fewer."
        )
    vectors, probabilities = read(model, fresh, progress)
    done = read(model, labelled, progress)[0] if labelled is not None else None
    chosen = choose(vectors, probabilities, count, labelled=done, seed=seed)
    doubt, names = uncertainty(probabilities), model.task.labels
    found = []
    for place, cluster, size in zip(chosen.places, chosen.clusters, chosen.sizes, strict=True):
        second, first = np.argsort(probabilities[place], kind="stable")[-2:]
        found.append(NextLabel(
            row=int(fresh.rows[place]),
            text=fresh.texts[int(place)],
            guess=names[first],
            probability=float(probabilities[place, first]),
            other=names[second],
            uncertainty=float(doubt[place]),
            cluster=int(cluster) + 1,
            stands_for=int(size),
        ))  # fmt: skip
    return found


def _fresh(rows: Examples, labelled: Examples | None, progress: Progress) -> Examples:
    """The rows whose text is not labelled, the first of each text."""
    prints = fingerprints(rows.texts)
    first = np.zeros(len(rows), dtype=bool)
    first[np.unique(prints, return_index=True)[1]] = True
    if not first.all():
        again = int((~first).sum())
        progress.say(f"{rows.name}: {counted(again, 'row')} left out, having the text of another.")
    known = np.zeros(len(rows), dtype=bool)
    if labelled is not None:
        known = np.isin(prints, fingerprints(labelled.texts))
        num_known = int((first & known).sum())
        if num_known:
            progress.say(f"{rows.name}: {counted(num_known, 'row')} left out, labelled already.")
    return rows.take(np.flatnonzero(first & ~known))
