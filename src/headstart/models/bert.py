"""BERT (Devlin et al. 2019, https://arxiv.org/abs/1810.04805) and all that is built like it.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from headstart.errors import nearest
from headstart.models.backbone import Backbone
from headstart.models.family import Family
from headstart.models.keymap import KeyMap
from headstart.nn.attention import MultiHeadAttention
from headstart.nn.embeddings import SegmentedEmbeddings
from headstart.nn.feedforward import FeedForward, gelu_tanh
from headstart.nn.position import LearnedPositions
from headstart.nn.ragged import Ragged
from headstart.nn.transformer import PostNormBlock

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}

ONLY = {  # values a config.json may hold that would change the computation
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "quantization_config": None,
}

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
    "classifier_dropout": "classifier_dropout",
    "norm_epsilon": "layer_norm_eps",
    "initializer_range": "initializer_range",
    "padding_token": "pad_token_id",
}


@dataclass(frozen=True)
class BertConfig:
    """Sizes and rates of a BERT.

    Attributes:
        vocabulary: number of tokens known.
        width: D.
        num_blocks: encoder blocks.
        num_heads: attention heads; divides `width`.
        inner_width: width inside the feed-forward.
        max_positions: longest row in tokens.
        num_segments: texts told apart in one row.
        activation: a name in `ACTIVATIONS`.
        dropout: probability after the embeddings and of each update.
        attention_dropout: probability of zeroing an attention probability.
        classifier_dropout: probability in front of a head; None means `dropout`.
        norm_epsilon: added to the variance in layer normalisation.
        initializer_range: standard deviation of new weights.
        padding_token: the token that Hugging Face pads with.
    """

    vocabulary: int
    width: int
    num_blocks: int
    num_heads: int
    inner_width: int
    max_positions: int
    num_segments: int = 2
    activation: str = "gelu"
    dropout: float = 0.1
    attention_dropout: float = 0.1
    classifier_dropout: float | None = None
    norm_epsilon: float = 1e-12
    initializer_range: float = 0.02
    padding_token: int | None = 0

    def __post_init__(self) -> None:
        faults = [*self._size_faults(), *self._rate_faults()]
        if self.activation not in ACTIVATIONS:
            faults.append(
                f"hidden_act: {self.activation!r} is not supported."
                f"{nearest(str(self.activation), ACTIVATIONS)} Known: {', '.join(ACTIVATIONS)}."
            )
        if faults:
            raise ValueError("\n".join(faults))

    def _size_faults(self) -> list[str]:
        sizes = ("vocabulary", "width", "num_blocks", "num_heads", "inner_width", "max_positions")
        faults = []
        for name in (*sizes, "num_segments"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                faults.append(
                    f"{HF_NAMES[name]}: must be a whole number, 1 or more; got {value!r}."
                )
        if not faults and self.width % self.num_heads:
            faults.append(
                f"num_attention_heads: {self.num_heads} does not divide hidden_size {self.width}."
            )
        return faults

    def _rate_faults(self) -> list[str]:
        faults = []
        for name in ("dropout", "attention_dropout", "classifier_dropout"):
            value = getattr(self, name)
            unset = name == "classifier_dropout" and value is None
            if not unset and not (isinstance(value, int | float) and 0 <= value < 1):
                faults.append(f"{HF_NAMES[name]}: must be at least 0 and below 1; got {value!r}.")
        for name in ("norm_epsilon", "initializer_range"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or value <= 0:
                faults.append(f"{HF_NAMES[name]}: must be a number above 0; got {value!r}.")
        return faults

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> BertConfig:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        faults = [
            f"{key}: {values[key]!r} is not supported, only {only!r}."
            for key, only in ONLY.items()
            if values.get(key) not in (None, only)
        ]
        given = {ours: values[theirs] for ours, theirs in HF_NAMES.items() if theirs in values}
        missing = {f.name for f in fields(cls) if f.default is MISSING} - set(given)
        faults += [f"{HF_NAMES[name]}: is missing." for name in sorted(missing)]
        try:
            config = cls(**dict.fromkeys(missing, given.get("num_heads", 1)) | given)
        except ValueError as error:
            raise ValueError("\n".join([*faults, *str(error).split("\n")])) from None
        if faults:
            raise ValueError("\n".join(faults))
        return config

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        named = {theirs: getattr(self, ours) for ours, theirs in HF_NAMES.items()}
        return {"model_type": "bert", **named, "position_embedding_type": "absolute"}


class Bert(Backbone):
    """The encoder of BERT: post-norm blocks over token, segment and position embeddings.

    Args:
        config: sizes and rates.
    """

    family = "bert"

    def __init__(self, config: BertConfig) -> None:
        super().__init__()
        self.config = config
        self.width, self.max_positions = config.width, config.max_positions
        self.embeddings = SegmentedEmbeddings(
            nn.Embedding(config.vocabulary, config.width),
            LearnedPositions(config.max_positions, config.width),
            nn.Embedding(config.num_segments, config.width),
            norm=_norm(config),
            dropout=config.dropout,
        )
        self.blocks = nn.ModuleList(_block(config) for _ in range(config.num_blocks))
        self.finish = nn.Identity()
        self.apply(self._start)

    def embed(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Map tokens (T,) int64, and segments (T,) int64 where there are pairs, to (T, D)."""
        return self.embeddings(tokens, segments)

    def embedding_modules(self) -> list[nn.Module]:
        """The modules that own the parameters of `embed`."""
        return [self.embeddings]

    def hf_config(self) -> dict[str, Any]:
        """The sizes as Hugging Face's config.json words them."""
        return self.config.to_hf()

    def _start(self, module: nn.Module) -> None:
        """New weights as BERT draws them; a checkpoint overwrites them."""
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=self.config.initializer_range)
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)


