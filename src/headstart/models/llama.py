"""Llama (Touvron et al. 2023, https://arxiv.org/abs/2302.13971, section 2.2) and its kin.

Pre-norm blocks without biases, RMS norms, gated feed-forward, heads that turn by their place, and
heads of keys shared by several of queries. Mistral (Jiang et al. 2023,
https://arxiv.org/abs/2310.06825) sees a window; Qwen2 (Yang et al. 2024,
https://arxiv.org/abs/2407.10671) adds biases to queries, keys and values; Qwen3 (Yang et al. 2025,
https://arxiv.org/abs/2505.09388) drops them and normalises queries and keys.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from torch import nn

from headstart.models.backbone import Stack
from headstart.models.causal import last_token_classifier, with_words
from headstart.models.config import ACTIVATIONS
from headstart.models.family import Family, Language
from headstart.models.keymap import KeyMap
from headstart.models.language import LanguageModel
from headstart.models.llama_config import LlamaConfig
from headstart.models.rope import rotary
from headstart.nn.attention import Form
from headstart.nn.feedforward import GatedFeedForward
from headstart.nn.multihead import MultiHeadAttention
from headstart.nn.normed import NormedPlacement
from headstart.nn.transformer import PreNormBlock
from headstart.nn.words import WordEmbeddings


class Llama(Stack):
    """The decoder of Llama, Mistral, Qwen2 and Qwen3.

    Args:
        config: sizes and rates.
    """

    causal = True

    def __init__(self, config: LlamaConfig) -> None:
        token = nn.Embedding(config.vocabulary, config.width, config.padding_token)
        blocks = (_block(config, index) for index in range(config.num_blocks))
        super().__init__(config, WordEmbeddings(token), blocks, _norm(config, config.width))
        self.family, self.max_positions = config.family, config.max_positions


def _block(config: LlamaConfig, index: int) -> PreNormBlock:
    return PreNormBlock(
        _attention(config, index),
        GatedFeedForward(
            config.width,
            config.inner_width,
            activation=ACTIVATIONS[config.activation],
            bias=config.inner_bias,
        ),
        norm_1=_norm(config, config.width),
        norm_2=_norm(config, config.width),
    )


def _attention(config: LlamaConfig, index: int) -> MultiHeadAttention:
    form = Form(
        config.num_heads,
        config.key_heads,
        causal=True,
        reach=config.reach(index),
        dropout=config.attention_dropout,
    )
    placements = _placements(config)
    return MultiHeadAttention(
        config.width,
        form,
        head_width=config.width_of_head,
        bias=config.attention_bias or config.family == "qwen2",
        output_bias=config.attention_bias,
        place_queries=next(placements),
        place_keys=next(placements),
    )


def _placements(config: LlamaConfig) -> Iterator[nn.Module]:
    """A placement of its own for queries, and one for keys."""
    turning = rotary(config.rope, config.width_of_head, config.max_positions)
    while config.family == "qwen3":
        yield NormedPlacement(_norm(config, config.width_of_head), turning)
    while True:
        yield turning


def _norm(config: LlamaConfig, width: int) -> nn.RMSNorm:
    return nn.RMSNorm(width, eps=config.norm_epsilon)


KEYS = KeyMap(
    strip=("model.", "transformer."),  # under a head; the second one where questions are answered
    rename={  # Hugging Face module: our module
        "embed_tokens": "embeddings.token",
        "layers.{i}.input_layernorm": "blocks.{i}.norm_1",
        "layers.{i}.self_attn.q_proj": "blocks.{i}.attention.query",
        "layers.{i}.self_attn.k_proj": "blocks.{i}.attention.key",
        "layers.{i}.self_attn.v_proj": "blocks.{i}.attention.value",
        "layers.{i}.self_attn.o_proj": "blocks.{i}.attention.output",
        "layers.{i}.self_attn.q_norm": "blocks.{i}.attention.place_queries.norm",
        "layers.{i}.self_attn.k_norm": "blocks.{i}.attention.place_keys.norm",
        "layers.{i}.post_attention_layernorm": "blocks.{i}.norm_2",
        "layers.{i}.mlp.gate_proj": "blocks.{i}.feed_forward.gate",
        "layers.{i}.mlp.up_proj": "blocks.{i}.feed_forward.widen",
        "layers.{i}.mlp.down_proj": "blocks.{i}.feed_forward.narrow",
        "norm": "finish",
        "lm_head": "lm_head",
        "score": "head",
    },
    drop=(  # rates, which are computed; the head that answers questions
        r"(layers\.\d+\.self_attn\.)?rotary_emb\.inv_freq",
        r"qa_outputs\..*",
    ),
)


def _build(family: str, values: Mapping[str, Any]) -> Llama:
    return Llama(LlamaConfig.from_hf(family, values))


def _language(family: str, values: Mapping[str, Any]) -> LanguageModel:
    config = LlamaConfig.from_hf(family, values)
    return with_words(Llama(config), tied=config.tied)


def _ties(family: str, values: Mapping[str, Any]) -> dict[str, str]:
    return {"lm_head": "embed_tokens"} if LlamaConfig.from_hf(family, values).tied else {}


def _family(name: str, their_name: str) -> Family:
    return Family(
        name=name,
        build=partial(_build, name),
        keys=KEYS,
        base=f"{their_name}Model",
        prefix="model.",
        classifier=last_token_classifier(f"{their_name}ForSequenceClassification"),
        language=Language(f"{their_name}ForCausalLM", partial(_language, name)),
        ties=partial(_ties, name),
        kind="text decoder",
    )


LLAMA_FAMILIES = (
    _family("llama", "Llama"),
    _family("mistral", "Mistral"),
    _family("qwen2", "Qwen2"),
    _family("qwen3", "Qwen3"),
)
