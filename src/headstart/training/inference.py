"""Reading a network's output for every row, without gradients and in the rows' own order.

Shapes: N rows, C classes, D width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headstart.data.batches import RaggedStore, plan_reading, take
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
    forward: nn.Module, store: RaggedStore, device: Any, progress: Progress, title: str
) -> Tensor:
    """Logits (N, C) float32 on CPU of every row, in the order of the store.

    Args:
        forward: maps (inputs, segments) to logits; in eval mode.
    """
    plan = plan_reading(store.lengths, READ_TOKENS)
    parts = []
    with progress.bar(title, len(plan)) as bar:
        for rows in plan:
            batch = take(store, rows).to(device)
            parts.append(forward(batch.inputs, batch.segments).float().cpu())
            bar.advance(1, batch.num_tokens)
    logits = torch.cat(parts)
    return logits[torch.from_numpy(np.argsort(np.concatenate(plan)))]
