"""Texts tokenised once: where they are too many for memory, their tokens are kept in files.

The files are addressed by the texts, the tokenizer and the length, so that every stage, arm and run
finds them again, and are read through memory maps.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np

from headstart.data import text
from headstart.data.atomic import folder_atomically
from headstart.data.cache import headstart_cache, sources_digest
from headstart.data.examples import Examples
from headstart.data.mapped import map_array
from headstart.data.pair import encode
from headstart.data.text import Tokenizer
from headstart.data.texts import Texts
from headstart.data.tokens import Tokens

VALUES, LENGTHS, OFFSETS = "values.int32", "full_lengths.int64", "offsets.int64"
DESCRIPTION = "description.json"


def tokenised(
    tokenizer: Tokenizer,
    rows: Examples,
    max_length: int,
    *,
    cache: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> Tokens:
    """The tokens of all texts of a data set: made, or found again.

    Those of a list of texts are made in memory, and nothing is written.

    Args:
        tokenizer: of the backbone.
        rows: N examples.
        max_length: tokens of a text at most.
        cache: where they are kept. Default: $HEADSTART_CACHE.
        progress: is told how many more texts are done.

    Raises:
        DataError: as `Tokenizer.encode`.
        UserError: the cache cannot be written.
    """
    if not isinstance(rows.texts, Texts):
        return encode(tokenizer, rows.texts, max_length, progress)
    key = f"{rows.texts_digest} {tokenizer.digest} {max_length} {_code()}"
    place = (cache or headstart_cache()) / "tokens" / hashlib.sha256(key.encode()).hexdigest()
    found = _open(place)
    if found is not None:
        return found
    with folder_atomically(place) as fresh:
        _write(tokenizer, rows.texts, max_length, fresh, progress)
    found = _open(place)
    assert found is not None, "it was written just now"
    return found


def _code() -> str:
    """Digest of what makes tokens of texts, besides the tokenizer's own files."""
    here = Path(__file__).parent
    return sources_digest(Path(text.__file__), *sorted((here / "tokenizing").glob("*.py")))


def _write(
    tokenizer: Tokenizer,
    texts: Texts,
    max_length: int,
    folder: Path,
    progress: Callable[[int], None] | None,
) -> None:
    num_tokens = 0
    with (
        (folder / VALUES).open("wb") as values,
        (folder / LENGTHS).open("wb") as lengths,
        (folder / OFFSETS).open("wb") as offsets,
    ):
        offsets.write(np.zeros(1, np.int64).tobytes())
        for piece in tokenizer.encode_pieces(texts, max_length, progress):
            values.write(piece.values.astype(np.int32).tobytes())
            lengths.write(piece.full_lengths.astype(np.int64).tobytes())
            offsets.write((piece.offsets[1:] + num_tokens).astype(np.int64).tobytes())
            num_tokens += len(piece.values)
    description = json.dumps({"rows": len(texts), "tokens": num_tokens})
    (folder / DESCRIPTION).write_text(description, encoding="utf-8")


def _open(place: Path) -> Tokens | None:
    """What is stored, or None where nothing is or it was damaged (which is removed)."""
    if not place.exists():
        return None
    try:
        description = json.loads((place / DESCRIPTION).read_text(encoding="utf-8"))
        num_rows, num_tokens = int(description["rows"]), int(description["tokens"])
        values = map_array(place / VALUES, np.int32, num_tokens)
        lengths = map_array(place / LENGTHS, np.int64, num_rows)
        offsets = map_array(place / OFFSETS, np.int64, num_rows + 1)
        if offsets[-1] != num_tokens:
            raise ValueError("offsets do not fit the tokens")
    except (OSError, ValueError, KeyError, TypeError):
        shutil.rmtree(place)
        return None
    os.utime(place)  # the least recently used goes first when room is made
    return Tokens(values, offsets, lengths)
