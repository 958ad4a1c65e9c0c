"""Blocks, and what is stacked from them (Vaswani et al. 2017, section 3.1).

A block is attention, then feed-forward, each adding to what came in. Where the norm stands makes
two kinds: after the sum (the paper, BERT) or before the update (GPT-2, ViT). A decoder block also
looks at a memory, between the two.

Shapes: T tokens of all rows (Ts and Tt: source and target), D width, V words in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterable

from torch import nn

from headstart.nn.dropout import Dropout
from headstart.nn.ragged import Ragged


class PostNormBlock(nn.Module):
    """norm(x + update(x)), twice: the paper's encoder block, and BERT's.

    Args:
        attention: takes (T, D) twice, what asks and what is looked at; gives (T, D).
        feed_forward: maps (T, D) to (T, D).
        norm_1: applied after the attention is added.
        norm_2: applied after the feed-forward is added.
        dropout: probability in [0, 1) of zeroing an element of each update.
    """

    def __init__(
        self,
        attention: nn.Module,
        feed_forward: nn.Module,
        *,
        norm_1: nn.Module,
        norm_2: nn.Module,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.norm_1 = attention, norm_1
        self.feed_forward, self.norm_2 = feed_forward, norm_2
        self.dropout = Dropout(dropout)

    def forward(self, x: Ragged) -> Ragged:
        """Map (T, D) to (T, D)."""
        values = self.norm_1(x.values + self.dropout(self.attention(x, x)))
        return x.replace(self.norm_2(values + self.dropout(self.feed_forward(values))))


class PreNormBlock(nn.Module):
    """x + update(norm(x)), twice: the block of GPT-2, ViT and CLIP.

    Args:
        attention: takes (T, D) twice, what asks and what is looked at; gives (T, D).
        feed_forward: maps (T, D) to (T, D).
        norm_1: applied to what the attention reads.
        norm_2: applied to what the feed-forward reads.
        dropout: probability in [0, 1) of zeroing an element of each update.
    """

    def __init__(
        self,
        attention: nn.Module,
        feed_forward: nn.Module,
        *,
        norm_1: nn.Module,
        norm_2: nn.Module,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.norm_1 = attention, norm_1
        self.feed_forward, self.norm_2 = feed_forward, norm_2
        self.dropout = Dropout(dropout)

    def forward(self, x: Ragged) -> Ragged:
        """Map (T, D) to (T, D)."""
        read = x.replace(self.norm_1(x.values))
        values = x.values + self.dropout(self.attention(read, read))
        return x.replace(values + self.dropout(self.feed_forward(self.norm_2(values))))


class PostNormDecoderBlock(nn.Module):
    """Causal self-attention, attention to a memory, feed-forward; a norm after each sum.

    Args:
        attention: causal; takes (Tt, D) twice, gives (Tt, D).
        cross_attention: takes (Tt, D) and the memory (Ts, D), gives (Tt, D).
        feed_forward: maps (Tt, D) to (Tt, D).
        norms: three, in the order of the updates.
        dropout: probability in [0, 1) of zeroing an element of each update.
    """

    def __init__(
        self,
        attention: nn.Module,
        cross_attention: nn.Module,
        feed_forward: nn.Module,
        *,
        norms: tuple[nn.Module, nn.Module, nn.Module],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.cross_attention = attention, cross_attention
        self.feed_forward = feed_forward
        self.norm_1, self.norm_2, self.norm_3 = norms
        self.dropout = Dropout(dropout)

    def forward(self, x: Ragged, memory: Ragged) -> Ragged:
        """Map (Tt, D), with a memory (Ts, D) of as many rows, to (Tt, D)."""
        x = x.replace(self.norm_1(x.values + self.dropout(self.attention(x, x))))
        values = self.norm_2(x.values + self.dropout(self.cross_attention(x, memory)))
        return x.replace(self.norm_3(values + self.dropout(self.feed_forward(values))))


class PreNormDecoderBlock(nn.Module):
    """Causal self-attention, attention to a memory, feed-forward; a norm before each update.

    Args:
        attention: causal; takes (Tt, D) twice, gives (Tt, D).
        cross_attention: takes (Tt, D) and the memory (Ts, D), gives (Tt, D).
        feed_forward: maps (Tt, D) to (Tt, D).
        norms: three, in the order of the updates.
        dropout: probability in [0, 1) of zeroing an element of each update.
    """

    def __init__(
        self,
        attention: nn.Module,
        cross_attention: nn.Module,
        feed_forward: nn.Module,
        *,
        norms: tuple[nn.Module, nn.Module, nn.Module],
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.attention, self.cross_attention = attention, cross_attention
        self.feed_forward = feed_forward
        self.norm_1, self.norm_2, self.norm_3 = norms
        self.dropout = Dropout(dropout)

    def forward(self, x: Ragged, memory: Ragged) -> Ragged:
        """Map (Tt, D), with a memory (Ts, D) of as many rows, to (Tt, D)."""
        read = x.replace(self.norm_1(x.values))
        x = x.replace(x.values + self.dropout(self.attention(read, read)))
        read = x.replace(self.norm_2(x.values))
        values = x.values + self.dropout(self.cross_attention(read, memory))
        return x.replace(values + self.dropout(self.feed_forward(self.norm_3(values))))


class Encoder(nn.Module):
    """Embeddings, blocks that read one text, and a final map of each token.

    Args:
        embeddings: maps tokens (T,) int64 to (T, D).
        blocks: each maps (T, D) to (T, D).
        finish: maps (T, D) to (T, D); a norm after pre-norm blocks, `nn.Identity` otherwise.
    """

    def __init__(
        self, embeddings: nn.Module, blocks: Iterable[nn.Module], finish: nn.Module
    ) -> None:
        super().__init__()
        self.embeddings, self.blocks, self.finish = embeddings, nn.ModuleList(blocks), finish

    def forward(self, tokens: Ragged) -> Ragged:
        """Map tokens (T,) int64 to (T, D)."""
        x = self.embeddings(tokens)
        for block in self.blocks:
            x = block(x)
        return x.replace(self.finish(x.values))


class Decoder(nn.Module):
    """Embeddings, decoder blocks that also look at a memory, and a final map of each token.

    Args:
        embeddings: maps tokens (Tt,) int64 to (Tt, D).
        blocks: each maps (Tt, D), with a memory (Ts, D), to (Tt, D).
        finish: maps (Tt, D) to (Tt, D); a norm after pre-norm blocks, `nn.Identity` otherwise.
    """

    def __init__(
        self, embeddings: nn.Module, blocks: Iterable[nn.Module], finish: nn.Module
    ) -> None:
        super().__init__()
        self.embeddings, self.blocks, self.finish = embeddings, nn.ModuleList(blocks), finish

    def forward(self, tokens: Ragged, memory: Ragged) -> Ragged:
        """Map tokens (Tt,) int64, with a memory (Ts, D) of as many rows, to (Tt, D)."""
        x = self.embeddings(tokens)
        for block in self.blocks:
            x = block(x, memory)
        return x.replace(self.finish(x.values))


class EncoderDecoder(nn.Module):
    """The whole of the paper's figure 1: read a source, say what comes next in the target.

    Args:
        encoder: maps source tokens (Ts,) int64 to a memory (Ts, D).
        decoder: maps target tokens (Tt,) int64, with the memory, to (Tt, D).
        head: maps (Tt, D) to (Tt, V).
    """

    def __init__(self, encoder: Encoder, decoder: Decoder, head: nn.Module) -> None:
        super().__init__()
        self.encoder, self.decoder, self.head = encoder, decoder, head

    def forward(self, source: Ragged, target: Ragged) -> Ragged:
        """Logits (Tt, V) of the word after each target token, from both texts' tokens."""
        x = self.decoder(target, self.encoder(source))
        return x.replace(self.head(x.values))
