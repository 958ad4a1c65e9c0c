"""A name, a folder or an installed package to a backbone with all that its folder says.

Shapes: B texts, T tokens of all texts, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor, nn
from torch.nn import functional as F

from headstart.errors import CheckpointError
from headstart.models.backbone import Backbone
from headstart.models.families import FAMILIES, family_of
from headstart.models.family import LM_HEAD, Classifier, Family, Masked
from headstart.models.language import (
    LanguageModel,
    MaskedLanguageModel,
    TextToText,
    WordHead,
)
from headstart.models.load import class_names, fill, load, without_storage
from headstart.models.network import POOLS, Network
from headstart.models.published import GENERATION_FILE, HEAD_FILE, Published
from headstart.models.resolve import resolve
from headstart.models.save import save_language_model, save_network
from headstart.models.weights import AGAIN, files_digest, read_json, read_weights, weight_files
from headstart.nn.ragged import Ragged

__all__ = [
    "FAMILIES",
    "Checkpoint",
    "LanguageCheckpoint",
    "open_checkpoint",
    "open_language_model",
    "open_masked_model",
    "open_network",
    "resolve",
    "save_language_model",
    "save_network",
    "sentence_embeddings",
]

M = TypeVar("M", bound=nn.Module)
L = TypeVar("L", bound=LanguageModel | TextToText | MaskedLanguageModel)

PUBLISHED_NAMES = {"lasttoken": "last"}
"""Poolings that sentence-transformers calls otherwise."""


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
        head: "weight" (C, D) and mostly "bias" (C,), where the folder holds a classification head.
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
    pooler: nn.Module | None
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
        """A name in `POOLS`, as sentence-transformers would pool; None where the folder is silent.

        Raises:
            CheckpointError: the folder asks for another pooling.
        """
        said = self.published_pooling
        name = None if said is None else PUBLISHED_NAMES.get(said, said)
        if name not in (None, *POOLS):
            raise CheckpointError(
                f"{self.folder}: asks for pooling {self.published_pooling!r}, which is not "
                f"supported. Choose another: pooling = {' or '.join(map(repr, POOLS))}."
            )
        return name

    @property
    def classifier(self) -> Classifier | None:
        """The classification head that transformers gives the family, if any."""
        return family_of(self.config).classifier

    @property
    def default_pooling(self) -> str:
        """What the folder says, else what fits the family: a name in `POOLS`, or "family"."""
        return self.pooling or family_of(self.config).default_pooling

    def fresh_pooler(self) -> nn.Module:
        """The family's own pooling with new weights, drawn from torch's random state.

        Raises:
            CheckpointError: transformers has no classifier on this family.
        """
        if self.classifier is None:
            raise CheckpointError(
                f"{self.name}: transformers has no classifier on a {self.family}, so there is no "
                f"pooling 'family'. Choose another: pooling = {' or '.join(map(repr, POOLS))}."
            )
        return self.classifier.pooler(self.config)


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
    files = weight_files(folder)
    tensors = read_weights(files)
    config = dict(family.settle(config, tensors))
    backbone = _build(folder, family.build, config)
    head_files = [folder / HEAD_FILE] if (folder / HEAD_FILE).exists() else []
    loaded = load(folder, family, config, backbone, tensors, read_weights(head_files))
    said = Published.read(folder, backbone.max_positions, backbone.usual_length)
    return Checkpoint(
        folder=folder,
        name=str(name),
        family=family.name,
        config=config,
        backbone=backbone.eval(),
        pooler=loaded.pooler,
        head=loaded.head,
        labels=class_names(config) if loaded.head else None,
        dropout=family.classifier.dropout(config) if family.classifier else 0.0,
        published_pooling=said.pooling,
        normalize=said.normalize,
        max_length=said.max_length,
        digest=files_digest([folder / "config.json", *files, *head_files]),
        dropped=loaded.dropped,
        fresh=loaded.fresh,
    )


@dataclass(frozen=True, eq=False)
class LanguageCheckpoint(Generic[L]):
    """A pre-trained model that says words, and what its folder says about it.

    Attributes:
        folder: where it lies on this machine.
        name: what it was asked for as.
        family: its `model_type`.
        config: values of its config.json.
        generation: values of its generation_config.json; empty where there is none.
        model: in eval mode, float32.
        max_length: longest text in tokens.
        digest: SHA-256, in hex, over config and weights.
        dropped: names in the weights that were left out on purpose.
        fresh: whether the map to the vocabulary has new weights, as the folder holds none.
    """

    folder: Path
    name: str
    family: str
    config: Mapping[str, Any]
    generation: Mapping[str, Any]
    model: L
    max_length: int
    digest: str
    dropped: tuple[str, ...]
    fresh: bool = False


def _why_silent(family: Family) -> str:
    if family.name not in FAMILIES:
        return f"{family.name} opens by the bridge, which gives hidden states and no words"
    if family.kind == "text encoder":
        return f"a {family.name} reads texts and says none"
    return f"{family.name} reads images and says no words"


def open_language_model(name: str | Path) -> LanguageCheckpoint[LanguageModel | TextToText]:
    """Open a decoder or an encoder-decoder with its map to the vocabulary.

    Args:
        name: see `resolve`.

    Raises:
        CheckpointError: as `open_checkpoint`, or the family says no words.
    """
    folder = resolve(name)
    config = read_json(folder / "config.json")
    family = _family(folder, config)
    if family.language is None:
        speaking = ", ".join(f.name for f in FAMILIES.values() if f.language is not None)
        raise CheckpointError(
            f"{name}: {_why_silent(family)}, so it cannot generate. Families that can: {speaking}."
        )
    files = weight_files(folder)
    tensors = read_weights(files)
    config = dict(family.settle(config, tensors))
    model = _build(folder, family.language.build, config)
    dropped = fill(folder, family, config, model.parts(), tensors)
    return _language(folder, name, family, config, model, dropped)


def open_masked_model(name: str | Path) -> LanguageCheckpoint[MaskedLanguageModel]:
    """Open an encoder with the head that tells hidden words.

    Where the folder holds no such head, as after fine-tuning, it has new weights, drawn from
    torch's random state, and `fresh` says so.

    Args:
        name: see `resolve`.

    Raises:
        CheckpointError: as `open_checkpoint`, or the family has no such head.
    """
    folder = resolve(name)
    config = read_json(folder / "config.json")
    family = _family(folder, config)
    if family.masked is None:
        able = ", ".join(f.name for f in FAMILIES.values() if f.masked is not None)
        raise CheckpointError(
            f"{name}: a {family.name} has no head that tells hidden words (masked-lm). Families "
            f"that have: {able}."
        )
    tensors = read_weights(weight_files(folder))
    config = dict(family.settle(config, tensors))
    backbone = _build(folder, family.build, config)
    # On the meta device even where it is to be new: a config that cannot be honoured is told first.
    words = _words(backbone)
    masked = family.masked
    head = _build(folder, lambda values: masked.head(values, words), config)
    kept = _has_head(masked, head, config, family.keys.match(tensors).ours)
    parts: dict[str, nn.Module] = {"": backbone, **(head.parts() if kept else {})}
    dropped = fill(folder, family, config, parts, tensors)
    model = MaskedLanguageModel(backbone, head if kept else masked.head(config, words))
    return _language(folder, name, family, config, model, dropped, fresh=not kept)


def _has_head(
    masked: Masked, head: WordHead, config: Mapping[str, Any], ours: Iterable[str]
) -> bool:
    """Whether weights, by our names, hold a head for hidden words.

    ModernBERT's shares names with its pooler, which alone is none: then the architecture decides.
    """
    said = masked.architecture in (config.get("architectures") or ())
    starts = tuple(head.parts()) if said else (LM_HEAD,)
    return any(name.startswith(starts) for name in ours)


def _words(backbone: Backbone) -> nn.Embedding:
    """The embeddings (V, D) of a backbone's words."""
    embedding = backbone.get_submodule("embeddings.token")
    assert isinstance(embedding, nn.Embedding)
    return embedding


