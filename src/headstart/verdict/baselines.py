"""What scikit-learn makes of the same rows: the honest baselines that everybody should see.

Both are logistic regressions, of the frozen backbone's pooled vectors and of TF-IDF weights. How
strongly they are pulled to zero (C) is chosen by cross-validation inside the rows they are fitted
to, by log loss.

Shapes: N rows, D width, V terms, C classes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.draw import draw
from headstart.data.labels import Labels

STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
"""Values of C that are tried for vectors, whose features have a standard deviation of 1."""

TERM_STRENGTHS = (0.1, 1.0, 10.0, 100.0)
"""Values of C that are tried for TF-IDF weights, whose rows have length 1."""

SEARCH_ROWS = 5000
"""Most rows that C is chosen by."""

MOST_TERMS = 100_000
"""The most frequent terms are kept."""

SEARCH_FOLDS = 5

LONGEST_WORD = 25
"""Texts with fewer than one blank in so many characters are of a script that sets none."""

WORD = re.compile(r"(?u)\b\w+\b")
CHARACTERS: dict[str, Any] = {"ngram_range": (1, 3), "analyzer": "char"}

Vectors = NDArray[np.float32]


@dataclass(frozen=True)
class Linear:
    """Weights (C, D) and bias (C,) that give logits from features (N, D)."""

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]

    def logits(self, features: Vectors) -> NDArray[np.float64]:
        """(N, C) of features (N, D)."""
        return np.asarray(features, dtype=np.float64) @ self.weight.T + self.bias


def fit_linear(vectors: Vectors, labels: Sequence[str], *, bias: bool = True) -> Linear:
    """A logistic regression of vectors (N, D), in terms of the vectors as they are.

    It is fitted to vectors of mean 0 and standard deviation 1, and mean and deviation are then
    worked into its weights. Its classes are the sorted labels.

    Args:
        bias: whether there is one; without, the mean stays where it is.
    """
    vectors = np.asarray(vectors, dtype=np.float64)
    spread = vectors.std(0)
    mean = vectors.mean(0) if bias else np.zeros_like(spread)
    spread[spread == 0] = 1.0
    fitted = _fit((vectors - mean) / spread, labels, STRENGTHS, bias)
    weight, bias_ = _coefficients(fitted)
    weight = weight / spread
    return Linear(weight, bias_ - weight @ mean)


class Terms:
    """TF-IDF weights of words and pairs of words with a logistic regression.

    In scripts that set no blanks between words, and where no text has a word, of runs of one to
    three characters.
    """

    def __init__(self, texts: Sequence[str], labels: Sequence[str]) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        words = _spaced(texts) and any(WORD.search(text) for text in texts)
        way = {"ngram_range": (1, 2), "token_pattern": WORD.pattern} if words else CHARACTERS
        self._vectorizer = TfidfVectorizer(
            sublinear_tf=True, max_features=MOST_TERMS, dtype=np.float32, **way
        )
        terms: Any = self._vectorizer.fit_transform(texts)
        self._weight, self._bias = _coefficients(_fit(terms, labels, TERM_STRENGTHS))

    def logits(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """(N, C) of N texts."""
        terms: Any = self._vectorizer.transform(texts)
        return np.asarray(terms @ self._weight.T) + self._bias


def _spaced(texts: Sequence[str]) -> bool:
    """Whether the texts set blanks between words."""
    some = [texts[place] for place in range(0, len(texts), max(1, len(texts) // 1000))]
    characters = sum(map(len, some))
    return sum(len(text.split()) for text in some) * LONGEST_WORD >= characters


def _fit(
    features: Any, labels: Sequence[str], strengths: Sequence[float], bias: bool = True
) -> Any:
    """A fitted logistic regression, its C chosen by cross-validated log loss."""
    codes = Labels.of(labels).codes
    strength = _strength(features, labels, strengths, bias)
    return _converged(_regression(strength, bias), features, codes)


def _regression(strength: float, bias: bool) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=strength, fit_intercept=bias, max_iter=2000)


def _converged(model: Any, features: Any, codes: np.ndarray) -> Any:
    """Fit; a regression that is still moving after 2,000 steps is taken as it is."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(features, codes)


