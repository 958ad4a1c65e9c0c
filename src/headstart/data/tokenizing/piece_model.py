"""A SentencePiece model file, read without the sentencepiece package.

The file is a protocol buffer whose fields have been the same since 2018: sentencepiece_model.proto
of https://github.com/google/sentencepiece. Its wire format, numbered fields of four kinds, is
described on https://protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Types of pieces."""
UNIGRAM, PAIR_MERGING = 1, 2
"""Types of models, the second being BPE; word and char are in no published checkpoint."""

VARINT, FIXED_64, BYTES, FIXED_32 = 0, 1, 2, 5


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; its id is its place."""

    text: str
    score: float = 0.0
    type: int = NORMAL


@dataclass(frozen=True)
class PieceModel:
    """What a tokenizer needs to know of a SentencePiece model.

    Attributes:
        pieces: in the order of their ids.
        type: UNIGRAM or PAIR_MERGING.
        unknown_id: of the piece for what no piece covers.
        byte_fallback: what no piece covers becomes its bytes, <0x00> to <0xFF>.
        charsmap: compiled rules of normalisation; empty for none.
        dummy_prefix: a space is put before every text.
        single_spaces: spaces at both ends fall away, and of several in a row all but one.
    """

    pieces: tuple[Piece, ...]
    type: int = UNIGRAM
    unknown_id: int = 0
    byte_fallback: bool = False
    charsmap: bytes = b""
    dummy_prefix: bool = True
    single_spaces: bool = True


def read_piece_model(file: Path) -> PieceModel:
    """Read a SentencePiece model.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no SentencePiece model.
    """
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for number, value in _fields(file.read_bytes()):
        if number == 1:
            pieces.append(_piece(_bytes(value)))
        elif number == 2:
            trainer = dict(_fields(_bytes(value)))
        elif number == 3:
            normalizer = dict(_fields(_bytes(value)))
    if not pieces:
        raise ValueError("it is no SentencePiece model: it holds no pieces")
    model_type = _number(trainer.get(3, UNIGRAM))
    if model_type not in (UNIGRAM, PAIR_MERGING):
        raise ValueError(f"it is a SentencePiece model of type {model_type}, not unigram or BPE")
    return PieceModel(
        pieces=tuple(pieces),
        type=model_type,
        unknown_id=_number(trainer.get(40, 0)),
        byte_fallback=bool(trainer.get(35, 0)),
        charsmap=_bytes(normalizer.get(2, b"")),
        dummy_prefix=bool(normalizer.get(3, 1)),
        single_spaces=bool(normalizer.get(4, 1)),
    )


def _piece(message: bytes) -> Piece:
    fields = dict(_fields(message))
    score = _bytes(fields.get(2, bytes(4)))
    return Piece(
        _bytes(fields.get(1, b"")).decode("utf-8"),
        struct.unpack("<f", score)[0],
        _number(fields.get(3, NORMAL)),
    )


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field: an int where it is one, else its bytes."""
    place = 0
    while place < len(message):
        key, place = _varint(message, place)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, place = _varint(message, place)
            yield number, value
            continue
        if kind == BYTES:
            size, place = _varint(message, place)
        elif kind in (FIXED_32, FIXED_64):
            size = 4 if kind == FIXED_32 else 8
        else:
            raise ValueError("it is no SentencePiece model")
        if place + size > len(message):
            raise ValueError("it is no SentencePiece model, or it ends too early")
        yield number, message[place : place + size]
        place += size


def _varint(message: bytes, place: int) -> tuple[int, int]:
    """A number of 7 bits a byte, lowest first, and the place after it."""
    value = shift = 0
    while shift < 64:
        if place >= len(message):
            raise ValueError("it is no SentencePiece model, or it ends too early")
        byte = message[place]
        value |= (byte & 127) << shift
        place, shift = place + 1, shift + 7
        if byte < 128:
            return value, place
    raise ValueError("it is no SentencePiece model")


def _number(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise ValueError("it is no SentencePiece model")
    return value


def _bytes(value: int | bytes) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("it is no SentencePiece model")
    return value
