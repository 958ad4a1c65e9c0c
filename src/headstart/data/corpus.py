"""Texts of any length as rows of tokens: nothing is cut off, long texts become several rows.

What learns without labels wants every token of its texts. So a text that does not fit is cut into
rows rather than cut off; where the texts are too many for memory, the rows are kept in files.

Shapes: N texts, R rows, T tokens of all rows, L tokens of a text.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from headstart.data.atomic import folder_atomically
from headstart.data.batches import RaggedStore
from headstart.data.cache import headstart_cache, sources_digest
from headstart.data.examples import Examples
from headstart.data.mapped import map_array
from headstart.data.text import Tokenizer
from headstart.data.texts import Texts

VALUES, OFFSETS, OWNERS = "values.int32", "offsets.int64", "owners.int64"
DESCRIPTION = "description.json"
WHOLE = 1 << 40
"""Tokens of the longest text: none is cut off."""


class Cutting(Protocol):
    """How a text becomes rows."""

    def rows(self, text: np.ndarray) -> Iterator[np.ndarray]:
        """Rows of a text.

        Args:
            text: (L,) int32 tokens, none standing round it.
        """
        ...


@dataclass(frozen=True)
class Framed:
    """Rows with what stands round every text, such as [CLS] and [SEP], for encoders.

    Attributes:
        before: what stands in front of each row.
        after: what stands behind it.
        length: tokens of a row at most.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    length: int

    def rows(self, text: np.ndarray) -> Iterator[np.ndarray]:
        """Rows of a text, as even as can be: no row of a few tokens is left at the end."""
        room = self.length - len(self.before) - len(self.after)
        for part in np.array_split(text, max(1, -(-len(text) // room))):
            yield np.concatenate([self.before, part, self.after]).astype(np.int32)


@dataclass(frozen=True)
class Running:
    """Rows that run on where the last one stopped, for decoders.

    Each row begins with the last token of the row before it, which was the answer to a question
    there and is none here: so every token of the text is asked for exactly once.

    Attributes:
        before: what begins a text.
        after: what ends it.
        length: tokens of a row at most.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    length: int

    def rows(self, text: np.ndarray) -> Iterator[np.ndarray]:
        """Rows of a text."""
        whole = np.concatenate([self.before, text, self.after]).astype(np.int32)
        for start in range(0, max(1, len(whole) - 1), self.length - 1):
            yield whole[start : start + self.length]


@dataclass(frozen=True)
class Corpus:
    """Rows of tokens, and which text each is of.

    Attributes:
        store: R rows.
        owners: (R,) int64, the text that each row is of, ascending.
    """

    store: RaggedStore
    owners: np.ndarray

    def rows_of(self, texts: np.ndarray) -> np.ndarray:
        """The rows of some texts, (M,) ascending."""
        return np.flatnonzero(np.isin(self.owners, texts))


def framed(tokenizer: Tokenizer, length: int) -> Framed:
    """Rows as the tokenizer frames a text."""
    before, after = tokenizer.around
    return Framed(before, after, length)


def running(tokenizer: Tokenizer, length: int) -> Running:
    """Texts that begin and end as the tokenizer says a text does, where it does."""
    before, after = tokenizer.around
    begin, end = tokenizer.bos_id, tokenizer.eos_id
    if not before and begin is not None:
        before = (begin,)
    if not after and end is not None:
        after = (end,)
    return Running(before, after, length)


def corpus(
    tokenizer: Tokenizer, texts: Examples, cutting: Cutting, *, cache: Path | None = None
) -> Corpus:
    """The rows of all texts of a data set: made, or found again.

    Those of a list of texts are made in memory, and nothing is written.

    Args:
        tokenizer: of the backbone.
        texts: N examples.
        cutting: how a text becomes rows.
        cache: where they are kept. Default: $HEADSTART_CACHE.

    Raises:
        DataError: as `Tokenizer.encode`.
        UserError: the cache cannot be written.
    """
    if not isinstance(texts.texts, Texts):
        pieces = list(_pieces(tokenizer, texts, cutting))
        values, lengths, owners = (np.concatenate(some) for some in zip(*pieces, strict=True))
        return Corpus(RaggedStore(values, np.concatenate([[0], np.cumsum(lengths)])), owners)
    key = f"{texts.texts_digest} {tokenizer.digest} {cutting!r} {_code()}"
    place = (cache or headstart_cache()) / "tokens" / hashlib.sha256(key.encode()).hexdigest()
    found = _open(place)
    if found is not None:
        return found
    with folder_atomically(place) as fresh:
        _write(_pieces(tokenizer, texts, cutting), fresh, len(texts))
    found = _open(place)
    assert found is not None, "it was written just now"
    return found


def _code() -> str:
    """Digest of what makes rows of texts, besides the tokenizer's own files."""
    here = Path(__file__)
    tokenizing = sorted((here.parent / "tokenizing").glob("*.py"))
    return sources_digest(here, here.parent / "text.py", *tokenizing)


def _pieces(tokenizer: Tokenizer, texts: Examples, cutting: Cutting) -> Iterator[Any]:
    """Values, lengths and owners of the rows of some thousand texts at a time."""
    done = 0
    for tokens in tokenizer.encode_pieces(texts.texts, WHOLE, add_special=False):
        rows, owners = [], []
        for number in range(len(tokens)):
            text = tokens.values[tokens.offsets[number] : tokens.offsets[number + 1]]
            own = list(cutting.rows(text))
            rows += own
            owners += [done + number] * len(own)
        done += len(tokens)
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        yield np.concatenate(rows), lengths, np.array(owners, dtype=np.int64)


def _write(pieces: Iterator[Any], folder: Path, num_texts: int) -> None:
    num_tokens = num_rows = 0
    with (
        (folder / VALUES).open("wb") as values_file,
        (folder / OFFSETS).open("wb") as offsets_file,
        (folder / OWNERS).open("wb") as owners_file,
    ):
        offsets_file.write(np.zeros(1, np.int64).tobytes())
        for values, lengths, owners in pieces:
            values_file.write(values.astype(np.int32).tobytes())
            offsets_file.write((num_tokens + np.cumsum(lengths)).astype(np.int64).tobytes())
            owners_file.write(owners.tobytes())
            num_tokens += len(values)
            num_rows += len(lengths)
    description = {"texts": num_texts, "rows": num_rows, "tokens": num_tokens}
    (folder / DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")


def _open(place: Path) -> Corpus | None:
    """What is stored, or None where nothing is or it was damaged (which is removed)."""
    if not place.exists():
        return None
    try:
        description = json.loads((place / DESCRIPTION).read_text(encoding="utf-8"))
        num_rows, num_tokens = int(description["rows"]), int(description["tokens"])
        values = map_array(place / VALUES, np.int32, num_tokens)
        offsets = map_array(place / OFFSETS, np.int64, num_rows + 1)
        owners = map_array(place / OWNERS, np.int64, num_rows)
        if offsets[-1] != num_tokens:
            raise ValueError("offsets do not fit the tokens")
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(place)
        return None
    os.utime(place)  # the least recently used goes first when room is made
    return Corpus(RaggedStore(values, offsets), owners)
