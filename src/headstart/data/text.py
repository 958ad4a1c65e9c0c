"""Texts to tokens, exactly as transformers makes them.

Shapes: N texts, T tokens of all texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

from headstart.errors import CheckpointError, DataError

CHUNK = 10_000
"""Texts tokenised at a time, so that a million rows take no more memory than their tokens."""


@dataclass(frozen=True)
class Tokens:
    """N tokenised texts.

    Attributes:
        values: (T,) int32 token ids, text after text.
        offsets: (N + 1,) int64: text i is values[offsets[i]] up to values[offsets[i + 1]].
        full_lengths: (N,) int64 tokens before anything was cut.
    """

    values: np.ndarray
    offsets: np.ndarray
    full_lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.full_lengths)

    @property
    def lengths(self) -> np.ndarray:
        """(N,) int64 tokens of each text."""
        return np.diff(self.offsets)

    @property
    def cut_rows(self) -> int:
        """How many texts were cut."""
        return int((self.full_lengths > self.lengths).sum())

    @property
    def cut_tokens(self) -> int:
        """How many tokens were cut."""
        return int((self.full_lengths - self.lengths).sum())


class Tokenizer:
    """A checkpoint's tokenizer; its own truncation and padding are switched off.

    Args:
        tokenizer: of the tokenizers library.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._tokenizer = tokenizer
        self.digest = hashlib.sha256(tokenizer.to_str().encode()).hexdigest()

    @classmethod
    def open(cls, folder: str | Path) -> Tokenizer:
        """Open the tokenizer.json of a folder, or its vocab.txt as BERT's WordPiece.

        Raises:
            CheckpointError: the folder holds neither, or one that cannot be read.
        """
        folder = Path(folder)
        file, vocabulary = folder / "tokenizer.json", folder / "vocab.txt"
        try:
            if file.exists():
                return cls(tokenizers.Tokenizer.from_file(str(file)))
            if vocabulary.exists():
                return cls(_word_piece(vocabulary, folder / "tokenizer_config.json"))
        except Exception as error:  # the tokenizers library raises bare Exception
            raise CheckpointError(
                f"{folder}: its tokenizer is damaged: {error}. Fetch it again."
            ) from error
        raise CheckpointError(
            f"{folder}: holds neither tokenizer.json nor vocab.txt, so texts cannot be read. Save "
            "one there, for example with transformers: AutoTokenizer.from_pretrained(NAME)"
            f".save_pretrained({str(folder)!r})."
        )

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self._tokenizer.get_vocab_size()

    def encode(
        self, texts: Sequence[str], max_length: int, progress: Callable[[int], None] | None = None
    ) -> Tokens:
        """Tokenise texts, special tokens included, each cut to `max_length` tokens.

        What is cut is the end of the text; the special tokens stay, as in transformers.

        Args:
            texts: N texts.
            max_length: tokens of a text at most, 1 more than its special tokens at least.
            progress: is told how many more texts are done, now and then.

        Raises:
            DataError: a text holds half a character (a lone surrogate), which UTF-8 cannot write.
        """
        special = self._tokenizer.num_special_tokens_to_add(False)
        assert max_length > special, (
            f"{max_length} tokens leave no room beside {special} special ones"
        )
        packed, lengths, full = [np.empty(0, np.int32)], [np.zeros(1, np.int64)], []
        self._tokenizer.enable_truncation(max_length)
        try:
            for start in range(0, len(texts), CHUNK):
                encodings = self._batch(texts[start : start + CHUNK], start)
                kept = np.array([len(e.ids) for e in encodings], np.int64)
                cut = [sum(len(part.ids) - special for part in e.overflowing) for e in encodings]
                packed.append(np.fromiter(chain.from_iterable(e.ids for e in encodings), np.int32))
                lengths.append(kept)
                full.append(kept + cut)
                if progress is not None:
                    progress(len(encodings))
        finally:
            self._tokenizer.no_truncation()
        offsets = np.cumsum(np.concatenate(lengths))
        return Tokens(np.concatenate(packed), offsets, np.concatenate(full or [lengths[0][:0]]))

    def _batch(self, texts: Sequence[str], start: int) -> list[tokenizers.Encoding]:
        try:
            return self._tokenizer.encode_batch(list(texts))
        except (UnicodeEncodeError, TypeError):  # a lone surrogate makes tokenizers raise either
            for number, text in enumerate(texts, start):
                if any("\ud800" <= character <= "\udfff" for character in text):
                    raise DataError(
                        f"text {number} (from 0): holds half a character, as when an emoji is cut "
                        f"in two: {text[:60]!r}. Cut between characters, or put '\\ufffd' in its "
                        "place."
                    ) from None
            raise


def _word_piece(vocabulary: Path, config_file: Path) -> tokenizers.Tokenizer:
    """BERT's WordPiece with the settings of tokenizer_config.json, as transformers reads them."""
    config: dict[str, Any] = {}
    if config_file.exists():
        config = json.loads(config_file.read_text(encoding="utf-8"))
    built = BertWordPieceTokenizer(
        str(vocabulary),
        clean_text=True,
        handle_chinese_chars=config.get("tokenize_chinese_chars", True),
        strip_accents=config.get("strip_accents"),
        lowercase=config.get("do_lower_case", True),
        unk_token=config.get("unk_token", "[UNK]"),
        sep_token=config.get("sep_token", "[SEP]"),
        cls_token=config.get("cls_token", "[CLS]"),
        pad_token=config.get("pad_token", "[PAD]"),
        mask_token=config.get("mask_token", "[MASK]"),
    )
    return tokenizers.Tokenizer.from_str(built.to_str())
