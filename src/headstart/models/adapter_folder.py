"""Adapters on disk: what a stage trained beside a frozen backbone, with its head.

LoRA and prefixes are written in PEFT's own form wherever PEFT can say what moved: with pooling
"family" as an adapter of the ...ForSequenceClassification that has pooler and head in it; with
another as one of the bare backbone, its head in a file beside, as `save_network` keeps it. What
PEFT has no form for (bottlenecks, biases alone, other parts of the backbone that moved along) is
kept by our names in adapter.safetensors. A note in either says for which weights it was made.

Shapes: C classes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from headstart.models.attach import bare
from headstart.models.backbone import Backbone
from headstart.models.families import family_behind
from headstart.models.family import HEAD, POOLER
from headstart.models.network import Network
from headstart.models.peft import lora_to_peft, prefix_to_peft
from headstart.models.published import HEAD_FILE
from headstart.models.weights import write_weights
from headstart.recipe import Adapter, Lora, Prefix

SCHEMA = "headstart.adapter/1"
NOTE_FILE = "headstart_adapter.json"
CONFIG_FILE = "adapter_config.json"
PEFT_FILES = ("adapter_model.safetensors", "adapter_model.bin")
OWN_FILE = "adapter.safetensors"


@dataclass(frozen=True)
class Origin:
    """The weights that an adapter was trained on.

    Attributes:
        name: what they were opened as.
        digest: see `weights_digest`.
    """

    name: str
    digest: str


def weights_digest(backbone: Backbone) -> str:
    """SHA-256, in hex, over names, shapes and float32 values of a bare backbone's weights."""
    digest = hashlib.sha256(backbone.family.encode())
    for name, tensor in sorted(backbone.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy())
    return digest.hexdigest()


def save_adapter(
    folder: Path,
    network: Network,
    *,
    adapter: Adapter | None,
    moved: Collection[str],
    labels: Sequence[str],
    pooling: str,
    max_length: int,
    origin: Origin,
) -> bool:
    """Write what moved into a fresh folder.

    Args:
        folder: exists and is empty.
        network: with what is attached still beside the weights, not merged.
        adapter: what is attached; None where only parameters of the base moved.
        moved: names of the parameters that moved; head and pooler are kept whether or not.
        labels: C names, in the order of the head's rows.
        pooling: "family" or a name in `POOLS`.
        max_length: longest text in tokens.
        origin: the weights it was trained on.

    Returns:
        Whether it is in PEFT's form.

    Raises:
        OSError: the disk is full, or a file cannot be written.
    """
    note = {
        "schema": SCHEMA,
        "adapter": None if adapter is None else adapter.model_dump(mode="json"),
        "labels": list(labels),
        "pooling": pooling,
        "max_length": max_length,
        "base": {"name": origin.name, "digest": origin.digest, "family": network.backbone.family},
    }
    _write_json(folder / NOTE_FILE, note)
    bias = _bias(network, adapter, moved)
    if bias is None:
        state = network.state_dict()
        own = {name: state[name] for name in state
               if name in moved or name.startswith(("head.", "pool."))}  # fmt: skip
        write_weights(folder / OWN_FILE, own)
        return False
    _write_peft(folder, network, adapter, bias, pooling, origin)
    return True


def _bias(network: Network, adapter: Adapter | None, moved: Collection[str]) -> str | None:
    """PEFT's word for what moved of the base besides head and pooler; None where it has none."""
    of_base = dict(bare(network).named_parameters())
    others = {n for n in moved if n in of_base and n.startswith("backbone.")}
    biases = {n for n in of_base if n.startswith("backbone.") and n.endswith(".bias")}
    if isinstance(adapter, Lora | Prefix) and not others:
        return "none"
    return "all" if isinstance(adapter, Lora) and others == biases else None


def _write_peft(
    folder: Path,
    network: Network,
    adapter: Adapter | None,
    bias: str,
    pooling: str,
    origin: Origin,
) -> None:
    backbone, whole = network.backbone, pooling == "family"
    if isinstance(adapter, Lora):
        config, tensors = lora_to_peft(backbone, whole=whole, rslora=adapter.rslora)
        config |= {"lora_dropout": adapter.dropout, "bias": bias}
        start = "base_model.model."
    else:
        config, tensors = prefix_to_peft(backbone)
        start = "base_model."
    if bias == "all":
        tensors |= _biases(network, whole, start, config["target_modules"])
    kept: list[str] = []
    if whole:
        parts = {POOLER: network.pool, HEAD: network.head}
        ours = {s + n: t for s, module in parts.items() for n, t in module.state_dict().items()}
        family = family_behind(backbone)
        theirs = family.their_weights(ours, whole=True)
        tensors |= {start + name: tensor for name, tensor in theirs.items()}
        kept = sorted({name.removeprefix(family.prefix).split(".")[0] for name in theirs})
    else:
        write_weights(folder / HEAD_FILE, network.head.state_dict())
    config |= {
        "task_type": "SEQ_CLS" if whole else "FEATURE_EXTRACTION",
        "base_model_name_or_path": origin.name,
        "modules_to_save": kept or None,
        "inference_mode": True,
    }
    _write_json(folder / CONFIG_FILE, config)
    write_weights(folder / PEFT_FILES[0], tensors)


def _biases(network: Network, whole: bool, start: str, adapted: list[str]) -> dict[str, Tensor]:
    """All biases of the backbone; PEFT has those of adapted maps under base_layer."""
    state = bare(network).backbone.state_dict()
    ours = {name: tensor for name, tensor in state.items() if name.endswith(".bias")}
    theirs = family_behind(network.backbone).their_weights(ours, whole=whole)
    inside = {f"{name}.bias": f"{name}.base_layer.bias" for name in adapted}
    return {start + inside.get(name, name): tensor for name, tensor in theirs.items()}


def _write_json(file: Path, values: Any) -> None:
    text = json.dumps(values, indent=2, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")
