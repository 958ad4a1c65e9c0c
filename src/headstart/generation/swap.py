"""A module with others inside it, without a trace in the given one."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy

from torch import nn


def swapped(module: nn.Module, swap: Callable[[str, nn.Module], nn.Module]) -> nn.Module:
    """A module with others in the place of some of its own; it shares all else with the given one.

    Args:
        module: stays as it is.
        swap: from what its owner calls a module, and the module, to what stands in its place, or
            to itself.
    """
    children = dict(module.named_children())
    swaps = {name: swap(name, child) for name, child in children.items()}
    swaps = {
        name: swapped(child, swap) if child is children[name] else child
        for name, child in swaps.items()
    }
    if all(child is children[name] for name, child in swaps.items()):
        return module
    shared = copy(module)
    shared._modules = {**module._modules, **swaps}
    return shared
