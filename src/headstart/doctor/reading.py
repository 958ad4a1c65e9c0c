"""One pass over the texts of a data set: its words, its scripts, and a signature of each text.

Shapes: M rows looked at, T words of a block of them, H hashes, L languages, S scripts.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.data.mapped import at_once
from headstart.doctor.function_words import LANGUAGES, LISTS, WEIGHTS
from headstart.doctor.subject import Subject

BLOCK = 5_000
"""Texts whose words are held at a time."""

UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
)
WORD = re.compile(rf"[{UNSPACED}]|[^\W_{UNSPACED}]+")
"""A word; where a script sets no blanks between words, a character."""

APOSTROPHES = str.maketrans("", "", "'’")
SPLIT = {code: chr(code) if chr(code).isalnum() else " " for code in range(128)} | {ord("'"): None}
"""What makes of ASCII text its words and blanks, many times as fast as `WORD`."""

HASHES = 64
"""Numbers in a signature."""

SCRIPTS = ("Latin", "Han", "Kana", "Hangul", "Cyrillic", "Arabic", "Greek", "Hebrew", "Devanagari",
           "Bengali", "Tamil", "Telugu", "Thai", "Georgian", "Armenian", "Other")  # fmt: skip
NAMED = {"CJK": "Han", "HIRAGANA": "Kana", "KATAKANA": "Kana"} | {s.upper(): s for s in SCRIPTS}
"""What a character's Unicode name begins with: its script."""

NEUTRAL = ("MODIFIER", "FULLWIDTH", "HALFWIDTH", "MATHEMATICAL", "SUPERSCRIPT", "SUBSCRIPT",
           "FEMININE", "MASCULINE", "MICRO", "DOUBLE-STRUCK", "SCRIPT", "BLACK-LETTER",
           "INFORMATION", "ALEF", "OHM", "KELVIN", "ANGSTROM", "TURNED", "ROMAN")  # fmt: skip
"""Letters that any script may hold."""

