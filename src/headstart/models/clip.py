"""CLIP (Radford et al. 2021, https://arxiv.org/abs/2103.00020): an image and a text tower.

A folder of a whole CLIP opens as a pair (`open_pair`), and as its image tower wherever a backbone
is asked for.

Shapes: B images or texts, T tokens of all of them, L tokens in the longest text, D width of a
tower, E width that both are projected to.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from headstart.models.backbone import Stack
from headstart.models.family import Family
from headstart.models.keymap import KeyMap
from headstart.models.network import Cls
from headstart.models.sides import Pair, Pairing, Side, Temperature, Tower
from headstart.models.towers import (
    BLOCKS,
    POSITIONS,
    TEXT,
    TEXT_NAMES,
    ImageTowerConfig,
    TextTowerConfig,
    blocks,
    norm,
    read_towers,
    tower_values,
    within,
)
from headstart.nn.embeddings import NormedEmbeddings
from headstart.nn.patches import GridPositions, LedPatchEmbeddings, PatchProjection, draw_patches
from headstart.nn.position import LearnedPositions
from headstart.nn.ragged import Ragged

OLD_END = 2
"""The end token that config.json files of before 2023 name; it was never the tokenizer's."""


@dataclass(frozen=True)
class ClipTextConfig(TextTowerConfig):
    """Sizes and rates of CLIP's text tower; see `TextTowerConfig`.

    Attributes:
        end_token: the token that ends a text and speaks for it.
    """

    end_token: int = 49_407

    def faults(self) -> list[str]:
        """One line for each value that cannot be honoured."""
        faults = super().faults()
        if not isinstance(self.end_token, int) or self.end_token < 0:
            faults.append(f"eos_token_id: must be a token, 0 or more; got {self.end_token!r}.")
        return faults

    @classmethod
    def names(cls) -> Mapping[str, str]:
        """Our field to their key."""
        return TEXT_NAMES | {"end_token": "eos_token_id"}


class ClipVision(Stack):
    """The image tower of CLIP: pre-norm blocks over a class token and patches, normalised first.

    Its final norm is what CLIP lays on the class token alone.

    Args:
        config: sizes and rates.
    """

    family = "clip_vision_model"

    def __init__(self, config: ImageTowerConfig) -> None:
        side, width = config.image_size // config.patch_size, config.width
        embeddings = LedPatchEmbeddings(
            PatchProjection(config.num_channels, config.patch_size, width, bias=False),
            GridPositions((1 + side**2, width), side),
            {"class_token": (width,)},
            norm=norm(config),
        )
        super().__init__(config, embeddings, blocks(config), norm(config))
        self.max_positions = side**2
        self.patch_values = config.num_channels * config.patch_size**2
        draw_patches(self, config.initializer_range)


class ClipText(Stack):
    """The text tower of CLIP: causal pre-norm blocks over token and position embeddings.

    Args:
        config: sizes and rates.
    """

    family = "clip_text_model"
    causal = True

    def __init__(self, config: ClipTextConfig) -> None:
        embeddings = NormedEmbeddings(
            nn.Embedding(config.vocabulary, config.width),
            LearnedPositions(config.max_positions, config.width),
            norm=nn.Identity(),
        )
        super().__init__(config, embeddings, blocks(config, causal=True), norm(config))
        self.max_positions = config.max_positions


class HighestToken:
    """A text ends at the first of its highest token: in CLIP's vocabulary that is the end token."""

    def __call__(self, tokens: Ragged) -> Tensor:
        """Map tokens (T,) int64 to the place of the end in each row, (B,) int64."""
        return tokens.padded().argmax(1)


class FirstToken:
    """A text ends at the first of a given token.

    Args:
        token: that ends it.
    """

    def __init__(self, token: int) -> None:
        self.token = token

    def __call__(self, tokens: Ragged) -> Tensor:
        """Map tokens (T,) int64 to the place of the end in each row, (B,) int64.

        Raises:
            ValueError: a row has no end.
        """
        ends = tokens.layout.pad((tokens.values == self.token).int())
        if not bool(ends.any(1).all()):
            missing = (~ends.any(1)).nonzero().flatten().tolist()
            raise ValueError(f"every text must hold the end token {self.token}; row {missing[0]} "
                             "does not.")  # fmt: skip
        return ends.argmax(1)


