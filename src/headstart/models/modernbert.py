"""ModernBERT (Warner et al. 2024, https://arxiv.org/abs/2412.13663).

An encoder as decoders are built today: pre-norm blocks without biases, heads that turn by their
place, gated feed-forward. Most blocks see a window, every third the whole text, and the two turn at
rates of their own; so that texts may be long (8,192 tokens).

Shapes: B texts, T tokens of all texts, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from headstart.models.backbone import Stack, draw
from headstart.models.config import ACTIVATIONS
from headstart.models.family import LM_HEAD, POOLER, Classifier, Family, Masked, is_tied
from headstart.models.keymap import KeyMap
from headstart.models.language import WordHead, tied_score
from headstart.models.modernbert_config import ModernBertConfig
from headstart.models.network import POOLS
from headstart.models.rope import rotary
from headstart.nn.attention import Form
from headstart.nn.disentangled import NoVectors
from headstart.nn.embeddings import NormedEmbeddings
from headstart.nn.feedforward import GatedFeedForward
from headstart.nn.modern import AttentionDropoutBlock
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.ragged import Ragged


class ModernBert(Stack):
    """The encoder of ModernBERT.

    Args:
        config: sizes and rates.
    """

    family = "modernbert"

    def __init__(self, config: ModernBertConfig) -> None:
        embeddings = NormedEmbeddings(
            nn.Embedding(config.vocabulary, config.width, config.padding_token),
            NoVectors(),
            norm=_norm(config),
            dropout=config.embedding_dropout,
        )
        blocks = [_block(config, index) for index in range(config.num_blocks)]
        super().__init__(config, embeddings, blocks, _norm(config))
        for block in blocks:  # what adds to a sum of many starts smaller
            draw(block.attention.get_submodule("output"), _last_range(config))
            draw(block.feed_forward.get_submodule("narrow"), _last_range(config))
        self.max_positions = config.max_positions


class HeadPooler(nn.Module):
    """norm(activation(dense(pooled))): the head of pre-training, on what speaks for the text.

    Args:
        pool: maps (T, D) to (B, D).
        dense: maps (B, D) to (B, D).
        activation: elementwise.
        norm: maps (B, D) to (B, D).
    """

    def __init__(
        self,
        pool: nn.Module,
        dense: nn.Module,
        activation: Callable[[Tensor], Tensor],
        norm: nn.Module,
    ) -> None:
        super().__init__()
        self.pool, self.dense, self.norm = pool, dense, norm
        self.activation = activation

    def forward(self, x: Ragged) -> Tensor:
        """Map (T, D) to (B, D)."""
        pooled: Tensor = self.norm(self.activation(self.dense(self.pool(x))))
        return pooled


class Transform(nn.Module):
    """norm(activation(dense(hidden state))): what comes before words are scored.

    Args:
        dense: maps (M, D) to (M, D).
        activation: elementwise.
        norm: maps (M, D) to (M, D).
    """

    def __init__(
        self, dense: nn.Module, activation: Callable[[Tensor], Tensor], norm: nn.Module
    ) -> None:
        super().__init__()
        self.dense, self.norm = dense, norm
        self.activation = activation

    def forward(self, values: Tensor) -> Tensor:
        """Map (M, D) to (M, D)."""
        transformed: Tensor = self.norm(self.activation(self.dense(values)))
        return transformed


class Score(nn.Module):
    """Words scored by their own embeddings, and how likely each is anyway.

    Args:
        score: maps (M, D) to (M, V).
        vocabulary: V; 0 where nothing is added.
    """

    def __init__(self, score: nn.Module, vocabulary: int) -> None:
        super().__init__()
        self.score = score
        self.bias = nn.Parameter(torch.zeros(vocabulary)) if vocabulary else None

    def forward(self, values: Tensor) -> Tensor:
        """Map (M, D) to (M, V)."""
        scores: Tensor = self.score(values)
        return scores if self.bias is None else scores + self.bias


class ModernHead(WordHead):
    """The head of pre-training, in two parts: a classifier keeps the first one as its pooler.

    Args:
        transform: maps (M, D) to (M, D).
        score: maps (M, D) to (M, V).
    """

    def __init__(self, transform: Transform, score: Score) -> None:
        super().__init__()
        self.transform, self.score = transform, score

    def forward(self, values: Tensor) -> Tensor:
        """Map (M, D) to (M, V)."""
        scores: Tensor = self.score(self.transform(values))
        return scores

    def parts(self) -> dict[str, nn.Module]:
        """Our names of its parts: the pooler's, and the head's."""
        return {POOLER: self.transform, LM_HEAD: self.score}


def _block(config: ModernBertConfig, index: int) -> AttentionDropoutBlock:
    return AttentionDropoutBlock(
        _attention(config, index),
        GatedFeedForward(
            config.width,
            config.inner_width,
            activation=ACTIVATIONS[config.activation],
            bias=config.inner_bias,
            dropout=config.inner_dropout,
        ),
        norm_1=_norm(config) if index else nn.Identity(),
        norm_2=_norm(config),
        dropout=config.attention_dropout,
    )


def _attention(config: ModernBertConfig, index: int) -> MultiHeadAttention:
    head_width = config.width // config.num_heads
    place = rotary(config.ropes[config.kind(index)], head_width, config.max_positions)
    return MultiHeadAttention(
        config.width,
        Form(config.num_heads, reach=config.reach(index), dropout=config.attention_dropout),
        bias=config.attention_bias,
        place_queries=place,
        place_keys=place,
    )


def _norm(config: ModernBertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=config.norm_epsilon, bias=config.norm_bias)


def _last_range(config: ModernBertConfig) -> float:
    """Standard deviation of new maps that add to a text's vectors, 2 in each block."""
    return float(config.initializer_range / (2 * config.num_blocks) ** 0.5)


