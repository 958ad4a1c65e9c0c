"""SigLIP (Zhai et al. 2023, https://arxiv.org/abs/2303.15343): an image and a text tower.

A folder of a whole SigLIP opens as a pair (`open_pair`), and as its image tower wherever a backbone
is asked for.

Shapes: B images or texts, T tokens of all of them, L longest text the tower reads, D width of a
tower, E width of an embedding: D of the image tower.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.models.backbone import Stack
from headstart.models.family import Family
from headstart.models.keymap import KeyMap
from headstart.models.network import Last
from headstart.models.sides import Pair, Pairing, ShiftedTemperature, Side, Tower
from headstart.models.towers import (
    BLOCKS,
    POSITIONS,
    TEXT,
    TEXT_NAMES,
    ImageTowerConfig,
    TextTowerConfig,
    blocks,
    feed_forward,
    norm,
    read_towers,
    tower_values,
    within,
)
from headstart.nn.attention import Form
from headstart.nn.embeddings import NormedEmbeddings
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.patches import GridPositions, PatchEmbeddings, PatchProjection, draw_patches
from headstart.nn.position import LearnedPositions
from headstart.nn.ragged import Layout, Ragged


@dataclass(frozen=True)
class SiglipVisionConfig(ImageTowerConfig):
    """Sizes and rates of SigLIP's image tower; see `ImageTowerConfig`."""

    patch_size: int = 16
    activation: str = "gelu_pytorch_tanh"
    norm_epsilon: float = 1e-6


@dataclass(frozen=True)
class SiglipTextConfig(TextTowerConfig):
    """Sizes and rates of SigLIP's text tower; see `TextTowerConfig`.

    Attributes:
        projection_width: E; None means `width`.
    """

    vocabulary: int = 32_000
    width: int = 768
    num_heads: int = 12
    inner_width: int = 3072
    max_positions: int = 64
    activation: str = "gelu_pytorch_tanh"
    norm_epsilon: float = 1e-6
    projection_width: int | None = None

    def faults(self) -> list[str]:
        """One line for each value that cannot be honoured."""
        faults, width = super().faults(), self.projection_width
        if width is not None and (not isinstance(width, int) or width < 1):
            faults.append(f"projection_size: must be a whole number, 1 or more; got {width!r}.")
        return faults

    @classmethod
    def names(cls) -> Mapping[str, str]:
        """Our field to their key."""
        return TEXT_NAMES | {"projection_width": "projection_size"}


class SiglipVision(Stack):
    """The image tower of SigLIP: pre-norm blocks over patches alone.

    Args:
        config: sizes and rates.
    """

    family = "siglip_vision_model"

    def __init__(self, config: SiglipVisionConfig) -> None:
        side = config.image_size // config.patch_size
        embeddings = PatchEmbeddings(
            PatchProjection(config.num_channels, config.patch_size, config.width),
            GridPositions((side**2, config.width), side),
        )
        super().__init__(config, embeddings, blocks(config), norm(config))
        self.max_positions = side**2
        self.patch_values = config.num_channels * config.patch_size**2
        draw_patches(self, config.initializer_range)

    def hf_config(self) -> dict[str, Any]:
        """The sizes as Hugging Face's config.json words them; the pooling is not of a backbone."""
        return super().hf_config() | {"vision_use_head": False}


class SiglipText(Stack):
    """The text tower of SigLIP: pre-norm blocks, each token seeing all, over token and position.

    Args:
        config: sizes and rates.
    """

    family = "siglip_text_model"

    def __init__(self, config: SiglipTextConfig) -> None:
        embeddings = NormedEmbeddings(
            nn.Embedding(config.vocabulary, config.width),
            LearnedPositions(config.max_positions, config.width),
            norm=nn.Identity(),
        )
        super().__init__(config, embeddings, blocks(config), norm(config))
        self.max_positions = config.max_positions


class AttentionPool(nn.Module):
    """A trained question to all tokens of an image (Zhai et al. 2022, "MAP").

    Args:
        attention: takes what asks (B, D) and what is looked at (T, D); gives (B, D).
        norm: applied to what the feed-forward reads.
        feed_forward: maps (B, D) to (B, D).
        width: D.
    """

    def __init__(
        self, attention: nn.Module, *, norm: nn.Module, feed_forward: nn.Module, width: int
    ) -> None:
        super().__init__()
        self.probe = nn.Parameter(torch.zeros(1, 1, width))
        self.attention, self.norm, self.feed_forward = attention, norm, feed_forward

    def forward(self, x: Ragged) -> Tensor:
        """Map (T, D) to (B, D)."""
        count = x.layout.num_rows
        probes = self.probe.flatten(0, 1).expand(count, -1)
        seen = self.attention(Ragged(probes, Layout([1] * count, x.layout.device)), x)
        return seen + self.feed_forward(self.norm(seen))


