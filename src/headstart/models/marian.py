"""Marian (Junczys-Dowmunt et al. 2018, https://arxiv.org/abs/1804.00344): OPUS-MT's translators.

BART with places told by fixed waves and with embeddings that are not normalised. Most read and
write one vocabulary; some have two.

Shapes: T tokens of all rows, D width, V words in the vocabulary.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from torch import nn

from headstart.models.backbone import Stack
from headstart.models.bart import BLOCKS, encoder_blocks, settle_bias, text_to_text
from headstart.models.bart_config import COMMON, HF_NAMES, BartConfig
from headstart.models.config import count_faults, flag_faults, read_config
from headstart.models.family import Family, Language
from headstart.models.keymap import KeyMap
from headstart.models.language import TextToText
from headstart.nn.multihead import Borrowed
from headstart.nn.words import HalvedWaves, PlacedEmbeddings, Words

MARIAN_NAMES = HF_NAMES | {
    "decoder_vocabulary": "decoder_vocab_size",
    "shared": "share_encoder_decoder_embeddings",
}

MARIAN_ONLY = COMMON | {"normalize_embedding": False, "static_position_embeddings": True}


@dataclass(frozen=True)
class MarianConfig(BartConfig):
    """Sizes and rates as BART's, but for the vocabularies.

    Attributes:
        decoder_vocabulary: number of words of targets; None: as many as of sources.
        shared: whether sources and targets are of one vocabulary.
    """

    start_token: int | None = 58100
    forced_end_token: int | list[int] | None = 0
    begin_token: int | None = None
    end_token: int | list[int] | None = 0
    padding_token: int | None = 58100
    decoder_vocabulary: int | None = None
    shared: bool = True

    def faults(self) -> list[str]:
        """One line for each value that cannot be honoured."""
        faults = [*super().faults(), *flag_faults(self, MARIAN_NAMES, ("shared",))]
        if self.decoder_vocabulary is not None:
            faults += count_faults(self, MARIAN_NAMES, ("decoder_vocabulary",))
        if not faults and self.shared and self.target_vocabulary != self.vocabulary:
            faults.append(
                f"decoder_vocab_size: must be vocab_size {self.vocabulary} where "
                f"share_encoder_decoder_embeddings is true; got {self.decoder_vocabulary}."
            )
        return faults

    @classmethod
    def from_hf(cls, values: Mapping[str, Any]) -> Self:
        """Read the values of a config.json.

        Raises:
            ValueError: one line for each value that is missing or cannot be honoured.
        """
        return read_config(cls, MARIAN_NAMES, values, MARIAN_ONLY)

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json; `from_hf` reads them back to an equal config."""
        named = {theirs: getattr(self, ours) for ours, theirs in MARIAN_NAMES.items()}
        return {**named, "is_encoder_decoder": True}

    @property
    def target_vocabulary(self) -> int:
        """How many words a target may hold."""
        return self.vocabulary if self.decoder_vocabulary is None else self.decoder_vocabulary


class Marian(Stack):
    """The encoder of Marian: post-norm blocks over tokens and waves.

    Args:
        config: sizes and rates.
    """

    family = "marian"
    config: MarianConfig

    def __init__(self, config: MarianConfig) -> None:
        token = _table(config, config.vocabulary)
        words = token if config.shared else nn.Sequential(OrderedDict(own=token))
        super().__init__(config, _embeddings(config, words), encoder_blocks(config))
        self.max_positions = config.max_positions

    def with_words(self) -> TextToText:
        """This encoder, with a new decoder that scores words by their embeddings.

        Raises:
            ValueError: config.json names no token that targets begin with.
        """
        own = _table(self.config, self.config.target_vocabulary)
        shared = self.embeddings.token
        token = shared if isinstance(shared, nn.Embedding) else own
        words = Borrowed(token) if self.config.shared else own
        return text_to_text(self, self.config, _embeddings(self.config, words), token)


def _table(config: MarianConfig, vocabulary: int) -> nn.Embedding:
    return nn.Embedding(vocabulary, config.width, config.padding_token)


def _embeddings(config: MarianConfig, token: Words) -> PlacedEmbeddings:
    return PlacedEmbeddings(
        token,
        HalvedWaves(config.max_positions, config.width),
        norm=nn.Identity(),
        scale=config.token_scale,
        dropout=config.dropout,
    )


KEYS = KeyMap(
    strip=("model.",),  # present only under a head
    rename=BLOCKS
    | {
        "shared": "embeddings.token",
        "encoder.embed_tokens": "embeddings.token.own",  # of two vocabularies
        "decoder.embed_tokens": "decoder.embeddings.token",
    },
    drop=(r"(encoder|decoder)\.embed_positions\.weight",),  # waves, which are computed
)


def _build(values: Mapping[str, Any]) -> Marian:
    return Marian(MarianConfig.from_hf(values))


def _language(values: Mapping[str, Any]) -> TextToText:
    return _build(values).with_words()


def _ties(values: Mapping[str, Any]) -> dict[str, str]:
    if not MarianConfig.from_hf(values).shared:
        return {"lm_head": "decoder.embed_tokens"}
    return dict.fromkeys(("encoder.embed_tokens", "decoder.embed_tokens", "lm_head"), "shared")


MARIAN = Family(
    name="marian",
    build=_build,
    keys=KEYS,
    base="MarianModel",
    prefix="model.",
    language=Language("MarianMTModel", _language),
    ties=_ties,
    settle=settle_bias,
    default_pooling="mean",
    kind="text encoder and decoder",
)
