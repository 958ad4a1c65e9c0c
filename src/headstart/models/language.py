"""Backbones that say words: a decoder alone, an encoder with a decoder, or an encoder that tells
what was hidden from it.

Shapes: T tokens of all rows (Ts and Tt: source and target), M of them hidden, D width, V words in
the vocabulary.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.models.backbone import Backbone, draw
from headstart.models.chain import Chain
from headstart.models.config import Sizes
from headstart.nn.multihead import Borrowed
from headstart.nn.ragged import Ragged
from headstart.nn.transformer import Decoder


class TiedHead(nn.Module):
    """Words scored by their own embeddings (Press and Wolf 2017).

    Args:
        embedding: (V, D), owned by the backbone.
        scale: what a hidden state is multiplied by first.
    """

    def __init__(self, embedding: nn.Embedding, scale: float = 1.0) -> None:
        super().__init__()
        self._embedding, self.scale = Borrowed(embedding), scale

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, D) to (T, V)."""
        return F.linear(values * self.scale, self.embedding.weight)

    @property
    def embedding(self) -> nn.Embedding:
        """The vectors (V, D) that words are scored by."""
        assert isinstance(self._embedding.module, nn.Embedding)
        return self._embedding.module


def tied_score(values: Mapping[str, Any], embedding: nn.Embedding) -> TiedHead:
    """Words scored by their own embeddings, as every head that tells hidden words does.

    Args:
        values: of a config.json.
        embedding: (V, D), owned by the backbone.

    Raises:
        ValueError: the config.json says that they are not.
    """
    if not values.get("tie_word_embeddings", True):
        raise ValueError(
            "tie_word_embeddings: must be true for masked-lm, where words are scored by their own "
            "embeddings; got false."
        )
    return TiedHead(embedding)


class WordHead(nn.Module, ABC):
    """A head that tells hidden words."""

    @abstractmethod
    def forward(self, values: Tensor) -> Tensor:
        """Map (M, D) to (M, V)."""

    @abstractmethod
    def parts(self) -> dict[str, nn.Module]:
        """Modules by the start of our names for what they own."""


class MaskedHead(WordHead):
    """What was hidden, told from a hidden state: activation and norm, then words scored by their
    own embeddings (BERT: Devlin et al. 2019, section 3.1, as published).

    Args:
        width: D.
        score: maps (M, D) to (M, V); a `TiedHead` where the words' own embeddings score them.
        vocabulary: V.
        norm: maps (M, D) to (M, D).
        activation: elementwise.
    """

    def __init__(
        self,
        width: int,
        score: nn.Module,
        *,
        vocabulary: int,
        norm: nn.Module,
        activation: Callable[[Tensor], Tensor] = F.gelu,
    ) -> None:
        super().__init__()
        self.dense, self.norm, self.score = nn.Linear(width, width), norm, score
        self.bias = nn.Parameter(torch.zeros(vocabulary))
        self.activation = activation

    def forward(self, values: Tensor) -> Tensor:
        """Map (M, D) to (M, V)."""
        return self.score(self.norm(self.activation(self.dense(values)))) + self.bias

    def parts(self) -> dict[str, nn.Module]:
        """All of it is the head's."""
        return {"lm_head.": self}


def masked_head(
    config: Sizes,
    embedding: nn.Embedding,
    values: Mapping[str, Any],
    *,
    norm: nn.Module,
    activation: Callable[[Tensor], Tensor],
) -> MaskedHead:
    """A new head that tells hidden words.

    Args:
        config: sizes and rates.
        embedding: (V, D), the backbone's.
        values: of the config.json.
        norm: maps (M, D) to (M, D).
        activation: elementwise.

    Raises:
        ValueError: words are not scored by their own embeddings.
    """
    head = MaskedHead(
        config.width,
        tied_score(values, embedding),
        vocabulary=embedding.num_embeddings,
        norm=norm,
        activation=activation,
    )
    draw(head, config.initializer_range)
    return head


class MaskedLanguageModel(Chain):
    """An encoder that tells hidden tokens: BERT, RoBERTa.

    Args:
        backbone: maps tokens (T,) int64 to (T, D).
        head: maps (M, D) to (M, V).
    """

    def __init__(self, backbone: Backbone, head: WordHead) -> None:
        super().__init__(backbone)
        self.head = head

    def forward(self, tokens: Ragged, segments: Tensor | None, places: Tensor) -> Tensor:
        """Logits (M, V) of the words at M places.

        Args:
            tokens: (T,) int64.
            segments: (T,) int64 where there are pairs, else None.
            places: (M,) int64 in the packed tokens, 0 to T - 1: only what is asked is scored.
        """
        return self.head(self.backbone(tokens, segments).values[places])

    def parts(self) -> dict[str, nn.Module]:
        """Modules by the start of our names for what they own."""
        return {"": self.backbone, **self.head.parts()}


class LanguageModel(Chain):
    """A decoder that scores what comes next: GPT-2, Llama.

    Args:
        backbone: causal; maps tokens (T,) int64 to (T, D).
        lm_head: maps (T, D) to (T, V).
    """

    def __init__(self, backbone: Backbone, lm_head: nn.Module) -> None:
        super().__init__(backbone)
        self.lm_head = lm_head

    def forward(self, tokens: Ragged) -> Ragged:
        """Logits (T, V) of the word after each token (T,) int64."""
        x = self.backbone(tokens)
        return x.replace(self.lm_head(x.values))

    def parts(self) -> dict[str, nn.Module]:
        """Modules by the start of our names for what they own."""
        return {"": self.backbone, "lm_head.": self.lm_head}


class TextToText(Chain):
    """An encoder that reads a source and a decoder that scores what comes next: T5, BART.

    Args:
        backbone: the encoder; maps source tokens (Ts,) int64 to (Ts, D).
        decoder: maps target tokens (Tt,) int64, with the encoder's output, to (Tt, D).
        lm_head: maps (Tt, D) to (Tt, V).
        start: token that every target begins with, before its first word.
    """

    def __init__(
        self, backbone: Backbone, decoder: Decoder, lm_head: nn.Module, *, start: int
    ) -> None:
        super().__init__(backbone)
        self.decoder, self.lm_head = decoder, lm_head
        self.start = start

    def further_parts(self) -> list[nn.Module]:
        """The decoder's: its embeddings, each block, its final map."""
        return [self.decoder.embeddings, *self.decoder.blocks, self.decoder.finish]

    def forward(self, source: Ragged, target: Ragged) -> Ragged:
        """Logits (Tt, V) of the word after each target token, from both texts' tokens."""
        x = self.decoder(target, self.backbone(source))
        return x.replace(self.lm_head(x.values))

    def parts(self) -> dict[str, nn.Module]:
        """Modules by the start of our names for what they own."""
        return {"": self.backbone, "decoder.": self.decoder, "lm_head.": self.lm_head}
