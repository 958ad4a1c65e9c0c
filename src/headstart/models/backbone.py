"""What every family offers: tokens in, hidden states out, in parts that can be frozen.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from headstart.models.config import Sizes
from headstart.nn.ragged import Ragged


def _kept(block: nn.Module, x: Ragged) -> Ragged:
    """A block's output; what its backward pass needs is kept."""
    return block(x)


def _recomputed(block: nn.Module, x: Ragged) -> Ragged:
    """A block's output; what its backward pass needs is computed again (Chen et al. 2016)."""

    def run(values: Tensor) -> Tensor:
        return block(x.replace(values)).values

    return x.replace(checkpoint(run, x.values, use_reentrant=False))


class Backbone(nn.Module, ABC):
    """A Transformer with its embeddings, its blocks and a final map; no head.

    Attributes:
        family: the name of the kind, as in the `model_type` of a config.json.
        width: D.
        blocks: each maps (T, D) to (T, D).
        finish: maps (T, D) to (T, D) after the last block; `nn.Identity` where a family has none.
        max_positions: longest row in tokens.
        usual_length: longest row in tokens of its pre-training, where longer ones can be read.
        patch_values: numbers in a patch, C * p * p, where it reads images; None: it reads tokens.
        causal: whether a token sees only those before it, so that the last one speaks for a text.
        note: what cannot be done with this backbone, to be told to whoever uses it.
    """

    causal: bool = False
    note: str | None = None
    family: str
    width: int
    blocks: nn.ModuleList
    finish: nn.Module
    max_positions: int
    usual_length: int | None = None
    patch_values: int | None = None
    _through: Callable[[nn.Module, Ragged], Ragged] = staticmethod(_kept)

    @abstractmethod
    def embed(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Map tokens (T,) int64, and segments (T,) int64 where there are pairs, to (T, D)."""

    @abstractmethod
    def embedding_modules(self) -> list[nn.Module]:
        """The modules that own the parameters of `embed`."""

    @abstractmethod
    def hf_config(self) -> dict[str, Any]:
        """The sizes as Hugging Face's config.json words them."""

    def forward(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Map tokens (T,) int64 to the last hidden states (T, D)."""
        x = self.run(self.embed(tokens, segments), 0, len(self.blocks))
        return x.replace(self.finish(x.values))

    def run(self, x: Ragged, start: int, stop: int) -> Ragged:
        """Map (T, D) through the blocks from `start` up to, not including, `stop`."""
        for number in range(start, stop):
            x = self._through(self.blocks[number], x)
        return x

    def recompute(self, again: bool) -> None:
        """Whether blocks are computed again for the backward pass, to the same values."""
        self._through = _recomputed if again else _kept

    def hidden_states(self, tokens: Ragged, segments: Tensor | None = None) -> list[Ragged]:
        """Output (T, D) of the embeddings and of each block; the last one after `finish`."""
        states = [self.embed(tokens, segments)]
        for block in self.blocks:
            states.append(block(states[-1]))
        states[-1] = states[-1].replace(self.finish(states[-1].values))
        return states


class Stack(Backbone):
    """Embeddings in one module, then blocks, then a final map: most families.

    Args:
        config: sizes and rates.
        embeddings: what `embed` calls.
        blocks: each maps (T, D) to (T, D).
        finish: maps (T, D) to (T, D); a norm after pre-norm blocks, by default nothing.
    """

    def __init__(
        self,
        config: Sizes,
        embeddings: nn.Module,
        blocks: Iterable[nn.Module],
        finish: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.config, self.width = config, config.width
        self.embeddings, self.blocks = embeddings, nn.ModuleList(blocks)
        self.finish = nn.Identity() if finish is None else finish
        draw(self, config.initializer_range)

    def embed(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Map tokens (T,) int64 to (T, D).

        `segments` is not read: most families know a text's place in a pair from its place alone.
        """
        return self.embeddings(tokens)

    def embedding_modules(self) -> list[nn.Module]:
        """The modules that own the parameters of `embed`."""
        return [self.embeddings]

    def hf_config(self) -> dict[str, Any]:
        """The sizes as Hugging Face's config.json words them."""
        return {"model_type": self.family, **self.config.to_hf()}


def draw(module: nn.Module, std: float) -> None:
    """Give linear maps and embeddings new weights as BERT draws them: normal, biases zero."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
