"""What the towers of CLIP and SigLIP share, those for images and those for texts.

Shapes: D width of a tower, C channels, p side of a patch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor, nn

from headstart.models.config import (
    ACTIVATIONS,
    Sizes,
    activation_faults,
    padding_faults,
    rate_faults,
    read_config,
    size_faults,
)
from headstart.models.vit import IMAGE_ONLY, grid_faults, raise_faults
from headstart.nn.attention import Form
from headstart.nn.feedforward import FeedForward
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.transformer import PreNormBlock


def quick_gelu(x: Tensor) -> Tensor:
    """x * sigmoid(1.702 * x), the approximation of GELU that CLIP was trained with, elementwise."""
    return x * torch.sigmoid(1.702 * x)


TOWER_ACTIVATIONS = ACTIVATIONS | {"quick_gelu": quick_gelu}
SHARED_NAMES = {  # our field: their key
    "width": "hidden_size",
    "num_blocks": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "inner_width": "intermediate_size",
    "activation": "hidden_act",
    "attention_dropout": "attention_dropout",
    "norm_epsilon": "layer_norm_eps",
    "initializer_range": "initializer_range",
}
IMAGE_NAMES = SHARED_NAMES | {
    "image_size": "image_size",
    "patch_size": "patch_size",
    "num_channels": "num_channels",
}
TEXT_NAMES = SHARED_NAMES | {
    "vocabulary": "vocab_size",
    "max_positions": "max_position_embeddings",
    "padding_token": "pad_token_id",
}


class TowerSizes(Sizes, Protocol):
    """What the blocks of a tower are made from."""

    @property
    def num_blocks(self) -> int: ...  # noqa: D102

    @property
    def inner_width(self) -> int: ...  # noqa: D102

    @property
    def attention_dropout(self) -> float: ...  # noqa: D102

    @property
    def norm_epsilon(self) -> float: ...  # noqa: D102


@dataclass(frozen=True)
class ImageTowerConfig:
    """Sizes and rates of the tower that reads images.

    A config.json that transformers wrote names only what differs from its defaults, so that every
    family has the same defaults here.

    Attributes:
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads; divides `width`.
        inner_width: width inside the feed-forward.
        image_size: height and width, in pixels, of the images of pre-training.
        patch_size: p, in pixels.
        num_channels: C.
        activation: a name in `TOWER_ACTIVATIONS`.
        attention_dropout: probability of zeroing an attention probability.
        norm_epsilon: added to the variance in layer normalisation.
        initializer_range: standard deviation of new weights.
    """

    width: int = 768
    num_blocks: int = 12
    num_heads: int = 12
    inner_width: int = 3072
    image_size: int = 224
    patch_size: int = 32
    num_channels: int = 3
    activation: str = "quick_gelu"
    attention_dropout: float = 0.0
    norm_epsilon: float = 1e-5
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        sizes = ("width", "num_blocks", "num_heads", "inner_width")
        faults = [
            *size_faults(self, IMAGE_NAMES, (*sizes, "image_size", "patch_size", "num_channels")),
            *_shared_faults(self, IMAGE_NAMES),
        ]
        raise_faults(faults or grid_faults(self.image_size, self.patch_size))

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that cannot be honoured.
        """
        return read_config(cls, IMAGE_NAMES, values, IMAGE_ONLY)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        return {theirs: getattr(self, ours) for ours, theirs in IMAGE_NAMES.items()}


