"""Sizes and rates of a T5, and what its config.json says about them.

Shapes: D width, d width of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from headstart.errors import nearest
from headstart.models.config import (
    ACTIVATIONS,
    ONLY,
    count_faults,
    flag_faults,
    padding_faults,
    rate_faults,
    read_config,
)
from headstart.models.seq2seq import START_KEY, start_faults

GATED = "gated-"
"""What the name of an activation starts with where the feed-forward is gated."""

HF_NAMES = {  # our field: their key
    "vocabulary": "vocab_size",
    "width": "d_model",
    "num_blocks": "num_layers",
    "num_decoder_blocks": "num_decoder_layers",
    "num_heads": "num_heads",
    "head_width": "d_kv",
    "inner_width": "d_ff",
    "num_buckets": "relative_attention_num_buckets",
    "max_distance": "relative_attention_max_distance",
    "activation": "feed_forward_proj",
    "dropout": "dropout_rate",
    "norm_epsilon": "layer_norm_epsilon",
    "initializer_factor": "initializer_factor",
    "tied": "tie_word_embeddings",
    "scaled": "scale_decoder_outputs",
    "start_token": START_KEY,
    "end_token": "eos_token_id",
    "padding_token": "pad_token_id",
}


@dataclass(frozen=True)
class T5Config:
    """Sizes and rates of a T5.

    Attributes:
        vocabulary: number of tokens known.
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads.
        head_width: d; heads side by side need not be as wide as D.
        inner_width: width inside the feed-forward.
        num_decoder_blocks: decoder blocks; None: as many as the encoder's.
        num_buckets: how many distances of query and key are told apart.
        max_distance: from which distance on all are one.
        activation: a name in `ACTIVATIONS`, "gated-" before it where the feed-forward is gated;
            "gated-gelu" is the tanh form of GELU.
        dropout: probability after the embeddings, of each update and inside the feed-forward, of
            zeroing an attention probability, and after the last norm.
        norm_epsilon: added to the mean square in normalisation.
        initializer_factor: what the standard deviations of new weights are multiplied by.
        tied: whether words are scored by their own embeddings.
        scaled: whether what scores them is divided by the square root of D first.
        start_token: begins every target; None: an encoder alone needs none.
        end_token: ends a text, one or several.
        padding_token: the token that Hugging Face pads with.
    """

    vocabulary: int
    width: int
    num_blocks: int
    num_heads: int
    head_width: int
    inner_width: int
    num_decoder_blocks: int | None = None
    num_buckets: int = 32
    max_distance: int = 128
    activation: str = "relu"
    dropout: float = 0.1
    norm_epsilon: float = 1e-6
    initializer_factor: float = 1.0
    tied: bool = True
    scaled: bool = True
    start_token: int | None = None
    end_token: int | list[int] | None = 1
    padding_token: int | None = 0

    def __post_init__(self) -> None:
        sizes = ["vocabulary", "width", "num_blocks", "num_heads", "head_width", "inner_width"]
        sizes += [] if self.num_decoder_blocks is None else ["num_decoder_blocks"]
        positive = ("norm_epsilon", "initializer_factor")
        faults = [
            *count_faults(self, HF_NAMES, sizes),
            *self._distance_faults(),
            *padding_faults(self, HF_NAMES),
            *start_faults(self.start_token, self.vocabulary),
            *rate_faults(self, HF_NAMES, ("dropout",), positive),
            *self._activation_faults(),
            *flag_faults(self, HF_NAMES, ("tied", "scaled")),
        ]
        if self.scaled is True and self.tied is False:
            faults.append(
                "scale_decoder_outputs: true is not supported where tie_word_embeddings is false."
            )
        if faults:
            raise ValueError("\n".join(faults))

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> T5Config:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        only = {key: value for key, value in ONLY.items() if key != "is_encoder_decoder"}
        projection = values.get("feed_forward_proj", "relu")
        if isinstance(projection, str):  # transformers repeats it in parts
            only |= {"is_gated_act": projection.startswith(GATED)}
            only |= {"dense_act_fn": _activation_name(projection)}
        if values.get("model_type") == "mt5":
            only |= {"scale_decoder_outputs": False}
        values = {**values, "scale_decoder_outputs": is_scaled(values)}
        return read_config(cls, HF_NAMES, values, only)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        named = {theirs: getattr(self, ours) for ours, theirs in HF_NAMES.items()}
        return {**named, "is_encoder_decoder": True}

    @property
    def initializer_range(self) -> float:
        """Standard deviation of new embeddings."""
        return self.initializer_factor

    @property
    def decoder_blocks(self) -> int:
        """How many blocks the decoder has."""
        return self.num_blocks if self.num_decoder_blocks is None else self.num_decoder_blocks

    @property
    def gated(self) -> bool:
        """Whether the feed-forward is gated."""
        return self.activation.startswith(GATED)

    @property
    def function(self) -> Callable[[Tensor], Tensor]:
        """The activation, elementwise."""
        return ACTIVATIONS[_activation_name(self.activation)]

    def _activation_faults(self) -> list[str]:
        known = [*ACTIVATIONS, *(GATED + name for name in ACTIVATIONS)]
        if self.activation in known:
            return []
        return [
            f"feed_forward_proj: {self.activation!r} is not supported."
            f"{nearest(str(self.activation), known)} Known: {', '.join(known)}."
        ]

    def _distance_faults(self) -> list[str]:
        faults = count_faults(self, HF_NAMES, ("num_buckets",), least=4)
        faults += count_faults(self, HF_NAMES, ("max_distance",))
        if not faults and self.max_distance <= self.num_buckets // 2:
            faults.append(
                f"relative_attention_max_distance: must be above half of "
                f"relative_attention_num_buckets {self.num_buckets}; got {self.max_distance}."
            )
        return faults


def _activation_name(projection: str) -> str:
    """The name in `ACTIVATIONS` of what a feed_forward_proj says."""
    return "gelu_new" if projection == "gated-gelu" else projection.removeprefix(GATED)


def is_scaled(values: Mapping[str, Any]) -> Any:
    """What a config.json says of the scaling of what scores words, if only by saying nothing.

    T5 1.0 scales, and it alone has words scored by their own embeddings: until transformers 5 that
    is how a config.json tells it.
    """
    by_kind = values.get("model_type") != "mt5" and values.get("tie_word_embeddings") is not False
    return values.get("scale_decoder_outputs", by_kind)
