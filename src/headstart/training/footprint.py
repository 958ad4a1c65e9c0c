"""What a model is, and what training it takes, before anything is trained.

Shapes: T tokens of all rows, L tokens in a row.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from headstart.models.attach import attach
from headstart.models.backbone import Backbone
from headstart.models.checkpoint import Checkpoint
from headstart.models.network import POOLS, Network
from headstart.nn.patches import PatchLayout
from headstart.nn.ragged import Layout, Ragged
from headstart.recipe import Stage
from headstart.training.features import frozen_depth
from headstart.training.inference import best_device
from headstart.training.trainable import freeze, groups

WAYS = {"full": "all", "LoRA": "lora:8", "head": "head"}
"""Ways of training, by the name of the way, as a stage's `train` words them."""

TRIED_ROWS = 2
NUM_CLASSES = 2


@dataclass(frozen=True)
class Footprint:
    """Bytes that training holds at once, about.

    Attributes:
        weights: all parameters, float32.
        moving: gradients and AdamW's two moments of what moves, float32.
        saved: what the backward pass needs of the forward pass.
    """

    weights: int
    moving: int
    saved: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.moving + self.saved


def footprint(checkpoint: Checkpoint, train: str, *, batch_tokens: int, length: int) -> Footprint:
    """Measure on two rows what a backward pass needs, and count what moves.

    Args:
        checkpoint: the backbone; it is left as it is.
        train: as in a stage.
        batch_tokens: tokens in a batch.
        length: L, tokens in each row, at most the backbone's.
    """
    network = _network(checkpoint)
    stage = Stage(name="footprint", data="footprint", train=train, steps=1)
    if stage.adapter is not None:
        attach(network, stage.adapter)
    rules = groups(network, stage)
    freeze(network, rules)
    network.train()
    weights = sum(p.numel() for p in network.parameters())
    moving = sum(p.numel() for p in network.parameters() if p.requires_grad)
    saved = _saved(network, length) * batch_tokens // (TRIED_ROWS * length)
    return Footprint(4 * weights, 4 * 3 * moving, saved)


def _network(checkpoint: Checkpoint) -> Network:
    backbone = copy.deepcopy(checkpoint.backbone)
    pool = POOLS["last" if backbone.causal else "mean"]()
    head = nn.Linear(backbone.width, NUM_CLASSES)
    return Network(backbone, pool, head, checkpoint.dropout)


def _rows(backbone: Backbone, length: int) -> Ragged:
    """Two rows of tokens, or of patches where the backbone reads images."""
    if backbone.patch_values is None:
        return Ragged(torch.ones(TRIED_ROWS * length).long(), Layout([length] * TRIED_ROWS))
    values = torch.ones(TRIED_ROWS * length, backbone.patch_values)
    return Ragged(values, PatchLayout([(1, length)] * TRIED_ROWS))


def _saved(network: Network, length: int) -> int:
    """Bytes that autograd keeps of a forward pass over two rows, parameters not counted."""
    rows = _rows(network.backbone, length)
    depth = frozen_depth(network)
    with torch.random.fork_rng([]):
        with torch.no_grad():
            start = network.prefix(rows, None, depth)
        own = {p.untyped_storage().data_ptr() for p in network.parameters()}
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no address recurs
            return tensor

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            network.suffix(start, depth)
    return sum(t.untyped_storage().nbytes() for place, t in kept.items() if place not in own)


def free_bytes() -> int | None:
    """Free memory of the device that would train; None where the system does not tell."""
    if best_device().type == "cuda":
        return int(torch.cuda.mem_get_info()[0])
    info = Path("/proc/meminfo")
    if not info.exists():
        return None
    lines = dict(line.split(":", 1) for line in info.read_text().splitlines() if ":" in line)
    available = lines.get("MemAvailable", "").split()
    return int(available[0]) * 1024 if available else None
