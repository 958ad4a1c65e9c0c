"""Weights into a backbone, with every name accounted for.

Shapes: C classes, D width.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from headstart.errors import CheckpointError
from headstart.models.backbone import Backbone
from headstart.models.family import HEAD, PARTS, POOLER, Family
from headstart.models.keymap import Match


@dataclass(frozen=True)
class Loaded:
    """What weights hold besides the backbone.

    Attributes:
        pooler: the family's own pooling, where the weights have all of it.
        head: "weight" (C, D) and perhaps "bias" (C,), where there is a classification head.
        dropped: their names that were left out on purpose.
        fresh: our names of what the family's classifier has and the weights lack.
    """

    pooler: nn.Module | None
    head: dict[str, Tensor] | None
    dropped: tuple[str, ...]
    fresh: tuple[str, ...]


class _NothingDrawn(TorchFunctionMode):
    """Leaves the functions of torch.nn.init out."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:  # some have none
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


@contextmanager
def without_storage() -> Iterator[None]:
    """Build modules without storage or first values.

    Nothing is drawn, so no random state moves; and drawing without storage would have torch import
    its compiler, which takes a second.
    """
    with torch.device("meta"), _NothingDrawn():
        yield


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the classes in the order of a head's rows; transformers' own two by default."""
    names = config.get("id2label") or {"0": "LABEL_0", "1": "LABEL_1"}
    return tuple(str(names[key]) for key in sorted(names, key=int))


def load(
    folder: Path,
    family: Family,
    config: Mapping[str, Any],
    backbone: Backbone,
    tensors: Mapping[str, Tensor],
    head_tensors: Mapping[str, Tensor],
) -> Loaded:
    """Fill a backbone that was built without storage, with pooler and head where they are kept.

    Args:
        folder: named in errors.
        family: of the backbone.
        config: values of the config.json.
        backbone: on the meta device; filled with float32.
        tensors: by their names.
        head_tensors: "weight" and "bias" of a head kept in a file of its own; empty where not.

    Raises:
        CheckpointError: one line for each parameter that is missing, unexpected, of another
            shape or not finite.
    """
    said = family.classifier
    kept = said is not None and said.architecture in (config.get("architectures") or ())
    pooler = _without_storage(said.pooler, config) if said is not None else None
    own = set() if pooler is None else {POOLER + name for name in pooler.state_dict()}
    names = {ours for ours in family.keys.match(tensors).ours if ours.startswith(POOLER)}
    parts: dict[str, nn.Module] = {"": backbone}
    has_pooler = kept or bool(own and own & names)
    if has_pooler and pooler is not None:
        parts[POOLER] = pooler
    if kept or head_tensors:
        bias = "bias" in head_tensors if head_tensors else said is not None and said.head_bias
        widths = 1 if head_tensors or said is None else said.pooled_widths
        with without_storage():
            classes = len(class_names(config))
            parts[HEAD] = nn.Linear(widths * backbone.width, classes, bias)
    more = {HEAD + name: tensor for name, tensor in head_tensors.items()}
    dropped = fill(folder, family, config, parts, tensors, more)
    return Loaded(
        pooler=pooler.eval() if has_pooler and pooler is not None else None,
        head=parts[HEAD].state_dict() if HEAD in parts else None,
        dropped=dropped,
        fresh=() if has_pooler else tuple(sorted(own, key=len, reverse=True)),
    )


def fill(
    folder: Path,
    family: Family,
    config: Mapping[str, Any],
    parts: Mapping[str, nn.Module],
    tensors: Mapping[str, Tensor],
    more: Mapping[str, Tensor] | None = None,
) -> tuple[str, ...]:
    """Fill modules that were built without storage.

    Args:
        folder: named in errors.
        family: whose table names the tensors.
        config: values of the config.json.
        parts: by the start of our names for what they own; "" for the backbone. What the weights
            hold for one of `PARTS` that is not among them is left out.
        tensors: by their names.
        more: by our names, from elsewhere.

    Returns:
        Their names that were left out on purpose.

    Raises:
        CheckpointError: one line for each parameter that is missing, unexpected, of another
            shape or not finite.
    """
    tensors, tied, faults = _untie(family, config, tensors, parts)
    idle = [name for name in tensors if _matches(family.keys.plain(name), family.idle(config))]
    tensors = {name: tensor for name, tensor in tensors.items() if name not in idle}
    match = family.keys.match(tensors)
    ours = family.keys.read(match, tensors)
    unused = [name for name in ours if _part_of(name) not in parts]
    dropped = {*match.dropped, *tied, *idle, *(match.ours[name] for name in unused)}
    ours = {name: ours[name] for name in ours if name not in set(unused)} | dict(more or {})
    wanted: dict[str, tuple[int, ...]] = {}
    for prefix, module in parts.items():
        wanted |= _shapes(prefix, module)
    faults += _faults(family, match, ours, wanted)
    if faults:
        raise CheckpointError([f"{folder}, {fault}" for fault in faults])
    state = {
        name: tensor.to(torch.float32, copy=True, memory_format=torch.contiguous_format)
        for name, tensor in ours.items()
    }
    for prefix, module in parts.items():
        if prefix:
            module.load_state_dict(_cut(state, prefix), assign=True)
    parts[""].load_state_dict(state, assign=True)
    return tuple(sorted(dropped))


def _untie(
    family: Family,
    config: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    parts: Mapping[str, nn.Module],
) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Let each tied tensor stand once, under the name of its owner.

    What is tied in a part that nobody wants is left to be dropped with it, whatever it holds.

    Returns:
        The tensors, the names that were left out, and the faults.
    """
    left, dropped, faults = dict(tensors), [], []
    plain = {family.keys.plain(name): name for name in tensors}
    for alias, owner in family.ties(config).items():
        for end in (".weight", ".bias", ""):
            again, first = plain.get(alias + end), plain.get(owner + end)
            if again is None or (first is not None and not _wanted(family, again, first, parts)):
                continue
            tensor = left.pop(again)
            if first is None:
                plain[owner + end] = owner + end
                left[owner + end] = tensor
            elif torch.equal(tensor, tensors[first]):
                dropped.append(again)
            else:
                faults.append(
                    f"{again}: differs from {first}, and config.json says that they are one "
                    "(tie_word_embeddings). Set it to false there, or copy the folder again."
                )
    return left, dropped, faults


