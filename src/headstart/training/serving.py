"""Adapters on a model that is in memory, and models opened through their adapter.

One copy of the backbone serves any number of adapters: each is a network of its own whose backbone
has the very tensors of the base. Nothing is switched, so nothing can be left behind.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.data.text import Tokenizer
from headstart.errors import CheckpointError
from headstart.models.adapter_folder import CONFIG_FILE, NOTE_FILE
from headstart.models.adapters import Base, bare, open_adapter, weights_digest
from headstart.models.checkpoint import open_checkpoint
from headstart.models.weights import read_json
from headstart.tasks.classify import Classify
from headstart.training.model import Trained


def is_adapter(folder: Path) -> bool:
    """Whether a folder holds an adapter, headstart's or PEFT's."""
    return (folder / NOTE_FILE).is_file() or (folder / CONFIG_FILE).is_file()


def base_of(model: Trained) -> Base:
    """The weights of a model, for adapters that were trained on them."""
    network = bare(model.network)
    pooler = network.pool if model.pooling == "family" else None
    return Base(str(model.origin), network.backbone, pooler, model.task.labels, model.max_length,
                weights_digest(network.backbone))  # fmt: skip


def with_adapter(base: Base, tokenizer: Tokenizer, origin: Path, folder: str | Path) -> Trained:
    """A base as an adapter makes it, with the adapter's head and labels.

    Args:
        base: its tensors are shared.
        tokenizer: the base's.
        origin: folder whose tokenizer files are handed on when the model is saved.
        folder: of the adapter.

    Raises:
        CheckpointError: see `open_adapter`.
    """
    adapted = open_adapter(folder, base)
    provenance: Mapping[str, Any] = {"backbone": base.name, "adapter": str(folder), "stages": []}
    return Trained(
        network=adapted.network,
        tokenizer=tokenizer,
        task=Classify(adapted.labels),
        max_length=adapted.max_length,
        pooling=adapted.pooling,
        origin=origin,
        provenance=dict(provenance),
    )


def open_through_adapter(folder: Path) -> tuple[Trained, Base]:
    """Open the base that an adapter names, and put the adapter on it.

    Raises:
        CheckpointError: it names none, the base cannot be opened, or see `open_adapter`.
    """
    note = folder / NOTE_FILE
    if note.is_file():
        made_for = read_json(note).get("base")
        name = made_for.get("name") if isinstance(made_for, dict) else None
    else:
        name = read_json(folder / CONFIG_FILE).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise CheckpointError(
            f"{folder}: does not say for which base model it was made. Open the base with "
            "headstart.load, then add the adapter: model.add_adapter(NAME, FOLDER)."
        )
    checkpoint = open_checkpoint(folder / ".." if name == ".." else name)
    base = Base.of(checkpoint)
    tokenizer = Tokenizer.open(checkpoint.folder)
    return with_adapter(base, tokenizer, checkpoint.folder, folder), base
