"""T5 (Raffel et al. 2020, https://arxiv.org/abs/1910.10683): every task is a text from a text.

T5 1.1 and FLAN-T5 (Chung et al. 2022, https://arxiv.org/abs/2210.11416) gate the feed-forward and
score words by a table of their own; mT5 (Xue et al. 2021, https://arxiv.org/abs/2010.11934) is T5
1.1 over another vocabulary. The sentinels of span corruption ("<extra_id_0>") are words as any
other; the vocabulary is larger than the tokenizer's, so that its size is a round number.

Hidden states grow beyond what float16 holds, which headstart never computes in.

Shapes: T tokens of all rows, D width, H heads, d width of a head, F inner width.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from headstart.models.backbone import Stack
from headstart.models.family import Family, Language
from headstart.models.keymap import KeyMap
from headstart.models.language import TextToText, TiedHead
from headstart.models.seq2seq import the_start
from headstart.models.t5_config import T5Config, is_scaled
from headstart.nn.activation import DroppedActivation
from headstart.nn.attention import Form
from headstart.nn.dropout import Dropout
from headstart.nn.feedforward import GatedFeedForward
from headstart.nn.multihead import Borrowed, MultiHeadAttention
from headstart.nn.relative import RelativeBias
from headstart.nn.transformer import Decoder, PreNormBlock, PreNormDecoderBlock
from headstart.nn.words import WordEmbeddings

USUAL_LENGTHS = {"t5": 512, "mt5": 1024}
"""Longest row in pre-training, in tokens: Raffel et al. 2020, section 2; Xue et al. 2021, 3.2."""

LONGEST = 32_768
"""Longest row in tokens. T5 has no positions to run out of, but the bias of one row alone holds
H times the square of its length, some 30 GB here."""


class T5(Stack):
    """The encoder of T5: pre-norm blocks over tokens, their distances told to the attention.

    Args:
        config: sizes and rates.
        family: "t5" or "mt5"; they differ in nothing here.
    """

    config: T5Config

    def __init__(self, config: T5Config, family: str = "t5") -> None:
        token = nn.Embedding(config.vocabulary, config.width)
        embeddings = WordEmbeddings(token, dropout=config.dropout)
        super().__init__(config, embeddings, _blocks(config), _finish(config))
        self.family, self.max_positions = family, LONGEST
        self.usual_length = USUAL_LENGTHS[family]
        draw_t5(self, config)


def _blocks(config: T5Config) -> Iterator[PreNormBlock]:
    for attention in _self_attention(config, config.num_blocks, causal=False):
        yield PreNormBlock(
            attention,
            _feed_forward(config),
            norm_1=_norm(config),
            norm_2=_norm(config),
            dropout=config.dropout,
        )


def _decoder_blocks(config: T5Config) -> Iterator[PreNormDecoderBlock]:
    for attention in _self_attention(config, config.decoder_blocks, causal=True):
        yield PreNormDecoderBlock(
            attention,
            MultiHeadAttention(
                config.width, _form(config), head_width=config.head_width, bias=False
            ),
            _feed_forward(config),
            norms=(_norm(config), _norm(config), _norm(config)),
            dropout=config.dropout,
        )


def _self_attention(
    config: T5Config, num_blocks: int, *, causal: bool
) -> Iterator[MultiHeadAttention]:
    """Attention of each block; the first one's owns the bias that all of them add."""
    relative = RelativeBias(
        config.num_heads,
        both_ways=not causal,
        num_buckets=config.num_buckets,
        max_distance=config.max_distance,
    )
    for index in range(num_blocks):
        yield MultiHeadAttention(
            config.width,
            _form(config, causal=causal),
            head_width=config.head_width,
            bias=False,
            relative=Borrowed(relative) if index else relative,
        )


def _form(config: T5Config, *, causal: bool = False) -> Form:
    """The first maps are drawn so small that products of queries and keys need no scaling."""
    return Form(config.num_heads, causal=causal, scale=1.0, dropout=config.dropout)


def _feed_forward(config: T5Config) -> nn.Module:
    """The two kinds, under names that one table can hold."""
    if config.gated:
        return GatedFeedForward(
            config.width,
            config.inner_width,
            activation=config.function,
            dropout=config.dropout,
        )
    return nn.Sequential(
        OrderedDict(
            inner=nn.Linear(config.width, config.inner_width, bias=False),
            activation=DroppedActivation(config.function, config.dropout),
            narrow=nn.Linear(config.inner_width, config.width, bias=False),
        )
    )


def _finish(config: T5Config) -> nn.Sequential:
    return nn.Sequential(_norm(config), Dropout(config.dropout))


def _norm(config: T5Config) -> nn.RMSNorm:
    return nn.RMSNorm(config.width, eps=config.norm_epsilon)


def draw_t5(module: nn.Module, config: T5Config) -> None:
    """Give a part of a T5 new weights as Mesh TensorFlow draws them: by what each map adds up."""
    summed = {
        "token": 1,
        "lm_head": 1,
        "query": config.width * config.head_width,  # takes the place of scaling the products
        "output": config.num_heads * config.head_width,
        "narrow": config.inner_width,
    }
    for name, part in module.named_modules():
        if isinstance(part, nn.RMSNorm):
            nn.init.constant_(part.weight, config.initializer_factor)
        elif isinstance(part, nn.Linear | nn.Embedding):
            count = summed.get(name.rpartition(".")[2], config.width)
            nn.init.normal_(part.weight, std=config.initializer_factor * count**-0.5)


