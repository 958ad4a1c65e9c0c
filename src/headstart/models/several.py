"""One backbone, several heads: what each task asks it is a network of its own on shared parts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from headstart.models.backbone import Backbone
from headstart.models.chain import Chain
from headstart.nn.multihead import Borrowed


class SharedBackbone(Chain):
    """A backbone with what several tasks put on it.

    Parameters of the backbone are named `backbone.*`, those of a task `head.TASK.*`, so that what
    rules a head rules all of them.

    Args:
        backbone: maps tokens (T,) int64 to (T, D).
        networks: by task, chains on equal backbones; each is made to use this one, see `share`.
    """

    def __init__(self, backbone: Backbone, networks: Mapping[str, Chain]) -> None:
        super().__init__(backbone)
        self._networks = dict(networks)  # not registered: their heads are, below
        self.head = nn.ModuleDict()
        for name, network in networks.items():
            share(network, backbone)
            self.head[name] = nn.ModuleDict(
                {key: module for key, module in network.named_children() if key != "backbone"}
            )

    def forward(self, task: str, *inputs: Any) -> Any:
        """What a task's network gives for what it reads."""
        return self._networks[task](*inputs)

    def network(self, task: str) -> Chain:
        """A task's own network; its backbone is the shared one."""
        return self._networks[task]

    def further_parts(self) -> list[nn.Module]:
        """The heads: where one does not move, it stays in eval mode."""
        return [module for head in self.head.values() for module in head.children()]

    def recompute(self, again: bool) -> None:
        """Whether blocks are computed again for the backward pass, to the same values."""
        for network in self._networks.values():
            network.recompute(again)


def share(network: Chain, backbone: Backbone) -> None:
    """Make a chain use a backbone in place of its own, which is equal to it.

    What is not of the backbone but uses parts of it, as a head that scores words by their own
    embeddings does, uses those of the new one from then on.

    Args:
        network: whatever trains.
        backbone: of the same family and sizes.
    """
    old = network.backbone
    names = {id(module): name for name, module in old.named_modules()}
    theirs = {name for name, _ in old.named_modules()}
    assert theirs == {name for name, _ in backbone.named_modules()}, "of one family and size"
    for path, module in list(network.named_modules()):
        if path.split(".")[0] == "backbone":
            continue
        for key, child in list(module.named_children()):
            if id(child) in names and not (module is network and key == "backbone"):
                setattr(module, key, backbone.get_submodule(names[id(child)]))
        for value in vars(module).values():
            if isinstance(value, Borrowed) and id(value.module) in names:
                value.module = backbone.get_submodule(names[id(value.module)])
    network.backbone = backbone