def _strength(
    features: Any, labels: Sequence[str], strengths: Sequence[float], bias: bool
) -> float:
    """The C of the least log loss in cross-validation; 1 where a class is too rare for that."""
    from sklearn.metrics import log_loss
    from sklearn.model_selection import StratifiedKFold

    rows = draw(labels, min(SEARCH_ROWS, len(labels)), 0)[0]
    codes = Labels.of(labels).codes[rows]
    counts = np.bincount(codes)
    folds = min(SEARCH_FOLDS, int(counts[counts > 0].min()))
    if folds < 2:
        return 1.0
    features, losses = features[rows], np.zeros(len(strengths))
    splits = StratifiedKFold(folds, shuffle=True, random_state=0).split(rows, codes)
    for train, held in splits:
        for number, strength in enumerate(strengths):
            model = _converged(_regression(strength, bias), features[train], codes[train])
            found = model.predict_proba(features[held])
            losses[number] += log_loss(codes[held], found, labels=model.classes_)
    return strengths[int(losses.argmin())]


def _coefficients(model: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (C, D) and bias (C,); of two classes each gets half of the one that there is."""
    weight = np.asarray(model.coef_, dtype=np.float64)
    bias = np.asarray(model.intercept_, dtype=np.float64)
    bias = np.broadcast_to(bias, len(weight))
    if len(weight) == 1:
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def fit_from(start: Linear, vectors: Vectors, labels: Sequence[str]) -> Linear:
    """A logistic regression of vectors (N, D) that is pulled to another one rather than to zero.

    Its strength is chosen as `fit_linear` does; with strength 0 it stays where it begins.

    Args:
        start: of the sorted classes among the labels.
        vectors: (N, D).
        labels: N labels, of two classes at least.
    """
    codes = Labels.of(labels).codes.astype(np.int64)
    features = np.asarray(vectors, dtype=np.float64)
    spread = features.std(0)
    spread[spread == 0] = 1.0
    scaled, before = features / spread, start.logits(vectors)
    strength = _shift_strength(scaled, before, codes, labels)
    weight, bias = _shift(scaled, before, codes, strength)
    return Linear(start.weight + weight / spread, start.bias + bias)


def _shift_strength(
    features: NDArray[np.float64],
    before: NDArray[np.float64],
    codes: NDArray[np.int64],
    labels: Sequence[str],
) -> float:
    """The strength of the least log loss in cross-validation; 0 where a class is too rare."""
    from scipy.special import log_softmax
    from sklearn.model_selection import StratifiedKFold

    rows = draw(labels, min(SEARCH_ROWS, len(labels)), 0)[0]
    counts = np.bincount(codes[rows])
    folds = min(SEARCH_FOLDS, int(counts[counts > 0].min()))
    if folds < 2:
        return 0.0
    strengths, losses = (0.0, *STRENGTHS), np.zeros(1 + len(STRENGTHS))
    splits = StratifiedKFold(folds, shuffle=True, random_state=0).split(rows, codes[rows])
    for train, held in ((rows[a], rows[b]) for a, b in splits):
        for number, strength in enumerate(strengths):
            weight, bias = _shift(features[train], before[train], codes[train], strength)
            logits = before[held] + features[held] @ weight.T + bias
            losses[number] -= log_softmax(logits, 1)[np.arange(len(held)), codes[held]].sum()
    return strengths[int(losses.argmin())]


def _shift(
    features: NDArray[np.float64],
    before: NDArray[np.float64],
    codes: NDArray[np.int64],
    strength: float,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weights (C, D) and bias (C,) to add: least strength * loss + half the squared weights."""
    from scipy.optimize import minimize
    from scipy.special import log_softmax

    width, num_classes = features.shape[1], before.shape[1]
    if strength == 0:
        return np.zeros((num_classes, width)), np.zeros(num_classes)
    rows, true = np.arange(len(codes)), np.eye(num_classes)[codes]

    def goal(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        shift = flat.reshape(num_classes, width + 1)
        logs = log_softmax(before + features @ shift[:, :-1].T + shift[:, -1], 1)
        pull = strength * (np.exp(logs) - true)
        slope = np.concatenate([pull.T @ features + shift[:, :-1], pull.sum(0)[:, None]], 1)
        loss = -strength * logs[rows, codes].sum() + 0.5 * (shift[:, :-1] ** 2).sum()
        return float(loss), slope.ravel()

    found = minimize(goal, np.zeros(num_classes * (width + 1)), jac=True, method="L-BFGS-B",
                     options={"maxiter": 500})  # fmt: skip
    shift = found.x.reshape(num_classes, width + 1)
    return shift[:, :-1], shift[:, -1]