def _language(
    folder: Path,
    name: str | Path,
    family: Family,
    config: dict[str, Any],
    model: L,
    dropped: tuple[str, ...],
    fresh: bool = False,
) -> LanguageCheckpoint[L]:
    generation = folder / GENERATION_FILE
    model.eval()
    return LanguageCheckpoint(
        folder=folder,
        name=str(name),
        family=family.name,
        config=config,
        generation=read_json(generation) if generation.exists() else {},
        model=model,
        max_length=_max_length(folder, model.backbone),
        digest=files_digest([folder / "config.json", *weight_files(folder)]),
        dropped=dropped,
        fresh=fresh,
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
        head = nn.Linear(width, classes, bias="bias" in checkpoint.head)
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


def _max_length(folder: Path, backbone: Backbone) -> int:
    return Published.read(folder, backbone.max_positions, backbone.usual_length).max_length


def _family(folder: Path, config: Mapping[str, Any]) -> Family:
    kind = config.get("model_type")
    if kind is None:
        raise CheckpointError(
            f"{folder / 'config.json'}, model_type: is missing. "
            f"Known: {', '.join(FAMILIES)}; add it if you know what this is."
        )
    try:
        return family_of(config)
    except ValueError as error:
        raise CheckpointError(f"{folder / 'config.json'}, {error}") from None


def _build(folder: Path, build: Callable[[Mapping[str, Any]], M], config: Mapping[str, Any]) -> M:
    """A model without storage, to be filled."""
    try:
        with without_storage():
            return build(config)
    except ValueError as error:
        file = folder / "config.json"
        raise CheckpointError([f"{file}, {line}" for line in str(error).split("\n")]) from None
