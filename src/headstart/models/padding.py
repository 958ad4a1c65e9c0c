"""Which token a folder pads with, so that transformers finds the last token of each text.

A ...ForSequenceClassification on a decoder reads the rightmost token that is not the padding one.
It refuses batches where the config names none, and reads one too early where texts end with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from headstart.models.weights import read_json

Values = dict[str, Any]


def padding_values(
    source: Path, config: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a decoder's config.json and tokenizer_config.json should say about padding.

    The token is the first of: the tokenizer's, the config's, one that ends or begins a text, any
    other that is special; that the backbone has a vector for and that the tokenizer puts at the
    end of no text. Where there is none, nothing is said, and transformers refuses batches.

    Args:
        source: folder with the tokenizer's files.
        config: values of the backbone's config.json.

    Raises:
        CheckpointError: a file is damaged.
    """
    tokenizer = _read(source / "tokenizer.json")
    tokens = _tokens(tokenizer) or _read(source / "vocab.json")
    settings = _read(source / "special_tokens_map.json") | _read(source / "tokenizer_config.json")
    last = tokens.get(_last(tokenizer.get("post_processor")))
    for token in _candidates(settings, config, tokenizer, tokens):
        if isinstance(token, int) and token != last and 0 <= token < config["vocab_size"]:
            texts = {number: text for text, number in tokens.items()}
            named = {"pad_token": texts[token]} if token in texts else {}
            return {"pad_token_id": token}, {**named, "padding_side": "right"}
    return {}, {}


def _candidates(
    settings: Mapping[str, Any],
    config: Mapping[str, Any],
    tokenizer: Mapping[str, Any],
    tokens: Mapping[str, int],
) -> Iterator[Any]:
    """Tokens to pad with, the best first; what is not known is None."""
    yield tokens.get(_text(settings.get("pad_token")))
    yield config.get("pad_token_id")
    for key in ("eos_token_id", "bos_token_id"):
        said = config.get(key)
        yield from said if isinstance(said, list) else [said]
    yield from (said["id"] for said in tokenizer.get("added_tokens", ()) if said.get("special"))


def _tokens(tokenizer: Mapping[str, Any]) -> dict[str, int]:
    """Each token of a tokenizer.json by its text."""
    known = tokenizer.get("model", {}).get("vocab", {})
    if isinstance(known, list):  # of pieces, each with its score
        known = {piece: number for number, (piece, _) in enumerate(known)}
    return known | {said["content"]: said["id"] for said in tokenizer.get("added_tokens", ())}


def _last(processor: Mapping[str, Any] | None) -> str:
    """The special token that a tokenizer.json puts at the end of a text; "" where there is none."""
    if processor is None:
        return ""
    if processor["type"] == "Sequence":
        return next(filter(None, map(_last, processor["processors"])), "")
    if "sep" in processor:  # as BERT and RoBERTa have it
        return str(processor["sep"][0])
    pieces = processor.get("single") or [{}]
    return str(pieces[-1].get("SpecialToken", {}).get("id", ""))


def _text(said: Any) -> str:
    """A token in a tokenizer_config.json: its text, or an object that holds it."""
    return str(said["content"] if isinstance(said, dict) else said or "")


def _read(file: Path) -> dict[str, Any]:
    return read_json(file) if file.exists() else {}
