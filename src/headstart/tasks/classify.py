"""One label for each text.

Shapes: B rows, D width, C classes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.data.batches import Batch
from headstart.data.labels import Labels
from headstart.errors import RecipeError, unknown_name

INITIAL_STD = 0.02
"""Standard deviation of a fresh head, that of BERT (Devlin et al. 2019, its initializer_range)."""


@dataclass(frozen=True)
class Classify:
    """Single-label classification.

    Attributes:
        labels: the C class names, in the order of the logits.
        weights: weight of each class in the loss; None weighs all alike.
        label_smoothing: probability mass spread over all classes.
    """

    labels: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    label_smoothing: float = 0.0

    def head(self, width: int, bias: bool = True) -> nn.Linear:
        """A fresh head that maps pooled texts (B, D) to logits (B, C)."""
        return fresh_head(width, len(self.labels), bias)

    def prepare(self, batch: Batch, random: np.random.Generator) -> Batch:
        """The batch as it is: labels are all that is asked for."""
        return batch

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy over the batch, a scalar in nats."""
        return self.loss_of(network(batch.inputs, batch.segments), batch.target)

    def loss_of(self, logits: Tensor, target: Tensor | None) -> Tensor:
        """Mean cross-entropy of logits (B, C) with classes (B,), a scalar in nats."""
        assert target is not None
        weight = None if self.weights is None else logits.new_tensor(self.weights)
        return F.cross_entropy(logits.float(), target, weight, label_smoothing=self.label_smoothing)

    def metrics(self, logits: Tensor, target: np.ndarray) -> dict[str, float]:
        """Scores of (N, C) logits against (N,) classes; the first one chooses the best epoch."""
        from sklearn.metrics import accuracy_score, f1_score  # a second that predicting spares

        best = logits.argmax(-1).numpy()
        loss = float(F.cross_entropy(logits.float(), torch.from_numpy(target).long()))
        macro = f1_score(target, best, labels=range(len(self.labels)), average="macro",
                         zero_division=0.0)  # fmt: skip
        return {
            "accuracy": float(accuracy_score(target, best)),
            "macro_f1": float(macro),
            "loss": loss,
        }

    def decode(self, logits: Tensor) -> list[str]:
        """The best label of each row, in the data set's words."""
        return [self.labels[i] for i in logits.argmax(-1).tolist()]

    def encode(self, labels: Sequence[str]) -> np.ndarray:
        """(N,) int64 class of each label.

        Raises:
            KeyError: a label is not among the task's.
        """
        index = {label: i for i, label in enumerate(self.labels)}
        coded = Labels.of(labels)
        return np.array([index[name] for name in coded.names], dtype=np.int64)[coded.codes]


def fresh_head(width: int, outputs: int, bias: bool = True) -> nn.Linear:
    """A head drawn from torch's random state, as BERT draws it, its bias zero."""
    head = nn.Linear(width, outputs, bias)
    nn.init.normal_(head.weight, std=INITIAL_STD)
    if bias:
        nn.init.zeros_(head.bias)
    return head


def class_weights(
    choice: str | Mapping[str, float] | None, labels: Sequence[str], classes: Sequence[str]
) -> tuple[float, ...] | None:
    """Weights for the classes of a task, from a recipe's `class_weights`.

    Args:
        choice: "balanced", weights by label, or None.
        labels: the label of each training row.
        classes: the class names, in order.

    Raises:
        RecipeError: a weight is missing, or given for a class that is not there.
    """
    if choice is None:
        return None
    if isinstance(choice, str):
        counts = Counter(labels)
        return tuple(len(labels) / (len(classes) * max(counts[c], 1)) for c in classes)
    place = "task.class_weights"
    faults = [unknown_name(place, "class", name, classes) for name in choice if name not in classes]
    faults += [f"{place}: class {c!r} has no weight. Give one." for c in classes if c not in choice]
    if faults:
        raise RecipeError(faults)
    return tuple(float(choice[c]) for c in classes)
