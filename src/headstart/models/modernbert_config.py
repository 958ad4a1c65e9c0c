"""Sizes and rates of a ModernBERT, and both ways in which its config.json words them.

Before transformers 5, every so manieth block saw the whole text and two numbers said how heads
turn; since, a list has the kind of each block, and a table of each kind says how they turn.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

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
from headstart.models.llama_config import FULL, SLIDING
from headstart.models.rope import KEY as ROPE
from headstart.models.rope import PLACE, read_rope, rope_faults

HF_NAMES = {  # our field: their key
    "vocabulary": "vocab_size",
    "width": "hidden_size",
    "num_blocks": "num_hidden_layers",
    "num_heads": "num_attention_heads",
    "inner_width": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "window": "local_attention",
    "global_every": "global_attn_every_n_layers",
    "layer_types": "layer_types",
    "ropes": ROPE,
    "activation": "hidden_activation",
    "embedding_dropout": "embedding_dropout",
    "attention_dropout": "attention_dropout",
    "inner_dropout": "mlp_dropout",
    "attention_bias": "attention_bias",
    "inner_bias": "mlp_bias",
    "norm_bias": "norm_bias",
    "norm_epsilon": "norm_eps",
    "pooling": "classifier_pooling",
    "pooler_activation": "classifier_activation",
    "pooler_bias": "classifier_bias",
    "score_bias": "decoder_bias",
    "head_dropout": "classifier_dropout",
    "initializer_range": "initializer_range",
    "padding_token": "pad_token_id",
    "start_token": "bos_token_id",
    "end_token": "eos_token_id",
    "class_token": "cls_token_id",
    "separator_token": "sep_token_id",
}
POOLINGS = ("cls", "mean")
BASES = {FULL: 160_000.0, SLIDING: 10_000.0}
"""How slowly the slowest pair of a head turns, where a config.json names none."""

OLD_BASES = {FULL: "global_rope_theta", SLIDING: "local_rope_theta"}


@dataclass(frozen=True)
class ModernBertConfig:
    """Sizes and rates of a ModernBERT.

    Attributes:
        vocabulary: number of tokens known.
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads, each of an even width; divides `width`.
        inner_width: width inside the feed-forward.
        max_positions: longest row in tokens.
        window: how many places a local attention spans, half of it on either side.
        global_every: every so manieth block sees all tokens, from the first on.
        layer_types: for each block "full_attention" or "sliding_attention"; None: as `global_every`
            has it, which counts for nothing otherwise.
        ropes: how heads turn, see `rope.read_rope`, for each of the two.
        activation: a name in `ACTIVATIONS`.
        embedding_dropout: probability after the embeddings.
        attention_dropout: probability of zeroing an attention probability, and an element of the
            attention's update.
        inner_dropout: probability of zeroing an element inside the feed-forward.
        attention_bias: whether the maps of attention add one.
        inner_bias: whether the feed-forward's maps add one.
        norm_bias: whether norms add one.
        norm_epsilon: added to the variance in layer normalisation.
        pooling: what a classifier reads: "cls", the first token, or "mean", the mean of all.
        pooler_activation: a name in `ACTIVATIONS`.
        pooler_bias: whether the pooler's map adds one.
        score_bias: whether the scores of hidden words add one.
        head_dropout: probability in front of a head.
        initializer_range: standard deviation of new weights.
        padding_token: the token that Hugging Face pads with.
        start_token: begins a text, for others, as the three below.
        end_token: ends a text.
        class_token: begins a text that is classified.
        separator_token: stands behind each text.
    """

    vocabulary: int
    width: int
    num_blocks: int
    num_heads: int
    inner_width: int
    max_positions: int = 8192
    window: int = 128
    global_every: int = 3
    layer_types: tuple[str, ...] | None = None
    ropes: Mapping[str, Mapping[str, Any]] = field(default_factory=lambda: _ropes({}))
    activation: str = "gelu"
    embedding_dropout: float = 0.0
    attention_dropout: float = 0.0
    inner_dropout: float = 0.0
    attention_bias: bool = False
    inner_bias: bool = False
    norm_bias: bool = False
    norm_epsilon: float = 1e-5
    pooling: str = "cls"
    pooler_activation: str = "gelu"
    pooler_bias: bool = False
    score_bias: bool = True
    head_dropout: float = 0.0
    initializer_range: float = 0.02
    padding_token: int | None = 50283
    start_token: int | None = 50281
    end_token: int | list[int] | None = 50282
    class_token: int | None = 50281
    separator_token: int | None = 50282

    def __post_init__(self) -> None:
        sizes = ("vocabulary", "width", "num_blocks", "num_heads", "inner_width", "max_positions")
        rates = ("embedding_dropout", "attention_dropout", "inner_dropout", "head_dropout")
        flags = ("attention_bias", "inner_bias", "norm_bias", "pooler_bias", "score_bias")
        faults = [
            *size_faults(self, HF_NAMES, sizes),
            *count_faults(self, HF_NAMES, ("window", "global_every")),
            *padding_faults(self, HF_NAMES),
            *rate_faults(self, HF_NAMES, rates, positive=("norm_epsilon", "initializer_range")),
            *activation_faults(self, HF_NAMES),
            *flag_faults(self, HF_NAMES, flags),
            *_name_faults(self),
            *_rope_faults(self.ropes),
        ]
        faults += [] if faults else [*_layer_faults(self)]
        if faults:
            raise ValueError("\n".join(faults))
        types = self.layer_types or _pattern(self.global_every, self.num_blocks)
        every = (self.global_every, *range(1, self.num_blocks + 1))
        fits = [n for n in every if _pattern(n, self.num_blocks) == types]
        # Both spellings say the same from here on, where the older one can say it at all.
        object.__setattr__(self, "layer_types", types)
        object.__setattr__(self, "global_every", (fits or every)[0])

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> ModernBertConfig:
        """Read the values of a config.json, in the spelling of transformers 5 or of those before.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        only = {key: value for key, value in ONLY.items() if key != "position_embedding_type"}
        width, num_heads = values.get("hidden_size"), values.get("num_attention_heads")
        if isinstance(width, int) and isinstance(num_heads, int) and num_heads > 0:
            only["head_dim"] = width // num_heads
        said = {**values, ROPE: _ropes(values)}
        types = values.get("layer_types")
        said["layer_types"] = tuple(types) if isinstance(types, list) else types
        config = read_config(cls, HF_NAMES, said, only)
        if (config.width // config.num_heads) % 2:
            raise ValueError(
                f"num_attention_heads: leaves {config.width // config.num_heads} of hidden_size "
                f"{config.width} to a head; must be even, because pairs of elements turn."
            )
        return config

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json, in both spellings; `from_hf` reads an equal config."""
        named = {theirs: getattr(self, ours) for ours, theirs in HF_NAMES.items()}
        bases = {key: self.ropes[kind]["rope_theta"] for kind, key in OLD_BASES.items()}
        ropes = {kind: dict(rope) for kind, rope in self.ropes.items()}
        return {**named, **bases, "layer_types": list(self.layer_types or ()), ROPE: ropes}

    def reach(self, block: int) -> int | None:
        """How many places away a token may be to be seen in a block; None: any."""
        return self.window // 2 if self.kind(block) == SLIDING else None

    def kind(self, block: int) -> str:
        """Whether a block sees all or a window: "full_attention" or "sliding_attention"."""
        assert self.layer_types is not None, "filled when made"
        return self.layer_types[block]


def _pattern(every: int, num_blocks: int) -> tuple[str, ...]:
    return tuple(SLIDING if block % every else FULL for block in range(num_blocks))


def _ropes(values: Mapping[str, Any]) -> Any:
    """How heads turn in either kind of block; what cannot be read comes back as it is."""
    said, scaling = values.get(ROPE) or {}, values.get("rope_scaling") or {}
    if not isinstance(said, Mapping) or not said.keys() <= BASES.keys():
        return said
    tables = {kind: said.get(kind) or {} for kind in BASES}
    for table in (scaling, *tables.values()):
        if not isinstance(table, Mapping):
            return table
    bases = {kind: values.get(key, BASES[kind]) for kind, key in OLD_BASES.items()}
    bases[SLIDING] = bases[FULL] if bases[SLIDING] is None else bases[SLIDING]
    longest = {"max_position_embeddings": values.get("max_position_embeddings", 8192)}
    return {
        kind: read_rope({ROPE: {"rope_theta": bases[kind]} | {**table, **scaling}} | longest)
        for kind, table in tables.items()
    }


def _name_faults(config: ModernBertConfig) -> Iterator[str]:
    """One fault for each name that is not known, but for `activation`."""
    for name, known in (("pooling", POOLINGS), ("pooler_activation", tuple(ACTIVATIONS))):
        value = getattr(config, name)
        if value not in known:
            yield (
                f"{HF_NAMES[name]}: {value!r} is not supported.{nearest(str(value), known)} "
                f"Known: {', '.join(known)}."
            )


def _rope_faults(ropes: Any) -> Iterator[str]:
    """One fault for each setting of either kind of block, see `rope.rope_faults`."""
    if not isinstance(ropes, Mapping) or ropes.keys() != BASES.keys():
        yield f"{ROPE}: must be a table of {' and '.join(BASES)}, each a table; got {ropes!r}."
        return
    for kind, rope in ropes.items():
        either = f"rope_theta, or {OLD_BASES[kind]}:"
        for fault in rope_faults(rope):
            said = fault.removeprefix(f"{PLACE}, ").replace("rope_theta:", either)
            yield f"{ROPE}, {kind}, {said}"


def _layer_faults(config: ModernBertConfig) -> Iterator[str]:
    """The faults of `layer_types`, where the sizes have none."""
    types = config.layer_types
    if types is None:
        return
    if not isinstance(types, tuple) or len(types) != config.num_blocks:
        yield (
            f"layer_types: must be a list of {config.num_blocks}, one for each of "
            f"num_hidden_layers; got {list(types) if isinstance(types, tuple) else types!r}."
        )
    elif others := [kind for kind in types if kind not in BASES]:
        yield f"layer_types: {others[0]!r} is not supported, only {FULL!r} and {SLIDING!r}."
