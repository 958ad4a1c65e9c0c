"""An adapter from disk on a base model, whose tensors are used and never changed.

Shapes: C classes, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from headstart.errors import CheckpointError, nearest
from headstart.models.adapter_folder import (
    CONFIG_FILE,
    NOTE_FILE,
    OWN_FILE,
    PEFT_FILES,
    SCHEMA,
    Origin,
    save_adapter,
    weights_digest,
)
from headstart.models.attach import attach, bare, merge, shared, unmerge
from headstart.models.backbone import Backbone
from headstart.models.checkpoint import Checkpoint, open_checkpoint
from headstart.models.families import family_behind
from headstart.models.family import HEAD, POOLER
from headstart.models.load import class_names, without_storage
from headstart.models.network import POOLS, Network
from headstart.models.peft import Read, config_faults, put_updates, read_lora, read_prefix
from headstart.models.published import HEAD_FILE
from headstart.models.weights import read_json, read_weights
from headstart.recipe import Bottleneck, Lora, Prefix

__all__ = [
    "Adapted",
    "Base",
    "Origin",
    "attach",
    "bare",
    "merge",
    "open_adapter",
    "save_adapter",
    "shared",
    "unmerge",
    "weights_digest",
]

KINDS: dict[str, type[Lora] | type[Prefix] | type[Bottleneck]] = {
    "lora": Lora, "prefix": Prefix, "adapter": Bottleneck}  # fmt: skip

KEEP = "What a base lacks is drawn anew for training; have PEFT save it, by modules_to_save."


@dataclass(frozen=True, eq=False)
class Base:
    """What an adapter is put on.

    Attributes:
        name: what it was opened as.
        backbone: without anything attached.
        pooler: the family's own pooling, where the base has one.
        labels: names of the classes that its config lists, where it lists some.
        max_length: longest text in tokens.
        digest: see `weights_digest`.
    """

    name: str
    backbone: Backbone
    pooler: nn.Module | None
    labels: tuple[str, ...]
    max_length: int
    digest: str

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> Base:
        """A checkpoint as a base."""
        digest = weights_digest(checkpoint.backbone)
        return cls(checkpoint.name, checkpoint.backbone, checkpoint.pooler,
                   class_names(checkpoint.config), checkpoint.max_length, digest)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Adapted:
    """An adapter on a base.

    Attributes:
        network: in eval mode; the backbone's tensors are the base's own.
        labels: C names, in the order of the head's rows.
        pooling: "family" or a name in `POOLS`.
        max_length: longest text in tokens.
    """

    network: Network
    labels: tuple[str, ...]
    pooling: str
    max_length: int


def open_adapter(folder: str | Path, base: str | Path | Checkpoint | Base) -> Adapted:
    """Put an adapter that headstart or PEFT saved on a base model.

    Args:
        folder: with adapter_config.json, or what `save_adapter` wrote.
        base: left as it is; its tensors are used, not copied.

    Raises:
        CheckpointError: it is no adapter, holds settings that are not honoured, or was made for
            another base; with one line for each fault.
    """
    folder = Path(folder)
    if isinstance(base, str | Path):
        base = open_checkpoint(base)
    base = Base.of(base) if isinstance(base, Checkpoint) else base
    note = _note(folder, base)
    if (folder / OWN_FILE).exists():
        return _open_own(folder, note, base)
    config = read_json(folder / CONFIG_FILE)
    faults = config_faults(config)
    pooling = str(note["pooling"]) if note else "family"
    task = config.get("task_type")
    if not note and task != "SEQ_CLS":
        faults.append(f"task_type: {task!r} has no head that classifies; only 'SEQ_CLS' is opened.")
    if pooling == "family" and family_behind(base.backbone).classifier is None:
        faults.append(
            f"task_type: 'SEQ_CLS' brings the head that transformers puts on {base.backbone.family}"
            ", which headstart does not have. Open it with transformers and PEFT; or train one "
            f"here, with pooling = {' or '.join(map(repr, POOLS))}."
        )
    _raise(folder / CONFIG_FILE, faults)
    file = next((folder / n for n in PEFT_FILES if (folder / n).exists()), folder / PEFT_FILES[0])
    if not file.exists():
        raise CheckpointError(f"{file}: is missing, so {folder} is no complete adapter.")
    tensors = read_weights([file])
    view = shared(base.backbone)
    lora = config["peft_type"] == "LORA"
    read = read_lora(view, config, tensors) if lora else read_prefix(view, tensors)
    head = folder / HEAD_FILE
    if head.exists():
        read.tensors |= {HEAD + name: t.float() for name, t in read_weights([head]).items()}
    network = _network(file, view, base, pooling, read)
    length = base.max_length
    if lora:
        put_updates(view, read, float(config.get("lora_dropout") or 0.0))
    elif read.prefixes:
        length = min(length, view.max_positions - len(read.prefixes[0][0]))
        _put_prefix(network, read)
    count = network.head.state_dict()["weight"].shape[0]
    named = base.labels if len(base.labels) == count else None
    labels = tuple(note["labels"]) if note else named or tuple(f"LABEL_{i}" for i in range(count))
    return Adapted(network.eval(), labels, pooling, int(note.get("max_length", length)))


def _note(folder: Path, base: Base) -> dict[str, Any]:
    """Our note, checked against the base; empty in a folder that PEFT wrote."""
    file = folder / NOTE_FILE
    if not file.exists():
        if (folder / CONFIG_FILE).exists():
            return {}
        near = ""
        if not folder.exists() and folder.absolute().parent.is_dir():
            near = nearest(folder.name, [p.name for p in folder.absolute().parent.iterdir()])
        raise CheckpointError(
            f"{folder}: holds neither {CONFIG_FILE} nor {NOTE_FILE}, so it is no adapter.{near} A "
            "stage that trained LoRA leaves one in the adapter/ folder of its model."
        )
    note = read_json(file)
    if note.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{file}: has schema {note.get('schema')!r}; this headstart reads {SCHEMA!r}."
        )
    made_for = note.get("base")
    wanted = {"labels": list, "pooling": str, "max_length": int, "base": dict}
    wrong = [k for k, kind in wanted.items() if not isinstance(note.get(k), kind)]
    if wrong or not isinstance(made_for, dict) or not {"name", "digest"} <= made_for.keys():
        keys = ", ".join(wrong or ["base"])
        raise CheckpointError(f"{file}: is damaged ({keys}). Copy the adapter again.")
    if made_for["digest"] != base.digest:
        raise CheckpointError(
            f"{folder}: was made for {made_for['name']!r} ({made_for.get('family')}), weights "
            f"{made_for['digest'][:12]}; {base.name!r} is a {base.backbone.family} with weights "
            f"{base.digest[:12]}. On other weights it means nothing: open it on its own base."
        )
    return note


def _open_own(folder: Path, note: Mapping[str, Any], base: Base) -> Adapted:
    """An adapter that PEFT has no form for."""
    file = folder / OWN_FILE
    tensors = {name: tensor.float() for name, tensor in read_weights([file]).items()}
    view = shared(base.backbone)
    added = {n: t for n, t in tensors.items() if n.startswith("backbone.")}
    parts = {"head.": HEAD, "pool.": POOLER}
    read = Read(tensors={parts[n[:5]] + n[5:]: t for n, t in tensors.items() if n not in added})
    network = _network(file, view, base, str(note["pooling"]), read)
    of_base = dict(network.named_parameters())
    moved = {n: t for n, t in added.items() if n in of_base}
    _raise(file, _shape_faults(moved, {n: tuple(p.shape) for n, p in of_base.items()}))
    _put(network, moved)  # before anything is attached that takes them over
    if note["adapter"] is not None:
        # what is drawn here is overwritten below, so the caller's random numbers stay in place
        with torch.random.fork_rng(devices=[]):
            attach(network, KINDS[note["adapter"]["kind"]](**note["adapter"]))
    rest = {n: t for n, t in added.items() if n not in moved}
    _raise(file, _shape_faults(rest, {n: tuple(p.shape) for n, p in network.named_parameters()}))
    _put(network, rest)
    labels = tuple(str(label) for label in note["labels"])
    return Adapted(network.eval(), labels, str(note["pooling"]), int(note["max_length"]))


def _network(file: Path, view: Backbone, base: Base, pooling: str, read: Read) -> Network:
    """The base's backbone with the adapter's pooler, head and biases.

    Raises:
        CheckpointError: one line for each tensor that is missing, unexpected or of another shape.
    """
    own = {name: tensor for name, tensor in read.tensors.items()
           if not name.startswith((POOLER, HEAD))}  # fmt: skip
    faults = read.faults + _shape_faults(own, {n: tuple(p.shape) for n, p in
                                               view.named_parameters()})  # fmt: skip
    pool, widths = _pool(view, base, pooling, read, faults)
    head = {n.removeprefix(HEAD): t for n, t in read.tensors.items() if n.startswith(HEAD)}
    weight = head.get("weight")
    if weight is None:
        faults.append("the head: is missing; an adapter without one cannot classify.")
    elif weight.ndim != 2 or weight.shape[1] != widths * view.width:
        found = tuple(weight.shape)
        faults.append(f"the head: has shape {found}; it must read {widths * view.width} numbers.")
    _raise(file, faults)
    assert weight is not None
    with without_storage():
        linear = nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in head)
    linear.load_state_dict(head, assign=True)
    said = family_behind(view).classifier
    dropout = said.dropout(view.hf_config()) if said is not None else 0.0
    network = Network(view, pool, linear, dropout)
    _put(network, {f"backbone.{name}": tensor for name, tensor in own.items()})
    return network


def _pool(
    view: Backbone, base: Base, pooling: str, read: Read, faults: list[str]
) -> tuple[nn.Module, int]:
    """The adapter's pooling, or the base's where it brings none, and how many widths it gives."""
    if pooling in POOLS:
        return POOLS[pooling](), 1
    said = family_behind(view).classifier
    assert said is not None, "pooling 'family' is refused where there is none"
    with without_storage():
        pool = said.pooler(view.hf_config())
    wanted = {POOLER + n: tuple(t.shape) for n, t in pool.state_dict().items()}
    brought = {n: t for n, t in read.tensors.items() if n.startswith(POOLER)}
    missing = [name for name in wanted if name not in brought]
    if base.pooler is not None and missing:
        own = base.pooler.state_dict()
        brought = {n: own[n.removeprefix(POOLER)] for n in missing} | brought
        missing = []
    wrong = [f"{n}: is neither in the adapter nor in {base.name}. {KEEP}" for n in missing]
    wrong += _shape_faults(brought, wanted)
    faults += wrong
    if not wrong:
        pool.load_state_dict({n.removeprefix(POOLER): t for n, t in brought.items()}, assign=True)
    return pool, said.pooled_widths


def _put_prefix(network: Network, read: Read) -> None:
    length = len(read.prefixes[0][0])
    with torch.random.fork_rng(devices=[]):
        attach(network, Prefix(kind="prefix", length=length))
    tensors: dict[str, Tensor] = {}
    for index, (key, value) in enumerate(read.prefixes):
        start = f"backbone.blocks.{index}.attention.prefix."
        tensors |= {f"{start}key": key.clone(), f"{start}value": value.clone()}
    _put(network, tensors)


def _put(network: Network, tensors: Mapping[str, Tensor]) -> None:
    """New parameters in the place of old ones, which others may share."""
    for name, tensor in tensors.items():
        owner, _, last = name.rpartition(".")
        setattr(network.get_submodule(owner), last, nn.Parameter(tensor))


def _raise(file: Path, faults: list[str]) -> None:
    if faults:
        raise CheckpointError([f"{file}, {fault}" for fault in faults])


def _shape_faults(
    tensors: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]
) -> list[str]:
    faults = [f"{n}: is unexpected; the base model has no such part." for n in tensors
              if n not in wanted]  # fmt: skip
    return faults + [
        f"{name}: has shape {tuple(tensor.shape)}; the base model's is {wanted[name]}."
        for name, tensor in tensors.items()
        if name in wanted and tuple(tensor.shape) != wanted[name]
    ]
