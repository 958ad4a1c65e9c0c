"""DeBERTa-v2 and v3 (He et al. 2021, https://arxiv.org/abs/2006.03654 and 2111.09543).

A BERT whose tokens carry no places: attention reads how far apart two are beside what they say.
v3 is v2 pre-trained to find replaced tokens; the two compute the same.

Shapes: T tokens of all rows, D width, K buckets of distances on either side.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headstart.errors import nearest
from headstart.models.backbone import Stack, draw
from headstart.models.config import (
    ACTIVATIONS,
    ONLY,
    activation_faults,
    count_faults,
    flag_faults,
    padding_faults,
    rate_faults,
    read_config,
    size_faults,
)
from headstart.models.family import Classifier, Family
from headstart.models.keymap import KeyMap
from headstart.models.network import Pooler
from headstart.nn.attention import Form
from headstart.nn.convolution import ConvolvedBlock, TokenConvolution
from headstart.nn.disentangled import (
    ContentToPosition,
    DisentangledAttention,
    DisentangledEmbeddings,
    Distances,
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
MORE_ACTIVATIONS = ACTIVATIONS | {"tanh": torch.tanh}

HF_NAMES = {  # our field: their key
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "num_blocks": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "inner_width": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "num_segments": "type_vocab_size",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "pooler_dropout": "pooler_dropout",
    "pooler_activation": "pooler_hidden_act",
    "classifier_dropout": "cls_dropout",
    "norm_epsilon": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "padding_token": "pad_token_id",
    "places_added": "position_biased_input",
    "terms": "pos_att_type",
    "shared_maps": "share_att_key",
    "furthest": "max_relative_positions",
    "num_buckets": "position_buckets",
    "vector_norm": "norm_rel_ebd",
    "convolution_size": "conv_kernel_size",
    "convolution_groups": "conv_groups",
    "convolution_activation": "conv_act",
}


@dataclass(frozen=True)
class DebertaConfig:
    """Sizes and rates of a DeBERTa-v2 or v3. Defaults are transformers', not what is published.

    Attributes:
        vocabulary: number of tokens known.
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads; divides `width`.
        inner_width: width inside the feed-forward.
        max_positions: longest row in tokens.
        num_segments: texts told apart in one row; 0: none are.
        activation: a name in `ACTIVATIONS`.
        dropout: probability after the embeddings, of each update and of the distances' vectors.
        attention_dropout: probability of zeroing an attention probability.
        pooler_dropout: probability in front of the pooler.
        pooler_activation: a name in `MORE_ACTIVATIONS`.
        classifier_dropout: probability in front of a head; None means `dropout`.
        norm_epsilon: added to the variance in layer normalisation.
        initializer_range: standard deviation of new weights.
        padding_token: the token that Hugging Face pads with.
        places_added: whether embeddings also hold a token's place.
        terms: "c2p", "p2c" or both, see `headstart.nn.disentangled`.
        shared_maps: whether distances are mapped as contents are.
        furthest: the distance at which the last bucket begins; below 1: `max_positions`.
        num_buckets: K, where far distances share buckets; below 1: each up to `furthest` has one.
        vector_norm: "layer_norm" of the distances' vectors, or "none".
        convolution_size: tokens that a filter beside the first block reads, odd; 0: there is none.
        convolution_groups: its groups; divides `width`.
        convolution_activation: a name in `MORE_ACTIVATIONS`.
    """

    vocabulary: int
    width: int
    num_blocks: int
    num_heads: int
    inner_width: int
    max_positions: int = 512
    num_segments: int = 0
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    pooler_dropout: float = 0.0
    pooler_activation: str = "gelu"
    classifier_dropout: float | None = None
    norm_epsilon: float = 1e-7
    initializer_range: float = 0.02
    padding_token: int | None = 0
    places_added: bool = True
    terms: tuple[str, ...] = ()
    shared_maps: bool = False
    furthest: int = -1
    num_buckets: int = -1
    vector_norm: str = "none"
    convolution_size: int = 0
    convolution_groups: int = 1
    convolution_activation: str = "tanh"

    def __post_init__(self) -> None:
        sizes = ("vocabulary", "width", "num_blocks", "num_heads", "inner_width", "max_positions")
        rates = ("dropout", "attention_dropout", "pooler_dropout", "classifier_dropout")
        faults = [
            *size_faults(self, HF_NAMES, sizes),
            *padding_faults(self, HF_NAMES),
            *rate_faults(self, HF_NAMES, rates, positive=("norm_epsilon", "initializer_range")),
            *activation_faults(self, HF_NAMES),
            *flag_faults(self, HF_NAMES, ("places_added", "shared_maps")),
            *_name_faults(self),
            *_number_faults(self),
        ]
        if faults:
            raise ValueError("\n".join(faults))

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> DebertaConfig:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        width, num_heads = values.get("hidden_size"), values.get("num_attention_heads")
        only = ONLY | {"relative_attention": True}
        only |= {"embedding_size": width, "pooler_hidden_size": width}
        if isinstance(width, int) and isinstance(num_heads, int) and num_heads > 0:
            only["attention_head_size"] = width // num_heads
        said = {"relative_attention": False, **values}  # what transformers does where it is silent
        said["pos_att_type"] = _terms(values.get("pos_att_type"))
        return read_config(cls, HF_NAMES, said, only)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        named = {theirs: getattr(self, ours) for ours, theirs in HF_NAMES.items()}
        return {**named, "pos_att_type": list(self.terms), "relative_attention": True}

    @property
    def distances(self) -> Distances:
        """Which distances there are vectors of."""
        furthest = self.max_positions if self.furthest < 1 else self.furthest
        if self.num_buckets < 1:
            return Distances(furthest, furthest, shared=False)
        return Distances(self.num_buckets, furthest)

    @property
    def head_dropout(self) -> float:
        """Probability of zeroing an element of what a classification head reads."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout


def _terms(said: Any) -> Any:
    """`pos_att_type` as a tuple: a list in today's config.json, "c2p|p2c" in the published ones."""
    if isinstance(said, str):
        return tuple(term.strip() for term in said.lower().split("|"))
    return tuple(said) if isinstance(said, list | tuple) else said


def _name_faults(config: DebertaConfig) -> Iterator[str]:
    """One fault for each name that is not known, but for `activation`."""
    known = {
        "pooler_activation": tuple(MORE_ACTIVATIONS),
        "convolution_activation": tuple(MORE_ACTIVATIONS),
        "vector_norm": ("none", "layer_norm"),
    }
    for field, names in known.items():
        value = getattr(config, field)
        if value not in names:
            yield (
                f"{HF_NAMES[field]}: {value!r} is not supported.{nearest(str(value), names)} "
                f"Known: {', '.join(names)}."
            )
    terms = config.terms
    if not isinstance(terms, tuple) or not terms or not set(map(str, terms)) <= TERMS.keys():
        said = list(terms) if isinstance(terms, tuple) else terms
        yield f"pos_att_type: must be one or both of {', '.join(TERMS)}; got {said!r}."


def _number_faults(config: DebertaConfig) -> Iterator[str]:
    """One fault for each whole number that cannot be, but for the sizes."""
    yield from count_faults(config, HF_NAMES, ("num_segments", "convolution_size"), least=0)
    yield from count_faults(config, HF_NAMES, ("convolution_groups",))
    buckets = count_faults(config, HF_NAMES, ("furthest", "num_buckets"), least=-1)
    yield from buckets
    size, groups = config.convolution_size, config.convolution_groups
    if isinstance(size, int) and size > 0 and size % 2 == 0:
        yield f"conv_kernel_size: must be odd, or 0 for no convolution; got {size}."
    both = isinstance(config.width, int) and isinstance(groups, int) and groups > 0
    if both and config.width % groups:
        yield f"conv_groups: {groups} does not divide hidden_size {config.width}."
    if not buckets and isinstance(config.max_positions, int):
        count, furthest = config.num_buckets, config.distances.furthest
        if count == 1 or (count > 1 and furthest <= count // 2 + 1):
            yield (
                f"position_buckets: must be 2 or more, and half of it below max_relative_positions "
                f"{furthest} - 1; got {count}."
            )


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
    },
    drop=(  # a buffer; heads of pre-training (masked tokens, replaced tokens) and of answering
        r"embeddings\.position_ids",
        r"cls\..*",
        r"lm_predictions\..*",
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
    classifier=Classifier("DebertaV2ForSequenceClassification", _pooler, _dropout, "cls_dropout"),
    idle=_idle,
)