def _block_names(theirs: str, ours: str, feed_forward: int) -> dict[str, str]:
    """Their modules to ours of what an encoder's blocks and a decoder's have in common.

    Args:
        theirs: what their names of a stack start with.
        ours: what our names of it start with.
        feed_forward: which layer of a block is the feed-forward.
    """
    block, inner = f"{theirs}block.{{i}}.layer", f"{ours}blocks.{{i}}"
    attention, maps = f"{block}.0.SelfAttention", f"{block}.{feed_forward}.DenseReluDense"
    return {
        f"{attention}.q": f"{inner}.attention.query",
        f"{attention}.k": f"{inner}.attention.key",
        f"{attention}.v": f"{inner}.attention.value",
        f"{attention}.o": f"{inner}.attention.output",
        f"{attention}.relative_attention_bias": f"{inner}.attention.relative.table",
        f"{block}.0.layer_norm": f"{inner}.norm_1",
        f"{maps}.wi": f"{inner}.feed_forward.inner",
        f"{maps}.wi_0": f"{inner}.feed_forward.gate",
        f"{maps}.wi_1": f"{inner}.feed_forward.widen",
        f"{maps}.wo": f"{inner}.feed_forward.narrow",
        f"{theirs}final_layer_norm": f"{ours}finish.0",
    }


KEYS = KeyMap(
    strip=("transformer.",),  # present only under a head that is dropped
    rename={  # Hugging Face module: our module
        "shared": "embeddings.token",
        **_block_names("encoder.", "", 1),
        "encoder.block.{i}.layer.1.layer_norm": "blocks.{i}.norm_2",
        **_block_names("decoder.", "decoder.", 2),
        "decoder.block.{i}.layer.1.EncDecAttention.q": "decoder.blocks.{i}.cross_attention.query",
        "decoder.block.{i}.layer.1.EncDecAttention.k": "decoder.blocks.{i}.cross_attention.key",
        "decoder.block.{i}.layer.1.EncDecAttention.v": "decoder.blocks.{i}.cross_attention.value",
        "decoder.block.{i}.layer.1.EncDecAttention.o": "decoder.blocks.{i}.cross_attention.output",
        "decoder.block.{i}.layer.1.layer_norm": "decoder.blocks.{i}.norm_2",
        "decoder.block.{i}.layer.2.layer_norm": "decoder.blocks.{i}.norm_3",
        "lm_head": "lm_head",
    },
    drop=(  # a bias of 2019 that nothing reads; the heads of other tasks
        r"decoder\.block\.\d+\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
        r"classification_head\..*",
        r"classifier\..*",
        r"qa_outputs\..*",
    ),
)


def _build(name: str, values: Mapping[str, Any]) -> T5:
    return T5(T5Config.from_hf(values), name)


def _language(name: str, values: Mapping[str, Any]) -> TextToText:
    backbone = _build(name, values)
    config = backbone.config
    token = backbone.embeddings.token
    assert isinstance(token, nn.Embedding), "the encoder owns it"
    decoder = Decoder(
        WordEmbeddings(Borrowed(token), dropout=config.dropout),
        _decoder_blocks(config),
        _finish(config),
    )
    draw_t5(decoder, config)
    head: nn.Module = TiedHead(token, config.width**-0.5 if config.scaled else 1.0)
    if not config.tied:
        head = nn.Linear(config.width, config.vocabulary, bias=False)
        nn.init.normal_(head.weight, std=config.initializer_factor)
    return TextToText(backbone, decoder, head, start=the_start(config.start_token))


def _ties(values: Mapping[str, Any]) -> dict[str, str]:
    stacks = {"encoder.embed_tokens": "shared", "decoder.embed_tokens": "shared"}
    return stacks | ({"lm_head": "shared"} if T5Config.from_hf(values).tied else {})


def _settle(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """Whether words have a table of their own, where config.json cannot be believed.

    transformers 5 writes that they have none, whatever is the case, and goes by the weights.
    """
    if is_scaled(values) is not False:
        return values
    plain = {KEYS.plain(name): tensor for name, tensor in tensors.items()}
    names = ("lm_head.weight", "shared.weight")
    head, shared = (plain.get(name) for name in names)
    tied = head is None or (shared is not None and torch.equal(head, shared))
    return {**values, "tie_word_embeddings": tied, "scale_decoder_outputs": False}


def _family(name: str, their_name: str) -> Family:
    return Family(
        name=name,
        build=partial(_build, name),
        keys=KEYS,
        base=f"{their_name}EncoderModel",
        prefix="",
        language=Language(f"{their_name}ForConditionalGeneration", partial(_language, name)),
        ties=_ties,
        settle=_settle,
        default_pooling="mean",
        kind="text encoder and decoder",
    )


T5_FAMILIES = (_family("t5", "T5"), _family("mt5", "MT5"))
