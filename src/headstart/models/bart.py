"""BART (Lewis et al. 2020, https://arxiv.org/abs/1910.13461): a damaged text back to what it was.

The paper's first Transformer, with places that are learned and counted from 2, and embeddings that
are normalised.

Shapes: T tokens of all rows, D width, V words in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

from headstart.models.backbone import Stack, draw
from headstart.models.bart_config import BartConfig
from headstart.models.config import ACTIVATIONS
from headstart.models.family import Family, Language
from headstart.models.keymap import KeyMap
from headstart.models.language import TextToText, TiedHead
from headstart.models.seq2seq import BiasedHead, the_start
from headstart.nn.activation import DroppedActivation
from headstart.nn.attention import Form
from headstart.nn.feedforward import FeedForward
from headstart.nn.multihead import Borrowed, MultiHeadAttention
from headstart.nn.position import LearnedPositions
from headstart.nn.transformer import Decoder, PostNormBlock, PostNormDecoderBlock
from headstart.nn.words import PlacedEmbeddings, PlacesFrom, Words

FIRST_PLACE = 2
"""The place of a row's first token: fairseq counts from behind its padding token, 1."""

BIAS = "final_logits_bias"
"""Their name of what is added to the words' scores."""


class Bart(Stack):
    """The encoder of BART: post-norm blocks over token and position embeddings.

    Args:
        config: sizes and rates.
    """

    family = "bart"
    config: BartConfig

    def __init__(self, config: BartConfig) -> None:
        token = nn.Embedding(config.vocabulary, config.width, config.padding_token)
        super().__init__(config, _embeddings(config, token), encoder_blocks(config))
        self.max_positions = config.max_positions

    def with_words(self) -> TextToText:
        """This encoder, with a new decoder that scores words by their embeddings.

        Raises:
            ValueError: config.json names no token that targets begin with.
        """
        token = self.embeddings.token
        assert isinstance(token, nn.Embedding), "the encoder owns it"
        embeddings = _embeddings(self.config, Borrowed(token))
        return text_to_text(self, self.config, embeddings, token)


def text_to_text(
    backbone: Stack, config: BartConfig, embeddings: nn.Module, token: nn.Embedding
) -> TextToText:
    """An encoder with a new decoder.

    Args:
        backbone: the encoder.
        config: its sizes and rates.
        embeddings: the decoder's.
        token: (V, D), by which words are scored.

    Raises:
        ValueError: config.json names no token that targets begin with.
    """
    decoder = Decoder(embeddings, decoder_blocks(config), nn.Identity())
    draw(decoder, config.initializer_range)
    head: nn.Module = TiedHead(token)
    if config.biased:
        head = BiasedHead(head, token.num_embeddings)
    return TextToText(backbone, decoder, head, start=the_start(config.start_token))


def _embeddings(config: BartConfig, token: Words) -> PlacedEmbeddings:
    return PlacedEmbeddings(
        token,
        LearnedPositions(config.max_positions + FIRST_PLACE, config.width),
        norm=nn.LayerNorm(config.width),
        scale=config.token_scale,
        places=PlacesFrom(FIRST_PLACE),
        dropout=config.dropout,
    )


def encoder_blocks(config: BartConfig) -> Iterator[PostNormBlock]:
    """The encoder's blocks, first to last."""
    for _ in range(config.num_blocks):
        yield PostNormBlock(
            MultiHeadAttention(
                config.width, Form(config.num_heads, dropout=config.attention_dropout)
            ),
            _feed_forward(config, config.inner_width),
            norm_1=nn.LayerNorm(config.width),
            norm_2=nn.LayerNorm(config.width),
            dropout=config.dropout,
        )


def decoder_blocks(config: BartConfig) -> Iterator[PostNormDecoderBlock]:
    """The decoder's blocks, first to last."""
    norms = [nn.LayerNorm(config.width) for _ in range(3 * config.num_decoder_blocks)]
    for index in range(config.num_decoder_blocks):
        attention, cross_attention = (
            MultiHeadAttention(
                config.width,
                Form(config.num_decoder_heads, causal=causal, dropout=config.attention_dropout),
            )
            for causal in (True, False)
        )
        yield PostNormDecoderBlock(
            attention,
            cross_attention,
            _feed_forward(config, config.decoder_inner_width),
            norms=(norms[3 * index], norms[3 * index + 1], norms[3 * index + 2]),
            dropout=config.dropout,
        )


def _feed_forward(config: BartConfig, inner_width: int) -> FeedForward:
    activation = ACTIVATIONS[config.activation]
    return FeedForward(
        config.width,
        inner_width,
        activation=DroppedActivation(activation, config.activation_dropout),
    )


def _attention(theirs: str, ours: str) -> dict[str, str]:
    maps = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "output"}
    return {f"{theirs}.{name}": f"{ours}.{our_name}" for name, our_name in maps.items()}


def _blocks(theirs: str, ours: str, last_norm: int) -> dict[str, str]:
    """Their modules to ours of what an encoder's blocks and a decoder's have in common."""
    block, inner = f"{theirs}.{{i}}", f"{ours}.{{i}}"
    return {
        **_attention(f"{block}.self_attn", f"{inner}.attention"),
        f"{block}.self_attn_layer_norm": f"{inner}.norm_1",
        f"{block}.fc1": f"{inner}.feed_forward.widen",
        f"{block}.fc2": f"{inner}.feed_forward.narrow",
        f"{block}.final_layer_norm": f"{inner}.norm_{last_norm}",
    }


BLOCKS = {  # Hugging Face module: our module
    **_blocks("encoder.layers", "blocks", 2),
    **_blocks("decoder.layers", "decoder.blocks", 3),
    **_attention("decoder.layers.{i}.encoder_attn", "decoder.blocks.{i}.cross_attention"),
    "decoder.layers.{i}.encoder_attn_layer_norm": "decoder.blocks.{i}.norm_2",
    BIAS: "lm_head.bias",
}

KEYS = KeyMap(
    strip=("model.",),  # present only under a head
    rename=BLOCKS
    | {
        "shared": "embeddings.token",
        "encoder.embed_positions": "embeddings.position",
        "encoder.layernorm_embedding": "embeddings.norm",
        "decoder.embed_positions": "decoder.embeddings.position",
        "decoder.layernorm_embedding": "decoder.embeddings.norm",
    },
    drop=(  # a mark of fairseq's; the heads of other tasks
        r"(encoder|decoder)\.version",
        r"classification_head\..*",
        r"qa_outputs\..*",
    ),
)


def settle_bias(values: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Mapping[str, Any]:
    """Whether a number is added to words' scores: config.json says false in any case."""
    return {**values, "add_bias_logits": BIAS in tensors}


def _build(values: Mapping[str, Any]) -> Bart:
    return Bart(BartConfig.from_hf(values))


def _language(values: Mapping[str, Any]) -> TextToText:
    return _build(values).with_words()


def _ties(values: Mapping[str, Any]) -> dict[str, str]:
    return dict.fromkeys(("encoder.embed_tokens", "decoder.embed_tokens", "lm_head"), "shared")


BART = Family(
    name="bart",
    build=_build,
    keys=KEYS,
    base="BartModel",
    prefix="model.",
    language=Language("BartForConditionalGeneration", _language),
    ties=_ties,
    settle=settle_bias,
    default_pooling="mean",
    kind="text encoder and decoder",
)
