"""Texts to tokens word by word, each word once.

A WordPiece tokenizer looks at no more than a word at a time, and people use the same words again:
looked up, ten thousand sentences take a tenth of the time.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import chain

import tokenizers

REMEMBERED = 500_000
"""Words kept at most: with their tokens some 100 MB."""

LETTER_BY_LETTER = {"BertNormalizer", "Lowercase", "StripAccents", "NFD", "NFC", "NFKD", "NFKC"}
"""Normalizers to which a space is a wall."""


def words_stand_alone(tokenizer: tokenizers.Tokenizer) -> bool:
    """Whether the tokens of a text are those of what stands between its spaces, one by one."""
    parts = json.loads(tokenizer.to_str())
    normalizer = parts["normalizer"]
    steps = (
        normalizer["normalizers"] if (normalizer or {}).get("type") == "Sequence" else [normalizer]
    )
    return (
        parts["model"]["type"] == "WordPiece"
        and (parts["pre_tokenizer"] or {}).get("type") == "BertPreTokenizer"
        and all(step is None or step["type"] in LETTER_BY_LETTER for step in steps)
        and not any(" " in token["content"] for token in parts["added_tokens"])
    )


class Words:
    """A tokenizer to which words stand alone, with what it made of them so far.

    Args:
        tokenizer: of the tokenizers library; `words_stand_alone` holds of it.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        self._library = tokenizer
        self._known: dict[str, list[int]] = {}

    def __call__(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens not added."""
        split = [text.split(" ") for text in texts]
        self._learn(set(chain.from_iterable(split)))
        look_up = self._known.__getitem__
        return [list(chain.from_iterable(map(look_up, words))) for words in split]

    def _learn(self, words: set[str]) -> None:
        """Have the library tokenise what is not known yet."""
        if len(self._known) + len(words) > REMEMBERED:
            self._known.clear()
        fresh = sorted(words - self._known.keys())
        encodings = self._library.encode_batch_fast(fresh, add_special_tokens=False)
        self._known |= {word: e.ids for word, e in zip(fresh, encodings, strict=True)}
