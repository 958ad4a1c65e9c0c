"""Sizes and rates of Llama and its kin, and how each of their config.json words them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from headstart.models.config import (
    ONLY,
    activation_faults,
    count_faults,
    flag_faults,
    padding_faults,
    rate_faults,
    read_config,
)
from headstart.models.rope import KEY as ROPE
from headstart.models.rope import read_rope, rope_faults, write_rope

HF_NAMES = {  # our field: their key, in all of them
    "family": "model_type",
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "num_blocks": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "inner_width": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "num_key_heads": "num_key_value_heads",
    "head_width": "head_dim",
    "activation": "hidden_act",
    "rope": ROPE,
    "attention_dropout": "attention_dropout",
    "norm_epsilon": "rms_norm_eps",
    "initializer_range": "initializer_range",
    "tied": "tie_word_embeddings",
    "start_token": "bos_token_id",
    "end_token": "eos_token_id",
    "padding_token": "pad_token_id",
}
WINDOWS = {  # Qwen's
    "use_window": "use_sliding_window",
    "window": "sliding_window",
    "first_window_block": "max_window_layers",
    "layer_types": "layer_types",
}
FULL, SLIDING = "full_attention", "sliding_attention"

NAMES: dict[str, dict[str, str]] = {  # by family
    "llama": HF_NAMES | {"attention_bias": "attention_bias", "inner_bias": "mlp_bias"},
    "mistral": HF_NAMES | {"window": "sliding_window"},
    "qwen2": HF_NAMES | WINDOWS,
    "qwen3": HF_NAMES | {"attention_bias": "attention_bias"} | WINDOWS,
}
QWEN = {"num_key_value_heads": 32, "max_window_layers": 28, "sliding_window": 4096}
SILENT: dict[str, dict[str, Any]] = {  # what a silent config.json means, where that differs
    "llama": {"bos_token_id": 1, "eos_token_id": 2},
    "mistral": {
        "bos_token_id": 1,
        "eos_token_id": 2,
        "num_key_value_heads": 8,
        "sliding_window": 4096,
    },
    "qwen2": QWEN,
    "qwen3": QWEN | {"head_dim": 128},
}


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes and rates of a Llama, a Mistral, a Qwen2 or a Qwen3.

    Attributes:
        vocabulary: number of tokens known.
        width: D.
        num_blocks: decoder blocks.
        num_heads: attention heads that ask.
        inner_width: width inside the feed-forward.
        max_positions: longest row in tokens.
        family: a key of `NAMES`. Qwen2 adds a bias to queries, keys and values, and Qwen3
            normalises queries and keys, whatever its config.json says.
        num_key_heads: heads of keys and values; divides `num_heads`. None: as many.
        head_width: width of a head, even; None: `width` over `num_heads`.
        activation: a name in `ACTIVATIONS`.
        rope: how heads turn, see `rope.read_rope`.
        attention_bias: whether the four maps of attention add one (Llama, Qwen3).
        inner_bias: whether the feed-forward's maps add one (Llama).
        use_window: whether `window` counts (Qwen).
        window: how many tokens a token sees where the attention is sliding, itself among them;
            None: all before it.
        first_window_block: from which block on, counted from 0, the attention slides (Qwen).
        layer_types: for each block "full_attention" or "sliding_attention" (Qwen); None: as
            `first_window_block` says.
        attention_dropout: probability of zeroing an attention probability.
        norm_epsilon: added to the mean square in a norm.
        initializer_range: standard deviation of new weights.
        tied: whether words are scored by their own embeddings.
        start_token: begins a text, for others; None: none does.
        end_token: ends a text, one or several.
        padding_token: the token that Hugging Face pads with.
    """

    vocabulary: int
    width: int
    num_blocks: int
    num_heads: int
    inner_width: int
    max_positions: int
    family: str = "llama"
    num_key_heads: int | None = None
    head_width: int | None = None
    activation: str = "silu"
    rope: Mapping[str, Any] = field(default_factory=lambda: read_rope({}))
    attention_bias: bool = False
    inner_bias: bool = False
    use_window: bool = False
    window: int | None = None
    first_window_block: int = 28
    layer_types: list[str] | None = None
    attention_dropout: float = 0.0
    norm_epsilon: float = 1e-6
    initializer_range: float = 0.02
    tied: bool = False
    start_token: int | None = None
    end_token: int | list[int] | None = None
    padding_token: int | None = None

    def __post_init__(self) -> None:
        names = NAMES[self.family]
        positive = ("norm_epsilon", "initializer_range")
        flags = {"attention_bias", "inner_bias", "use_window", "tied"} & names.keys()
        faults = [
            *self._size_faults(names),
            *padding_faults(self, names),
            *rate_faults(self, names, ["attention_dropout"], positive),
            *activation_faults(self, names),
            *rope_faults(self.rope),
            *flag_faults(self, names, sorted(flags)),
        ]
        faults += [] if faults else self._window_faults()
        if faults:
            raise ValueError("\n".join(faults))

    def _size_faults(self, names: Mapping[str, str]) -> list[str]:
        sizes = ["vocabulary", "width", "num_blocks", "num_heads", "inner_width", "max_positions"]
        optional = ("num_key_heads", "head_width", "window")
        sizes += [name for name in optional if name in names and getattr(self, name) is not None]
        faults = count_faults(self, names, sizes)
        if faults:
            return faults
        # transformers opens no other Llama, though its heads may have a width of their own
        divides = self.head_width is None or self.family == "llama"
        if divides and self.width % self.num_heads:
            faults.append(
                f"num_attention_heads: {self.num_heads} does not divide hidden_size {self.width}."
            )
        elif self.width_of_head % 2:
            faults.append(
                f"head_dim: must be even, because pairs of elements turn; got {self.width_of_head}."
            )
        if self.num_heads % self.key_heads:
            faults.append(
                f"num_key_value_heads: {self.key_heads} does not divide num_attention_heads "
                f"{self.num_heads}."
            )
        return faults

    def _window_faults(self) -> list[str]:
        faults = count_faults(self, WINDOWS, ["first_window_block"], least=0)
        types = self.layer_types
        if types is None:
            return faults
        if not isinstance(types, list) or len(types) != self.num_blocks:
            faults.append(
                f"layer_types: must be a list of {self.num_blocks}, one for each of "
                f"num_hidden_layers; got {types!r}."
            )
        elif others := [kind for kind in types if kind not in (FULL, SLIDING)]:
            faults.append(
                f"layer_types: {others[0]!r} is not supported, only {FULL!r} and {SLIDING!r}."
            )
        elif SLIDING in types and not (self.use_window and self.window):
            faults.append(
                f"layer_types: has {SLIDING!r}, which needs use_sliding_window true and a "
                "sliding_window."
            )
        return faults

    @classmethod
    def from_hf(cls, family: str, values: Mapping[str, Any]) -> LlamaConfig:
        """Read the values of a config.json.

        Args:
            family: a key of `NAMES`.
            values: by their keys.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        values = SILENT[family] | dict(values) | {"model_type": family, ROPE: read_rope(values)}
        if not {"hidden_size", "num_attention_heads"} <= values.keys():
            values |= {"head_dim": 2, "num_key_value_heads": None}  # no fault of their own
        return read_config(cls, NAMES[family], values, ONLY | {"use_mrope": False})

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        names = NAMES[self.family].items()
        written = {theirs: getattr(self, ours) for ours, theirs in names if ours != "family"}
        return written | write_rope(self.rope)

    @property
    def key_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_heads if self.num_key_heads is None else self.num_key_heads

    @property
    def width_of_head(self) -> int:
        """Width of a head."""
        return self.width // self.num_heads if self.head_width is None else self.head_width

    def reach(self, block: int) -> int | None:
        """How many places away a token may be to be seen in a block; None: any."""
        if self.window is None or not self._slides(block):
            return None
        return self.window - 1

    def _slides(self, block: int) -> bool:
        if "use_window" not in NAMES[self.family]:
            return True
        if self.layer_types is not None:
            return self.layer_types[block] == SLIDING
        return self.use_window and block >= self.first_window_block
