"""DINOv2 (Oquab et al. 2023, https://arxiv.org/abs/2304.07193), and with registers (Darcet et al.
2023, https://arxiv.org/abs/2309.16588): tokens behind the class token that have no place and whose
output nobody reads.

Shapes: B images, T tokens of all images, C channels, p side of a patch, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.models.backbone import Stack
from headstart.models.config import (
    ACTIVATIONS,
    activation_faults,
    rate_faults,
    read_config,
    size_faults,
)
from headstart.models.family import Classifier, Family
from headstart.models.keymap import KeyMap
from headstart.models.vit import (
    BLOCKS,
    EMBEDDINGS,
    IMAGE_ONLY,
    grid_faults,
    raise_faults,
    switch_faults,
)
from headstart.nn.attention import Form
from headstart.nn.feedforward import FeedForward, GatedFeedForward
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.patches import (
    GridPositions,
    LayerScale,
    LedPatchEmbeddings,
    PatchProjection,
    Resize,
    ScaledPreNormBlock,
    bicubic,
    draw_patches,
    smoothed_bicubic,
)
from headstart.nn.ragged import Ragged

HF_NAMES = {  # our field: their key
    "width": "hidden_size",
    "num_blocks": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "inner_ratio": "mlp_ratio",
    "image_size": "image_size",
    "patch_size": "patch_size",
    "num_channels": "num_channels",
    "query_bias": "qkv_bias",
    "gated": "use_swiglu_ffn",
    "activation": "hidden_act",
    "scale_start": "layerscale_value",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "norm_epsilon": "layer_norm_eps",
    "initializer_range": "initializer_range",
}
PLAIN_NAMES = HF_NAMES | {"mask_token": "use_mask_token"}
REGISTER_NAMES = HF_NAMES | {"num_registers": "num_register_tokens"}
DINO_ONLY = IMAGE_ONLY | {"drop_path_rate": 0.0}


@dataclass(frozen=True)
class Dinov2Config:
    """Sizes and rates of a DINOv2.

    Attributes:
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads; divides `width`.
        inner_ratio: width inside the feed-forward over `width`.
        image_size: height and width, in pixels, of the images of pre-training.
        patch_size: p, in pixels.
        num_channels: C.
        query_bias: whether the maps to queries, keys and values add one.
        gated: whether the feed-forward is SwiGLU, as in the giant one.
        activation: a name in `ACTIVATIONS`; not read where `gated`.
        scale_start: of every factor of a new layer scale.
        dropout: probability after the embeddings.
        attention_dropout: probability of zeroing an attention probability.
        norm_epsilon: added to the variance in layer normalisation.
        initializer_range: standard deviation of new weights.
        mask_token: whether there is a token to stand for hidden patches; pre-training reads it.
        num_registers: registers behind the class token.
    """

    width: int
    num_blocks: int
    num_heads: int
    inner_ratio: float = 4
    image_size: int = 224
    patch_size: int = 14
    num_channels: int = 3
    query_bias: bool = True
    gated: bool = False
    activation: str = "gelu"
    scale_start: float = 1.0
    dropout: float = 0.0
    attention_dropout: float = 0.0
    norm_epsilon: float = 1e-6
    initializer_range: float = 0.02
    mask_token: bool = True
    num_registers: int = 0

    def __post_init__(self) -> None:
        names = PLAIN_NAMES | REGISTER_NAMES
        sizes = ("width", "num_blocks", "num_heads", "image_size", "patch_size", "num_channels")
        positive = ("inner_ratio", "scale_start", "norm_epsilon", "initializer_range")
        switches = ("query_bias", "gated", "mask_token")
        faults = [
            *size_faults(self, names, sizes),
            *rate_faults(self, names, ("dropout", "attention_dropout"), positive=positive),
            *activation_faults(self, names),
            *switch_faults({names[name]: getattr(self, name) for name in switches}),
        ]
        if not isinstance(self.num_registers, int) or self.num_registers < 0:
            faults.append(
                "num_register_tokens: must be a whole number, 0 or more; "
                f"got {self.num_registers!r}."
            )
        raise_faults(faults or grid_faults(self.image_size, self.patch_size))

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of the config.json of one without registers.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        return read_config(cls, PLAIN_NAMES, values, DINO_ONLY)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        return {theirs: getattr(self, ours) for ours, theirs in PLAIN_NAMES.items()}

    @property
    def inner_width(self) -> int:
        """Width inside the feed-forward; SwiGLU has two thirds of it, in multiples of 8."""
        inner = int(self.width * self.inner_ratio)
        return (int(inner * 2 / 3) + 7) // 8 * 8 if self.gated else inner


@dataclass(frozen=True)
class RegisterConfig(Dinov2Config):
    """Sizes and rates of a DINOv2 with registers; see `Dinov2Config`."""

    patch_size: int = 16
    num_registers: int = 4

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of the config.json of one with registers.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        return read_config(cls, REGISTER_NAMES, values, DINO_ONLY)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        return {theirs: getattr(self, ours) for ours, theirs in REGISTER_NAMES.items()}


class Dinov2(Stack):
    """The encoder of DINOv2: scaled pre-norm blocks over a class token and patches.

    Args:
        config: sizes and rates.
    """

    family = "dinov2"

    def __init__(self, config: Dinov2Config) -> None:
        width = config.width
        embeddings = _embeddings(config, {"class_token": (1, 1, width)}, bicubic)
        super().__init__(config, embeddings, _blocks(config), _norm(config))
        self.max_positions = (config.image_size // config.patch_size) ** 2
        self.patch_values = config.num_channels * config.patch_size**2
        draw_patches(self, config.initializer_range)


class Dinov2WithRegisters(Stack):
    """The encoder of DINOv2 with registers behind the class token.

    Args:
        config: sizes and rates.
    """

    family = "dinov2_with_registers"

    def __init__(self, config: RegisterConfig) -> None:
        width = config.width
        tokens = {"class_token": (1, 1, width), "registers": (1, config.num_registers, width)}
        embeddings = _embeddings(config, tokens, smoothed_bicubic)
        super().__init__(config, embeddings, _blocks(config), _norm(config))
        self.max_positions = (config.image_size // config.patch_size) ** 2
        self.patch_values = config.num_channels * config.patch_size**2
        draw_patches(self, config.initializer_range)


class ClassAndPatches(nn.Module):
    """The class token beside the mean of the patches.

    Args:
        num_leaders: tokens before the patches: class token and registers.
    """

    def __init__(self, num_leaders: int) -> None:
        super().__init__()
        self.num_leaders = num_leaders

    def forward(self, x: Ragged) -> Tensor:
        """Map (T, D) to (B, 2 * D)."""
        sums = x.padded()[:, self.num_leaders :].sum(1)
        counts = (x.lengths - self.num_leaders).to(sums)
        return torch.cat([x.first(), sums / counts[:, None]], 1)


def _embeddings(
    config: Dinov2Config, tokens: Mapping[str, tuple[int, ...]], resize: Resize
) -> LedPatchEmbeddings:
    side = config.image_size // config.patch_size
    embeddings = LedPatchEmbeddings(
        PatchProjection(config.num_channels, config.patch_size, config.width),
        GridPositions((1, 1 + side**2, config.width), side, resize),
        tokens,
        dropout=config.dropout,
    )
    if config.mask_token:  # read by pre-training only, and handed on
        embeddings.register_parameter("mask_token", nn.Parameter(torch.zeros(1, config.width)))
    return embeddings


def _blocks(config: Dinov2Config) -> Iterator[ScaledPreNormBlock]:
    for _ in range(config.num_blocks):
        yield ScaledPreNormBlock(
            MultiHeadAttention(
                config.width,
                Form(config.num_heads, dropout=config.attention_dropout),
                bias=config.query_bias,
                output_bias=True,
            ),
            _gated(config) if config.gated else _plain(config),
            norms=(_norm(config), _norm(config)),
            scales=(_scale(config), _scale(config)),
        )


def _plain(config: Dinov2Config) -> nn.Module:
    activation = ACTIVATIONS[config.activation]
    return FeedForward(config.width, config.inner_width, activation=activation)


def _gated(config: Dinov2Config) -> nn.Module:
    """SwiGLU, one name deeper, so that the key table tells it from a plain feed-forward."""
    return nn.Sequential(
        GatedFeedForward(config.width, config.inner_width, activation=F.silu, bias=True)
    )


def _norm(config: Dinov2Config) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=config.norm_epsilon)


def _scale(config: Dinov2Config) -> LayerScale:
    return LayerScale(config.width, config.scale_start)


_ATTENTION = {theirs: ours for theirs, ours in BLOCKS.items() if ".attention." in theirs}
_RENAME = (
    EMBEDDINGS
    | _ATTENTION
    | {  # Hugging Face module, or parameter: ours
        "embeddings.mask_token": "embeddings.mask_token",
        "encoder.layer.{i}.norm1": "blocks.{i}.norm_1",
        "encoder.layer.{i}.norm2": "blocks.{i}.norm_2",
        "encoder.layer.{i}.layer_scale1.lambda1": "blocks.{i}.scale_1.weight",
        "encoder.layer.{i}.layer_scale2.lambda1": "blocks.{i}.scale_2.weight",
        "encoder.layer.{i}.mlp.fc1": "blocks.{i}.feed_forward.widen",
        "encoder.layer.{i}.mlp.fc2": "blocks.{i}.feed_forward.narrow",
        "encoder.layer.{i}.mlp.weights_out": "blocks.{i}.feed_forward.0.narrow",
        "layernorm": "finish",
        "classifier": "head",
    }
)
_SPLIT = {
    "encoder.layer.{i}.mlp.weights_in": (
        "blocks.{i}.feed_forward.0.gate",
        "blocks.{i}.feed_forward.0.widen",
    )
}
_SINCE_5 = {  # as transformers 5 has them in memory
    "encoder.layer.{i}.attention.q_proj": "blocks.{i}.attention.query",
    "encoder.layer.{i}.attention.k_proj": "blocks.{i}.attention.key",
    "encoder.layer.{i}.attention.v_proj": "blocks.{i}.attention.value",
    "encoder.layer.{i}.attention.o_proj": "blocks.{i}.attention.output",
    "encoder.layer.{i}.mlp.gate_proj": "blocks.{i}.feed_forward.0.gate",
    "encoder.layer.{i}.mlp.up_proj": "blocks.{i}.feed_forward.0.widen",
    "encoder.layer.{i}.mlp.down_proj": "blocks.{i}.feed_forward.0.narrow",
}
KEYS = KeyMap(strip=("dinov2.",), rename=_RENAME, split=_SPLIT, also=_SINCE_5)
REGISTER_KEYS = KeyMap(
    strip=("dinov2_with_registers.",),
    rename=_RENAME | {"embeddings.register_tokens": "embeddings.registers"},
    split=_SPLIT,
    also=_SINCE_5,
)


def _no_dropout(values: Mapping[str, Any]) -> float:
    return 0.0


DINOV2 = Family(
    name="dinov2",
    build=lambda values: Dinov2(Dinov2Config.from_hf(values)),
    keys=KEYS,
    base="Dinov2Model",
    kind="image encoder",
    prefix="dinov2.",
    classifier=Classifier(
        "Dinov2ForImageClassification",
        lambda values: ClassAndPatches(1),
        _no_dropout,
        None,
        pooled_widths=2,
    ),
)
DINOV2_WITH_REGISTERS = Family(
    name="dinov2_with_registers",
    build=lambda values: Dinov2WithRegisters(RegisterConfig.from_hf(values)),
    keys=REGISTER_KEYS,
    base="Dinov2WithRegistersModel",
    kind="image encoder",
    prefix="dinov2_with_registers.",
    classifier=Classifier(
        "Dinov2WithRegistersForImageClassification",
        lambda values: ClassAndPatches(1 + RegisterConfig.from_hf(values).num_registers),
        _no_dropout,
        None,
        pooled_widths=2,
    ),
)
