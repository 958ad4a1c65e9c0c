"""BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) and all that is built like it.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor, nn

from headstart.models.backbone import Stack, draw
from headstart.models.config import (
    ACTIVATIONS,
    activation_faults,
    padding_faults,
    rate_faults,
    read_config,
    size_faults,
)
from headstart.models.family import HEAD, LM_HEAD, Classifier, Family, Masked, is_tied
from headstart.models.keymap import KeyMap
from headstart.models.language import MaskedHead, masked_head
from headstart.models.network import Pooler
from headstart.nn.attention import Form
from headstart.nn.embeddings import SegmentedEmbeddings
from headstart.nn.feedforward import FeedForward
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.position import LearnedPositions, places_in_row
from headstart.nn.ragged import Ragged
from headstart.nn.transformer import PostNormBlock

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
    "classifier_dropout": "classifier_dropout",
    "norm_epsilon": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "padding_token": "pad_token_id",
}


@dataclass(frozen=True)
class BertConfig:
    """Sizes and rates of a BERT.

    Attributes:
        vocabulary: number of tokens known.
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads; divides `width`.
        inner_width: width inside the feed-forward.
        max_positions: longest row in tokens.
        num_segments: texts told apart in one row.
        activation: a name in `ACTIVATIONS`.
        dropout: probability after the embeddings and of each update.
        attention_dropout: probability of zeroing an attention probability.
        classifier_dropout: probability in front of a head; None means `dropout`.
        norm_epsilon: added to the variance in layer normalisation.
        initializer_range: standard deviation of new weights.
        padding_token: the token that Hugging Face pads with.
    """

    vocabulary: int
    width: int
    num_blocks: int
    num_heads: int
    inner_width: int
    max_positions: int
    num_segments: int = 2
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    classifier_dropout: float | None = None
    norm_epsilon: float = 1e-12
    initializer_range: float = 0.02
    padding_token: int | None = 0

    def __post_init__(self) -> None:
        faults = self.faults()
        if faults:
            raise ValueError("\n".join(faults))

    def faults(self) -> list[str]:
        """One line for each value that cannot be honoured."""
        sizes = ("vocabulary", "width", "num_blocks", "num_heads", "inner_width", "max_positions")
        rates = ("dropout", "attention_dropout", "classifier_dropout")
        return [
            *size_faults(self, HF_NAMES, (*sizes, "num_segments")),
            *padding_faults(self, HF_NAMES),
            *rate_faults(self, HF_NAMES, rates, positive=("norm_epsilon", "initializer_range")),
            *activation_faults(self, HF_NAMES),
        ]

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        return read_config(cls, HF_NAMES, values)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        named = {theirs: getattr(self, ours) for ours, theirs in HF_NAMES.items()}
        return {**named, "position_embedding_type": "absolute"}

    @property
    def head_dropout(self) -> float:
        """Probability of zeroing an element of what a classification head reads."""
        return self.dropout if self.classifier_dropout is None else self.classifier_dropout


class Bert(Stack):
    """The encoder of BERT: post-norm blocks over token, segment and position embeddings.

    Args:
        config: sizes and rates.
    """

    family = "bert"

    def __init__(self, config: BertConfig) -> None:
        position = LearnedPositions(config.max_positions, config.width)
        super().__init__(config, embeddings(config, position), blocks(config))
        self.max_positions = config.max_positions

    def embed(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Map tokens (T,) int64, and segments (T,) int64 where there are pairs, to (T, D)."""
        return self.embeddings(tokens, segments)


def embeddings(
    config: BertConfig,
    position: LearnedPositions,
    places: Callable[[Ragged], Tensor] = places_in_row,
) -> SegmentedEmbeddings:
    """BERT's embeddings; the padding token's vector never moves, as in transformers.

    Args:
        config: sizes and rates.
        position: maps places (T,) int64 to (T, D).
        places: maps tokens (T,) int64 to places (T,) int64.
    """
    return SegmentedEmbeddings(
        nn.Embedding(config.vocabulary, config.width, config.padding_token),
        position,
        nn.Embedding(config.num_segments, config.width),
        norm=layer_norm(config),
        places=places,
        dropout=config.dropout,
    )


