"""DistilBERT (Sanh et al. 2019, https://arxiv.org/abs/1910.01108): every other block of a BERT.

It tells no segments apart and has no pooler; the update by attention has no dropout of its own.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from headstart.models.backbone import Stack, draw
from headstart.models.config import (
    ACTIVATIONS,
    activation_faults,
    padding_faults,
    rate_faults,
    read_config,
    size_faults,
)
from headstart.models.family import Classifier, Family, Masked, is_tied
from headstart.models.keymap import KeyMap
from headstart.models.language import MaskedHead, masked_head
from headstart.models.network import Pooler
from headstart.nn.attention import Form
from headstart.nn.embeddings import NormedEmbeddings
from headstart.nn.feedforward import FeedForward
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.position import LearnedPositions, SinusoidalPositions
from headstart.nn.transformer import PostNormBlock

NORM_EPSILON = 1e-12
"""Added to the variance in layer normalisation; no config.json can say otherwise."""

HF_NAMES = {  # our field: their key
    "vocabulary": "vocab_size",
    "width": "dim",
    "num_blocks": "n_layers",
    "num_heads": "n_heads",
    "inner_width": "hidden_dim",
    "max_positions": "max_position_embeddings",
    "sinusoidal": "sinusoidal_pos_embds",
    "activation": "activation",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "head_dropout": "seq_classif_dropout",
    "initializer_range": "initializer_range",
    "padding_token": "pad_token_id",
}


@dataclass(frozen=True)
class DistilBertConfig:
    """Sizes and rates of a DistilBERT.

    Attributes:
        vocabulary: number of tokens known.
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads; divides `width`.
        inner_width: width inside the feed-forward.
        max_positions: longest row in tokens.
        sinusoidal: whether the vectors of places start as waves; they are kept in a checkpoint,
            and move in training, either way.
        activation: a name in `ACTIVATIONS`.
        dropout: probability after the embeddings and of the feed-forward's update.
        attention_dropout: probability of zeroing an attention probability.
        head_dropout: probability in front of a head.
        initializer_range: standard deviation of new weights.
        padding_token: the token that Hugging Face pads with.
    """

    vocabulary: int
    width: int
    num_blocks: int
    num_heads: int
    inner_width: int
    max_positions: int
    sinusoidal: bool = False
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    head_dropout: float = 0.2
    initializer_range: float = 0.02
    padding_token: int | None = 0

    def __post_init__(self) -> None:
        sizes = ("vocabulary", "width", "num_blocks", "num_heads", "inner_width", "max_positions")
        rates = ("dropout", "attention_dropout", "head_dropout")
        faults = [
            *size_faults(self, HF_NAMES, sizes),
            *padding_faults(self, HF_NAMES),
            *rate_faults(self, HF_NAMES, rates, positive=("initializer_range",)),
            *activation_faults(self, HF_NAMES),
        ]
        if not isinstance(self.sinusoidal, bool):
            faults.append(f"sinusoidal_pos_embds: must be true or false; got {self.sinusoidal!r}.")
        elif not faults and self.sinusoidal and self.width % 2:
            faults.append(f"dim: must be even where sinusoidal_pos_embds; got {self.width}.")
        if faults:
            raise ValueError("\n".join(faults))

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> DistilBertConfig:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        return read_config(cls, HF_NAMES, values)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        return {theirs: getattr(self, ours) for ours, theirs in HF_NAMES.items()}


class DistilBert(Stack):
    """The encoder of DistilBERT: post-norm blocks over token and position embeddings.

    Args:
        config: sizes and rates.
    """

    family = "distilbert"

    def __init__(self, config: DistilBertConfig) -> None:
        position = LearnedPositions(config.max_positions, config.width)
        embeddings = NormedEmbeddings(
            nn.Embedding(config.vocabulary, config.width, config.padding_token),
            position,
            norm=_norm(config),
            dropout=config.dropout,
        )
        super().__init__(config, embeddings, _blocks(config))
        self.max_positions = config.max_positions
        if config.sinusoidal:
            with torch.no_grad():
                position.weight.copy_(SinusoidalPositions(config.max_positions, config.width).table)


def _blocks(config: DistilBertConfig) -> Iterator[PostNormBlock]:
    for _ in range(config.num_blocks):
        yield PostNormBlock(
            MultiHeadAttention(
                config.width, Form(config.num_heads, dropout=config.attention_dropout)
            ),
            FeedForward(
                config.width,
                config.inner_width,
                activation=ACTIVATIONS[config.activation],
                dropout=config.dropout,
            ),
            norm_1=_norm(config),
            norm_2=_norm(config),
        )


def _norm(config: DistilBertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=NORM_EPSILON)


KEYS = KeyMap(
    strip=("distilbert.",),  # present only under a task head
    rename={  # Hugging Face module: our module
        "embeddings.word_embeddings": "embeddings.token",
        "embeddings.position_embeddings": "embeddings.position",
        "embeddings.LayerNorm": "embeddings.norm",
        "transformer.layer.{i}.attention.q_lin": "blocks.{i}.attention.query",
        "transformer.layer.{i}.attention.k_lin": "blocks.{i}.attention.key",
        "transformer.layer.{i}.attention.v_lin": "blocks.{i}.attention.value",
        "transformer.layer.{i}.attention.out_lin": "blocks.{i}.attention.output",
        "transformer.layer.{i}.sa_layer_norm": "blocks.{i}.norm_1",
        "transformer.layer.{i}.ffn.lin1": "blocks.{i}.feed_forward.widen",
        "transformer.layer.{i}.ffn.lin2": "blocks.{i}.feed_forward.narrow",
        "transformer.layer.{i}.output_layer_norm": "blocks.{i}.norm_2",
        "pre_classifier": "pooler.dense",
        "classifier": "head",
        "vocab_transform": "lm_head.dense",
        "vocab_layer_norm": "lm_head.norm",
        "vocab_projector.bias": "lm_head.bias",
        "vocab_projector.weight": "lm_head.score.weight",
    },
    drop=(  # a buffer; the head of question answering
        r"embeddings\.position_ids",
        r"qa_outputs\..*",
    ),
)


def _build(values: Mapping[str, Any]) -> DistilBert:
    return DistilBert(DistilBertConfig.from_hf(values))


def _dropout(values: Mapping[str, Any]) -> float:
    return DistilBertConfig.from_hf(values).head_dropout


def _pooler(values: Mapping[str, Any]) -> Pooler:
    config = DistilBertConfig.from_hf(values)
    pooler = Pooler(config.width, activation=F.relu)
    draw(pooler, config.initializer_range)
    return pooler


def _masked_head(values: Mapping[str, Any], embedding: nn.Embedding) -> MaskedHead:
    config = DistilBertConfig.from_hf(values)
    activation = ACTIVATIONS[config.activation]
    return masked_head(config, embedding, values, norm=_norm(config), activation=activation)


def _ties(values: Mapping[str, Any]) -> dict[str, str]:
    words = {"vocab_projector.weight": "embeddings.word_embeddings.weight"}
    return words if is_tied(values) else {}


DISTILBERT = Family(
    name="distilbert",
    build=_build,
    keys=KEYS,
    base="DistilBertModel",
    prefix="distilbert.",
    classifier=Classifier(
        "DistilBertForSequenceClassification", _pooler, _dropout, "seq_classif_dropout"
    ),
    masked=Masked("DistilBertForMaskedLM", _masked_head),
    ties=_ties,
)