_ODD = np.random.default_rng(20_240_229)
_FACTORS = _ODD.integers(0, 2**63, HASHES, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
_SHIFTS = _ODD.integers(0, 2**63, HASHES, dtype=np.uint64)
_FIRST, _SECOND, _ALONE = (
    np.uint64(f) for f in (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9)
)


KINDS = (np.int64, np.uint32, np.float32, np.int32)
"""What lengths, signatures, languages and scripts are kept in."""


@dataclass(frozen=True)
class Reading:
    """What a pass over M texts left.

    Attributes:
        num_words: (M,) int64.
        signatures: (M, H) uint32 minhashes of each text's pairs of neighbouring words; all ones
            where it has no word.
        languages: (M, L) float32 weights of the different function words of each language.
        scripts: (M, S) int32 letters of each script.
        vocabulary: how often each word occurs, without case.
    """

    num_words: np.ndarray
    signatures: np.ndarray
    languages: np.ndarray
    scripts: np.ndarray
    vocabulary: Counter[str]


def read_texts(subject: Subject) -> Reading:
    """Read the texts that are looked at, once."""
    texts = subject.sample.texts
    vocabulary: Counter[str] = Counter()
    alphabet = Alphabet()
    parts: list[tuple[np.ndarray, ...]] = []
    step = at_once(texts, BLOCK)
    for start in range(0, len(texts), step):
        block = texts[start : start + step]
        codes, names, lengths = _words(block)
        times = np.bincount(codes, minlength=len(names)).tolist()
        vocabulary.update(dict(zip(names, times, strict=True)))
        hashes = _hashed(names)[codes]
        parts.append((lengths, signatures(hashes, lengths),
                      _languages(codes, names, lengths), alphabet.counts(block)))  # fmt: skip
    shapes = ((0,), (0, HASHES), (0, len(LANGUAGES)), (0, len(SCRIPTS)))
    parts.append(tuple(np.zeros(shape, kind) for shape, kind in zip(shapes, KINDS, strict=True)))
    lengths, signed, languages, scripts = (np.concatenate(c) for c in zip(*parts, strict=True))
    return Reading(lengths, signed, languages, scripts, vocabulary)


def words_of(text: str) -> list[str]:
    """The words of a text, without case and apostrophes; where a script sets no blanks, its
    characters."""
    if text.isascii():
        return text.lower().translate(SPLIT).split()
    return WORD.findall(text.casefold().translate(APOSTROPHES))


def shingles(text: str) -> np.ndarray:
    """The distinct hashes of a text's pairs of neighbouring words, uint64, ascending."""
    codes, names, lengths = _words([text])
    return np.unique(_pairs(_hashed(names)[codes], lengths)[0])


def _words(texts: Sequence[str]) -> tuple[np.ndarray, list[str], np.ndarray]:
    """(T,) int64 codes of the words, the names of the codes, and (M,) words of each text."""
    from pandas import factorize

    listed = [words_of(text) for text in texts]
    lengths = np.array([len(words) for words in listed], dtype=np.int64)
    flat = np.empty(int(lengths.sum()), dtype=object)
    flat[:] = [word for words in listed for word in words]
    codes, names = factorize(flat)
    return codes, names.tolist(), lengths


def _hashed(names: Sequence[str]) -> np.ndarray:
    """(V,) uint64 of V words; the same on every machine."""
    from pandas.util import hash_array

    return hash_array(np.array(names, dtype=object), categorize=False).astype(np.uint64)


def _pairs(hashes: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Hashes of neighbouring words of each text, and (M,) how many each has.

    A text of one word has that word; one without has none.
    """
    ends = np.cumsum(lengths)
    pairs = np.empty_like(hashes)
    pairs[:-1] = _mixed(hashes[:-1] * _FIRST + _mixed(hashes[1:] * _SECOND))
    kept = np.ones(len(hashes), dtype=bool)
    kept[ends[lengths > 0] - 1] = False
    alone = ends[lengths == 1] - 1
    pairs[alone], kept[alone] = _mixed(hashes[alone] * _ALONE), True
    return pairs[kept], np.where(lengths > 1, lengths - 1, lengths)


def _mixed(values: np.ndarray) -> np.ndarray:
    """Every bit of the values spread over all bits (the end of MurmurHash3)."""
    values = (values ^ (values >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    return values ^ (values >> np.uint64(33))


def signatures(hashes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Minhashes (M, H) uint32 of texts (Broder 1997, "On the resemblance and containment of
    documents"): the share of equal numbers of two signatures estimates the Jaccard similarity of
    their sets of word pairs, with a standard deviation of 0.06 at most.

    Args:
        hashes: (T,) uint64 of all words, text after text.
        lengths: (M,) words of each text.
    """
    pairs, counts = _pairs(hashes, lengths)
    found = np.full((len(lengths), HASHES), np.iinfo(np.uint32).max, dtype=np.uint32)
    filled = counts > 0
    if not len(pairs):
        return found
    starts = (np.cumsum(counts) - counts)[filled]
    for number, (factor, shift) in enumerate(zip(_FACTORS, _SHIFTS, strict=True)):
        turned = ((pairs * factor + shift) >> np.uint64(32)).astype(np.uint32)
        found[filled, number] = np.minimum.reduceat(turned, starts)
    return found


def joined_hash(numbers: np.ndarray) -> np.ndarray:
    """(M,) uint64 of (M, W) whole numbers: equal where all W are, else most likely not."""
    found = np.zeros(len(numbers), dtype=np.uint64)
    for column in numbers.T:
        found = _mixed(found * _FIRST + column.astype(np.uint64) + _SECOND)
    return found


def _languages(codes: np.ndarray, names: Sequence[str], lengths: np.ndarray) -> np.ndarray:
    """(M, L) float32: weights of the different function words of each language in each text."""
    rows = np.repeat(np.arange(len(lengths)), lengths)
    place = {name: code for code, name in enumerate(names)}
    weights = np.zeros((len(names), len(LANGUAGES)))
    for language, words in enumerate(LISTS.values()):
        for word in words.split():
            if word in place:
                weights[place[word], language] = WEIGHTS[word]
    known = np.flatnonzero((weights.sum(1) > 0)[codes])
    once = np.unique(rows[known] * len(names) + codes[known])
    rows, codes = once // max(len(names), 1), once % max(len(names), 1)
    found = [np.bincount(rows, weights[codes, n], len(lengths)) for n in range(len(LANGUAGES))]
    return np.stack(found, 1).astype(np.float32)


class Alphabet:
    """Counts the letters of each script, learning each character's script as it comes."""

    def __init__(self) -> None:
        self._script = np.full(0x110000, -2, dtype=np.int8)  # -2: never seen, -1: of no script

    def counts(self, texts: Sequence[str]) -> np.ndarray:
        """(M, S) int32 letters of each script in each of M texts."""
        found = np.zeros((len(texts), len(SCRIPTS)), dtype=np.int32)
        plain = np.array([text.isascii() for text in texts], dtype=bool)
        found[plain, SCRIPTS.index("Latin")] = _ascii_letters([t for t in texts if t.isascii()])
        found[~plain] = self._counts([t for t in texts if not t.isascii()])
        return found

    def _counts(self, texts: Sequence[str]) -> np.ndarray:
        joined = "".join(texts)
        for character in set(joined):
            if self._script[ord(character)] == -2:
                self._script[ord(character)] = script_of(character)
        points = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
        scripts = self._script[points]
        letters = scripts >= 0
        cells = _rows(texts)[letters] * len(SCRIPTS) + scripts[letters]
        counted = np.bincount(cells, minlength=len(texts) * len(SCRIPTS))
        return counted.reshape(len(texts), len(SCRIPTS))


def _ascii_letters(texts: Sequence[str]) -> np.ndarray:
    """(M,) letters in each of M texts of ASCII."""
    points = np.frombuffer("".join(texts).encode("ascii"), dtype=np.uint8) | np.uint8(32)
    before = np.concatenate([[0], np.cumsum((points >= ord("a")) & (points <= ord("z")))])
    ends = np.cumsum([len(text) for text in texts]).astype(np.int64)
    return np.diff(before[ends], prepend=0)


def _rows(texts: Sequence[str]) -> np.ndarray:
    """(characters,) which of the texts each character is of."""
    return np.repeat(np.arange(len(texts)), [len(text) for text in texts])


def script_of(character: str) -> int:
    """Place of a letter's script in `SCRIPTS`, by its Unicode name; -1 of what is no letter."""
    if not unicodedata.category(character).startswith("L"):
        return -1
    begins = unicodedata.name(character, "").split(" ")[0]
    if begins in NEUTRAL:
        return -1
    return SCRIPTS.index(NAMED.get(begins, "Other"))
