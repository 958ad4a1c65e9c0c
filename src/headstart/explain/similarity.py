"""How alike two models' layers are, and what can be read off each layer.

Shapes: N texts, D and E widths of two layers, L layers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.evaluation.intervals import Interval, interval

FOLDS = 5
LEAST_TEXTS = 8
"""Texts below which a similarity says nothing; 4 is where its formula begins."""


def cka(first: np.ndarray, second: np.ndarray) -> float | None:
    """Centred kernel alignment of two sets of vectors of the same texts, linear and unbiased.

    1 where one is the other turned, mirrored and scaled; 0 on average where they have nothing in
    common, so that it may fall below 0 (Kornblith et al. 2019, https://arxiv.org/abs/1905.00414,
    section 3, with the unbiased estimate of HSIC of Song et al. 2012, equation 5, without which few
    texts in many dimensions look alike whatever they are).

    Args:
        first: (N, D), N at least 4.
        second: (N, E).

    Returns:
        None where one of them does not tell the texts apart.

    Raises:
        ValueError: fewer than 4 texts, or not as many in both.
    """
    if len(first) != len(second) or len(first) < 4:
        raise ValueError(f"need 4 or more texts, as many in both; got {len(first)}, {len(second)}.")
    kernels = [_kernel(vectors) for vectors in (first, second)]
    own = [hsic(kernel, kernel) for kernel in kernels]
    if min(own) <= 0:
        return None
    return hsic(*kernels) / float(np.sqrt(own[0] * own[1]))


def hsic(first: np.ndarray, second: np.ndarray) -> float:
    """Unbiased Hilbert-Schmidt independence criterion of two kernels (Song et al. 2012, eq. 5).

    Args:
        first: (N, N), its diagonal zero.
        second: likewise.
    """
    count = len(first)
    both = float((first * second).sum())
    sums = first.sum(0), second.sum(0)
    apart = float(sums[0].sum() * sums[1].sum()) / ((count - 1) * (count - 2))
    crossed = 2 / (count - 2) * float(sums[0] @ sums[1])
    return (both + apart - crossed) / (count * (count - 3))


def _kernel(vectors: np.ndarray) -> np.ndarray:
    """Products of all pairs, the diagonal zero; centred first, which changes no estimate."""
    centred = vectors.astype(np.float64) - vectors.mean(0, dtype=np.float64)
    kernel = centred @ centred.T
    np.fill_diagonal(kernel, 0)
    return kernel


def layer_cka(first: np.ndarray, second: np.ndarray) -> list[float | None]:
    """`cka` of each layer of one model, (N, L, D), with the same of another, (N, L, E)."""
    return [cka(first[:, layer], second[:, layer]) for layer in range(first.shape[1])]


def probe(vectors: np.ndarray, labels: Sequence[str]) -> Interval:
    """How often a logistic regression on vectors is right about texts that it was not fitted on.

    Stratified folds, five or as many as the rarest class has texts; each vector's elements are
    scaled to variance 1 on the fold's training texts.

    Args:
        vectors: (N, D).
        labels: N classes, each with two texts or more.

    Returns:
        Accuracy with its 95 % interval.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    names, truth = np.unique(labels, return_inverse=True)
    rarest = int(np.bincount(truth, minlength=len(names)).min())
    assert rarest > 1, "a class with a single text cannot be in a fold and out of it"
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000))
    folds = StratifiedKFold(min(FOLDS, rarest), shuffle=True, random_state=0)
    return interval("accuracy", cross_val_predict(model, vectors, truth, cv=folds), truth)
