"""Texts to tokens, exactly as transformers makes them, and back.

Shapes: N texts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import tokenizers

from headstart.data.mapped import at_once
from headstart.data.tokenizing.added import Named
from headstart.data.tokenizing.backend import Backend, Library
from headstart.data.tokenizing.frame import BARE, BARE_PAIR, FIRST, Frame, shares
from headstart.data.tokenizing.layouts import open_backend
from headstart.data.tokenizing.settings import read_settings
from headstart.data.tokenizing.stream import TextStream
from headstart.data.tokens import Rows, joined
from headstart.data.tokens import Tokens as Tokens
from headstart.errors import CheckpointError, DataError

T = TypeVar("T")
CHUNK = 10_000
"""Texts tokenised at a time, so that a million rows take no more memory than their tokens."""


class Tokenizer:
    """A checkpoint's tokenizer.

    Args:
        backend: makes tokens of texts, and texts of tokens.
        named: its special tokens by name, and what else its files say.
    """

    def __init__(self, backend: Backend, named: Named) -> None:
        self._backend = backend
        self._named = named
        self._cut_left = named.settings.values.get("truncation_side") == "left"
        content = backend.content
        if self._cut_left:
            content += "\ncut on the left"
        if not backend.frame.special:  # else no text is without a token
            content += f"\nempty is {self._filler}"
        self.digest = hashlib.sha256(content.encode()).hexdigest()

    @classmethod
    def open(cls, folder: str | Path, side: str = "source") -> Tokenizer:
        """Open the tokenizer of a folder.

        That is its tokenizer.json; or the files of its family, by the "tokenizer_class" of
        tokenizer_config.json or the "model_type" of config.json: vocab.txt (BERT, DistilBERT),
        vocab.json and merges.txt (RoBERTa, BART, GPT-2, Qwen, CLIP), spm.model (DeBERTa-v2 and v3),
        spiece.model (T5, mT5), sentencepiece.bpe.model (XLM-R, CamemBERT), tokenizer.model (Llama,
        Mistral), or source.spm, target.spm and vocab.json (Marian).

        Args:
            folder: with the files.
            side: "target" for the texts that a Marian model is to write; of no meaning elsewhere.

        Raises:
            CheckpointError: files are missing, damaged, or not of one model.
        """
        assert side in ("source", "target"), f"side must be 'source' or 'target', got {side!r}"
        folder = Path(folder)
        settings = read_settings(folder)
        try:
            return cls(*open_backend(settings, side))
        except CheckpointError:
            raise
        except Exception as error:  # the tokenizers library raises bare Exception
            raise CheckpointError(
                f"{folder}: its tokenizer is damaged: {error}. Fetch it again."
            ) from error

    @property
    def kind(self) -> str:
        """How texts become tokens: "WordPiece", "BPE", "Unigram", ..."""
        return self._backend.kind

    @property
    def library(self) -> tokenizers.Tokenizer | None:
        """What makes the tokens, of the tokenizers library; None where that is no part of it."""
        return self._backend.library if isinstance(self._backend, Library) else None

    @property
    def vocab_size(self) -> int:
        """Number of token ids, added tokens included."""
        return len(self.vocabulary)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        """All tokens and their ids, added tokens included."""
        return self._backend.vocabulary()

    def token_id(self, text: str) -> int | None:
        """The id of a token by its text as the vocabulary has it; None where it is no token."""
        return self.vocabulary.get(text)

    @property
    def bos_id(self) -> int | None:
        """Id of the token that begins a text, None where there is none."""
        return self._special("bos")

    @property
    def eos_id(self) -> int | None:
        """Id of the token that ends a text, None where there is none."""
        return self._special("eos")

    @property
    def pad_id(self) -> int | None:
        """Id of the token that fills rows up, None where there is none."""
        return self._special("pad")

    @property
    def unk_id(self) -> int | None:
        """Id of the token for what is not in the vocabulary, None where there is none."""
        return self._special("unk")

    @property
    def mask_id(self) -> int | None:
        """Id of the token that hides another, None where there is none."""
        return self._special("mask")

    @property
    def cls_id(self) -> int | None:
        """Id of the token that stands for a whole text, None where there is none."""
        return self._special("cls")

    @property
    def sep_id(self) -> int | None:
        """Id of the token between two texts, None where there is none."""
        return self._special("sep")

    @cached_property
    def special_ids(self) -> tuple[int, ...]:
        """Ids of the tokens that stand for no word: frame, filler, mask, the unknown."""
        named = (self.cls_id, self.sep_id, self.bos_id, self.eos_id, self.pad_id, self.mask_id,
                 self.unk_id)  # fmt: skip
        return tuple(sorted({number for number in named if number is not None}))

    @property
    def around(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Ids of the special tokens in front of every text, and of those behind it."""
        tokens = [token for token, _ in self._backend.frame.slots]
        place = tokens.index(FIRST)
        return tuple(tokens[:place]), tuple(tokens[place + 1 :])

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """Ids that end what a model writes: as its generation_config.json and config.json say.

        Where neither does, it is `eos_id`.
        """
        stated = self._named.settings.model.get("eos_token_id")
        if isinstance(stated, list):
            return tuple(int(number) for number in stated)
        return tuple(number for number in (stated, self.eos_id) if number is not None)[:1]

    def _special(self, name: str) -> int | None:
        text = self._named.text(name)
        if text is not None:
            return self.token_id(text)
        stated = self._named.settings.model.get(f"{name}_token_id")
        return stated[0] if isinstance(stated, list) else stated

    @cached_property
    def _filler(self) -> int | None:
        names = ("bos", "eos", "pad", "unk")
        return next((n for n in map(self._special, names) if n is not None), None)

    def encode(
        self,
        texts: Sequence[str],
        max_length: int,
        progress: Callable[[int], None] | None = None,
        *,
        add_special: bool = True,
    ) -> Tokens:
        """Tokenise texts, each cut to `max_length` tokens.

        What is cut is the end of the text (its start, where tokenizer_config.json has
        "truncation_side": "left"); the special tokens stay, as in transformers.

        A row is never empty: a text of which nothing is left (an empty one, where no special tokens
        are added) becomes one token, bos, or the first there is of eos, pad and unk.

        Args:
            texts: N texts.
            max_length: tokens of a text at most, 1 more than its special tokens at least.
            progress: is told how many more texts are done, now and then.
            add_special: put the family's special tokens round each text.

        Raises:
            DataError: a text holds half a character (a lone surrogate), which UTF-8 cannot write;
                or has no token, and the tokenizer has none to put in its place.
        """
        return joined(self.encode_pieces(texts, max_length, progress, add_special=add_special))

    def encode_pieces(
        self,
        texts: Sequence[str],
        max_length: int,
        progress: Callable[[int], None] | None = None,
        *,
        add_special: bool = True,
    ) -> Iterator[Tokens]:
        """Tokenise texts as `encode` does, and give the tokens of some thousand at a time.

        Args:
            texts: N texts; they are taken by slices.
            max_length: as in `encode`, and so the rest.
            progress: is told how many more texts are done.
            add_special: put the family's special tokens round each text.

        Raises:
            DataError: as `encode`.
        """
        frame = self._backend.frame if add_special else BARE
        room = _room(frame, max_length)
        step = at_once(texts, CHUNK)
        for start in range(0, len(texts), step):
            rows = Rows(self._filler, start)
            bodies = self._bodies(texts[start : start + step], start)
            for body in bodies:
                rows.add(frame.fill(self._cut(body, room)), len(body) + frame.special)
            yield rows.tokens()
            if progress is not None:
                progress(len(bodies))

    def encode_pairs(
        self,
        first: Sequence[str],
        second: Sequence[str],
        max_length: int,
        progress: Callable[[int], None] | None = None,
        *,
        add_special: bool = True,
    ) -> Tokens:
        """Tokenise pairs of texts, each pair cut to `max_length` tokens, with their segments.

        Tokens are cut from the longer text first, as transformers' "longest_first" does. A pair is
        never empty, as in `encode`.

        Args:
            first: N texts.
            second: N texts.
            max_length: tokens of a pair at most, 1 more than its special tokens at least.
            progress: is told how many more pairs are done, now and then.
            add_special: put the family's special tokens round and between the texts.

        Raises:
            DataError: as `encode`.
        """
        assert len(first) == len(second), f"{len(first)} first and {len(second)} second texts"
        frame = self._backend.pair_frame if add_special else BARE_PAIR
        room = _room(frame, max_length)
        pieces = []
        for start in range(0, len(first), CHUNK):
            rows = Rows(self._filler, start)
            a_side, b_side = (
                self._bodies(side[start : start + CHUNK], start) for side in (first, second)
            )
            for a, b in zip(a_side, b_side, strict=True):
                kept = shares(len(a), len(b), room)
                ids = frame.fill(self._cut(a, kept[0]), self._cut(b, kept[1]))
                rows.add(ids, len(a) + len(b) + frame.special, frame.segments(*kept))
            pieces.append(rows.tokens(paired=True))
            if progress is not None:
                progress(len(a_side))
        return joined(pieces, paired=True)

    def spans(self, text: str, max_length: int) -> list[tuple[int, int]]:
        """Where each token of a text, as `encode` makes them, comes from.

        Args:
            text: what is tokenised.
            max_length: as in `encode`.

        Returns:
            For each token start and end of the characters text[start:end] that it was made of;
            (0, 0) where it stands for none of them, as special tokens do. A space that is a token
            of its own may count the letter behind it.

        Raises:
            DataError: as `encode`.
        """
        frame = self._backend.frame
        body = self._cut(self._located(text), _room(frame, max_length))
        rows = [body if token == FIRST else [(0, 0)] for token, _ in frame.slots]
        return [span for row in rows for span in row] or [(0, 0)]

    def _located(self, text: str) -> list[tuple[int, int]]:
        self._bodies([text], 0)  # a text that cannot be read is told by its place
        return self._backend.spans(text)

    def _cut(self, body: list[T], room: int) -> list[T]:
        if self._cut_left:
            return body[max(0, len(body) - room) :]
        return body[:room]

    def _bodies(self, texts: Sequence[str], start: int) -> list[list[int]]:
        try:
            return self._backend.bodies(texts)
        except (UnicodeEncodeError, TypeError):  # a lone surrogate makes tokenizers raise either
            for number, text in enumerate(texts, start):
                if any("\ud800" <= character <= "\udfff" for character in text):
                    raise DataError(
                        f"text {number} (from 0): holds half a character, as when an emoji is cut "
                        f"in two: {text[:60]!r}. Cut between characters, or put '\\ufffd' in its "
                        "place."
                    ) from None
            raise

    def decode(self, ids: Sequence[int], skip_special: bool = True) -> str:
        """The text of token ids, as transformers' `decode`.

        Args:
            ids: token ids; any that the vocabulary lacks are left out.
            skip_special: leave special tokens out.
        """
        known = [number for number in np.asarray(ids, np.int64).tolist() if number >= 0]
        return self._backend.decode(known, skip_special)

    def decode_batch(self, rows: Sequence[Sequence[int]], skip_special: bool = True) -> list[str]:
        """The texts of rows of token ids."""
        return [self.decode(row, skip_special) for row in rows]

    def stream(self, skip_special: bool = True) -> TextStream:
        """Text out of tokens that arrive one by one."""
        return TextStream(self._backend, skip_special)


