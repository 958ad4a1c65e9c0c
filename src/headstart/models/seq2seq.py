"""What families of an encoder with a decoder share.

Shapes: T tokens of all rows, D width, V words in the vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

START_KEY = "decoder_start_token_id"
"""Where a config.json keeps the token that every target begins with."""


class BiasedHead(nn.Module):
    """Words scored, and a number added to each one's score that no training moves.

    Args:
        score: maps (T, D) to (T, V).
        vocabulary: V.
    """

    bias: Tensor

    def __init__(self, score: nn.Module, vocabulary: int) -> None:
        super().__init__()
        self.score = score
        self.register_buffer("bias", torch.zeros(1, vocabulary))

    def forward(self, values: Tensor) -> Tensor:
        """Map (T, D) to (T, V)."""
        return self.score(values) + self.bias


def start_faults(token: Any, vocabulary: Any) -> list[str]:
    """The fault of a start of targets that is no word of theirs; None is no fault."""
    whole = isinstance(token, int) and not isinstance(token, bool)
    if token is None or (whole and isinstance(vocabulary, int) and 0 <= token < vocabulary):
        return []
    return [
        f"{START_KEY}: must be a token, 0 or more and below the {vocabulary} words of a target; "
        f"got {token!r}."
    ]


def the_start(token: int | None) -> int:
    """The token that every target begins with.

    Raises:
        ValueError: config.json names none.
    """
    if token is None:
        raise ValueError(f"{START_KEY}: is missing; every target begins with it.")
    return token
