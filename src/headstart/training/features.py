"""The frozen prefix, computed once.

Where the first parts of a network do not move they are in eval mode, so their output is a function
of the input alone. It is computed once for each row and kept in memory-mapped files addressed by
what it was computed from; every further epoch, stage, arm, seed and label count reads it back.

Shapes: N rows, T tokens of all rows, D width.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from headstart.data.atomic import folder_atomically
from headstart.data.batches import RaggedStore, plan_reading, take
from headstart.data.mapped import Window
from headstart.models.network import Network
from headstart.nn.ragged import Ragged
from headstart.training.inference import READ_TOKENS
from headstart.training.progress import Progress

if TYPE_CHECKING:
    from lightning_fabric import Fabric


class Suffix(nn.Module):
    """The parts of a network behind the first `depth`; with depth 0, all of it."""

    def __init__(self, network: Network, depth: int) -> None:
        super().__init__()
        self.network, self.depth = network, depth

    def forward(self, inputs: Ragged, segments: Tensor | None = None) -> Tensor:
        """Logits (B, C) from tokens (depth 0) or from the output of the first parts."""
        if self.depth == 0:
            return self.network(inputs, segments)
        return self.network.suffix(inputs, self.depth)


class _Prefix(nn.Module):
    """The first `depth` parts of a network."""

    def __init__(self, network: Network, depth: int) -> None:
        super().__init__()
        self.network, self.depth = network, depth

    def forward(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Output of the last of the first parts."""
        return self.network.prefix(tokens, segments, self.depth)


def frozen_depth(network: Network) -> int:
    """How many leading parts are worth caching: those that do not move, if a block is among them.

    Embeddings alone are cheaper to look up again than to store.
    """
    depth = 0
    while depth < network.depth and not network.moves(depth):
        depth += 1
    return depth if depth > 1 else 0


def prefix_digest(network: Network, depth: int) -> str:
    """SHA-256 over the sizes of the backbone and the parameters of the first parts."""
    sizes = json.dumps(network.backbone.hf_config(), sort_keys=True)
    digest = hashlib.sha256(f"{depth} of {type(network.pool).__name__}, {sizes}".encode())
    for part in range(depth):
        for module in network.part_modules(part):
            for name, tensor in module.state_dict().items():
                digest.update(f"{name} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().contiguous().numpy())
    return digest.hexdigest()


def features(
    fabric: Fabric,
    network: Network,
    depth: int,
    tokens: RaggedStore,
    *,
    folder: Path,
    key: str,
    progress: Progress,
) -> RaggedStore:
    """Output of the first `depth` parts for every row of `tokens`, from the store or into it.

    Args:
        folder: where features are kept.
        key: digest of the tokens and of everything else that the output depends on; the weights
            of the prefix are added here.
    """
    place = folder / hashlib.sha256(f"{key} {prefix_digest(network, depth)}".encode()).hexdigest()
    found = _open(place)
    if found is not None:
        return found
    with folder_atomically(place) as fresh:
        _compute(fabric, network, depth, tokens, fresh, progress)
    stored = _open(place)
    assert stored is not None
    return stored


def _open(place: Path) -> RaggedStore | None:
    """What is stored, or None where nothing is or it was damaged (which is removed)."""
    if not place.exists():
        return None
    try:
        description = json.loads((place / "description.json").read_text())
        values = np.load(place / "values.npy", mmap_mode="r")
        offsets = np.load(place / "offsets.npy")
        whole = list(values.shape) == description["shape"] and offsets[-1] == len(values)
    except (OSError, ValueError, KeyError, EOFError):
        whole = False
    if not whole:
        shutil.rmtree(place)
        return None
    os.utime(place)  # the least recently used goes first when room is made
    return RaggedStore(values, offsets)


@torch.inference_mode()
def _compute(
    fabric: Fabric,
    network: Network,
    depth: int,
    tokens: RaggedStore,
    folder: Path,
    progress: Progress,
) -> None:
    """Fill a folder with values.npy (T or N, D) float32, offsets.npy and description.json."""
    prefix = fabric.setup_module(_Prefix(network, depth)).eval()
    first: Any = prefix(take(tokens, np.zeros(1, np.int64)).to(fabric.device).inputs)
    # A pooled row is one vector; an image's is longer than it came, by the tokens put before it.
    longer = int(first.lengths[0]) - int(tokens.lengths[0])
    pooled = depth == network.depth
    lengths = np.ones(len(tokens), np.int64) if pooled else tokens.lengths + longer
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    shape = (int(offsets[-1]), first.values.shape[1])
    values = np.lib.format.open_memmap(folder / "values.npy", "w+", np.float32, shape)
    _reserve(folder / "values.npy")
    plan, window = plan_reading(tokens.lengths, READ_TOKENS), Window.of(values)
    with progress.bar("frozen part, once", len(plan)) as bar:
        for rows in plan:
            batch = take(tokens, rows).to(fabric.device)
            out: Any = prefix(batch.inputs, batch.segments)
            _scatter(values, offsets, rows, out.values.float().cpu().numpy())
            window.read(out.values.nbytes, places=len(rows))
            bar.advance(1, batch.num_tokens)
    values.flush()
    np.save(folder / "offsets.npy", offsets)
    (folder / "description.json").write_text(json.dumps({"shape": shape, "depth": depth}))


def _reserve(file: Path) -> None:
    """Claim the disk blocks now: a full disk is then an OSError here, not a SIGBUS later."""
    if hasattr(os, "posix_fallocate"):
        with file.open("r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, file.stat().st_size)


def _scatter(values: np.ndarray, offsets: np.ndarray, rows: np.ndarray, packed: np.ndarray) -> None:
    start = 0
    for row in rows:
        length = int(offsets[row + 1] - offsets[row])
        values[offsets[row] : offsets[row + 1]] = packed[start : start + length]
        start += length
