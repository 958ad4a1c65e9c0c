"""What a frozen backbone makes of texts: one vector for each layer of each text, computed once.

Ranking, the data doctor, nearest neighbours, probing and row selection all read these; they are
kept beside the features of frozen stages, under the same limit.

Shapes: N texts, L blocks, D width.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from headstart.data.atomic import folder_atomically
from headstart.data.batches import RaggedStore, plan_reading, take
from headstart.data.cache import headstart_cache
from headstart.data.examples import Examples
from headstart.data.text import Tokenizer
from headstart.data.tokenised import tokenised
from headstart.models.adapters import weights_digest
from headstart.models.backbone import Backbone
from headstart.nn.ragged import Ragged
from headstart.training.inference import READ_TOKENS, best_device
from headstart.training.kept import code_digest
from headstart.training.progress import Progress, Silent

POOLINGS: dict[str, Callable[[Ragged], Tensor]] = {
    "cls": Ragged.first,
    "mean": Ragged.mean,
    "last": Ragged.last,
}
"""How the hidden states (T, D) of a layer become one vector (B, D) for each text."""


def layer_vectors(
    backbone: Backbone,
    tokenizer: Tokenizer,
    rows: Examples,
    *,
    max_length: int,
    pooling: str = "mean",
    cache: Path | None = None,
    progress: Progress | None = None,
) -> np.ndarray:
    """Vectors (N, L + 1, D) float32 of N texts: after the embeddings and after each block.

    The last one is what a head over the frozen backbone reads. They are computed once for a
    backbone's weights, a tokenizer and texts, and then found again: a memory map, read only.

    Args:
        backbone: frozen; put in eval mode.
        tokenizer: the backbone's.
        rows: N examples, labelled or not.
        max_length: tokens of a text at most.
        pooling: "mean", "cls" or "last".
        cache: where they are kept. Default: $HEADSTART_CACHE.
        progress: shows a bar over the batches.

    Raises:
        UserError: the cache cannot be written.
    """
    cache = cache or headstart_cache()
    weights = weights_digest(backbone)
    key = f"{weights} {tokenizer.digest} {rows.texts_digest} {max_length} {pooling} {code_digest()}"
    place = cache / "features" / hashlib.sha256(f"layers {key}".encode()).hexdigest()
    found = _open(place)
    if found is None:
        encoded = tokenised(tokenizer, rows, max_length, cache=cache)
        store = RaggedStore(encoded.values, encoded.offsets)
        with folder_atomically(place) as fresh:
            _compute(backbone, store, POOLINGS[pooling], fresh, progress or Silent())
        found = _open(place)
        assert found is not None, "it was written just now"
    return found


def _open(place: Path) -> np.ndarray | None:
    """What is stored, or None where nothing is or it was damaged (which is removed)."""
    if not place.exists():
        return None
    try:
        description = json.loads((place / "description.json").read_text(encoding="utf-8"))
        values = np.load(place / "values.npy", mmap_mode="r")
        whole = list(values.shape) == description["shape"]
    except (OSError, ValueError, KeyError, EOFError):
        whole = False
    if not whole:
        shutil.rmtree(place)
        return None
    return values


@torch.inference_mode()
def _compute(
    backbone: Backbone,
    store: RaggedStore,
    pool: Callable[[Ragged], Tensor],
    folder: Path,
    progress: Progress,
) -> None:
    """Fill a folder with values.npy (N, L + 1, D) float32 and description.json."""
    device = best_device()
    backbone = backbone.to(device).eval()
    shape = (len(store), len(backbone.blocks) + 1, backbone.width)
    values = np.lib.format.open_memmap(folder / "values.npy", "w+", np.float32, shape)
    plan = plan_reading(store.lengths, READ_TOKENS) if len(store) else []
    with progress.bar("frozen layers, once", len(plan)) as bar:
        for rows in plan:
            batch = take(store, rows).to(device)
            states = backbone.hidden_states(batch.inputs, batch.segments)
            values[rows] = torch.stack([pool(state) for state in states], 1).float().cpu().numpy()
            bar.advance(1, batch.num_tokens)
    values.flush()
    (folder / "description.json").write_text(json.dumps({"shape": shape}), encoding="utf-8")
