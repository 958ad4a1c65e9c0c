"""Special tokens by name, and tokens that were added to a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import tokenizers
from tokenizers import AddedToken

from headstart.data.tokenizing.settings import NAMES, Settings
from headstart.errors import CheckpointError


@dataclass(frozen=True)
class Named:
    """The special tokens of a tokenizer by name: "bos", "eos", "unk", "sep", "pad", "cls", "mask".

    Attributes:
        settings: what the files say.
        stated: tokens that the files state.
        usual: tokens that the class has where the files are silent.
    """

    settings: Settings
    stated: Mapping[str, AddedToken]
    usual: Mapping[str, AddedToken]

    def text(self, name: str) -> str | None:
        """Text of the token of that name, or None where there is none."""
        token = self.stated.get(name) or self.usual.get(name)
        return None if token is None else token.content

    def pair(self, tokenizer: tokenizers.Tokenizer, name: str) -> tuple[str, int]:
        """Text and id of a token that goes round every text.

        Raises:
            CheckpointError: the vocabulary lacks it.
        """
        text = self.text(name)
        number = None if text is None else tokenizer.token_to_id(text)
        if text is None or number is None:
            what = f"{name}_token {text!r} is not in the vocabulary" if text else f"no {name}_token"
            raise CheckpointError(
                f"{self.settings.folder}: {what}, and every text needs one. Set "
                f'"{name}_token" in tokenizer_config.json to a token of the vocabulary.'
            )
        return text, number


def resolve_named(
    settings: Settings, usual: Mapping[str, str], *, mask_eats_space: bool = False
) -> Named:
    """The named tokens of a class, by what the files say and what is usual for the class.

    Args:
        settings: what the files say.
        usual: the class's own tokens by name.
        mask_eats_space: a mask token that a file states as mere text takes the space before it.
    """

    def whole(name: str, token: AddedToken | str) -> AddedToken:
        if isinstance(token, AddedToken):
            return token
        return AddedToken(token, special=True, lstrip=mask_eats_space and name == "mask")

    stated = {name: whole(name, token) for name, token in settings.named.items() if token}
    silent = {name: whole(name, text) for name, text in usual.items() if name not in settings.named}
    return Named(settings, stated, silent)


def add_tokens(tokenizer: tokenizers.Tokenizer, named: Named) -> None:
    """Add, in transformers' order, what the files state; and what is usual, where it is known.

    Raises:
        CheckpointError: a token gets another id than its file states.
    """
    settings = named.settings
    known = {repr(token) for token in tokenizer.get_added_tokens_decoder().values()}
    fresh = [
        token for token in settings.added.values() if tokenizer.token_to_id(token.content) is None
    ]
    tokenizer.add_tokens([token for token in settings.added.values() if repr(token) not in known])
    for number, stated in settings.added.items():
        got = tokenizer.token_to_id(stated.content)
        if stated in fresh and got != number:
            raise CheckpointError(
                f"{settings.folder}: its files say that token {stated.content!r} has id {number}, "
                f"but its vocabulary makes it {got}. They are not of one model: fetch all again."
            )
    have = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for name in NAMES:
        wanted = named.stated.get(name) or _in_vocabulary(tokenizer, named.usual.get(name))
        if wanted is not None and wanted.content not in have:
            wanted.special = True
            tokenizer.add_tokens([wanted])
            have.add(wanted.content)
    for extra in settings.extra:
        token = extra if isinstance(extra, AddedToken) else AddedToken(extra, special=True)
        if token.content not in have:
            tokenizer.add_tokens([token])
            have.add(token.content)


def _in_vocabulary(tokenizer: tokenizers.Tokenizer, token: AddedToken | None) -> AddedToken | None:
    known = token is not None and tokenizer.token_to_id(token.content) is not None
    return token if known else None
