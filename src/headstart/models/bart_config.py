"""Sizes and rates of a BART, and what its config.json says about them.

Shapes: D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from headstart.models.config import (
    ONLY,
    activation_faults,
    count_faults,
    flag_faults,
    padding_faults,
    rate_faults,
    read_config,
    size_faults,
)
from headstart.models.seq2seq import START_KEY, start_faults

HF_NAMES = {  # our field: their key
    "vocabulary": "vocab_size",
    "width": "d_model",
    "num_blocks": "encoder_layers",
    "num_heads": "encoder_attention_heads",
    "inner_width": "encoder_ffn_dim",
    "num_decoder_blocks": "decoder_layers",
    "num_decoder_heads": "decoder_attention_heads",
    "decoder_inner_width": "decoder_ffn_dim",
    "max_positions": "max_position_embeddings",
    "activation": "activation_function",
    "dropout": "dropout",
    "attention_dropout": "attention_dropout",
    "activation_dropout": "activation_dropout",
    "initializer_range": "init_std",
    "scaled": "scale_embedding",
    "biased": "add_bias_logits",
    "start_token": START_KEY,
    "forced_start_token": "forced_bos_token_id",
    "forced_end_token": "forced_eos_token_id",
    "begin_token": "bos_token_id",
    "end_token": "eos_token_id",
    "padding_token": "pad_token_id",
}

COMMON: dict[str, Any] = {key: value for key, value in ONLY.items() if key != "is_encoder_decoder"}
COMMON |= {
    "encoder_layerdrop": 0.0,
    "decoder_layerdrop": 0.0,
    "tie_word_embeddings": True,
    "normalize_before": False,
    "add_final_layer_norm": False,
}
"""What no field holds, by their key: the one value that is honoured."""

BART_ONLY = COMMON | {"normalize_embedding": True, "static_position_embeddings": False}


@dataclass(frozen=True)
class BartConfig:
    """Sizes and rates of a BART.

    Attributes:
        vocabulary: number of tokens known.
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads of the encoder; divides `width`.
        inner_width: width inside the encoder's feed-forward.
        num_decoder_blocks: decoder blocks.
        num_decoder_heads: attention heads of the decoder; divides `width`.
        decoder_inner_width: width inside the decoder's feed-forward.
        max_positions: longest row in tokens.
        activation: a name in `ACTIVATIONS`.
        dropout: probability after the embeddings and of each update.
        attention_dropout: probability of zeroing an attention probability.
        activation_dropout: probability inside the feed-forward.
        initializer_range: standard deviation of new weights.
        scaled: whether the vectors of tokens are multiplied by the square root of D.
        biased: whether a number is added to the score of each word.
        start_token: begins every target; None: an encoder alone needs none.
        forced_start_token: the first word of what is generated, for others; None: any may be.
        forced_end_token: the last word of what is cut off, for others; None: any may be.
        begin_token: begins a text, for others; None: none does.
        end_token: ends a text, one or several.
        padding_token: the token that Hugging Face pads with.
    """

    vocabulary: int
    width: int
    num_blocks: int
    num_heads: int
    inner_width: int
    num_decoder_blocks: int
    num_decoder_heads: int
    decoder_inner_width: int
    max_positions: int
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation_dropout: float = 0.0
    initializer_range: float = 0.02
    scaled: bool = False
    biased: bool = False
    start_token: int | None = 2
    forced_start_token: int | None = None
    forced_end_token: int | list[int] | None = 2
    begin_token: int | None = 0
    end_token: int | list[int] | None = 2
    padding_token: int | None = 1

    def __post_init__(self) -> None:
        faults = self.faults()
        if faults:
            raise ValueError("\n".join(faults))

    def faults(self) -> list[str]:
        """One line for each value that cannot be honoured."""
        decoder = ("num_decoder_blocks", "num_decoder_heads", "decoder_inner_width")
        rates = ("dropout", "attention_dropout", "activation_dropout")
        encoder = ("vocabulary", "width", "num_blocks", "num_heads", "inner_width", "max_positions")
        faults = [
            *count_faults(self, HF_NAMES, decoder),
            *size_faults(self, HF_NAMES, encoder),
            *padding_faults(self, HF_NAMES),
            *start_faults(self.start_token, self.target_vocabulary),
            *rate_faults(self, HF_NAMES, rates, positive=("initializer_range",)),
            *activation_faults(self, HF_NAMES),
            *flag_faults(self, HF_NAMES, ("scaled", "biased")),
        ]
        if not faults and self.width % self.num_decoder_heads:
            faults.append(
                f"decoder_attention_heads: {self.num_decoder_heads} does not divide "
                f"d_model {self.width}."
            )
        return faults

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        return read_config(cls, HF_NAMES, values, BART_ONLY)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        named = {theirs: getattr(self, ours) for ours, theirs in HF_NAMES.items()}
        return {**named, "is_encoder_decoder": True}

    @property
    def target_vocabulary(self) -> int:
        """How many words a target may hold."""
        return self.vocabulary

    @property
    def token_scale(self) -> float:
        """What the vectors of tokens are multiplied by."""
        return self.width**0.5 if self.scaled else 1.0