@dataclass(frozen=True)
class TextTowerConfig:
    """Sizes and rates of the tower that reads texts; for defaults see `ImageTowerConfig`.

    Attributes:
        vocabulary: number of tokens known.
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads; divides `width`.
        inner_width: width inside the feed-forward.
        max_positions: longest row in tokens.
        activation: a name in `TOWER_ACTIVATIONS`.
        attention_dropout: probability of zeroing an attention probability.
        norm_epsilon: added to the variance in layer normalisation.
        initializer_range: standard deviation of new weights.
        padding_token: the token that Hugging Face pads with.
    """

    vocabulary: int = 49_408
    width: int = 512
    num_blocks: int = 12
    num_heads: int = 8
    inner_width: int = 2048
    max_positions: int = 77
    activation: str = "quick_gelu"
    attention_dropout: float = 0.0
    norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    padding_token: int | None = 1

    def __post_init__(self) -> None:
        raise_faults(self.faults())

    def faults(self) -> list[str]:
        """One line for each value that cannot be honoured."""
        sizes = ("vocabulary", "width", "num_blocks", "num_heads", "inner_width", "max_positions")
        return [
            *size_faults(self, TEXT_NAMES, sizes),
            *padding_faults(self, TEXT_NAMES),
            *_shared_faults(self, TEXT_NAMES),
        ]

    @classmethod
    def names(cls) -> Mapping[str, str]:
        """Our field to their key."""
        return TEXT_NAMES

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that cannot be honoured.
        """
        return read_config(cls, cls.names(), values)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        return {theirs: getattr(self, ours) for ours, theirs in self.names().items()}


def _shared_faults(config: Sizes, names: Mapping[str, str]) -> list[str]:
    return [
        *rate_faults(
            config,
            names,
            ("attention_dropout",),
            positive=("norm_epsilon", "initializer_range"),
        ),
        *activation_faults(config, names, tuple(TOWER_ACTIVATIONS)),
    ]


def blocks(config: TowerSizes, *, causal: bool = False) -> Iterator[PreNormBlock]:
    """The pre-norm blocks of a tower, first to last."""
    form = Form(config.num_heads, causal=causal, dropout=config.attention_dropout)
    for _ in range(config.num_blocks):
        yield PreNormBlock(
            MultiHeadAttention(config.width, form),
            feed_forward(config),
            norm_1=norm(config),
            norm_2=norm(config),
        )


def feed_forward(config: TowerSizes) -> FeedForward:
    """The feed-forward of a tower."""
    activation = TOWER_ACTIVATIONS[config.activation]
    return FeedForward(config.width, config.inner_width, activation=activation)


def norm(config: TowerSizes) -> nn.LayerNorm:
    """A norm of a tower."""
    return nn.LayerNorm(config.width, eps=config.norm_epsilon)


BLOCKS = {  # Hugging Face module: our module
    "encoder.layers.{i}.layer_norm1": "blocks.{i}.norm_1",
    "encoder.layers.{i}.self_attn.q_proj": "blocks.{i}.attention.query",
    "encoder.layers.{i}.self_attn.k_proj": "blocks.{i}.attention.key",
    "encoder.layers.{i}.self_attn.v_proj": "blocks.{i}.attention.value",
    "encoder.layers.{i}.self_attn.out_proj": "blocks.{i}.attention.output",
    "encoder.layers.{i}.layer_norm2": "blocks.{i}.norm_2",
    "encoder.layers.{i}.mlp.fc1": "blocks.{i}.feed_forward.widen",
    "encoder.layers.{i}.mlp.fc2": "blocks.{i}.feed_forward.narrow",
}
TEXT = BLOCKS | {
    "embeddings.token_embedding": "embeddings.token",
    "embeddings.position_embedding": "embeddings.position",
    "final_layer_norm": "finish",
}
POSITIONS = r"((vision|text)_model\.)?embeddings\.position_ids"
"""A buffer that older versions of transformers stored."""


def within(names: Mapping[str, str], theirs: str, ours: str = "") -> dict[str, str]:
    """A table whose names on both sides lie inside another module."""
    return {theirs + key: ours + value for key, value in names.items()}


T = TypeVar("T")
S = TypeVar("S")


def read_towers(
    values: Mapping[str, Any],
    image: Callable[[Mapping[str, Any]], T],
    text: Callable[[Mapping[str, Any]], S],
) -> tuple[T, S]:
    """The configs of both towers from the values of a pair's config.json.

    Raises:
        ValueError: one line for each value that cannot be honoured, in either.
    """
    faults: list[str] = []
    found: dict[str, Any] = {}
    for key, read in (("vision_config", image), ("text_config", text)):
        try:
            found[key] = read(tower_values(values, key))
        except ValueError as error:
            faults += [f"{key}.{line}" for line in str(error).split("\n")]
    raise_faults(faults)
    return found["vision_config"], found["text_config"]


def tower_values(values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """What a pair's config.json says of one tower.

    Args:
        values: of the config.json.
        key: "vision_config" or "text_config"; with "_dict" behind it, as older files have it
            besides, it rules.
    """
    said = values.get(f"{key}_dict")
    return (values.get(key) or {}) if said is None else said