class ClipTextTower(Side):
    """The hidden state of the end token, as a point on the sphere.

    Args:
        backbone: maps tokens (T,) int64 to (T, D).
        end: maps tokens (T,) int64 to the place of the end in each row, (B,) int64.
        projection: maps (B, D) to (B, E).
    """

    def __init__(
        self, backbone: ClipText, end: HighestToken | FirstToken, projection: nn.Module
    ) -> None:
        super().__init__()
        self.backbone, self.end, self.projection = backbone, end, projection

    def forward(self, tokens: Ragged) -> Tensor:
        """Embeddings (B, E), each of length 1, of tokens (T,) int64."""
        states = self.backbone(tokens).values
        ends = states.index_select(0, tokens.layout.offsets[:-1] + self.end(tokens))
        return F.normalize(self.projection(ends), dim=1)


VISION = BLOCKS | {  # Hugging Face parameter or module: ours
    "embeddings.class_embedding": "embeddings.class_token",
    "embeddings.patch_embedding": "embeddings.projection",
    "embeddings.position_embedding": "embeddings.position",
    "pre_layrnorm": "embeddings.norm",  # their spelling
    "post_layernorm": "finish",
}
VISION_KEYS = KeyMap(
    rename=within(VISION, "vision_model."),
    also=VISION,  # as transformers 5 has them
    drop=(POSITIONS, r"visual_projection\..*"),
)
TEXT_KEYS = KeyMap(
    rename=within(TEXT, "text_model."), also=TEXT, drop=(POSITIONS, r"text_projection\..*")
)
PAIR_KEYS = KeyMap(
    rename=within(VISION, "vision_model.")
    | within(TEXT, "text_model.", "pair.text.backbone.")
    | {
        "visual_projection": "pair.image.projection",
        "text_projection": "pair.text.projection",
        "logit_scale": "pair.scorer.log_scale",
    },
    drop=(POSITIONS, r"classifier\..*"),
)


def _build_pair(values: Mapping[str, Any]) -> Pair:
    image, text = read_towers(values, ImageTowerConfig.from_hf, ClipTextConfig.from_hf)
    width = values.get("projection_dim", 512)
    if not isinstance(width, int) or width < 1:
        raise ValueError(f"projection_dim: must be a whole number, 1 or more; got {width!r}.")
    end = HighestToken() if text.end_token == OLD_END else FirstToken(text.end_token)
    return Pair(
        "clip",
        Tower(ClipVision(image), Cls(), nn.Linear(image.width, width, bias=False)),
        ClipTextTower(ClipText(text), end, nn.Linear(text.width, width, bias=False)),
        Temperature(),
        settings={"projection_dim": width},
        image_settings={"projection_dim": width},
        text_settings={"projection_dim": width},
    )


CLIP_VISION = Family(
    name="clip_vision_model",
    build=lambda values: ClipVision(ImageTowerConfig.from_hf(values)),
    keys=VISION_KEYS,
    base="CLIPVisionModel",
    kind="image encoder",
    prefix="",
    default_pooling="cls",
)
CLIP_TEXT = Family(
    name="clip_text_model",
    build=lambda values: ClipText(ClipTextConfig.from_hf(values)),
    keys=TEXT_KEYS,
    base="CLIPTextModel",
    prefix="",
    default_pooling="last",
)
CLIP = Family(
    name="clip",
    build=lambda values: ClipVision(
        ImageTowerConfig.from_hf(tower_values(values, "vision_config"))
    ),
    keys=PAIR_KEYS,
    base="CLIPModel",
    kind="image and text encoders",
    prefix="",
    default_pooling="cls",
)
CLIP_FAMILIES = (CLIP, CLIP_VISION, CLIP_TEXT)
CLIP_PAIRING = Pairing("CLIPModel", _build_pair)
