"""How the gradients of several tasks become one.

Shapes: K tasks of an update, P shared parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

Vectors = Sequence[Tensor]
"""K gradients (P,), float32."""


def softmax(values: Sequence[float]) -> np.ndarray:
    """(K,) weights above 0 that sum to 1."""
    powers = np.exp(np.asarray(values, dtype=np.float64) - max(values))
    return np.asarray(powers / powers.sum())


class History:
    """Losses of each task, epoch by epoch; plain values, so that a stopped stage can go on.

    Args:
        epoch_steps: updates in an epoch.
    """

    def __init__(self, epoch_steps: int) -> None:
        self.epoch_steps = epoch_steps
        self.steps = 0
        self.sums: dict[str, tuple[float, int]] = {}
        self.epochs: list[dict[str, float]] = []

    def add(self, losses: Mapping[str, float]) -> None:
        """Remember the losses of an update."""
        for name, loss in losses.items():
            total, count = self.sums.get(name, (0.0, 0))
            self.sums[name] = (total + loss, count + 1)
        self.steps += 1
        if self.steps % self.epoch_steps == 0:
            means = {name: total / count for name, (total, count) in self.sums.items()}
            self.epochs, self.sums = [*self.epochs[-1:], means], {}

    def state_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"steps": self.steps, "sums": self.sums, "epochs": self.epochs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
        self.steps, self.epochs = state["steps"], list(state["epochs"])
        self.sums = {name: (total, count) for name, (total, count) in state["sums"].items()}


class Balance(Protocol):
    """Weights for the losses of several tasks, or another way for their shared gradients."""

    needs_gradients: bool
    """Whether each task's gradient is wanted by itself: K times the memory of the gradients."""

    def weights(self, losses: Mapping[str, float], history: History) -> dict[str, float]:
        """What each task's loss is multiplied by.

        Args:
            losses: of this update, by task; all 0 where gradients are not needed, as they are not
                known yet.
            history: of the updates before.
        """
        ...

    def combine(self, gradients: Vectors, random: np.random.Generator) -> tuple[Tensor, np.ndarray]:
        """One shared gradient (P,) of K, and (K,) what each task's own head is multiplied by."""
        ...


class Sum:
    """The plain sum: it holds its own against all the others once its weights and the learning rate
    are chosen with the same care (Kurin et al. 2022, arXiv 2201.04122; Xin et al. 2022).
    """

    needs_gradients = False

    def weights(self, losses: Mapping[str, float], history: History) -> dict[str, float]:
        """1 for each."""
        return dict.fromkeys(losses, 1.0)

    def combine(self, gradients: Vectors, random: np.random.Generator) -> tuple[Tensor, np.ndarray]:
        """Their sum."""
        return torch.stack(list(gradients)).sum(0), np.ones(len(gradients))


class Uncertainty(Sum):
    """Weights softmax(1 / loss / temperature): what minimises the loss of homoscedastic uncertainty
    (Kendall et al. 2018) in closed form, made to sum to 1 (UW-SO: Kirchdorfer et al. 2024,
    arXiv 2408.07985, equation 6).

    Args:
        temperature: above 0; larger ones are nearer to equal weights.
    """

    needs_gradients = True

    def __init__(self, temperature: float = 1.0) -> None:
        self.temperature = temperature

    def weights(self, losses: Mapping[str, float], history: History) -> dict[str, float]:
        """Of the losses of this update."""
        inverse = [1 / max(loss, 1e-8) / self.temperature for loss in losses.values()]
        return dict(zip(losses, softmax(inverse).tolist(), strict=True))


class LossRate(Sum):
    """Dynamic weight averaging: K softmax(r / temperature), where r is a task's mean loss of the
    epoch before over that of the epoch before it, so that what falls slowly weighs more (Liu et al.
    2019, equation 7); 1 in the first two epochs.

    Args:
        temperature: above 0; the authors' is 2.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        self.temperature = temperature

    def weights(self, losses: Mapping[str, float], history: History) -> dict[str, float]:
        """Of the epochs before."""
        if len(history.epochs) < 2:
            return dict.fromkeys(losses, 1.0)
        old, new = history.epochs[-2:]
        rates = [
            new[name] / max(old[name], 1e-8) if name in old and name in new else 1.0
            for name in losses
        ]
        found = len(rates) * softmax([rate / self.temperature for rate in rates])
        return dict(zip(losses, found.tolist(), strict=True))


class Projected(Sum):
    """Projecting conflicting gradients (PCGrad: Yu et al. 2020, algorithm 1)."""

    needs_gradients = True

    def combine(self, gradients: Vectors, random: np.random.Generator) -> tuple[Tensor, np.ndarray]:
        """The sum of gradients, each without its parts against the others, in random order."""
        projected = [gradient.clone() for gradient in gradients]
        for mine, vector in enumerate(projected):
            for other in random.permutation(len(gradients)).tolist():
                against = gradients[other]
                product = float(vector @ against)
                if other != mine and product < 0:
                    vector -= product / float(against @ against) * against
        return torch.stack(projected).sum(0), np.ones(len(gradients))


class Nash(Sum):
    """The Nash bargaining solution of the tasks (Nash-MTL: Navon et al. 2022): the direction
    G alpha, alpha > 0, where G^T G alpha = 1 / alpha.
    """

    needs_gradients = True

    def combine(self, gradients: Vectors, random: np.random.Generator) -> tuple[Tensor, np.ndarray]:
        """The gradients, weighted so that each gains alike; scaled by their mean squared norm, so
        that gradients at right angles and of one length give the plain sum."""
        stacked = torch.stack(list(gradients))
        products = (stacked @ stacked.T).double().cpu().numpy()
        scale = float(np.trace(products)) / len(products)
        if scale == 0.0:
            return stacked.sum(0), np.ones(len(products))
        found = bargain(products / scale)
        return torch.from_numpy(found).to(stacked) @ stacked, found


RIDGE = 1e-6
"""Added to products of gradients: where they cancel out there is no bargain, and this bounds it."""


def bargain(products: np.ndarray, tolerance: float = 1e-10, most: int = 200) -> np.ndarray:
    """Solve products @ alpha = 1 / alpha for alpha > 0.

    It is where alpha^T products alpha / 2 - sum(log alpha) is least, which is strictly convex, so
    that Newton's method with a damped step finds it (the authors approximate it by a sequence of
    linearised problems).

    Args:
        products: (K, K), symmetric with no negative eigenvalue: G^T G.
        tolerance: largest Newton decrement squared that is left.
        most: steps.

    Returns:
        (K,) float64.
    """
    matrix = products + RIDGE * np.eye(len(products))
    alpha = 1 / np.sqrt(np.diag(matrix))
    for _ in range(most):
        slope = matrix @ alpha - 1 / alpha
        step = np.linalg.solve(matrix + np.diag(alpha**-2.0), slope)
        decrement = float(slope @ step)
        # The objective is self-concordant: this step stays above 0 and always descends.
        alpha = alpha - step / (1 + math.sqrt(max(decrement, 0.0)))
        if decrement < tolerance:
            break
    return alpha


def conflicts(gradients: Vectors) -> float:
    """Share of the pairs of tasks whose gradients point against each other."""
    stacked = torch.stack(list(gradients))
    products = (stacked @ stacked.T).cpu().numpy()
    pairs = np.triu_indices(len(products), 1)
    return float((products[pairs] < 0).mean()) if len(pairs[0]) else 0.0
