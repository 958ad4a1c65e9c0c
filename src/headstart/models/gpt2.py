"""GPT-2 (Radford et al. 2019, "Language Models are Unsupervised Multitask Learners", section 2.3).

A decoder alone: pre-norm blocks in which a token sees those before it, and a norm at the end.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from headstart.models.backbone import Stack
from headstart.models.causal import last_token_classifier, with_words
from headstart.models.config import (
    ACTIVATIONS,
    activation_faults,
    flag_faults,
    padding_faults,
    rate_faults,
    read_config,
    size_faults,
)
from headstart.models.family import Family, Language
from headstart.models.keymap import KeyMap
from headstart.models.language import LanguageModel
from headstart.nn.attention import Form
from headstart.nn.embeddings import NormedEmbeddings
from headstart.nn.feedforward import FeedForward
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.position import LearnedPositions
from headstart.nn.transformer import PreNormBlock

HF_NAMES = {  # our field: their key
    "vocabulary": "vocab_size",
    "width": "n_embd",
    "num_blocks": "n_layer",
    "num_heads": "n_head",
    "max_positions": "n_positions",
    "inner_width": "n_inner",
    "activation": "activation_function",
    "dropout": "resid_pdrop",
    "embedding_dropout": "embd_pdrop",
    "attention_dropout": "attn_pdrop",
    "norm_epsilon": "layer_norm_epsilon",
    "initializer_range": "initializer_range",
    "scaled": "scale_attn_weights",
    "scaled_by_depth": "scale_attn_by_inverse_layer_idx",
    "upcast": "reorder_and_upcast_attn",
    "tied": "tie_word_embeddings",
    "start_token": "bos_token_id",
    "end_token": "eos_token_id",
    "padding_token": "pad_token_id",
}


@dataclass(frozen=True)
class Gpt2Config:
    """Sizes and rates of a GPT-2.

    Attributes:
        vocabulary: number of tokens known.
        width: D.
        num_blocks: decoder blocks.
        num_heads: attention heads; divides `width`.
        max_positions: longest row in tokens.
        inner_width: width inside the feed-forward; None: four times `width`.
        activation: a name in `ACTIVATIONS`.
        dropout: probability of zeroing an element of a block's update.
        embedding_dropout: the same for what the embeddings give.
        attention_dropout: probability of zeroing an attention probability.
        norm_epsilon: added to the variance in layer normalisation.
        initializer_range: standard deviation of new weights.
        scaled: whether products of queries and keys are divided by the square root of a head's
            width.
        scaled_by_depth: whether they are also divided by the number of the block, from 1.
        upcast: in what order half precision is computed; kept for others, since products of
            queries and keys are exact enough here either way.
        tied: whether words are scored by their own embeddings.
        start_token: begins a text, for others; None: none does.
        end_token: ends a text, one or several.
        padding_token: the token that Hugging Face pads with.
    """

    vocabulary: int
    width: int
    num_blocks: int
    num_heads: int
    max_positions: int
    inner_width: int | None = None
    activation: str = "gelu_new"
    dropout: float = 0.1
    embedding_dropout: float = 0.1
    attention_dropout: float = 0.1
    norm_epsilon: float = 1e-5
    initializer_range: float = 0.02
    scaled: bool = True
    scaled_by_depth: bool = False
    upcast: bool = False
    tied: bool = True
    start_token: int | None = 50256
    end_token: int | list[int] | None = 50256
    padding_token: int | None = None

    def __post_init__(self) -> None:
        sizes = ["vocabulary", "width", "num_blocks", "num_heads", "max_positions"]
        sizes += [] if self.inner_width is None else ["inner_width"]
        rates = ("dropout", "embedding_dropout", "attention_dropout")
        flags = ("scaled", "scaled_by_depth", "upcast", "tied")
        faults = [
            *size_faults(self, HF_NAMES, sizes),
            *padding_faults(self, HF_NAMES),
            *rate_faults(self, HF_NAMES, rates, positive=("norm_epsilon", "initializer_range")),
            *activation_faults(self, HF_NAMES),
            *flag_faults(self, HF_NAMES, flags),
        ]
        if faults:
            raise ValueError("\n".join(faults))

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> Gpt2Config:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        return read_config(cls, HF_NAMES, values)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        return {theirs: getattr(self, ours) for ours, theirs in HF_NAMES.items()}

    def scale(self, block: int) -> float:
        """What a product of query and key is multiplied by in a block, counted from 0."""
        scale = (self.width // self.num_heads) ** -0.5 if self.scaled else 1.0
        return scale / (block + 1) if self.scaled_by_depth else scale


class Gpt2(Stack):
    """The decoder of GPT-2: pre-norm blocks over token and position embeddings.

    Args:
        config: sizes and rates.
    """

    family, causal = "gpt2", True

    def __init__(self, config: Gpt2Config) -> None:
        embeddings = NormedEmbeddings(
            nn.Embedding(config.vocabulary, config.width),
            LearnedPositions(config.max_positions, config.width),
            norm=nn.Identity(),
            dropout=config.embedding_dropout,
        )
        super().__init__(config, embeddings, _blocks(config), _norm(config))
        self.max_positions = config.max_positions
        # section 2.3: each block adds twice to what comes in, so what it adds starts small
        std = config.initializer_range * (2 * config.num_blocks) ** -0.5
        for name, parameter in self.named_parameters():
            if name.endswith(("attention.output.weight", "feed_forward.narrow.weight")):
                nn.init.normal_(parameter, std=std)


def _blocks(config: Gpt2Config) -> Iterator[PreNormBlock]:
    for index in range(config.num_blocks):
        form = Form(
            config.num_heads,
            causal=True,
            scale=config.scale(index),
            dropout=config.attention_dropout,
        )
        yield PreNormBlock(
            MultiHeadAttention(config.width, form),
            FeedForward(
                config.width,
                4 * config.width if config.inner_width is None else config.inner_width,
                activation=ACTIVATIONS[config.activation],
            ),
            norm_1=_norm(config),
            norm_2=_norm(config),
            dropout=config.dropout,
        )


def _norm(config: Gpt2Config) -> nn.LayerNorm:
    return nn.LayerNorm(config.width, eps=config.norm_epsilon)


KEYS = KeyMap(
    strip=("transformer.",),  # present only under a head
    rename={  # Hugging Face module: our module
        "wte": "embeddings.token",
        "wpe": "embeddings.position",
        "h.{i}.ln_1": "blocks.{i}.norm_1",
        "h.{i}.attn.c_proj": "blocks.{i}.attention.output",
        "h.{i}.ln_2": "blocks.{i}.norm_2",
        "h.{i}.mlp.c_fc": "blocks.{i}.feed_forward.widen",
        "h.{i}.mlp.c_proj": "blocks.{i}.feed_forward.narrow",
        "ln_f": "finish",
        "lm_head": "lm_head",
        "score": "head",
    },
    split={
        "h.{i}.attn.c_attn": (
            "blocks.{i}.attention.query",
            "blocks.{i}.attention.key",
            "blocks.{i}.attention.value",
        )
    },
    transpose=("h.{i}.attn.c_attn", "h.{i}.attn.c_proj", "h.{i}.mlp.c_fc", "h.{i}.mlp.c_proj"),
    drop=(  # masks, which are computed; the heads of other tasks
        r"h\.\d+\.attn\.(bias|masked_bias)",
        r"multiple_choice_head\..*",
        r"classifier\..*",
        r"qa_outputs\..*",
    ),
)


def _build(values: Mapping[str, Any]) -> Gpt2:
    return Gpt2(Gpt2Config.from_hf(values))


def _language(values: Mapping[str, Any]) -> LanguageModel:
    config = Gpt2Config.from_hf(values)
    return with_words(Gpt2(config), tied=config.tied)


def _ties(values: Mapping[str, Any]) -> dict[str, str]:
    return {"lm_head": "wte"} if Gpt2Config.from_hf(values).tied else {}


GPT2 = Family(
    name="gpt2",
    build=_build,
    keys=KEYS,
    base="GPT2Model",
    prefix="transformer.",
    classifier=last_token_classifier("GPT2ForSequenceClassification"),
    language=Language("GPT2LMHeadModel", _language),
    kind="text decoder",
    ties=_ties,
)
