"""RoBERTa (Liu et al. 2019, https://arxiv.org/abs/1907.11692), and what only names it differently.

XLM-R (Conneau et al. 2020, https://arxiv.org/abs/1911.02116) and CamemBERT (Martin et al. 2020,
https://arxiv.org/abs/1911.03894) are RoBERTa over another vocabulary. RoBERTa is BERT whose places
are counted from behind the padding token, with a classification head that has no part in
pre-training.

Shapes: T tokens of all rows, D width.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from headstart.models.backbone import Stack, draw
from headstart.models.bert import (
    ENCODER,
    HF_NAMES,
    BertConfig,
    blocks,
    embeddings,
    layer_norm,
)
from headstart.models.family import Classifier, Family, Masked, is_tied
from headstart.models.keymap import KeyMap
from headstart.models.language import MaskedHead, masked_head
from headstart.models.network import Pooler
from headstart.nn.position import LearnedPositions, PlacesAfterPadding
from headstart.nn.ragged import Ragged


@dataclass(frozen=True)
class RobertaConfig(BertConfig):
    """Sizes and rates as BERT's, but for the places.

    Attributes:
        max_positions: places in the table; the first `padding_token` + 1 are no token's.
        padding_token: the token that Hugging Face pads with, and the place that it stands at.
    """

    padding_token: int | None = 1

    def faults(self) -> list[str]:
        """One line for each value that cannot be honoured."""
        faults = super().faults()
        if self.padding_token is None:
            faults.append(f"{HF_NAMES['padding_token']}: is null; places are counted from it.")
        if not faults and self.longest < 1:
            faults.append(
                f"{HF_NAMES['max_positions']}: {self.max_positions} leaves no place behind "
                f"{HF_NAMES['padding_token']} {self.padding_token}."
            )
        return faults

    @property
    def longest(self) -> int:
        """Longest row in tokens."""
        assert self.padding_token is not None, "checked when made"
        return self.max_positions - self.padding_token - 1


class Roberta(Stack):
    """The encoder of RoBERTa: BERT's, its places counted from behind the padding token.

    Args:
        config: sizes and rates.
        family: "roberta", "xlm-roberta" or "camembert"; they differ in nothing else.
    """

    def __init__(self, config: RobertaConfig, family: str = "roberta") -> None:
        assert config.padding_token is not None, "checked when made"
        position = LearnedPositions(config.max_positions, config.width, config.padding_token)
        places = PlacesAfterPadding(config.padding_token)
        super().__init__(config, embeddings(config, position, places), blocks(config))
        self.family, self.max_positions = family, config.longest

    def embed(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Map tokens (T,) int64, and segments (T,) int64 where there are pairs, to (T, D).

        Most have one segment only: then `segments` must be None or zeros.
        """
        return self.embeddings(tokens, segments)


KEYS = KeyMap(
    strip=("roberta.",),  # present only under a task head
    legacy={".gamma": ".weight", ".beta": ".bias"},
    rename=ENCODER
    | {
        "classifier.dense": "pooler.dense",
        "classifier.out_proj": "head",
        "lm_head.dense": "lm_head.dense",
        "lm_head.layer_norm": "lm_head.norm",
        "lm_head.bias": "lm_head.bias",
        "lm_head.decoder.weight": "lm_head.score.weight",
    },
    drop=(
        r"embeddings\.position_ids",
        r"embeddings\.token_type_ids",
        r"pooler\..*",  # never trained, and read by no classifier
        r"qa_outputs\..*",
        r"lm_head\.decoder\.bias",  # where it is not tied
        r"classifier\.(weight|bias)",  # of tokens, or of multiple choice
    ),
)


def _build(name: str, values: Mapping[str, Any]) -> Roberta:
    return Roberta(RobertaConfig.from_hf(values), name)


def _dropout(values: Mapping[str, Any]) -> float:
    return RobertaConfig.from_hf(values).head_dropout


def _pooler(values: Mapping[str, Any]) -> Pooler:
    config = RobertaConfig.from_hf(values)
    pooler = Pooler(config.width, dropout=config.head_dropout)
    draw(pooler, config.initializer_range)
    return pooler


def _masked_head(values: Mapping[str, Any], embedding: nn.Embedding) -> MaskedHead:
    # Whatever its blocks have, transformers gives this head the exact GELU.
    config = RobertaConfig.from_hf(values)
    return masked_head(config, embedding, values, norm=layer_norm(config), activation=F.gelu)


def _ties(values: Mapping[str, Any]) -> dict[str, str]:
    own = {"lm_head.decoder.bias": "lm_head.bias"}
    words = {"lm_head.decoder.weight": "embeddings.word_embeddings.weight"}
    return own | (words if is_tied(values) else {})


def _family(name: str, their_name: str) -> Family:
    return Family(
        name=name,
        build=partial(_build, name),
        keys=KEYS,
        base=f"{their_name}Model",
        prefix="roberta.",
        classifier=Classifier(f"{their_name}ForSequenceClassification", _pooler, _dropout),
        masked=Masked(f"{their_name}ForMaskedLM", _masked_head),
        ties=_ties,
    )


ROBERTA = _family("roberta", "Roberta")
XLM_ROBERTA = _family("xlm-roberta", "XLMRoberta")
CAMEMBERT = _family("camembert", "Camembert")
