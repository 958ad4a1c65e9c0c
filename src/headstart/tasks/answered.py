"""What a text-to-text task asks: a damaged text in, the tokens of another one out.

Shapes: B rows, Tt target tokens of all rows, V words in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from headstart.data.batches import Batch
from headstart.nn.ragged import Ragged


def ask(
    batch: Batch, sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], start: int
) -> Batch:
    """The batch with B sources as `inputs`, all target tokens as `target` (Tt,), and as `partner`
    what the decoder reads: each target shifted right by one, behind the start.

    Args:
        batch: whose rows they are.
        sources: token ids, none empty.
        targets: token ids, none empty.
        start: token that every target begins with, before its first word.
    """
    shifted = [np.concatenate([[start], target[:-1]]) for target in targets]
    return replace(
        batch,
        inputs=_packed(sources),
        partner=_packed(shifted),
        target=torch.from_numpy(np.concatenate(targets).astype(np.int64)),
        segments=None,
    )


def answer_loss(network: nn.Module, batch: Batch) -> Tensor:
    """Mean cross-entropy of the target's tokens, a scalar in nats."""
    assert batch.target is not None and batch.partner is not None
    logits = network(batch.inputs, batch.partner).values
    return F.cross_entropy(logits.float(), batch.target)


def _packed(rows: Sequence[np.ndarray]) -> Ragged:
    return Ragged.from_rows([torch.from_numpy(row.astype(np.int64)) for row in rows])
