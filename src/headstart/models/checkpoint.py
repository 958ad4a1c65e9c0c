"""A name, a folder or an installed package to a backbone with all that its folder says.

Shapes: B texts, T tokens of all texts, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from headstart.errors import CheckpointError, unknown_name
from headstart.models.backbone import Backbone
from headstart.models.families import FAMILIES
from headstart.models.family import Family
from headstart.models.load import class_names, load, without_storage
from headstart.models.network import Cls, Mean, Network, Pooler
from headstart.models.published import HEAD_FILE, Published
from headstart.models.resolve import resolve
from headstart.models.save import save_network
from headstart.models.weights import AGAIN, files_digest, read_json, read_weights, weight_files
from headstart.nn.ragged import Ragged

__all__ = [
    "FAMILIES",
    "Checkpoint",
    "open_checkpoint",
    "open_network",
    "resolve",
    "save_network",
    "sentence_embeddings",
]

POOLS: dict[str, type[nn.Module]] = {"cls": Cls, "mean": Mean}


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A pre-trained backbone and what its folder says about it.

    Attributes:
        folder: where it lies on this machine.
        name: what it was asked for as.
        family: its `model_type`.
        config: values of its config.json.
        backbone: in eval mode, float32.
        pooler: the family's own pooling, where the folder holds its weights.
        head: "weight" (C, D) and "bias" (C,), where the folder holds a classification head.
        labels: C names for the head's rows, in their order.
        dropout: probability in front of a head.
        published_pooling: how sentence-transformers is told to pool, None where it is not.
        normalize: whether sentence embeddings are scaled to length 1.
        max_length: longest text in tokens.
        digest: SHA-256, in hex, over config and weights.
        dropped: names in the weights that were left out on purpose.
        fresh: names of parameters that the family has and the weights lack; they start anew.
    """

    folder: Path
    name: str
    family: str
    config: Mapping[str, Any]
    backbone: Backbone
    pooler: Pooler | None
    head: dict[str, Tensor] | None
    labels: tuple[str, ...] | None
    dropout: float
    published_pooling: str | None
    normalize: bool
    max_length: int
    digest: str
    dropped: tuple[str, ...]
    fresh: tuple[str, ...]

    @property
    def pooling(self) -> str | None:
        """ "cls" or "mean", as sentence-transformers would pool; None where the folder is silent.

        Raises:
            CheckpointError: the folder asks for another pooling.
        """
        if self.published_pooling not in (None, *POOLS):
            raise CheckpointError(
                f"{self.folder}: asks for pooling {self.published_pooling!r}, which is not "
                f"supported. Choose another: pooling = {' or '.join(map(repr, POOLS))}."
            )
        return self.published_pooling

    def fresh_pooler(self) -> Pooler:
        """The family's own pooling with new weights, drawn from torch's random state."""
        return FAMILIES[self.family].pooler(self.config)


def open_checkpoint(name: str | Path) -> Checkpoint:
    """Open a checkpoint of a supported family.

    Args:
        name: see `resolve`.

    Raises:
        CheckpointError: it does not exist, is damaged, or is not of a kind that is supported;
            every parameter that is missing, unexpected or of another shape is named.
    """
    folder = resolve(name)
    config = read_json(folder / "config.json")
    family = _family(folder, config)
    backbone = _build(folder, family, config)
    files = weight_files(folder)
    head_files = [folder / HEAD_FILE] if (folder / HEAD_FILE).exists() else []
    loaded = load(folder, family, config, backbone, read_weights(files), read_weights(head_files))
    said = Published.read(folder, backbone.max_positions)
    return Checkpoint(
        folder=folder,
        name=str(name),
        family=family.name,
        config=config,
        backbone=backbone.eval(),
        pooler=loaded.pooler,
        head=loaded.head,
        labels=class_names(config) if loaded.head else None,
        dropout=family.dropout(config),
        published_pooling=said.pooling,
        normalize=said.normalize,
        max_length=said.max_length,
        digest=files_digest([folder / "config.json", *files, *head_files]),
        dropped=loaded.dropped,
        fresh=loaded.fresh,
    )


def open_network(folder: str | Path) -> Network:
    """Open what `save_network` wrote, or any folder with a classification head, in eval mode.

    Raises:
        CheckpointError: as `open_checkpoint`, or the folder holds no head.
    """
    checkpoint = open_checkpoint(Path(folder))
    if checkpoint.head is None:
        raise CheckpointError(
            f"{folder}: holds a backbone without a classification head, so it cannot classify."
        )
    # A head in a file of its own reads the published pooling, any other the family's.
    pool: nn.Module | None = checkpoint.pooler
    if (checkpoint.folder / HEAD_FILE).exists():
        if checkpoint.pooling is None:
            raise CheckpointError(
                f"{folder}: {HEAD_FILE} needs a pooling, and modules.json names none. {AGAIN}"
            )
        pool = POOLS[checkpoint.pooling]()
    assert pool is not None, "a ...ForSequenceClassification has a pooler"
    classes, width = checkpoint.head["weight"].shape
    with without_storage():
        head = nn.Linear(width, classes)
    head.load_state_dict(checkpoint.head, assign=True)
    return Network(checkpoint.backbone, pool, head, checkpoint.dropout).eval()


def sentence_embeddings(checkpoint: Checkpoint, tokens: Ragged) -> Tensor:
    """Embed texts by the pooling and the normalisation that a checkpoint was published with.

    Args:
        checkpoint: with a pooling.
        tokens: (T,) int64.

    Returns:
        (B, D), of length 1 where the checkpoint says so.

    Raises:
        CheckpointError: it says nothing about pooling, or asks for one that is not supported.
    """
    if checkpoint.pooling is None:
        raise CheckpointError(
            f"{checkpoint.folder}: does not say how to pool (it has no modules.json with a Pooling "
            "module), so it gives no sentence embeddings."
        )
    vectors = POOLS[checkpoint.pooling]()(checkpoint.backbone(tokens))
    return F.normalize(vectors, dim=1) if checkpoint.normalize else vectors


def _family(folder: Path, config: Mapping[str, Any]) -> Family:
    kind = config.get("model_type")
    if kind is None:
        raise CheckpointError(
            f"{folder / 'config.json'}, model_type: is missing. "
            f"Known: {', '.join(FAMILIES)}; add it if you know what this is."
        )
    if kind not in FAMILIES:
        place = f"{folder / 'config.json'}, model_type"
        raise CheckpointError(unknown_name(place, "supported family", str(kind), FAMILIES))
    return FAMILIES[kind]


def _build(folder: Path, family: Family, config: Mapping[str, Any]) -> Backbone:
    """The backbone without storage, to be filled."""
    try:
        with without_storage():
            return family.build(config)
    except ValueError as error:
        file = folder / "config.json"
        raise CheckpointError([f"{file}, {line}" for line in str(error).split("\n")]) from None
