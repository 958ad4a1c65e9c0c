"""What the small files beside a tokenizer say: its class, its special tokens, its switches.

The order of precedence is that of transformers: tokenizer_config.json; where that lists no
"added_tokens_decoder" (before transformers 4.34), special_tokens_map.json over it and
added_tokens.json beside it; then the defaults of the class. For ids that no token states,
generation_config.json and config.json are asked, in this order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from headstart.errors import CheckpointError
from headstart.models.weights import read_json

NAMES = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
"""Special tokens that have a name, in the order in which transformers adds them."""


@dataclass(frozen=True)
class Settings:
    """What is said of a tokenizer.

    Attributes:
        folder: where it was read.
        values: tokenizer_config.json as it is.
        named: by name, the special tokens that the files state; None where a file says null.
        extra: further special tokens.
        added: by id, tokens that were added to the vocabulary.
        model: config.json, with generation_config.json over it.
        model_type: of config.json.
    """

    folder: Path
    values: Mapping[str, Any]
    named: Mapping[str, AddedToken | str | None]
    extra: tuple[AddedToken | str, ...]
    added: Mapping[int, AddedToken]
    model: Mapping[str, Any]
    model_type: str | None

    @property
    def stated_class(self) -> str | None:
        """Name of the tokenizer's class, without transformers' "Fast"; None where none is told."""
        stated = self.values.get("tokenizer_class") or self.model.get("tokenizer_class")
        if not isinstance(stated, str):
            return None
        name = stated.removesuffix("Fast")
        return None if name in ("PreTrainedTokenizer", "TokenizersBackend") else name

    def switch(self, name: str, default: bool) -> bool:
        """A setting that is on or off; null is the default."""
        value = self.values.get(name)
        return default if value is None else bool(value)


def read_settings(folder: Path) -> Settings:
    """Read the JSON files beside a tokenizer; each may be missing.

    Raises:
        CheckpointError: a file is damaged.
    """
    values = _optional(folder / "tokenizer_config.json")
    stated = dict(values)
    added: dict[int, AddedToken] = {}
    if "added_tokens_decoder" in values:
        place = folder / "tokenizer_config.json"
        for key, token in _mapping(place, values, "added_tokens_decoder").items():
            added[int(key)] = _token(place, token, special=False)
    else:
        stated |= _optional(folder / "special_tokens_map.json")
    place = folder / "tokenizer_config.json"
    listed = stated.get("extra_special_tokens") or stated.get("additional_special_tokens") or ()
    if isinstance(listed, dict):  # tokens of a model's own, by name
        listed = list(listed.values())
    known = {token.content: token for token in added.values()}
    named = {
        name: _known(_named(place, stated[f"{name}_token"]), known)
        for name in NAMES
        if f"{name}_token" in stated
    }
    extra = tuple(_known(_named(place, token), known) for token in listed)
    if "added_tokens_decoder" not in values:
        special = {str(_content(token)) for token in (*named.values(), *extra)}
        for text, number in _optional(folder / "added_tokens.json").items():
            is_special = text in special
            token = AddedToken(text, normalized=not is_special, special=is_special)
            added[int(number)] = token
    config = _optional(folder / "config.json")
    model_type = config.get("model_type")
    return Settings(
        folder=folder,
        values=values,
        named=named,
        extra=tuple(token for token in extra if token is not None),
        added=dict(sorted(added.items())),
        model=config | _optional(folder / "generation_config.json"),
        model_type=model_type if isinstance(model_type, str) else None,
    )


def _optional(file: Path) -> dict[str, Any]:
    return read_json(file) if file.exists() else {}


def _mapping(place: Path, values: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = values[key]
    if not isinstance(value, dict) or not all(k.isdecimal() for k in value):
        raise CheckpointError(f"{place}, {key}: must hold tokens by their ids, got {value!r:.60}.")
    return value


def _named(place: Path, token: Any) -> AddedToken | str | None:
    """A token as a file states it: its text, or its text and how it is found."""
    return token if token is None or isinstance(token, str) else _token(place, token, special=True)


def _token(place: Path, token: Any, *, special: bool) -> AddedToken:
    if isinstance(token, dict) and isinstance(token.get("content"), str):
        flags = ("single_word", "lstrip", "rstrip", "normalized")
        given = {name: bool(token[name]) for name in flags if name in token}
        return AddedToken(token["content"], special=bool(token.get("special", special)), **given)
    raise CheckpointError(
        f'{place}: a special token must be its text, or an object with a "content", got {token!r}.'
    )


def _known(
    token: AddedToken | str | None, known: Mapping[str, AddedToken]
) -> AddedToken | str | None:
    return None if token is None else known.get(str(_content(token)), token)


def _content(token: AddedToken | str | None) -> str | None:
    return token.content if isinstance(token, AddedToken) else token
