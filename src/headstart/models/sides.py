"""Images and texts as points on one sphere: what compares a CLIP's or a SigLIP's two towers.

Shapes: B images or texts, T patches or tokens of all of them, C channels, p side of a patch, D
width of a tower, E width of an embedding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.models.backbone import Backbone
from headstart.nn.ragged import Ragged


class Side(nn.Module, ABC):
    """One side of a pair: images, or texts, to points on a sphere.

    Attributes:
        backbone: maps patches or tokens to (T, D).
    """

    backbone: Backbone

    @abstractmethod
    def forward(self, inputs: Ragged) -> Tensor:
        """Embeddings (B, E), each of length 1."""


class Tower(Side):
    """Hidden states, one vector from them, and that projected to the sphere.

    Args:
        backbone: maps patches or tokens to (T, D).
        pool: maps (T, D) to (B, D).
        projection: maps (B, D) to (B, E).
    """

    def __init__(self, backbone: Backbone, pool: nn.Module, projection: nn.Module) -> None:
        super().__init__()
        self.backbone, self.pool, self.projection = backbone, pool, projection

    def forward(self, inputs: Ragged) -> Tensor:
        """Embeddings (B, E), each of length 1."""
        return F.normalize(self.projection(self.pool(self.backbone(inputs))), dim=1)


class Scorer(nn.Module, ABC):
    """From cosines to scores, and from scores to the loss of pre-training."""

    @abstractmethod
    def forward(self, cosines: Tensor) -> Tensor:
        """Scores of the same shape."""

    @abstractmethod
    def loss(self, scores: Tensor) -> Tensor:
        """A scalar from scores (B, B), where image i belongs to text i."""


class Pair(nn.Module):
    """Images and texts as points on one sphere (Radford et al. 2021, section 2.3).

    Args:
        family: the `model_type` of the pair.
        image: maps patches to embeddings (B, E) of length 1.
        text: maps tokens to embeddings (B, E) of length 1.
        scorer: maps cosines to scores of the same shape.
        settings: what config.json says besides the two towers.
        image_settings: what it says of the image tower besides what its backbone says.
        text_settings: what it says of the text tower, likewise.
    """

    def __init__(
        self,
        family: str,
        image: Tower,
        text: Side,
        scorer: Scorer,
        *,
        settings: Mapping[str, Any],
        image_settings: Mapping[str, Any],
        text_settings: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.family = family
        self.image, self.text, self.scorer = image, text, scorer
        self._settings = settings
        self._image_settings, self._text_settings = image_settings, text_settings

    def image_embeddings(self, images: Ragged) -> Tensor:
        """(B, E), each of length 1, of patches (T, C * p * p)."""
        return self.image(images)

    def text_embeddings(self, tokens: Ragged) -> Tensor:
        """(B, E), each of length 1, of tokens (T,) int64."""
        return self.text(tokens)

    def image_text_scores(self, images: Ragged, tokens: Ragged) -> Tensor:
        """How well each image fits each text, (images, texts); as probabilities see `scorer`.

        Args:
            images: patches (T, C * p * p) of the images.
            tokens: (T,) int64 of the texts.
        """
        return self.scorer(self.image_embeddings(images) @ self.text_embeddings(tokens).T)

    def loss(self, images: Ragged, tokens: Ragged) -> Tensor:
        """The loss of pre-training, a scalar, where image i belongs to text i of as many."""
        return self.scorer.loss(self.image_text_scores(images, tokens))

    def parts(self) -> dict[str, nn.Module]:
        """By the start of our names: the backbone of the image tower, and everything else."""
        sides = {"pool": self.image.pool, "projection": self.image.projection}
        rest = {"image": nn.ModuleDict(sides), "text": self.text, "scorer": self.scorer}
        return {"": self.image.backbone, "pair.": nn.ModuleDict(rest)}

    def hf_config(self) -> dict[str, Any]:
        """The sizes as Hugging Face's config.json words them."""
        return {
            "model_type": self.family,
            **self._settings,
            "text_config": self.text.backbone.hf_config() | dict(self._text_settings),
            "vision_config": self.image.backbone.hf_config() | dict(self._image_settings),
        }


class Temperature(Scorer):
    """Cosines times exp(log_scale): CLIP's scores.

    A softmax over the texts is how likely each belongs to an image, and the other way round.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(()))

    def forward(self, cosines: Tensor) -> Tensor:
        """Scores of the same shape."""
        return cosines * self.log_scale.exp()

    def loss(self, scores: Tensor) -> Tensor:
        """Cross-entropy both ways from scores (B, B), a scalar in nats (Radford et al., figure 3).

        Image i belongs to text i.
        """
        own = torch.arange(len(scores), device=scores.device)
        return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2


class ShiftedTemperature(Scorer):
    """Cosines times exp(log_scale) plus a bias: SigLIP's scores.

    A sigmoid is how likely an image and a text belong together, each pair on its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(1))
        self.bias = nn.Parameter(torch.zeros(1))

    def forward(self, cosines: Tensor) -> Tensor:
        """Scores of the same shape."""
        return cosines * self.log_scale.exp() + self.bias

    def loss(self, scores: Tensor) -> Tensor:
        """Binary cross-entropy of all pairs over B, a scalar in nats (Zhai et al. 2023, section 3).

        Image i belongs to text i, and to no other.
        """
        sign = 2 * torch.eye(len(scores), device=scores.device) - 1
        return -F.logsigmoid(sign * scores).sum() / len(scores)


@dataclass(frozen=True)
class Pairing:
    """What the loader has to know about a family of pairs, besides the `Family` of the same name.

    Attributes:
        architecture: name of transformers' class.
        build: a pair, not yet loaded, from the values of a config.json; raises ValueError with one
            line for each value that cannot be honoured.
    """

    architecture: str
    build: Callable[[Mapping[str, Any]], Pair]
