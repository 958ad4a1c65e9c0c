"""DeBERTa-v2 and v3 (He et al. 2021, https://arxiv.org/abs/2006.03654 and 2111.09543).

A BERT whose tokens carry no places: attention reads how far apart two are beside what they say.
v3 is v2 pre-trained to find replaced tokens; the two compute the same.

Shapes: T tokens of all rows, D width, K buckets of distances on either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from headstart.models.backbone import Stack, draw
from headstart.models.bert import ties
from headstart.models.config import ACTIVATIONS
from headstart.models.deberta_config import MORE_ACTIVATIONS, DebertaConfig
from headstart.models.family import Classifier, Family, Masked
from headstart.models.keymap import KeyMap
from headstart.models.language import MaskedHead, masked_head
from headstart.models.network import Pooler
from headstart.nn.attention import Form
from headstart.nn.convolution import ConvolvedBlock, TokenConvolution
from headstart.nn.disentangled import (
    ContentToPosition,
    DisentangledAttention,
    DisentangledEmbeddings,
    DistanceVectors,
    NoVectors,
    OwnMap,
    PositionToContent,
    SharedMap,
)
from headstart.nn.feedforward import FeedForward
from headstart.nn.multihead import Borrowed
from headstart.nn.ragged import Ragged
from headstart.nn.transformer import PostNormBlock

TERMS = {"c2p": ContentToPosition, "p2c": PositionToContent}


class Deberta(Stack):
    """The encoder of DeBERTa-v2 and v3: post-norm blocks whose attention reads distances.

    Args:
        config: sizes and rates.
    """

    family = "deberta-v2"

    def __init__(self, config: DebertaConfig) -> None:
        embeddings = _embeddings(config)
        super().__init__(config, embeddings, _blocks(config, embeddings.distance))
        self.max_positions = config.max_positions

    def embed(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Map tokens (T,) int64, and segments (T,) int64 where there are pairs, to (T, D).

        Most published models tell no segments apart: then `segments` is not read.
        """
        embedded: Ragged = self.embeddings(tokens, segments)
        return embedded


def _embeddings(config: DebertaConfig) -> DisentangledEmbeddings:
    width, num_buckets = config.width, config.distances.num_buckets
    norm = _norm(config) if config.vector_norm == "layer_norm" else nn.Identity()
    return DisentangledEmbeddings(
        nn.Embedding(config.vocabulary, width, config.padding_token),
        nn.Embedding(config.max_positions, width) if config.places_added else NoVectors(),
        nn.Embedding(config.num_segments, width) if config.num_segments else NoVectors(),
        distance=DistanceVectors(num_buckets, width, norm),
        norm=_norm(config),
        dropout=config.dropout,
    )


def _blocks(config: DebertaConfig, vectors: DistanceVectors) -> Iterator[nn.Module]:
    for block in range(config.num_blocks):
        attention = _attention(config, vectors)
        feed_forward = FeedForward(
            config.width, config.inner_width, activation=ACTIVATIONS[config.activation]
        )
        if block == 0 and config.convolution_size:
            yield ConvolvedBlock(
                attention,
                feed_forward,
                _convolution(config),
                norms=(_norm(config), _norm(config), _norm(config)),
                dropout=config.dropout,
            )
        else:
            yield PostNormBlock(
                attention,
                feed_forward,
                norm_1=_norm(config),
                norm_2=_norm(config),
                dropout=config.dropout,
            )


def _attention(config: DebertaConfig, vectors: DistanceVectors) -> DisentangledAttention:
    terms = {
        name: TERMS[name](SharedMap() if config.shared_maps else OwnMap(config.width))
        for name in config.terms
    }
    return DisentangledAttention(
        config.width,
        Form(config.num_heads, dropout=config.attention_dropout),
        terms=terms,
        vectors=Borrowed(vectors),
        distances=config.distances,
        vector_dropout=config.dropout,
    )


def _convolution(config: DebertaConfig) -> TokenConvolution:
    convolution = TokenConvolution(
        config.width,
        config.convolution_size,
        groups=config.convolution_groups,
        activation=MORE_ACTIVATIONS[config.convolution_activation],
        dropout=config.dropout,
    )
    nn.init.normal_(convolution.filter.weight, std=config.initializer_range)
    assert convolution.filter.bias is not None, "it adds one"
    nn.init.zeros_(convolution.filter.bias)
    return convolution


