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
