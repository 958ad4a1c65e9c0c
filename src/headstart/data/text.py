"""Texts to tokens, exactly as transformers makes them.

Shapes: N texts, T tokens of all texts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from tokenizers.implementations import BertWordPieceTokenizer

from headstart.errors import CheckpointError

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
            raise CheckpointError(f"{folder}: its tokenizer is damaged: {error}. Fetch it again.") from error
        raise CheckpointError(
            f"{folder}: holds neither tokenizer.json nor vocab.txt, so texts cannot be read. Save one "
            "there, for example with transformers: AutoTokenizer.from_pretrained(NAME)"
            f".save_pretrained({str(folder)!r})."
        )

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str], max_length: int) -> Tokens:
        """Tokenise texts, special tokens included, each cut to `max_length` tokens.

        What is cut is the end of the text; the special tokens stay, as in transformers.
        """
        ids: list[np.ndarray] = []
        lengths: list[int] = []
        full: list[int] = []
        special = self._tokenizer.num_special_tokens_to_add(False)
        self._tokenizer.enable_truncation(max_length)
        stream = iter(texts)
        while chunk := list(islice(stream, CHUNK)):
            for encoding in self._tokenizer.encode_batch(chunk):
                ids.append(np.array(encoding.ids, dtype=np.int32))
                lengths.append(len(encoding.ids))
                cut = sum(len(part.ids) - special for part in encoding.overflowing)
                full.append(len(encoding.ids) + cut)
        self._tokenizer.no_truncation()
        values = np.concatenate(ids) if ids else np.empty(0, dtype=np.int32)
        offsets = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).astype(np.int64)
        return Tokens(values, offsets, np.array(full, dtype=np.int64))


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
