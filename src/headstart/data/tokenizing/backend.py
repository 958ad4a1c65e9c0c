"""From texts to tokens without what stands round them, and back to text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import tokenizers

from headstart.data.tokenizing.frame import Frame, frames
from headstart.data.tokenizing.words import Words, words_stand_alone

CLEANED = (" .", " ?", " !", " ,", " ' ", " n't", " 'm", " 's", " 've", " 're")
"""What `clean_up_tokenization_spaces` rejoins, in transformers' order."""


class Backend(Protocol):
    """What makes a tokenizer one of its family.

    Attributes:
        frame: special tokens round one text.
        pair_frame: special tokens round and between two.
        kind: how texts become tokens, in the words of the field.
        content: everything that decides which tokens a text becomes.
        open_ends: ends of a text that what follows may still change, longest first.
    """

    frame: Frame
    pair_frame: Frame
    kind: str
    content: str
    open_ends: tuple[str, ...]

    def bodies(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens not added."""
        ...

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each token of `bodies`, the characters text[start:end] that it was made of."""
        ...

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        """The text of token ids."""
        ...

    def vocabulary(self) -> dict[str, int]:
        """All tokens and their ids."""
        ...

    def token_text(self, number: int) -> str | None:
        """The token with that id."""
        ...

    def is_special(self, number: int) -> bool:
        """Whether decoding may skip the token."""
        ...


class Library:
    """A tokenizer of the tokenizers library; its own truncation and padding are switched off.

    Args:
        tokenizer: of the tokenizers library.

    Raises:
        ValueError: it makes no token of any text.
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self.library = tokenizer
        self.frame, self.pair_frame = frames(tokenizer)
        self.kind = type(tokenizer.model).__name__
        self.content = tokenizer.to_str()
        if tokenizer.encode_special_tokens:
            self.content += "\nspecial tokens are text"
        added = tokenizer.get_added_tokens_decoder()
        self.open_ends: tuple[str, ...] = ()
        self._special = {number for number, token in added.items() if token.special}
        self._bodies: Callable[[Sequence[str]], list[list[int]]] = self._whole
        if words_stand_alone(tokenizer):
            self._bodies = Words(tokenizer)

    def bodies(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens not added."""
        return self._bodies(texts)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each token of `bodies`, the characters text[start:end] that it was made of."""
        return list(self.library.encode(text, add_special_tokens=False).offsets)

    def _whole(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self.library.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        """The text of token ids."""
        return self.library.decode(list(ids), skip_special_tokens=skip_special)

    def vocabulary(self) -> dict[str, int]:
        """All tokens and their ids."""
        return self.library.get_vocab()

    def token_text(self, number: int) -> str | None:
        """The token with that id."""
        return self.library.id_to_token(number)

    def is_special(self, number: int) -> bool:
        """Whether decoding may skip the token."""
        return number in self._special


class Clip(Library):
    """CLIP's: the mark at the end of a word is a space."""

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        """The text of token ids."""
        return super().decode(ids, skip_special).replace("</w>", " ").strip()


class Cleaned(Library):
    """With `clean_up_tokenization_spaces`: no space before punctuation and in contractions."""

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        super().__init__(tokenizer)
        begun = {spaced[:end] for spaced in CLEANED for end in range(1, len(spaced))}
        self.open_ends = tuple(sorted(begun, key=len, reverse=True))

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        """The text of token ids."""
        text = super().decode(ids, skip_special)
        for spaced in CLEANED:
            text = text.replace(spaced, spaced.strip())
        return text
