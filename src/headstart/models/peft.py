"""LoRA and prefixes in the form of PEFT's adapter_config.json and adapter_model.safetensors.

Where a family keeps several of our linear maps in one of its own (GPT-2's c_attn is query, key and
value), PEFT has one update for all: the A of ours lie on top of each other and B has them in
blocks, zero elsewhere; the sum of the ranks is then its rank.

Shapes: I and O width of a linear map going in and coming out, R rank, D width, N length of a
prefix.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from headstart.errors import unknown_name
from headstart.models.attach import can_be_adapted, exchange, linear_maps
from headstart.models.backbone import Backbone
from headstart.models.families import family_behind
from headstart.models.family import Family
from headstart.nn.lora import DoraLinear, LoraLinear, LowRank
from headstart.nn.prefix import PrefixAttention

KINDS = ("LORA", "PREFIX_TUNING")
START = "base_model.model."
MERGE = "Merge it with PEFT (merge_and_unload), save that, and open it as a checkpoint."
HONOURED = frozenset(
    "peft_type task_type base_model_name_or_path bias fan_in_fan_out lora_alpha lora_dropout "
    "modules_to_save r target_modules use_dora use_rslora rank_pattern alpha_pattern "
    "num_virtual_tokens token_dim num_layers num_attention_heads num_transformer_submodules "
    # what is there to adapt is told by the tensors, and these by what tensors there are
    "exclude_modules layers_to_transform layers_pattern "
    # how training began or went, which saved tensors no longer depend on
    "auto_mapping inference_mode peft_version revision megatron_core qalora_group_size "
    "encoder_hidden_size prefix_projection init_weights runtime_config".split()
)
HARMLESS_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""Values of init_lora_weights that leave the base model's weights alone."""


@dataclass(frozen=True)
class Fused:
    """Our linear maps that are one of theirs.

    Attributes:
        theirs: its name.
        ours: ours, in the order of its rows.
    """

    theirs: str
    ours: tuple[str, ...]


@dataclass
class Read:
    """What an adapter of PEFT holds, by our names.

    Attributes:
        updates: of our linear maps.
        magnitudes: (O,) of those that have one.
        prefixes: keys and values, each (N, W), block for block.
        tensors: of the base model that the adapter brings along: biases, pooler, head.
        faults: what cannot be taken.
    """

    updates: dict[str, LowRank] = field(default_factory=dict)
    magnitudes: dict[str, Tensor] = field(default_factory=dict)
    prefixes: list[tuple[Tensor, Tensor]] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def config_faults(config: Mapping[str, Any]) -> list[str]:
    """One line for each setting that is not honoured."""
    kind = str(config.get("peft_type"))
    if kind not in KINDS:
        return [unknown_name("peft_type", "supported adapter", kind, KINDS) + f" {MERGE}"]
    faults = [
        f"{key}: is {value!r}, which is not honoured. {MERGE}"
        for key, value in config.items()
        if key not in HONOURED and key != "init_lora_weights" and value not in (None, False, {}, [])
    ]
    start = config.get("init_lora_weights", True)
    if start not in HARMLESS_STARTS:
        faults.append(f"init_lora_weights: {start!r} changes the base model's weights. {MERGE}")
    if config.get("num_transformer_submodules") not in (None, 1):
        faults.append("num_transformer_submodules: only 1, a prefix for one stack, is honoured.")
    return faults


def fused_maps(backbone: Backbone, *, whole: bool) -> list[Fused]:
    """The linear maps of the blocks, as their family keeps them.

    Args:
        backbone: with or without updates.
        whole: whether names are those of an architecture with a head.
    """
    family = family_behind(backbone)
    maps = _maps(backbone)
    names = list(maps)
    # rows marked with their owner tell which of ours share one of theirs, and in what order
    marks = {
        f"{name}.weight": torch.full((module.weight.shape[0], 1), index)
        for index, (name, module) in enumerate(maps.items())
    }
    written = family.their_weights(marks, whole=whole)
    return [
        Fused(theirs.removesuffix(".weight"), tuple(names[i] for i in _runs(rows.flatten())))
        for theirs, rows in written.items()
    ]


