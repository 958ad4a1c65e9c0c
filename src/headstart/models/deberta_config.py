"""Sizes and rates of a DeBERTa-v2 or v3, and what can be wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from headstart.errors import nearest
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
from headstart.nn.disentangled import Distances

TERMS = ("c2p", "p2c")
"""What attention reads of distances, see `headstart.nn.disentangled`."""

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
    if not isinstance(terms, tuple) or not terms or not set(map(str, terms)) <= set(TERMS):
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