def _norm(config: BertConfig) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=config.norm_epsilon)


def _block(config: BertConfig) -> PostNormBlock:
    return PostNormBlock(
        MultiHeadAttention(config.width, config.num_heads, dropout=config.attention_dropout),
        FeedForward(config.width, config.inner_width, activation=ACTIVATIONS[config.activation]),
        norm_1=_norm(config),
        norm_2=_norm(config),
        dropout=config.dropout,
    )


KEYS = KeyMap(
    strip=("bert.",),  # present only under a task head
    legacy={".gamma": ".weight", ".beta": ".bias"},  # 2018 TensorFlow names, read only
    rename={  # Hugging Face module: our module
        "embeddings.word_embeddings": "embeddings.token",
        "embeddings.position_embeddings": "embeddings.position",
        "embeddings.token_type_embeddings": "embeddings.segment",
        "embeddings.LayerNorm": "embeddings.norm",
        "encoder.layer.{i}.attention.self.query": "blocks.{i}.attention.query",
        "encoder.layer.{i}.attention.self.key": "blocks.{i}.attention.key",
        "encoder.layer.{i}.attention.self.value": "blocks.{i}.attention.value",
        "encoder.layer.{i}.attention.output.dense": "blocks.{i}.attention.output",
        "encoder.layer.{i}.attention.output.LayerNorm": "blocks.{i}.norm_1",
        "encoder.layer.{i}.intermediate.dense": "blocks.{i}.feed_forward.widen",
        "encoder.layer.{i}.output.dense": "blocks.{i}.feed_forward.narrow",
        "encoder.layer.{i}.output.LayerNorm": "blocks.{i}.norm_2",
        "pooler.dense": "pooler.dense",
        "classifier": "head",
    },
    drop=(  # buffers; the heads of pre-training and of question answering
        r"embeddings\.position_ids",
        r"embeddings\.token_type_ids",
        r"cls\..*",
        r"qa_outputs\..*",
    ),
)


def _build(values: Mapping[str, Any]) -> Bert:
    return Bert(BertConfig.from_hf(values))


def _dropout(values: Mapping[str, Any]) -> float:
    config = BertConfig.from_hf(values)
    return config.dropout if config.classifier_dropout is None else config.classifier_dropout


BERT = Family(
    name="bert",
    build=_build,
    dropout=_dropout,
    keys=KEYS,
    base="BertModel",
    classifier="BertForSequenceClassification",
    prefix="bert.",
)
