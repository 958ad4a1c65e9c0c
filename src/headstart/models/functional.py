"""Networks asked with other parameters than their own, and heads made of a few labelled rows.

Meta-learning asks a network what it would say if it had learned from an episode. Its own parameters
stay as they are: the others are handed in (torch.func.functional_call), so that gradients can go
through the steps that made them.

Shapes: B rows, S rows to learn from, T tokens of all rows, D width, N classes of an episode.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from headstart.models.network import Network
from headstart.nn.ragged import Ragged

WEIGHT, BIAS = "head.weight", "head.bias"
"""What an episode's head is called among the parameters that an episode has of its own."""


Read = Callable[[], Tensor]
"""Gives the vectors (S, D) of the rows that an episode learns from."""


class Functional(nn.Module):
    """A body asked with some parameters in the place of its own.

    Args:
        body: maps inputs, and segments or None, to vectors (B, D).
        prefix: what the names of `body` start with, where the parameters' do not.
    """

    def __init__(self, body: nn.Module, prefix: str = "") -> None:
        super().__init__()
        self.body, self.prefix = body, prefix

    def forward(
        self, parameters: dict[str, Tensor], inputs: Ragged, segments: Tensor | None = None
    ) -> Tensor:
        """Vectors (B, D), by the parameters given by name, and for the rest by the body's own."""
        given = {self.prefix + name: tensor for name, tensor in parameters.items()}
        vectors = functional_call(self.body, given, (inputs, segments))
        assert isinstance(vectors, Tensor)
        return vectors


class Vectors(nn.Module):
    """What the head of a network reads.

    Args:
        network: backbone, pooling, dropout and head.
        depth: how many of its first parts the inputs went through before.
    """

    def __init__(self, network: Network, depth: int = 0) -> None:
        super().__init__()
        self.network, self.depth = network, depth

    def forward(self, inputs: Ragged, segments: Tensor | None = None) -> Tensor:
        """Map tokens (T,), or what the first parts gave, to (B, D)."""
        return self.network.vectors(inputs, self.depth, segments)


class EpisodeHead(nn.Module, ABC):
    """Makes the head that an episode begins with, and holds the rates of its steps.

    Args:
        layers: names of what moves inside an episode; each has a rate of its own.
        rate: of all of them, at first.
        learn_rates: whether rates are parameters, so that they learn (Meta-SGD: Li et al. 2017,
            here one for each layer).
    """

    def __init__(
        self, layers: Sequence[str] = (), rate: float = 0.0, *, learn_rates: bool = False
    ) -> None:
        super().__init__()
        self.layers = tuple(layers)
        rates = torch.full((len(self.layers),), rate)
        if learn_rates:
            self.rates = nn.Parameter(rates)
        else:
            self.register_buffer("rates", rates)

    @abstractmethod
    def forward(self, read: Read, target: Tensor, ways: int) -> dict[str, Tensor]:
        """The head as `WEIGHT` (N, D) and `BIAS` (N,).

        Args:
            read: gives the vectors (S, D) of the rows to learn from; not called in vain.
            target: (S,) int64 class of each, 0 to N - 1.
            ways: N.
        """

    def rate_of(self, names: Sequence[str]) -> dict[str, Tensor]:
        """The rate, a scalar, of each parameter: that of its layer."""
        place = {layer: number for number, layer in enumerate(self.layers)}
        return {name: self.rates[place[layer_of(name)]] for name in names}


def layer_of(name: str) -> str:
    """The module that owns a parameter: its weight and its bias are one layer."""
    return name.rpartition(".")[0]


class MeansHead(EpisodeHead):
    """Each class by the mean of its rows: -|x - mean|^2, up to what all classes share.

    As a linear map: weight 2 * mean, bias -|mean|^2 (Snell et al. 2017, equation 8), from which
    gradient descent may go on (Triantafillou et al. 2020, section 3).
    """

    def forward(self, read: Read, target: Tensor, ways: int) -> dict[str, Tensor]:
        """The head that has the nearest mean win."""
        means = class_means(read(), target, ways)
        return {WEIGHT: 2 * means, BIAS: -means.square().sum(1)}


class LearnedHead(EpisodeHead):
    """The same beginning for every episode, learned with the rest (Finn et al. 2017).

    Args:
        start: maps (B, D) to (B, N).
        layers: as in `EpisodeHead`.
        rate: likewise.
        learn_rates: likewise.
    """

    def __init__(
        self,
        start: nn.Linear,
        layers: Sequence[str] = (),
        rate: float = 0.0,
        *,
        learn_rates: bool = False,
    ) -> None:
        super().__init__(layers, rate, learn_rates=learn_rates)
        self.start = start

    def forward(self, read: Read, target: Tensor, ways: int) -> dict[str, Tensor]:
        """The head as it was learned; it has as many classes as every episode."""
        assert ways == len(self.start.weight), "every episode has as many classes"
        return {WEIGHT: self.start.weight, BIAS: self.start.bias}


class GeneratedHead(EpisodeHead):
    """Each class's weight and bias as the mean of what a small network makes of its rows.

    LEOPARD's (Bansal et al. 2020, equation 1): two layers with a tanh between. The last layer
    begins as the class means' map, so that learning starts from there.

    Args:
        width: D.
        layers: as in `EpisodeHead`.
        rate: likewise.
        learn_rates: likewise.
    """

    def __init__(
        self,
        width: int,
        layers: Sequence[str] = (),
        rate: float = 0.0,
        *,
        learn_rates: bool = False,
    ) -> None:
        super().__init__(layers, rate, learn_rates=learn_rates)
        self.inner, self.outer = nn.Linear(width, width), nn.Linear(width, width + 1)
        nn.init.normal_(self.inner.weight, std=1 / math.sqrt(width))
        nn.init.zeros_(self.inner.bias)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)

    def forward(self, read: Read, target: Tensor, ways: int) -> dict[str, Tensor]:
        """The class means' head, moved by what the network makes of each class."""
        vectors = read()
        made = class_means(self.outer(torch.tanh(self.inner(vectors))), target, ways)
        means = class_means(vectors, target, ways)
        return {
            WEIGHT: 2 * means + made[:, :-1],
            BIAS: made[:, -1] - means.square().sum(1),
        }


def class_means(vectors: Tensor, target: Tensor, ways: int) -> Tensor:
    """(N, D) the mean over the rows (S, D) of each class."""
    sums = vectors.new_zeros(ways, vectors.shape[1]).index_add(0, target, vectors)
    return sums / torch.bincount(target, minlength=ways)[:, None]


def outputs(vectors: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    """What an episode's head makes (B, N) of vectors (B, D)."""
    return F.linear(vectors, parameters[WEIGHT], parameters[BIAS])
