"""What decoders share: a map to the vocabulary, and a classifier on the last token.

Shapes: T tokens of all rows, D width, V words in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from headstart.models.backbone import Stack, draw
from headstart.models.family import Classifier, Values
from headstart.models.language import LanguageModel, TiedHead
from headstart.models.network import Last


def with_words(backbone: Stack, *, tied: bool) -> LanguageModel:
    """A decoder that scores what comes next.

    Args:
        backbone: its embeddings have a `token`, (V, D).
        tied: whether words are scored by their own embeddings; else by a map of their own, which
            adds no bias.
    """
    embedding = backbone.embeddings.token
    assert isinstance(embedding, nn.Embedding), "words are looked up in a table"
    if tied:
        return LanguageModel(backbone, TiedHead(embedding))
    head = nn.Linear(embedding.embedding_dim, embedding.num_embeddings, bias=False)
    draw(head, backbone.config.initializer_range)
    return LanguageModel(backbone, head)


def last_token_classifier(architecture: str) -> Classifier:
    """A classifier of transformers that reads the last token, without dropout or bias."""
    return Classifier(architecture, _last, _no_dropout, dropout_key=None, head_bias=False)


def _last(values: Values) -> Last:
    return Last()


def _no_dropout(values: Mapping[str, Any]) -> float:
    return 0.0
