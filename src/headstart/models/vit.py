"""ViT (Dosovitskiy et al. 2021, https://arxiv.org/abs/2010.11929) and DeiT (Touvron et al. 2021,
https://arxiv.org/abs/2012.12877), which puts a second token, for distillation, before the patches.

Shapes: T patches of all images, C channels, p side of a patch, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from headstart.models.backbone import Stack
from headstart.models.config import (
    ACTIVATIONS,
    ONLY,
    activation_faults,
    rate_faults,
    read_config,
    size_faults,
)
from headstart.models.family import Classifier, Family
from headstart.models.keymap import KeyMap
from headstart.models.network import Cls
from headstart.nn.attention import Form
from headstart.nn.feedforward import FeedForward
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.patches import GridPositions, LedPatchEmbeddings, PatchProjection, draw_patches
from headstart.nn.transformer import PreNormBlock

HF_NAMES = {  # our field: their key
    "width": "hidden_size",
    "num_blocks": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "inner_width": "intermediate_size",
    "image_size": "image_size",
    "patch_size": "patch_size",
    "num_channels": "num_channels",
    "query_bias": "qkv_bias",
    "activation": "hidden_act",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "norm_epsilon": "layer_norm_eps",
    "initializer_range": "initializer_range",
}
IMAGE_ONLY = ONLY | {"head_dim": None}
"""What a config.json of an image family may hold only at these values."""


@dataclass(frozen=True)
class VitConfig:
    """Sizes and rates of a ViT or a DeiT.

    Attributes:
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads; divides `width`.
        inner_width: width inside the feed-forward.
        image_size: height and width, in pixels, of the images of pre-training.
        patch_size: p, in pixels.
        num_channels: C.
        query_bias: whether the maps to queries, keys and values add one.
        activation: a name in `ACTIVATIONS`.
        dropout: probability after the embeddings and of each update.
        attention_dropout: probability of zeroing an attention probability.
        norm_epsilon: added to the variance in layer normalisation.
        initializer_range: standard deviation of new weights.
    """

    width: int
    num_blocks: int
    num_heads: int
    inner_width: int
    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    query_bias: bool = True
    activation: str = "gelu"
    dropout: float = 0.0
    attention_dropout: float = 0.0
    norm_epsilon: float = 1e-12
    initializer_range: float = 0.02

    def __post_init__(self) -> None:
        sizes = ("width", "num_blocks", "num_heads", "inner_width")
        faults = [
            *size_faults(self, HF_NAMES, (*sizes, "image_size", "patch_size", "num_channels")),
            *rate_faults(self, HF_NAMES, ("dropout", "attention_dropout"),
                         positive=("norm_epsilon", "initializer_range")),
            *activation_faults(self, HF_NAMES),
            *switch_faults({"qkv_bias": self.query_bias}),
        ]  # fmt: skip
        raise_faults(faults or grid_faults(self.image_size, self.patch_size))

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> VitConfig:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        return read_config(cls, HF_NAMES, values, IMAGE_ONLY)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        return {theirs: getattr(self, ours) for ours, theirs in HF_NAMES.items()}


def switch_faults(switches: Mapping[str, Any]) -> list[str]:
    """One fault for each value, by its key, that is neither true nor false."""
    return [
        f"{key}: must be true or false; got {value!r}."
        for key, value in switches.items()
        if not isinstance(value, bool)
    ]


def grid_faults(image_size: int, patch_size: int) -> list[str]:
    """The fault of a patch that is larger than the image."""
    if patch_size <= image_size:
        return []
    return [f"patch_size: must be at most image_size {image_size}; got {patch_size}."]


def raise_faults(faults: list[str]) -> None:
    """Raise ValueError with one line for each fault, if there is any."""
    if faults:
        raise ValueError("\n".join(faults))


class Vit(Stack):
    """The encoder of ViT: pre-norm blocks over a class token and patches.

    Args:
        config: sizes and rates.
    """

    family = "vit"

    def __init__(self, config: VitConfig) -> None:
        super().__init__(config, _embeddings(config, ("class_token",)), _blocks(config),
                         _norm(config))  # fmt: skip
        self.max_positions = (config.image_size // config.patch_size) ** 2
        self.patch_values = config.num_channels * config.patch_size**2
        draw_patches(self, config.initializer_range)


class Deit(Stack):
    """The encoder of DeiT: as ViT's, with a distillation token behind the class token.

    Args:
        config: sizes and rates.
    """

    family = "deit"

    def __init__(self, config: VitConfig) -> None:
        tokens = ("class_token", "distillation_token")
        super().__init__(config, _embeddings(config, tokens), _blocks(config), _norm(config))
        self.max_positions = (config.image_size // config.patch_size) ** 2
        self.patch_values = config.num_channels * config.patch_size**2
        draw_patches(self, config.initializer_range)


def _embeddings(config: VitConfig, tokens: tuple[str, ...]) -> LedPatchEmbeddings:
    side = config.image_size // config.patch_size
    return LedPatchEmbeddings(
        PatchProjection(config.num_channels, config.patch_size, config.width),
        GridPositions((1, len(tokens) + side**2, config.width), side),
        dict.fromkeys(tokens, (1, 1, config.width)),
        dropout=config.dropout,
    )


def _blocks(config: VitConfig) -> Iterator[PreNormBlock]:
    for _ in range(config.num_blocks):
        yield PreNormBlock(
            MultiHeadAttention(
                config.width,
                Form(config.num_heads, dropout=config.attention_dropout),
                bias=config.query_bias,
                output_bias=True,
            ),
            FeedForward(
                config.width, config.inner_width, activation=ACTIVATIONS[config.activation]
            ),
            norm_1=_norm(config),
            norm_2=_norm(config),
            dropout=config.dropout,
        )


def _norm(config: VitConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=config.norm_epsilon)


EMBEDDINGS = {  # Hugging Face parameter or module: ours
    "embeddings.cls_token": "embeddings.class_token",
    "embeddings.position_embeddings": "embeddings.position.weight",
    "embeddings.patch_embeddings.projection": "embeddings.projection",
}
BLOCKS = {
    "encoder.layer.{i}.attention.attention.query": "blocks.{i}.attention.query",
    "encoder.layer.{i}.attention.attention.key": "blocks.{i}.attention.key",
    "encoder.layer.{i}.attention.attention.value": "blocks.{i}.attention.value",
    "encoder.layer.{i}.attention.output.dense": "blocks.{i}.attention.output",
    "encoder.layer.{i}.layernorm_before": "blocks.{i}.norm_1",
    "encoder.layer.{i}.layernorm_after": "blocks.{i}.norm_2",
    "encoder.layer.{i}.intermediate.dense": "blocks.{i}.feed_forward.widen",
    "encoder.layer.{i}.output.dense": "blocks.{i}.feed_forward.narrow",
}
BLOCKS_SINCE_5 = {  # as transformers 5 has them in memory
    "layers.{i}.attention.q_proj": "blocks.{i}.attention.query",
    "layers.{i}.attention.k_proj": "blocks.{i}.attention.key",
    "layers.{i}.attention.v_proj": "blocks.{i}.attention.value",
    "layers.{i}.attention.o_proj": "blocks.{i}.attention.output",
    "layers.{i}.layernorm_before": "blocks.{i}.norm_1",
    "layers.{i}.layernorm_after": "blocks.{i}.norm_2",
    "layers.{i}.mlp.fc1": "blocks.{i}.feed_forward.widen",
    "layers.{i}.mlp.fc2": "blocks.{i}.feed_forward.narrow",
}
REST = {"layernorm": "finish", "pooler.dense": "pooler.dense", "classifier": "head"}
DROP = (r"embeddings\.mask_token", r"decoder\..*")  # of masked image modelling

KEYS = KeyMap(
    strip=("vit.",),  # present only under a task head
    rename=EMBEDDINGS | BLOCKS | REST,
    also=BLOCKS_SINCE_5,
    drop=DROP,
)
DEIT_KEYS = KeyMap(
    strip=("deit.",),
    rename=EMBEDDINGS
    | BLOCKS
    | REST
    | {"embeddings.distillation_token": "embeddings.distillation_token"},
    also=BLOCKS_SINCE_5,
    drop=(*DROP, r"(cls|distillation)_classifier\..*"),  # two heads, averaged: of distillation
)


def _no_pooler(values: Mapping[str, Any]) -> Cls:
    return Cls()


def _no_dropout(values: Mapping[str, Any]) -> float:
    return 0.0


VIT = Family(
    name="vit",
    build=lambda values: Vit(VitConfig.from_hf(values)),
    keys=KEYS,
    base="ViTModel",
    kind="image encoder",
    prefix="vit.",
    classifier=Classifier("ViTForImageClassification", _no_pooler, _no_dropout, None),
)
DEIT = Family(
    name="deit",
    build=lambda values: Deit(VitConfig.from_hf(values)),
    keys=DEIT_KEYS,
    base="DeiTModel",
    kind="image encoder",
    prefix="deit.",
    classifier=Classifier("DeiTForImageClassification", _no_pooler, _no_dropout, None),
)