def _norm(config: DebertaConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=config.norm_epsilon)


ATTENTION, OURS = "encoder.layer.{i}.attention", "blocks.{i}.attention"

KEYS = KeyMap(
    strip=("deberta.",),  # present only under a task head
    rename={  # Hugging Face module: our module
        "embeddings.word_embeddings": "embeddings.token",
        "embeddings.position_embeddings": "embeddings.position",
        "embeddings.token_type_embeddings": "embeddings.segment",
        "embeddings.LayerNorm": "embeddings.norm",
        "encoder.rel_embeddings": "embeddings.distance.table",
        "encoder.LayerNorm": "embeddings.distance.norm",
        f"{ATTENTION}.self.query_proj": f"{OURS}.query",
        f"{ATTENTION}.self.key_proj": f"{OURS}.key",
        f"{ATTENTION}.self.value_proj": f"{OURS}.value",
        f"{ATTENTION}.self.pos_key_proj": f"{OURS}.terms.c2p.project.map",
        f"{ATTENTION}.self.pos_query_proj": f"{OURS}.terms.p2c.project.map",
        f"{ATTENTION}.output.dense": f"{OURS}.output",
        f"{ATTENTION}.output.LayerNorm": "blocks.{i}.norm_1",
        "encoder.layer.{i}.intermediate.dense": "blocks.{i}.feed_forward.widen",
        "encoder.layer.{i}.output.dense": "blocks.{i}.feed_forward.narrow",
        "encoder.layer.{i}.output.LayerNorm": "blocks.{i}.norm_2",
        "encoder.conv.conv": "blocks.0.convolution.filter",
        "encoder.conv.LayerNorm": "blocks.0.norm_3",
        "pooler.dense": "pooler.dense",
        "classifier": "head",
        "cls.predictions.transform.dense": "lm_head.dense",
        "cls.predictions.transform.LayerNorm": "lm_head.norm",
        "cls.predictions.bias": "lm_head.bias",
        "cls.predictions.decoder.weight": "lm_head.score.weight",
    },
    also={  # "legacy": false, which is how v3 is published
        "lm_predictions.lm_head.dense": "lm_head.dense",
        "lm_predictions.lm_head.LayerNorm": "lm_head.norm",
        "lm_predictions.lm_head.bias": "lm_head.bias",
    },
    drop=(  # a buffer; heads that tell replaced tokens, and that answer
        r"embeddings\.position_ids",
        r"mask_predictions\..*",
        r"qa_outputs\..*",
    ),
)


def _build(values: Mapping[str, Any]) -> Deberta:
    return Deberta(DebertaConfig.from_hf(values))


def _dropout(values: Mapping[str, Any]) -> float:
    return DebertaConfig.from_hf(values).head_dropout


def _pooler(values: Mapping[str, Any]) -> Pooler:
    config = DebertaConfig.from_hf(values)
    activation = MORE_ACTIVATIONS[config.pooler_activation]
    pooler = Pooler(config.width, activation=activation, dropout=config.pooler_dropout)
    draw(pooler, config.initializer_range)
    return pooler


def _masked_head(values: Mapping[str, Any], embedding: nn.Embedding) -> MaskedHead:
    config = DebertaConfig.from_hf(values)
    activation = ACTIVATIONS[config.activation]
    return masked_head(config, embedding, values, norm=_norm(config), activation=activation)


def _idle(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Places that only the heads of pre-training read are stored with the embeddings."""
    added = DebertaConfig.from_hf(values).places_added
    return () if added else (r"embeddings\.position_embeddings\..*",)


DEBERTA_V2 = Family(
    name="deberta-v2",
    build=_build,
    keys=KEYS,
    base="DebertaV2Model",
    prefix="deberta.",
    masked=Masked("DebertaV2ForMaskedLM", _masked_head),
    ties=ties,
    classifier=Classifier("DebertaV2ForSequenceClassification", _pooler, _dropout, "cls_dropout"),
    idle=_idle,
)
