"""Backbones that say words: a decoder alone, or an encoder with a decoder.

Shapes: T tokens of all rows (Ts and Tt: source and target), D width, V words in the vocabulary.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from headstart.models.backbone import Backbone
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


class LanguageModel(nn.Module):
    """A decoder that scores what comes next: GPT-2, Llama.

    Args:
        backbone: causal; maps tokens (T,) int64 to (T, D).
        lm_head: maps (T, D) to (T, V).
    """

    def __init__(self, backbone: Backbone, lm_head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.lm_head = backbone, lm_head

    def forward(self, tokens: Ragged) -> Ragged:
        """Logits (T, V) of the word after each token (T,) int64."""
        x = self.backbone(tokens)
        return x.replace(self.lm_head(x.values))

    def parts(self) -> dict[str, nn.Module]:
        """Modules by the start of our names for what they own."""
        return {"": self.backbone, "lm_head.": self.lm_head}


class TextToText(nn.Module):
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
        super().__init__()
        self.backbone, self.decoder, self.lm_head = backbone, decoder, lm_head
        self.start = start

    def forward(self, source: Ragged, target: Ragged) -> Ragged:
        """Logits (Tt, V) of the word after each target token, from both texts' tokens."""
        x = self.decoder(target, self.backbone(source))
        return x.replace(self.lm_head(x.values))

    def parts(self) -> dict[str, nn.Module]:
        """Modules by the start of our names for what they own."""
        return {"": self.backbone, "decoder.": self.decoder, "lm_head.": self.lm_head}