KEYS = KeyMap(
    strip=("model.",),  # present only under a task head
    rename={  # Hugging Face module: our module
        "embeddings.tok_embeddings": "embeddings.token",
        "embeddings.norm": "embeddings.norm",
        "layers.{i}.attn_norm": "blocks.{i}.norm_1",
        "layers.{i}.attn.Wo": "blocks.{i}.attention.output",
        "layers.{i}.mlp_norm": "blocks.{i}.norm_2",
        "layers.{i}.mlp.Wo": "blocks.{i}.feed_forward.narrow",
        "final_norm": "finish",
        "head.dense": "pooler.dense",  # before words are scored, too
        "head.norm": "pooler.norm",
        "classifier": "head",
        "decoder.bias": "lm_head.bias",
        "decoder.weight": "lm_head.score.weight",
    },
    split={
        "layers.{i}.attn.Wqkv": (
            "blocks.{i}.attention.query",
            "blocks.{i}.attention.key",
            "blocks.{i}.attention.value",
        ),
        "layers.{i}.mlp.Wi": ("blocks.{i}.feed_forward.gate", "blocks.{i}.feed_forward.widen"),
    },
)


def _build(values: Mapping[str, Any]) -> ModernBert:
    return ModernBert(ModernBertConfig.from_hf(values))


def _dropout(values: Mapping[str, Any]) -> float:
    return ModernBertConfig.from_hf(values).head_dropout


def _pooler(values: Mapping[str, Any]) -> HeadPooler:
    config = ModernBertConfig.from_hf(values)
    activation = ACTIVATIONS[config.pooler_activation]
    return HeadPooler(POOLS[config.pooling](), _dense(config), activation, _norm(config))


def _dense(config: ModernBertConfig) -> nn.Linear:
    dense = nn.Linear(config.width, config.width, config.pooler_bias)
    draw(dense, _last_range(config))
    return dense


def _masked_head(values: Mapping[str, Any], embedding: nn.Embedding) -> ModernHead:
    config = ModernBertConfig.from_hf(values)
    activation = ACTIVATIONS[config.pooler_activation]
    vocabulary = config.vocabulary if config.score_bias else 0
    return ModernHead(
        Transform(_dense(config), activation, _norm(config)),
        Score(tied_score(values, embedding), vocabulary),
    )


def _ties(values: Mapping[str, Any]) -> dict[str, str]:
    words = {"decoder.weight": "embeddings.tok_embeddings.weight"}
    return words if is_tied(values) else {}


MODERNBERT = Family(
    name="modernbert",
    build=_build,
    keys=KEYS,
    base="ModernBertModel",
    prefix="model.",
    classifier=Classifier("ModernBertForSequenceClassification", _pooler, _dropout),
    masked=Masked("ModernBertForMaskedLM", _masked_head),
    ties=_ties,
)
