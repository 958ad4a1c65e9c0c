"""Reading a network's output for every row, without gradients and in the rows' own order.

Shapes: N rows, C classes, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headstart.data.ahead import Ahead
from headstart.data.batches import Batch, Store, plan_reading, take
from headstart.training.progress import Progress

READ_TOKENS = 4096
"""Tokens in a batch where no gradients are kept."""


def best_device() -> torch.device:
    """The accelerator of this machine, else the CPU; asking Fabric would take seconds to import."""
    if torch.accelerator.is_available():
        return torch.accelerator.current_accelerator() or torch.device("cpu")
    return torch.device("cpu")


@torch.inference_mode()
def all_logits(
    forward: nn.Module,
    store: Store,
    device: Any,
    progress: Progress,
    title: str,
    rows: np.ndarray | None = None,
) -> Tensor:
    """Logits (N, C) float32 on CPU, in the order of the rows.

    Args:
        forward: maps (inputs, segments) to logits; in eval mode.
        store: of all rows.
        rows: (N,) which of them to read; None reads all.
    """
    lengths = store.lengths if rows is None else store.lengths[rows]
    plan = plan_reading(lengths, READ_TOKENS)
    logits = torch.empty(0)
    with progress.bar(title, len(plan)) as bar, _ahead(store, plan, rows) as batches:
        for places, batch in batches:
            moved = batch.to(device)
            out = forward(moved.inputs, moved.segments).float().cpu()
            if not len(logits):
                logits = out.new_empty(len(lengths), out.shape[1])
            logits[torch.from_numpy(places)] = out
            bar.advance(1, batch.num_tokens)
    return logits


def _ahead(
    store: Store, plan: list[np.ndarray], rows: np.ndarray | None
) -> Ahead[tuple[np.ndarray, Batch]]:
    """Each batch of a plan with the places of its rows, the next ones made meanwhile."""
    return Ahead((p, take(store, p if rows is None else rows[p])) for p in plan)