def _wanted(family: Family, alias: str, owner: str, parts: Mapping[str, nn.Module]) -> bool:
    """Whether a tied name, or else its owner, is for a part that is filled."""
    ours = family.keys.match([alias]).ours or family.keys.match([owner]).ours
    return any(_part_of(name) in parts for name in ours)


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(re.fullmatch(pattern, name) for pattern in patterns)


def _part_of(name: str) -> str:
    """The start of one of our names: one of `PARTS`, or "" for the backbone's."""
    return next((part for part in PARTS if name.startswith(part)), "")


def _without_storage(build: Callable[[Mapping[str, Any]], nn.Module], config: Any) -> nn.Module:
    with without_storage():
        return build(config)


def _shapes(prefix: str, module: nn.Module) -> dict[str, tuple[int, ...]]:
    return {prefix + name: tuple(value.shape) for name, value in module.state_dict().items()}


def _cut(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Take what starts with a prefix out of a table, the prefix off."""
    names = [name for name in state if name.startswith(prefix)]
    return {name.removeprefix(prefix): state.pop(name) for name in names}


def _faults(
    family: Family,
    match: Match,
    ours: Mapping[str, Tensor],
    wanted: Mapping[str, tuple[int, ...]],
) -> list[str]:
    """One fault for each name that is not accounted for, or whose tensor cannot be taken."""
    theirs = {name: match.ours.get(name, name) for name in ours}
    theirs |= {name: _their_name(family, name, match.ours) for name in wanted if name not in ours}
    faults = [f"{name}: is unexpected; no {family.name} has it." for name in match.unknown]
    faults += [f"{name}: is doubled; another name means the same." for name in match.doubled]
    return faults + _differences(ours, wanted, theirs)


def _their_name(family: Family, name: str, matched: Mapping[str, str]) -> str:
    """How this very checkpoint would have named a parameter that it lacks."""
    prefixed = any(theirs.startswith(family.prefix) for theirs in matched.values())
    return family.their_name(name, whole=prefixed)


def _differences(
    ours: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]], theirs: Mapping[str, str]
) -> list[str]:
    """One fault for each parameter that is missing or cannot be taken."""
    faults = []
    for name, shape in wanted.items():
        tensor = ours.get(name)
        if tensor is None:
            faults.append(f"{theirs[name]}: is missing; {name} {shape} needs it.")
        elif tuple(tensor.shape) != shape:
            faults.append(
                f"{theirs[name]}: has shape {tuple(tensor.shape)}; config.json says {shape}."
            )
        elif not tensor.is_floating_point():
            faults.append(f"{theirs[name]}: is stored as {tensor.dtype}; must be a float.")
        elif not bool(torch.isfinite(tensor).all()):
            faults.append(f"{theirs[name]}: holds values that are not finite; the file is damaged.")
    excess = [theirs[name] for name in ours if name not in wanted]
    return faults + [f"{name}: is unexpected; config.json has no such part." for name in excess]