class FilledTower(Side):
    """A tower that was trained on texts of one length, and reads the padding of shorter ones.

    Args:
        backbone: maps tokens (T,) int64 to (T, D).
        pool: maps (T, D) to (B, D).
        projection: maps (B, D) to (B, E).
        length: L, which every row is filled up to.
        token: that it is filled with.
    """

    def __init__(
        self,
        backbone: SiglipText,
        pool: nn.Module,
        projection: nn.Module,
        *,
        length: int,
        token: int,
    ) -> None:
        super().__init__()
        self.backbone, self.pool, self.projection = backbone, pool, projection
        self.length, self.token = length, token

    def forward(self, inputs: Ragged) -> Tensor:
        """Embeddings (B, E), each of length 1, of tokens (T,) int64.

        Raises:
            ValueError: a text is longer than L.
        """
        layout = inputs.layout
        if layout.longest > self.length:
            raise ValueError(f"a text must have at most {self.length} tokens; "
                             f"got {layout.longest}.")  # fmt: skip
        filled = inputs.values.new_full((layout.num_rows, self.length), self.token)
        filled[layout.rows, layout.positions] = inputs.values
        states = self.backbone(Ragged.from_padded(filled, [self.length] * layout.num_rows))
        return F.normalize(self.projection(self.pool(states)), dim=1)


VISION = BLOCKS | {  # Hugging Face module: our module
    "embeddings.patch_embedding": "embeddings.projection",
    "embeddings.position_embedding": "embeddings.position",
    "post_layernorm": "finish",
}
VISION_KEYS = KeyMap(
    rename=within(VISION, "vision_model."),
    also=VISION,  # as transformers 5 has them
    drop=(POSITIONS, r"(vision_model\.)?head\..*"),
)
TEXT_KEYS = KeyMap(
    rename=within(TEXT, "text_model."), also=TEXT, drop=(POSITIONS, r"(text_model\.)?head\..*")
)
_POOL = {  # Hugging Face parameter or module: ours
    "probe": "probe",
    "attention.out_proj": "attention.output",
    "layernorm": "norm",
    "mlp.fc1": "feed_forward.widen",
    "mlp.fc2": "feed_forward.narrow",
}
_THREE = ("query", "key", "value")
PAIR_KEYS = KeyMap(
    rename=within(VISION, "vision_model.")
    | within(_POOL, "vision_model.head.", "pair.image.pool.")
    | within(TEXT, "text_model.", "pair.text.backbone.")
    | {
        "text_model.head": "pair.text.projection",
        "logit_scale": "pair.scorer.log_scale",
        "logit_bias": "pair.scorer.bias",
    },
    split={
        f"vision_model.head.attention.in_proj_{end}": tuple(
            f"pair.image.pool.attention.{name}.{end}" for name in _THREE
        )
        for end in ("weight", "bias")
    },
    drop=(POSITIONS, r"classifier\..*"),
)


def _build_pair(values: Mapping[str, Any]) -> Pair:
    image, text = read_towers(values, _read_image, SiglipTextConfig.from_hf)
    width = text.projection_width or text.width
    if width != image.width:
        raise ValueError(
            f"text_config.projection_size: must be vision_config.hidden_size {image.width}; "
            f"got {width}."
        )
    if text.padding_token is None:
        raise ValueError("text_config.pad_token_id: must be a token; got None.")
    return Pair(
        "siglip",
        Tower(SiglipVision(image), _pool(image), nn.Identity()),
        FilledTower(
            SiglipText(text),
            Last(),
            nn.Linear(text.width, width),
            length=text.max_positions,
            token=text.padding_token,
        ),
        ShiftedTemperature(),
        settings={},
        image_settings={"vision_use_head": True},
        text_settings={"projection_size": width},
    )


def _read_image(values: Mapping[str, Any]) -> SiglipVisionConfig:
    config = SiglipVisionConfig.from_hf(values)
    if values.get("vision_use_head") not in (None, True):
        raise ValueError(
            f"vision_use_head: {values['vision_use_head']!r} is not supported, only True."
        )
    return config


def _pool(config: SiglipVisionConfig) -> AttentionPool:
    return AttentionPool(
        MultiHeadAttention(config.width, Form(config.num_heads)),
        norm=norm(config),
        feed_forward=feed_forward(config),
        width=config.width,
    )


SIGLIP_VISION = Family(
    name="siglip_vision_model",
    build=lambda values: SiglipVision(SiglipVisionConfig.from_hf(values)),
    keys=VISION_KEYS,
    base="SiglipVisionModel",
    kind="image encoder",
    prefix="",
    default_pooling="mean",
)
SIGLIP_TEXT = Family(
    name="siglip_text_model",
    build=lambda values: SiglipText(SiglipTextConfig.from_hf(values)),
    keys=TEXT_KEYS,
    base="SiglipTextModel",
    prefix="",
    default_pooling="last",
)
SIGLIP = Family(
    name="siglip",
    build=lambda values: SiglipVision(
        SiglipVisionConfig.from_hf(tower_values(values, "vision_config"))
    ),
    keys=PAIR_KEYS,
    base="SiglipModel",
    kind="image and text encoders",
    prefix="",
    default_pooling="mean",
)
SIGLIP_FAMILIES = (SIGLIP, SIGLIP_VISION, SIGLIP_TEXT)
SIGLIP_PAIRING = Pairing("SiglipModel", _build_pair)
