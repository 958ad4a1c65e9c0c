"""What is put into a network beside its weights, and taken out again: LoRA, prefixes, bottlenecks.

Nothing here changes a tensor that was there before: modules are exchanged, and a weight that has an
update merged into it is a new one. So taking out, and undoing a merge, is exact.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import TypeVar

import torch
from torch import nn

from headstart.errors import RecipeError, nearest
from headstart.models.backbone import Backbone, Stack
from headstart.models.chain import Chain
from headstart.models.network import Network
from headstart.nn.adapters import Around, Bottleneck, Bottlenecked
from headstart.nn.lora import DoraLinear, LoraLinear, LowRank
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.prefix import LaterEmbeddings, Prefix, PrefixAttention
from headstart.recipe import Adapter, Lora
from headstart.recipe import Bottleneck as BottleneckValues
from headstart.recipe import Prefix as PrefixValues

M = TypeVar("M", bound=nn.Module)

TARGETS = {"attention": r".*(?i:attention|attn)\.[^.]+", "all-linear": r".*"}
"""Patterns by the words that `Lora.targets` knows; models of the bridge say attn, SelfAttention."""

PREFIX_STD = 0.02


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern rules a parameter; "backbone." may be left out in front."""
    full = re.compile(rf"(?:{pattern})(?:\.|$)|^(?:{pattern})$")
    return bool(full.match(name) or full.match(name.removeprefix("backbone.")))


def attach(network: Network, adapter: Adapter, place: str = "train") -> None:
    """Put what an adapter adds into the backbone; but for a prefix, outputs stay the same.

    First values are drawn from torch's random state.

    Args:
        network: changed in place; its tensors are not.
        adapter: what to add.
        place: named in errors.

    Raises:
        RecipeError: something is attached already, targets match nothing, or the family's blocks
            take no such thing.
    """
    found = carried(network)
    if found is not None:
        raise RecipeError(
            f"{place}: the model has {_called(found)} from before, and one thing may be added at "
            'a time. Train that one on, by the same words, or train "head", "top:N" or "all".'
        )
    if isinstance(adapter, Lora):
        _attach_lora(network.backbone, adapter, place)
    elif isinstance(adapter, PrefixValues):
        _attach_prefix(network.backbone, adapter, place)
    else:
        _attach_bottlenecks(network.backbone, adapter, place)


def carried(network: Chain) -> Adapter | None:
    """What is attached; of LoRA the rank of the first update speaks for all."""
    for module in network.backbone.modules():
        if isinstance(module, LoraLinear | DoraLinear):
            rank = len(module.lora.down)
            dora = isinstance(module, DoraLinear)
            return Lora(kind="lora", rank=rank, alpha=module.lora.scale * rank, dora=dora)
        if isinstance(module, PrefixAttention):
            return PrefixValues(kind="prefix", length=len(module.prefix.key))
        if isinstance(module, Bottlenecked):
            return BottleneckValues(kind="adapter", width=module.adapter.down.out_features)
    return None


def shared(module: M) -> M:
    """A copy of modules with the very same tensors; exchanging modules in one spares the other."""
    tensors = chain(module.parameters(), module.buffers())
    return copy.deepcopy(module, {id(tensor): tensor for tensor in tensors})


def bare(network: Network) -> Network:
    """The same network, its tensors shared, without what is attached."""
    view = shared(network)
    for name, module in list(view.backbone.named_modules()):
        if isinstance(module, LoraLinear | DoraLinear):
            exchange(view.backbone, name, module.plain())
        elif isinstance(module, Around):
            exchange(view.backbone, name, module.inner)
    return view


def merge(network: Network) -> dict[str, nn.Module]:
    """Put a linear map with the update added in the place of each that has a LoRA.

    Prefixes and bottlenecks have no such form and stay.

    Args:
        network: in eval mode it gives the same afterwards, up to rounding.

    Returns:
        What stood there, by name, for `unmerge`.
    """
    kept: dict[str, nn.Module] = {}
    for name, module in list(network.backbone.named_modules()):
        if isinstance(module, LoraLinear | DoraLinear):
            kept[name] = module
            exchange(network.backbone, name, module.merged())
    return kept


def unmerge(network: Network, kept: Mapping[str, nn.Module]) -> None:
    """Undo `merge`: every tensor is the very one from before.

    Args:
        network: as `merge` left it.
        kept: what `merge` returned.
    """
    for name, module in kept.items():
        exchange(network.backbone, name, module)


