"""source.spm, target.spm and vocab.json: Marian, as the OPUS-MT translators have it.

The SentencePiece models only cut a text into pieces; what id a piece has, vocab.json says. A text
may start with the code of the language to translate to, such as ">>fr<<".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import tokenizers
from tokenizers import AddedToken, Regex, normalizers, pre_tokenizers

from headstart.data.tokenizing.added import Named
from headstart.data.tokenizing.frame import FIRST, SECOND, Frame
from headstart.data.tokenizing.piece_model import (
    BYTE,
    NORMAL,
    UNKNOWN,
    USER_DEFINED,
    PieceModel,
    read_piece_model,
)
from headstart.data.tokenizing.sentence_piece import SPACE, bare_model
from headstart.data.tokenizing.settings import Settings
from headstart.errors import CheckpointError
from headstart.models.weights import read_json

FILES = ("source.spm", "target.spm", "vocab.json")


class Marian:
    """A Marian tokenizer for one side of a translation.

    Args:
        named: its special tokens.
        side: "source" or "target".

    Raises:
        CheckpointError: a special token is not in the vocabulary, or a file is missing or damaged.
        OSError: a file cannot be read.
        ValueError: a model file is damaged.
    """

    def __init__(self, named: Named, side: str) -> None:
        settings = named.settings
        apart = settings.switch("separate_vocabs", False)
        file = settings.folder / "vocab.json"
        target = settings.folder / ("target_vocab.json" if apart else "vocab.json")
        self._words = _ids(target if side == "target" else file)
        self._texts = {number: text for text, number in _ids(target).items()}
        special = {name: _known(named, self._words, name, file) for name in ("eos", "unk", "pad")}
        self._unknown = special["unk"][1]
        ids = dict(special.values())
        self._special = set(ids.values())
        _refuse_added(settings, self._words)
        model = read_piece_model(settings.folder / f"{side}.spm")
        self._library = _pieces(model, ids)
        end = special["eos"][1]
        self.frame = Frame(((FIRST, 0), (end, 0)))
        self.pair_frame = Frame(((FIRST, 0), (SECOND, 0), (end, 0)))
        self.open_ends: tuple[str, ...] = ()
        self.kind = "SentencePiece"
        self.content = json.dumps([self._library.to_str(), ids, self._words])

    def bodies(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens not added."""
        codes, rest = (
            zip(*(_split_code(text) for text in texts), strict=True) if texts else ((), ())
        )
        encodings = self._library.encode_batch(list(rest), add_special_tokens=False)
        return [
            [self._id(text) for text in ([code] if code else []) + encoding.tokens]
            for code, encoding in zip(codes, encodings, strict=True)
        ]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """For each token of `bodies`, the characters text[start:end] that it was made of."""
        code, rest = _split_code(text)
        offsets = self._library.encode(rest, add_special_tokens=False).offsets
        before = [(0, len(code))] if code else []
        return before + [(start + len(code), end + len(code)) for start, end in offsets]

    def decode(self, ids: Sequence[int], skip_special: bool) -> str:
        """The text of token ids."""
        text, spaced = "", True
        for number in ids:
            piece = self._texts.get(number)
            if piece is None or (skip_special and number in self._special):
                continue
            if number in self._special:
                text, spaced = f"{text}{piece} ", True
                continue
            text += piece.removeprefix(SPACE) if spaced else piece
            spaced = False
        return text.replace(SPACE, " ").strip()

    def vocabulary(self) -> dict[str, int]:
        """All tokens and their ids."""
        return dict(self._words)

    def token_text(self, number: int) -> str | None:
        """The token with that id."""
        return self._texts.get(number)

    def is_special(self, number: int) -> bool:
        """Whether decoding may skip the token."""
        return number in self._special

    def _id(self, text: str) -> int:
        return self._words.get(text, self._unknown)


def _ids(file: Path) -> dict[str, int]:
    words = read_json(file)
    if not words or not all(type(number) is int and number >= 0 for number in words.values()):
        raise CheckpointError(f"{file}: must hold tokens and their ids. Fetch it again.")
    return words


def _known(named: Named, words: Mapping[str, int], name: str, file: Path) -> tuple[str, int]:
    text = named.text(name)
    if text is None or text not in words:
        raise CheckpointError(
            f'{file}: lacks the {name} token {text!r}. Set "{name}_token" in '
            "tokenizer_config.json to the token that it holds."
        )
    return text, words[text]


def _refuse_added(settings: Settings, words: Mapping[str, int]) -> None:
    listed = (*settings.added.values(), *settings.extra)
    texts = [token if isinstance(token, str) else token.content for token in listed]
    strange = sorted(set(texts) - set(words))
    if strange:
        raise CheckpointError(
            f"{settings.folder}: its files add tokens that vocab.json lacks: {strange[:5]}. Add "
            "them to vocab.json, with the ids that follow its last."
        )


def _split_code(text: str) -> tuple[str, str]:
    """The language code that a text starts with, and the rest."""
    end = text.find("<<") + 2
    return (text[:end], text[end:]) if text.startswith(">>") and end > 1 else ("", text)


def _pieces(model: PieceModel, special: Mapping[str, int]) -> tokenizers.Tokenizer:
    """SentencePiece's own way to cut a text; only the pieces are used, not their ids."""
    made = {NORMAL, UNKNOWN, USER_DEFINED} | ({BYTE} if model.byte_fallback else set())
    pieces = [piece for piece in model.pieces if piece.type in made]
    unknown = pieces.index(model.pieces[model.unknown_id])
    built = bare_model(model, pieces, unknown, byte_fallback=model.byte_fallback)
    rules: list[normalizers.Normalizer] = []
    if model.charsmap:
        rules.append(normalizers.Precompiled(model.charsmap))
    if model.single_spaces:
        rules.append(normalizers.Replace(Regex("^ +| +$"), ""))
        rules.append(normalizers.Replace(Regex(" {2,}"), " "))
    built.normalizer = normalizers.Sequence(rules)
    scheme = "always" if model.dummy_prefix else "never"
    built.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, scheme)
    built.add_tokens([AddedToken(text, special=True) for text in special])
    return built
