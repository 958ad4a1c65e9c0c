"""Weights into a backbone, with every name accounted for.

Shapes: C classes, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from headstart.errors import CheckpointError
from headstart.models.backbone import Backbone
from headstart.models.family import HEAD, POOLER, Family
from headstart.models.keymap import Match
from headstart.models.network import Pooler


@dataclass(frozen=True)
class Loaded:
    """What weights hold besides the backbone.

    Attributes:
        pooler: the family's own pooling, where the weights have one.
        head: "weight" (C, D) and "bias" (C,), where there is a classification head.
        dropped: their names that were left out on purpose.
        fresh: our names of what the family has and the weights lack.
    """

    pooler: Pooler | None
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
    """Fill a backbone that was built without storage.

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
    match = family.keys.match(tensors)
    ours = {name: tensors[theirs] for name, theirs in match.ours.items()}
    dropped = list(match.dropped)
    classifier = family.classifier in (config.get("architectures") or ())
    if not classifier:  # a head of another task
        unused = [name for name in ours if name.startswith(HEAD)]
        dropped += [match.ours[name] for name in unused]
        ours = {name: ours[name] for name in ours.keys() - set(unused)}
    ours |= {HEAD + name: tensor for name, tensor in head_tensors.items()}
    has_head = classifier or bool(head_tensors)
    has_pooler = classifier or any(name.startswith(POOLER) for name in ours)
    with without_storage():
        pooler = family.pooler(config)
        head = nn.Linear(backbone.width, len(class_names(config)))
    wanted = _shapes("", backbone)
    wanted |= _shapes(POOLER, pooler) if has_pooler else {}
    wanted |= _shapes(HEAD, head) if has_head else {}
    faults = _faults(family, match, ours, wanted)
    if faults:
        raise CheckpointError([f"{folder}, {fault}" for fault in faults])
    state = {name: tensor.to(torch.float32, copy=True) for name, tensor in ours.items()}
    rest = _cut(state, POOLER), _cut(state, HEAD)
    backbone.load_state_dict(state, assign=True)
    if has_pooler:
        pooler.load_state_dict(rest[0], assign=True)
    return Loaded(
        pooler=pooler.eval() if has_pooler else None,
        head=rest[1] if has_head else None,
        dropped=tuple(sorted(dropped)),
        fresh=() if has_pooler else tuple(_shapes(POOLER, pooler)),
    )


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
