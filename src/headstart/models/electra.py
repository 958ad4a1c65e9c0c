"""A backbone that tells which tokens of a text were replaced, beside a small generator that
replaces them (ELECTRA: Clark et al. 2020).

Shapes: T tokens of all rows, M of them hidden, D width, V words in the vocabulary.
"""

from __future__ import annotations

import copy
from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.models.backbone import Backbone, draw
from headstart.models.chain import Chain
from headstart.models.language import MaskedLanguageModel
from headstart.nn.ragged import Ragged

INITIAL_STD = 0.02
GENERATOR_SHARE = 1 / 3
"""Blocks of the generator for each of the backbone's; a quarter to a half worked best (section
3.2)."""


class Detector(nn.Module):
    """How sure it is that a token was replaced: a hidden layer and a number.

    Args:
        width: D.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dense, self.score = nn.Linear(width, width), nn.Linear(width, 1)
        draw(self, INITIAL_STD)

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, D) to logits (T,)."""
        return self.score(F.gelu(self.dense(values))).squeeze(-1)


class Contestants(nn.Module):
    """What is put on a backbone that judges tokens.

    Args:
        generator: says words in the place of hidden ones.
        detector: judges each token's hidden state.
    """

    def __init__(self, generator: MaskedLanguageModel, detector: Detector) -> None:
        super().__init__()
        self.generator, self.detector = generator, detector


class ReplacedTokens(Chain):
    """Generator and detector on one backbone; they share its embeddings (section 3.2).

    Args:
        model: the backbone that is to detect, and a head that tells hidden words. The generator
            begins as its first third of blocks with this head.
    """

    def __init__(self, model: MaskedLanguageModel) -> None:
        super().__init__(model.backbone)
        small = MaskedLanguageModel(_first_blocks(model.backbone), model.head)
        self.head = Contestants(small, Detector(model.backbone.width))

    def forward(
        self, tokens: Ragged, segments: Tensor | None, places: Tensor, chances: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """What the generator says and what the backbone makes of it.

        No gradient goes from what was said to the generator: it is not trained to deceive.

        Args:
            tokens: (T,) int64, hidden ones among them.
            segments: (T,) int64 where there are pairs, else None.
            places: (M,) int64 in the packed tokens, which are hidden.
            chances: (M,) in [0, 1), by which a word is drawn for each.

        Returns:
            The generator's logits (M, V), the words (M,) int64 that were drawn, and the logits (T,)
            of each token's having been replaced.
        """
        logits = self.head.generator(tokens, segments, places)
        words = drawn(logits.detach(), chances)
        shown = tokens.replace(tokens.values.index_copy(0, places, words))
        return logits, words, self.head.detector(self.backbone(shown, segments).values)

    def further_parts(self) -> list[nn.Module]:
        """Generator and detector: where nothing in one moves, it stays in eval mode."""
        return [self.head.generator.head, self.head.detector,
                *self.head.generator.backbone.blocks]  # fmt: skip

    def recompute(self, again: bool) -> None:
        """Whether blocks are computed again for the backward pass, to the same values."""
        super().recompute(again)
        self.head.generator.recompute(again)

    def head_state(self) -> dict[str, Tensor]:
        """Tensors of generator and detector, but for those that are the backbone's."""
        shared = _identities(self.backbone)
        state = self.head.state_dict(keep_vars=True)
        return {name: t.detach() for name, t in state.items() if id(t) not in shared}

    def load_head(self, state: dict[str, Tensor]) -> None:
        """Take what `head_state` gave.

        Raises:
            RuntimeError: names or shapes differ.
        """
        own = self.head.state_dict(keep_vars=True)
        shared = _identities(self.backbone)
        kept = {name: tensor for name, tensor in own.items() if id(tensor) in shared}
        self.head.load_state_dict({**state, **kept})


def drawn(logits: Tensor, chances: Tensor) -> Tensor:
    """Words (M,) drawn from the softmax of logits (M, V), each by one number (M,) in [0, 1)."""
    sums = logits.float().softmax(-1).cumsum(-1)
    found = torch.searchsorted(sums, chances[:, None] * sums[:, -1:], right=True)
    return found.squeeze(-1).clamp(max=logits.shape[-1] - 1)


def _first_blocks(backbone: Backbone) -> Backbone:
    """A copy of a backbone's first third of blocks on the very embeddings of the whole."""
    owned = [part for module in backbone.embedding_modules() for part in module.modules()]
    small = copy.deepcopy(backbone, {id(module): module for module in owned})
    del small.blocks[max(1, round(GENERATOR_SHARE * len(small.blocks))) :]
    return small


def _identities(backbone: Backbone) -> set[int]:
    return {id(tensor) for tensor in chain(backbone.parameters(), backbone.buffers())}
