"""Text out of tokens that arrive one by one."""

from __future__ import annotations

import re

from headstart.data.tokenizing.backend import Backend

BYTE = re.compile("<0x[0-9A-Fa-f]{2}>")
HALF = "\ufffd"


class TextStream:
    """The text of a growing row of tokens, as far as no further token can change it.

    What is held back: the first bytes of a character, bytes in a row (they are a character only
    together), and a space that a tokenizer may still take away. All that `push` gives, and what
    `finish` gives, is together the text of all tokens.

    Args:
        backend: of the tokenizer that decodes.
        skip_special: leave special tokens out.
    """

    def __init__(self, backend: Backend, skip_special: bool = True) -> None:
        self._backend = backend
        self._skip_special = skip_special
        self._window: list[int] = []
        self._given = 0

    def push(self, number: int) -> str:
        """Add a token; the text that is now certain, often "".

        Args:
            number: id of the token.
        """
        if self._skip_special and self._backend.is_special(number):
            return ""
        self._window.append(number)
        text = self._text(self._window)
        token = self._backend.token_text(number) or ""
        certain = self._given if BYTE.fullmatch(token) else self._certain(text)
        fresh = text[self._given : certain]
        self._given = max(self._given, certain)
        if fresh and certain == len(text):
            self._window = [number]
            self._given = len(self._text(self._window))
        return fresh

    def finish(self) -> str:
        """The text that was still held back; the stream is then empty."""
        rest = self._text(self._window)[self._given :]
        self._window, self._given = [], 0
        return rest

    def _text(self, ids: list[int]) -> str:
        return self._backend.decode(ids, self._skip_special)

    def _certain(self, text: str) -> int:
        """How many characters no further token can change."""
        text = text.rstrip(HALF)
        open_ends = (end for end in self._backend.open_ends if text.endswith(end))
        return len(text) - len(next(open_ends, ""))