def exchange(root: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module where another stands."""
    owner, _, last = name.rpartition(".")
    setattr(root.get_submodule(owner), last, module.train(root.training))


def linear_maps(backbone: Backbone) -> dict[str, nn.Linear]:
    """The linear maps that can be adapted, by name."""
    return {
        name: module
        for name, module in backbone.named_modules()
        if isinstance(module, nn.Linear) and can_be_adapted(backbone, name)
    }


def can_be_adapted(backbone: Backbone, name: str) -> bool:
    """Whether a module lies in a block, or anywhere in a model that was not taken apart."""
    return name.startswith("blocks.") or not len(backbone.blocks)


def with_update(linear: nn.Linear, update: LowRank, *, dora: bool) -> LoraLinear | DoraLinear:
    """A linear map with an update beside it, of one kind or the other."""
    return DoraLinear(linear, update) if dora else LoraLinear(linear, update)


def _called(adapter: Adapter) -> str:
    words = {"lora": "low-rank updates", "prefix": "a prefix", "adapter": "bottlenecks"}
    return words[adapter.kind]


def _attach_lora(backbone: Backbone, adapter: Lora, place: str) -> None:
    maps = linear_maps(backbone)
    pattern = TARGETS.get(adapter.targets, adapter.targets)
    chosen = [name for name in maps if _is_target(pattern, name)]
    if not chosen:
        parts = sorted({name.split(".", 2)[-1] for name in maps})
        if not parts:
            raise RecipeError(
                f"{place}: the blocks of {backbone.family} have no linear map to adapt. Use "
                '"top:1" or "all" instead.'
            )
        last = {part.rpartition(".")[2] for part in parts}
        near = last | set(maps) | set(TARGETS) - {adapter.targets}
        raise RecipeError(
            f"{place}, targets: {adapter.targets!r} rules no linear map."
            f"{nearest(adapter.targets, near)} A block has {', '.join(parts)}; words are "
            f"{', '.join(TARGETS)}."
        )
    for name in chosen:
        update = LowRank.drawn(maps[name], adapter.rank, adapter.scale, adapter.dropout)
        exchange(backbone, name, with_update(maps[name], update, dora=adapter.dora))


def _is_target(pattern: str, name: str) -> bool:
    last = name.rpartition(".")[2]
    return matches(pattern, name) or re.fullmatch(pattern, last) is not None


def _attach_prefix(backbone: Backbone, adapter: PrefixValues, place: str) -> None:
    attentions = dict(_parts(backbone, ("attention",)))
    fits = all(type(a) is MultiHeadAttention for a in attentions.values())
    if not fits or not isinstance(backbone, Stack) or len(attentions) != len(backbone.blocks):
        raise RecipeError(
            f'{place}: the blocks of {backbone.family} take no prefix. Use "lora:8" instead.'
        )
    if adapter.length >= backbone.max_positions - 1:
        raise RecipeError(
            f"{place}: a prefix of {adapter.length} leaves no room for texts; {backbone.family} "
            f"has {backbone.max_positions} positions."
        )
    for name, attention in attentions.items():
        assert isinstance(attention, MultiHeadAttention)
        weight = attention.key.weight
        shape = (adapter.length, weight.shape[0])
        prefix = Prefix(
            torch.randn(shape, device=weight.device) * PREFIX_STD,
            torch.randn(shape, device=weight.device) * PREFIX_STD,
        )
        exchange(backbone, name, PrefixAttention(attention, prefix))
    exchange(backbone, "embeddings", LaterEmbeddings(backbone.embeddings, adapter.length))


def _attach_bottlenecks(backbone: Backbone, adapter: BottleneckValues, place: str) -> None:
    parts = dict(_parts(backbone, ("attention", "feed_forward")))
    if not parts or len(parts) != 2 * len(backbone.blocks):
        raise RecipeError(
            f"{place}: the blocks of {backbone.family} have no attention and feed_forward to "
            'put bottlenecks after. Use "lora:8" instead.'
        )
    device = next(backbone.parameters()).device
    for name, part in parts.items():
        bottleneck = Bottleneck(backbone.width, adapter.width).to(device)
        exchange(backbone, name, Bottlenecked(part, bottleneck))


def _parts(backbone: Backbone, names: tuple[str, ...]) -> Iterator[tuple[str, nn.Module]]:
    """The modules of those names in each block."""
    for index, block in enumerate(backbone.blocks):
        for name, part in block.named_children():
            if name in names:
                yield f"blocks.{index}.{name}", part