def lora_to_peft(
    backbone: Backbone, *, whole: bool, rslora: bool
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The updates of a backbone as PEFT's settings and tensors.

    Args:
        backbone: with LoRA attached.
        whole: whether it is saved under an architecture with a head.
        rslora: how the scale is said: alpha / sqrt(R) instead of alpha / R.
    """
    maps = _maps(backbone)
    tensors: dict[str, Tensor] = {}
    ranks: dict[str, int] = {}
    alphas: dict[str, float] = {}
    for fused in fused_maps(backbone, whole=whole):
        parts = [maps[name] for name in fused.ours]
        adapted = [part for part in parts if isinstance(part, LoraLinear | DoraLinear)]
        if not adapted:
            continue
        start = START + fused.theirs
        tensors[f"{start}.lora_A.weight"] = torch.cat(tuple(part.lora.down for part in adapted))
        tensors[f"{start}.lora_B.weight"] = _blocks(parts)
        if isinstance(adapted[0], DoraLinear):
            tensors[f"{start}.lora_magnitude_vector"] = torch.cat([_lengths(p) for p in parts])
        rank = sum(len(part.lora.down) for part in adapted)
        ranks[fused.theirs] = rank
        alphas[fused.theirs] = adapted[0].lora.scale * (math.sqrt(rank) if rslora else rank)
    rank, alpha = _commonest(ranks), _commonest(alphas)
    config = {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": _plain(alpha),
        "rank_pattern": {name: value for name, value in ranks.items() if value != rank},
        "alpha_pattern": {n: _plain(value) for n, value in alphas.items() if value != alpha},
        "target_modules": sorted(ranks),
        "use_rslora": rslora,
        "use_dora": any(isinstance(module, DoraLinear) for module in maps.values()),
        "fan_in_fan_out": _transposes(family_behind(backbone), maps),
        "init_lora_weights": True,
    }
    return config, tensors


def prefix_to_peft(backbone: Backbone) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The prefix of a backbone as PEFT's settings and tensors."""
    attentions = [m for m in backbone.modules() if isinstance(m, PrefixAttention)]
    pairs: list[Tensor] = [t for a in attentions for t in (a.prefix.key, a.prefix.value)]
    inner = attentions[0].inner
    config = {
        "peft_type": "PREFIX_TUNING",
        "num_virtual_tokens": len(pairs[0]),
        "num_layers": len(attentions),
        "num_attention_heads": inner.form.key_heads,
        "token_dim": pairs[0].shape[1],
        "num_transformer_submodules": 1,
        "encoder_hidden_size": pairs[0].shape[1],
        "prefix_projection": False,
    }
    return config, {"prompt_embeddings": torch.cat(pairs, dim=1)}


def read_lora(backbone: Backbone, config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Read:
    """The updates in PEFT's tensors, by our names.

    Args:
        backbone: bare.
        config: of adapter_config.json, without faults.
        tensors: of adapter_model.safetensors.
    """
    read = Read()
    modules: dict[str, dict[str, tuple[str, Tensor]]] = {}
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if _is_copy(name):
            continue
        short = name.removeprefix(START).replace(".base_layer.", ".")
        found = re.fullmatch(r"(.+)\.lora_(A|B|magnitude_vector)(\.weight)?", short)
        if found:
            modules.setdefault(found[1], {})[found[2]] = (name, tensor.float())
        else:
            plain[short] = tensor
    _take_plain(family_behind(backbone), plain, read)
    for theirs, parts in modules.items():
        _take_update(backbone, config, theirs, parts, read)
    return read


def read_prefix(backbone: Backbone, tensors: Mapping[str, Tensor]) -> Read:
    """The prefix in PEFT's tensors, block for block.

    Args:
        backbone: bare.
        tensors: of adapter_model.safetensors.
    """
    read = Read()
    plain = {n.removeprefix("base_model."): t for n, t in tensors.items()
             if n != "prompt_embeddings" and not _is_copy(n)}  # fmt: skip
    _take_plain(family_behind(backbone), plain, read)
    stored = tensors.get("prompt_embeddings")
    weight = next(m.weight for n, m in linear_maps(backbone).items() if n.endswith(".key"))
    count = 2 * len(backbone.blocks)
    if stored is None:
        read.faults.append("prompt_embeddings: is missing.")
    elif stored.ndim != 2 or stored.shape[1] != count * weight.shape[0]:
        read.faults.append(
            f"prompt_embeddings: has shape {tuple(stored.shape)}; this base model needs "
            f"(N, {count * weight.shape[0]})."
        )
    else:
        pairs = stored.float().chunk(count, dim=1)
        read.prefixes = list(zip(pairs[::2], pairs[1::2], strict=True))
    return read


def put_updates(backbone: Backbone, read: Read, dropout: float) -> None:
    """Attach the updates that `read_lora` found."""
    maps = linear_maps(backbone)
    for name, update in read.updates.items():
        update.dropout.p = dropout
        magnitude = read.magnitudes.get(name)
        module = (
            LoraLinear(maps[name], update)
            if magnitude is None
            else DoraLinear(maps[name], update, magnitude)
        )
        exchange(backbone, name, module)


def _is_copy(name: str) -> bool:
    """Whether PEFT keeps a tensor a second time: with bias="all" those around a head are."""
    return ".original_module." in name or ".modules_to_save." in name


def _take_plain(family: Family, plain: Mapping[str, Tensor], read: Read) -> None:
    match = family.keys.match(plain)
    read.tensors = {n: t.float() for n, t in family.keys.read(match, plain).items()}
    read.faults += [f"{n}: is unexpected; no {family.name} has it." for n in match.unknown]
    read.faults += [f"{n}: is doubled; another name means the same." for n in match.doubled]


def _take_update(
    backbone: Backbone,
    config: Mapping[str, Any],
    theirs: str,
    parts: Mapping[str, tuple[str, Tensor]],
    read: Read,
) -> None:
    """One update of theirs, cut by the rows of our linear maps."""
    maps = linear_maps(backbone)
    match = family_behind(backbone).keys.match([f"{theirs}.weight"])
    ours = {name.removesuffix(".weight") for name in match.ours}
    whole = next((f for f in fused_maps(backbone, whole=False) if ours == set(f.ours)), None)
    if whole is None:
        read.faults.append(f"{theirs}: is adapted, and no linear map of a {backbone.family}.")
        return
    if not {"A", "B"} <= parts.keys():
        read.faults.append(f"{theirs}: has one of lora_A and lora_B without the other.")
        return
    (_, down), (_, up) = parts["A"], parts["B"]
    sizes = [maps[name].weight.shape[0] for name in whole.ours]
    width = maps[whole.ours[0]].weight.shape[1]
    wanted = {
        "A": (len(down), width),
        "B": (sum(sizes), len(down)),
        "magnitude_vector": (sum(sizes),),
    }
    wrong = [
        f"{name}: has shape {tuple(tensor.shape)}; this base model needs {wanted[part]}."
        for part, (name, tensor) in parts.items()
        if tuple(tensor.shape) != wanted[part]
    ]
    read.faults += wrong
    if wrong:
        return
    scale = _scale(config, theirs)
    magnitude = parts.get("magnitude_vector")
    for index, (name, rows) in enumerate(zip(whole.ours, torch.split(up, sizes), strict=True)):
        # only in a fused map are there columns that are for others
        used = rows.any(0) if len(sizes) > 1 else torch.ones(len(down), dtype=torch.bool)
        lengths = None if magnitude is None else torch.split(magnitude[1], sizes)[index].clone()
        if not bool(used.any()) and (lengths is None or _keeps(maps[name], lengths)):
            continue
        if lengths is not None:
            read.magnitudes[name] = lengths
        read.updates[name] = LowRank(down[used].clone(), rows[:, used].clone(), scale)


def _keeps(linear: nn.Linear, lengths: Tensor) -> bool:
    """Whether magnitudes (O,) are the lengths of the weight's own rows."""
    return torch.allclose(torch.linalg.norm(linear.weight, dim=1), lengths, rtol=1e-6)


def _scale(config: Mapping[str, Any], theirs: str) -> float:
    rank = _by_pattern(config.get("rank_pattern") or {}, theirs, config.get("r", 8))
    alpha = _by_pattern(config.get("alpha_pattern") or {}, theirs, config.get("lora_alpha", 8))
    return float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _by_pattern(table: Mapping[str, Any], name: str, otherwise: Any) -> Any:
    """PEFT's rule: the first key that the name ends with, key and name parting at a dot."""
    for key, value in table.items():
        if re.match(rf"(.*\.)?({key})$", name):
            return value
    return otherwise


def _maps(backbone: Backbone) -> dict[str, nn.Linear | LoraLinear | DoraLinear]:
    return {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear | LoraLinear | DoraLinear)
        and can_be_adapted(backbone, name)
    }


def _blocks(parts: list[nn.Linear | LoraLinear | DoraLinear]) -> Tensor:
    """B of a fused map: each part's in its rows and columns; a part without has zero rows."""
    ranks = [
        len(part.lora.down) if isinstance(part, LoraLinear | DoraLinear) else 0 for part in parts
    ]
    heights = [len(part.weight) for part in parts]
    up = parts[0].weight.new_zeros(sum(heights), sum(ranks))
    row, column = 0, 0
    for part, height, rank in zip(parts, heights, ranks, strict=True):
        if isinstance(part, LoraLinear | DoraLinear):
            up[row : row + height, column : column + rank] = part.lora.up.detach()
        row, column = row + height, column + rank
    return up


def _lengths(part: nn.Linear | LoraLinear | DoraLinear) -> Tensor:
    """Magnitudes (O,) of a part; of one without, those that leave it as it is."""
    if isinstance(part, DoraLinear):
        return part.lora_magnitude
    return torch.linalg.norm(part.weight, dim=1)


def _transposes(family: Family, maps: Mapping[str, Any]) -> bool:
    """Whether the family stores its linear maps as (in, out)."""
    name = f"{next(iter(maps))}.weight"
    marked = family.their_weights({name: torch.zeros(2, 1)}, whole=False)
    return next(iter(marked.values())).shape != (2, 1)


def _runs(values: Tensor) -> list[int]:
    return [int(value) for value in torch.unique_consecutive(values)]


def _commonest(values: Mapping[str, Any]) -> Any:
    return Counter(values.values()).most_common(1)[0][0]


def _plain(number: float) -> int | float:
    """4.0 as 4, which is how PEFT writes it."""
    near = round(number)
    return near if math.isclose(near, number, rel_tol=1e-12) else number
