"""How well a model tells the words of texts that it was not trained on.

Shapes: N rows, T tokens of a batch, V words in the vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.data.batches import RaggedStore, plan_reading, take
from headstart.evaluation.intervals import Interval

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from headstart.tasks.causal_lm import CausalLm
    from headstart.tasks.masked_lm import MaskedLm

READ_TOKENS = 4096
"""Tokens that go through the network at once."""

NORMAL = 1.959964
"""What 95 % of a normal distribution lie within, in standard deviations."""


@dataclass(frozen=True)
class Likelihoods:
    """What rows of tokens cost a model.

    Attributes:
        losses: (N,) float64 nats, of all tokens of a row that were asked for.
        counts: (N,) how many they are.
    """

    losses: np.ndarray
    counts: np.ndarray

    @property
    def mean(self) -> float:
        """Nats a token; 0 where nothing was asked for."""
        return float(self.losses.sum() / max(1, self.counts.sum()))

    @property
    def perplexity(self) -> float:
        """Its exponential: among how many words, all alike likely, the model is in doubt."""
        return math.exp(min(self.mean, 700.0))


def token_likelihoods(
    network: Any, task: CausalLm, store: RaggedStore, rows: np.ndarray, device: torch.device
) -> Likelihoods:
    """What each row costs a decoder: the loss of every token but its first.

    Args:
        network: maps tokens (T,) to logits (T, V); in eval mode, on the device.
        task: says which tokens are asked for.
        store: rows of tokens.
        rows: (N,) which of them.
        device: of the network.
    """
    import torch
    from torch.nn import functional as F

    losses, counts = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    nothing = np.random.default_rng(0)
    for places in plan_reading(store.lengths[rows], READ_TOKENS):
        batch = task.prepare(take(store, rows[places]), nothing)
        assert batch.places is not None
        owner = torch.repeat_interleave(torch.arange(len(places)), batch.inputs.lengths)
        owners = owner[batch.places].numpy()
        batch = batch.to(device)
        assert batch.target is not None
        with torch.inference_mode():
            logits = network(batch.inputs).values[batch.places].float()
            cost = F.cross_entropy(logits, batch.target, reduction="none").cpu().numpy()
        losses[places] = np.bincount(owners, cost, minlength=len(places))
        counts[places] = np.bincount(owners, minlength=len(places))
    return Likelihoods(losses, counts)


def pseudo_likelihoods(
    network: Any, task: MaskedLm, store: RaggedStore, rows: np.ndarray, device: torch.device
) -> Likelihoods:
    """What each row costs an encoder: the loss of every token when it alone is hidden.

    The pseudo-log-likelihood of Salazar et al. 2020 (https://aclanthology.org/2020.acl-main.240,
    section 2), whose exponential over all tokens is the pseudo-perplexity. A row of n tokens is
    read n times.

    Args:
        network: maps tokens (T,), segments and places (M,) to logits (M, V); in eval mode, on the
            device.
        task: says what hides a token, and which are none.
        store: rows of tokens.
        rows: (N,) which of them.
        device: of the network.
    """
    losses, counts = np.zeros(len(rows)), np.zeros(len(rows), dtype=np.int64)
    for number, row in enumerate(rows):
        tokens = store.values[store.offsets[row] : store.offsets[row + 1]].astype(np.int64)
        asked = np.flatnonzero(~np.isin(tokens, task.special))
        counts[number] = len(asked)
        step = max(1, READ_TOKENS // len(tokens))
        for start in range(0, len(asked), step):
            some = asked[start : start + step]
            losses[number] += float(_hidden_one_by_one(network, task.mask, tokens, some, device))
    return Likelihoods(losses, counts)


def _hidden_one_by_one(
    network: Any, mask: int, tokens: np.ndarray, asked: np.ndarray, device: torch.device
) -> Tensor:
    """Loss, a scalar, of some tokens of a row, each hidden in a copy of its own."""
    import torch
    from torch.nn import functional as F

    from headstart.nn.ragged import Layout, Ragged

    copies = np.tile(tokens, (len(asked), 1))
    copies[np.arange(len(asked)), asked] = mask
    places = torch.from_numpy(np.arange(len(asked)) * len(tokens) + asked).to(device)
    layout = Layout([len(tokens)] * len(asked), device)
    with torch.inference_mode():
        values = torch.from_numpy(copies.ravel()).to(device)
        logits = network(Ragged(values, layout), None, places).float()
        target = torch.from_numpy(tokens[asked]).to(device)
        return F.cross_entropy(logits, target, reduction="sum").cpu()


def change(before: Likelihoods, after: Likelihoods) -> Interval:
    """By how many nats a token the same rows cost less or more, between its bounds of 95 %.

    Rows are what was drawn, so the bounds are those of a ratio of two sums over rows (Cochran 1977,
    "Sampling Techniques", section 2.11).
    """
    counts = before.counts
    found = float((after.losses - before.losses).sum() / max(1, counts.sum()))
    if len(counts) < 2 or not counts.sum():
        return Interval(found, -math.inf, math.inf)
    pulls = (after.losses - before.losses - found * counts) / counts.mean()
    half = NORMAL * float(np.sqrt(pulls.var(ddof=1) / len(counts)))
    return Interval(found, found - half, found + half)


def some_rows(store: RaggedStore, rows: np.ndarray, most_reads: int, seed: int) -> np.ndarray:
    """As many rows, drawn by the seed, as are read token by token within a budget; one at least.

    Args:
        store: rows of tokens.
        rows: (N,) those to draw from.
        most_reads: tokens read in all; a row of n takes n * n.
        seed: of the draw.
    """
    order = np.random.default_rng(seed).permutation(rows)
    reads = np.cumsum(store.lengths[order].astype(np.int64) ** 2)
    return np.sort(order[: max(1, int((reads <= most_reads).sum()))])