def blocks(config: BertConfig) -> Iterator[PostNormBlock]:
    """BERT's blocks, first to last."""
    for _ in range(config.num_blocks):
        yield PostNormBlock(
            MultiHeadAttention(
                config.width, Form(config.num_heads, dropout=config.attention_dropout)
            ),
            FeedForward(
                config.width, config.inner_width, activation=ACTIVATIONS[config.activation]
            ),
            norm_1=layer_norm(config),
            norm_2=layer_norm(config),
            dropout=config.dropout,
        )


def layer_norm(config: BertConfig) -> nn.LayerNorm:
    """A norm as BERT has them everywhere."""
    return nn.LayerNorm(config.width, eps=config.norm_epsilon)


ENCODER = {  # Hugging Face module: our module
    "embeddings.word_embeddings": "embeddings.token",
    "embeddings.position_embeddings": "embeddings.position",
    "embeddings.token_type_embeddings": "embeddings.segment",
    "embeddings.LayerNorm": "embeddings.norm",
    "encoder.layer.{i}.attention.self.query": "blocks.{i}.attention.query",
    "encoder.layer.{i}.attention.self.key": "blocks.{i}.attention.key",
    "encoder.layer.{i}.attention.self.value": "blocks.{i}.attention.value",
    "encoder.layer.{i}.attention.output.dense": "blocks.{i}.attention.output",
    "encoder.layer.{i}.attention.output.LayerNorm": "blocks.{i}.norm_1",
    "encoder.layer.{i}.intermediate.dense": "blocks.{i}.feed_forward.widen",
    "encoder.layer.{i}.output.dense": "blocks.{i}.feed_forward.narrow",
    "encoder.layer.{i}.output.LayerNorm": "blocks.{i}.norm_2",
}

KEYS = KeyMap(
    strip=("bert.",),  # present only under a task head
    legacy={".gamma": ".weight", ".beta": ".bias"},  # 2018 TensorFlow names, read only
    rename=ENCODER
    | {
        "pooler.dense": "pooler.dense",
        "classifier": "head",
        "cls.predictions.transform.dense": "lm_head.dense",
        "cls.predictions.transform.LayerNorm": "lm_head.norm",
        "cls.predictions.bias": "lm_head.bias",
        "cls.predictions.decoder.weight": "lm_head.score.weight",
    },
    drop=(  # buffers; the heads of sentence order and of question answering
        r"embeddings\.position_ids",
        r"embeddings\.token_type_ids",
        r"cls\.seq_relationship\..*",
        r"cls\.predictions\.decoder\.bias",  # where it is not tied
        r"qa_outputs\..*",
    ),
)


def _masked_head(values: Mapping[str, Any], embedding: nn.Embedding) -> MaskedHead:
    config = BertConfig.from_hf(values)
    activation = ACTIVATIONS[config.activation]
    return masked_head(config, embedding, values, norm=layer_norm(config), activation=activation)


def ties(values: Mapping[str, Any]) -> dict[str, str]:
    """What a head for hidden words shares: its words with the embeddings, its bias with itself."""
    own = {"cls.predictions.decoder.bias": "cls.predictions.bias"}
    words = {"cls.predictions.decoder.weight": "embeddings.word_embeddings.weight"}
    return own | (words if is_tied(values) else {})


def _build(values: Mapping[str, Any]) -> Bert:
    return Bert(BertConfig.from_hf(values))


def _dropout(values: Mapping[str, Any]) -> float:
    return BertConfig.from_hf(values).head_dropout


def _pooler(values: Mapping[str, Any]) -> Pooler:
    config = BertConfig.from_hf(values)
    pooler = Pooler(config.width)
    draw(pooler, config.initializer_range)
    return pooler


BERT = Family(
    name="bert",
    build=_build,
    keys=KEYS,
    base="BertModel",
    prefix="bert.",
    unprefixed=(HEAD, LM_HEAD),
    classifier=Classifier("BertForSequenceClassification", _pooler, _dropout),
    masked=Masked("BertForMaskedLM", _masked_head),
    ties=ties,
)
