"""Rows without labels: pseudo-labels, and answers that stay the same when tokens change.

Shapes: B rows, U unlabelled rows of the data, V words in the vocabulary, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.clock import part
from headstart.data.batches import Batch
from headstart.objectives.beside import Beside, mean_over
from headstart.tasks.classify import Classify


class BesideLabels(ABC):
    """The task's loss on rows with labels, plus a weight times a loss on rows without.

    Args:
        task: classifies.
        propagate: sends a scalar loss back.
        weight: of the loss on rows without labels.
    """

    def __init__(self, task: Classify, propagate: Callable[[Tensor], None], weight: float) -> None:
        self.task, self.propagate, self.weight = task, propagate, weight

    def backward(self, network: Any, batch: Beside) -> dict[str, float]:
        """Leave the gradients of both."""
        losses = []
        for one in batch.labelled:
            with part("forward"):
                loss = self.task.loss(network, one)
            with part("backward"):
                self.propagate(loss * one.weight)
            losses.append(float(loss.detach()))
        found = []
        for number, one in enumerate(batch.unlabelled):
            noised = batch.noised[number] if batch.noised else one
            with part("forward"):
                loss = self.loss(network, one, noised)
            with part("backward"):
                self.propagate(loss * (one.weight * self.weight))
            found.append(float(loss.detach()))
        unlabelled = mean_over(found, batch.unlabelled)
        return {"loss": mean_over(losses, batch.labelled), "unlabelled": unlabelled}

    @abstractmethod
    def loss(self, network: Any, batch: Batch, noised: Batch) -> Tensor:
        """A scalar in nats, the mean over rows without labels."""


class SelfTraining(BesideLabels):
    """Cross-entropy with what the model said of the unlabelled rows before the stage began.

    Pseudo-labels of all rows, not of the surest alone, as Vu et al. 2021 ("STraTA", section 3.2)
    found best: the surest teach what is known already.

    Args:
        task: as in `BesideLabels`.
        propagate: likewise.
        weight: likewise.
        targets: (U, C) probabilities.
    """

    def __init__(
        self,
        task: Classify,
        propagate: Callable[[Tensor], None],
        weight: float,
        targets: Tensor,
    ) -> None:
        super().__init__(task, propagate, weight)
        self.targets = targets

    def loss(self, network: Any, batch: Batch, noised: Batch) -> Tensor:
        """Mean cross-entropy with the targets."""
        logits = network(batch.inputs, batch.segments)
        targets = self.targets[batch.rows.to(self.targets.device)].to(logits.device)
        return F.cross_entropy(logits.float(), targets)


def pseudo_labels(logits: Tensor, threshold: float, soft: bool) -> tuple[Tensor, np.ndarray]:
    """What a model's logits (U, C) teach.

    Args:
        threshold: least probability of the best class.
        soft: whether a target is the probabilities, else the best class alone.

    Returns:
        (U, C) targets, and which rows reach the threshold, ascending.
    """
    probabilities = logits.float().softmax(-1)
    best = probabilities.max(-1)
    hard = F.one_hot(best.indices, logits.shape[1]).float()
    kept = torch.nonzero(best.values >= threshold)[:, 0].numpy()
    return (probabilities if soft else hard), kept


class Consistency(BesideLabels):
    """Noised rows are answered as the rows themselves (UDA: Xie et al. 2020, "Unsupervised Data
    Augmentation for Consistency Training").

    KL(p || q), p the answer to the row, sharpened by a temperature and not learned from, q that to
    the noised row; rows of whose answer the model is not sure enough count as zero (their section
    2.3). The noise is in tokens, see `TokenNoise`, where they translate there and back.

    Args:
        task: as in `BesideLabels`.
        propagate: likewise.
        weight: likewise.
        temperature: below 1 sharpens.
        threshold: least probability of the best class.
    """

    def __init__(
        self,
        task: Classify,
        propagate: Callable[[Tensor], None],
        weight: float,
        *,
        temperature: float,
        threshold: float,
    ) -> None:
        super().__init__(task, propagate, weight)
        self.temperature, self.threshold = temperature, threshold

    def loss(self, network: Any, batch: Batch, noised: Batch) -> Tensor:
        """The mean divergence, rows that do not count included."""
        with torch.no_grad():
            logits = network(batch.inputs, batch.segments).float()
        own = F.log_softmax(network(noised.inputs, noised.segments).float(), -1)
        return self.divergence(logits, own)

    def divergence(self, logits: Tensor, log_noised: Tensor) -> Tensor:
        """From the answers' logits (B, C) and the logarithms (B, C) of those under noise."""
        sure = logits.softmax(-1).max(-1).values >= self.threshold
        known = F.log_softmax(logits / self.temperature, -1)
        return ((known.exp() * (known - log_noised)).sum(-1) * sure).mean()


@dataclass(frozen=True)
class TokenNoise:
    """Some tokens become others, drawn as often as they occur in the unlabelled rows.

    Attributes:
        probability: of each token that is no special one.
        able: (V,) bool, which tokens are no special ones.
        words: (...,) the tokens that are drawn from, each as often as it occurs.
    """

    probability: float
    able: np.ndarray
    words: np.ndarray

    def __call__(self, batch: Batch, random: np.random.Generator) -> Batch:
        """A batch of tokens with noise."""
        tokens = batch.inputs.values.numpy().copy()
        places = np.flatnonzero(self.able[tokens] & (random.random(len(tokens)) < self.probability))
        tokens[places] = self.words[random.integers(0, len(self.words), len(places))]
        return replace(batch, inputs=batch.inputs.replace(torch.from_numpy(tokens)))
