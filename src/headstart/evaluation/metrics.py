"""Figures for one model on test rows, from scikit-learn and torchmetrics.

Shapes: N test rows, C classes. Classes are int, as places in the list of class names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.integer[Any]]


def accuracy(predicted: Classes, truth: Classes) -> float:
    """Share of the (N,) rows whose predicted class is the true one."""
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(truth, predicted))


def macro_f1(predicted: Classes, truth: Classes) -> float:
    """F1, the mean over classes that occur among the (N,) true or predicted ones."""
    from sklearn.metrics import f1_score

    return float(f1_score(truth, predicted, average="macro", zero_division=0))


def balanced_accuracy(predicted: Classes, truth: Classes) -> float:
    """The mean, over the classes that are true of some of the (N,) rows, of the share found."""
    from sklearn.metrics import recall_score

    present = np.unique(truth)
    return float(recall_score(truth, predicted, labels=present, average="macro", zero_division=0))


def confusion(predicted: Classes, truth: Classes, num_classes: int) -> NDArray[np.int64]:
    """Count (C, C) rows: the true class down, the predicted class across."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(truth, predicted, labels=np.arange(num_classes))
    return np.asarray(counts, dtype=np.int64)


def class_table(
    predicted: Classes, truth: Classes, classes: Sequence[str]
) -> list[dict[str, str | float | int]]:
    """List name, precision, recall, f1 and support (rows that are truly of it) of each class.

    A class never predicted has precision 0, one without rows has recall 0.
    """
    from sklearn.metrics import precision_recall_fscore_support

    columns = precision_recall_fscore_support(
        truth, predicted, labels=np.arange(len(classes)), zero_division=0
    )
    return [
        {
            "name": name,
            "precision": float(precision),
            "recall": float(recall),
            "f1": float(f1),
            "support": int(support),
        }
        for name, precision, recall, f1, support in zip(classes, *columns, strict=True)
    ]


def negative_log_likelihood(probabilities: NDArray[np.floating[Any]], truth: Classes) -> float:
    """Mean of -log p(true class) over rows, in nats, from (N, C) probabilities.

    A probability of 0 counts as the smallest step of its dtype, so that one row does not make
    the mean infinite.
    """
    from sklearn.metrics import log_loss

    return float(log_loss(truth, probabilities, labels=np.arange(probabilities.shape[1])))


def brier_score(probabilities: NDArray[np.floating[Any]], truth: Classes) -> float:
    """Mean over rows of the squared distance of (N, C) probabilities to the true class, in [0, 2].

    The sum over all classes, as Brier 1950 (Monthly Weather Review 78, 1) defined it; for two
    classes this is twice scikit-learn's figure.
    """
    return float(squared_errors(probabilities, truth).mean())


def squared_errors(probabilities: NDArray[np.floating[Any]], truth: Classes) -> NDArray[np.float64]:
    """(N,) squared distance in [0, 2] of each row's (C,) probabilities to its true class."""
    true = np.eye(probabilities.shape[1])[truth]
    return np.asarray(((probabilities - true) ** 2).sum(1), dtype=np.float64)


def log_losses(probabilities: NDArray[np.floating[Any]], truth: Classes) -> NDArray[np.float64]:
    """(N,) -log p(true class) of each row, in nats; 0 counts as the smallest step of the dtype."""
    step = np.finfo(probabilities.dtype).eps
    chosen = probabilities[np.arange(len(truth)), truth]
    return np.asarray(-np.log(np.clip(chosen, step, 1.0)), dtype=np.float64)


def calibration_error(
    probabilities: NDArray[np.floating[Any]], truth: Classes, *, num_bins: int = 15
) -> float:
    """Expected calibration error in [0, 1]: how far confidence is from being right.

    Rows are put into bins of equal width by the (N, C) probability of their predicted class; the
    error is the mean over rows of |share right - mean confidence| of their bin (Naeini, Cooper
    and Hauskrecht 2015; 15 bins as in Guo, Pleiss, Sun and Weinberger 2017, "On Calibration of
    Modern Neural Networks", section 2).
    """
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    error = multiclass_calibration_error(
        torch.as_tensor(np.asarray(probabilities, dtype=np.float64)),
        torch.as_tensor(np.asarray(truth, dtype=np.int64)),
        num_classes=probabilities.shape[1],
        n_bins=num_bins,
        norm="l1",
    )
    return float(error)
