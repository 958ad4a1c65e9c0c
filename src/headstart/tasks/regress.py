"""One number for each text.

Shapes: N rows, B rows of a batch, D width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.data.batches import Batch
from headstart.data.numbers import numbers
from headstart.tasks.classify import fresh_head


@dataclass(frozen=True)
class Regress:
    """A number for each text, learned as (number - mean) / deviation, so that its loss is of the
    size of other tasks' whatever its unit.

    Attributes:
        mean: of the numbers trained on.
        deviation: their standard deviation, above 0.
    """

    mean: float
    deviation: float

    @classmethod
    def of(cls, labels: Sequence[str]) -> Regress:
        """The task of labels that are numbers, not all the same."""
        found = numbers(labels)
        assert np.isfinite(found).all(), "labels were checked where they were read"
        return cls(float(found.mean()), float(found.std()))

    def head(self, width: int, bias: bool = True) -> nn.Linear:
        """A fresh head that maps pooled texts (B, D) to standardised numbers (B, 1)."""
        return fresh_head(width, 1, bias)

    def prepare(self, batch: Batch, random: np.random.Generator) -> Batch:
        """The batch as it is: labels are all that is asked for."""
        return batch

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean squared error of the standardised numbers: 1 for whoever always says the mean."""
        assert batch.target is not None
        found = network(batch.inputs, batch.segments)
        return F.mse_loss(found.float().squeeze(-1), batch.target.float())

    def metrics(self, logits: Tensor, target: np.ndarray) -> dict[str, float]:
        """Scores of (N, 1) standardised numbers against (N,); the first one chooses the best epoch.

        `explained` is the share of the variance that is explained, 1 - error / variance; where all
        numbers found are alike, a correlation is 0. `rmse` has the unit of the labels.
        """
        found = self.numbers(logits)
        return scores(found, target * self.deviation + self.mean)

    def numbers(self, logits: Tensor) -> np.ndarray:
        """(N,) numbers in the labels' unit, of (N, 1) standardised ones."""
        standardised = logits.double().squeeze(-1).numpy()
        return np.asarray(standardised * self.deviation + self.mean, dtype=np.float64)

    def decode(self, logits: Tensor) -> list[str]:
        """The number of each row, to four digits."""
        return [f"{value:.4g}" for value in self.numbers(logits).tolist()]

    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """(N,) float32 standardised number of each label."""
        return np.asarray((numbers(labels) - self.mean) / self.deviation, dtype=np.float32)


def scores(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Pearson's and Spearman's correlation, root mean squared error and share explained.

    Args:
        found: (N,) numbers that were predicted.
        truth: (N,) true ones.
    """
    from scipy.stats import pearsonr, spearmanr  # a second that predicting spares

    varied = len(found) > 1 and bool(np.ptp(found) > 0) and bool(np.ptp(truth) > 0)
    error, variance = float(((found - truth) ** 2).mean()), float(truth.var())
    return {
        "pearson": float(pearsonr(found, truth).statistic) if varied else 0.0,
        "spearman": float(spearmanr(found, truth).statistic) if varied else 0.0,
        "explained": 1 - error / variance if variance > 0 else 0.0,
        "rmse": error**0.5,
    }
