"""Which tokens of a vocabulary begin a word.

Shapes: V tokens.
"""

from __future__ import annotations

import numpy as np

from headstart.data.text import Tokenizer

CONTINUES = "##"
"""Begins the tokens of a WordPiece that go on with a word."""

BEGINS = {"▁": ("▁",), "Ġ": ("Ġ", "Ċ", "ĉ")}
"""What a token that begins a word starts with, by the mark of its kind: SentencePiece writes a
space so; a tokenizer of bytes a space, a line feed, a tab."""


def word_starts(tokenizer: Tokenizer) -> np.ndarray | None:
    """(V,) bool, which tokens begin a word; None where the vocabulary does not tell.

    A word is what white space, or the tokenizer's own rule, sets apart: where a comma is glued to a
    word in SentencePiece, it goes with it.
    """
    vocabulary = tokenizer.vocabulary
    starts = np.ones(max(vocabulary.values()) + 1, dtype=bool)
    if tokenizer.kind == "WordPiece":
        for text, number in vocabulary.items():
            starts[number] = not text.startswith(CONTINUES)
        return starts
    counts = {mark: sum(text.startswith(mark) for text in vocabulary) for mark in BEGINS}
    mark = max(counts, key=counts.__getitem__)
    if not counts[mark]:
        return None
    for text, number in vocabulary.items():
        starts[number] = text.startswith(BEGINS[mark])
    starts[list(tokenizer.special_ids)] = True
    return starts