def _room(frame: Frame, max_length: int) -> int:
    room = max_length - frame.special
    assert room > 0, f"{max_length} tokens leave no room beside {frame.special} special ones"
    return room


def check_vocabulary(tokenizer: Tokenizer, vocabulary_size: int, place: str | Path) -> None:
    """Check that a network has an embedding for every token.

    Args:
        tokenizer: to be checked.
        vocabulary_size: rows of the embedding.
        place: folder or name, for the message.

    Raises:
        CheckpointError: tokens have no row.
    """
    beyond = {n: text for text, n in tokenizer.vocabulary.items() if n >= vocabulary_size}
    if not beyond:
        return
    some = ", ".join(f"{beyond[n]!r} ({n})" for n in sorted(beyond)[:5])
    more = ", ..." if len(beyond) > 5 else ""
    rows = max(beyond) + 1
    raise CheckpointError(
        f"{place}: {len(beyond)} of the tokenizer's {tokenizer.vocab_size} tokens have no row in "
        f"the embedding, which has {vocabulary_size}: {some}{more}. Take the tokenizer that is "
        f"of the weights; or, if the tokens were added later, save the network with more rows "
        f"(transformers: model.resize_token_embeddings({rows})), or remove them from "
        "added_tokens.json and tokenizer_config.json."
    )
