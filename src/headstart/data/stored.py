"""Tables too large for memory: read once into a file, which is mapped from then on.

The file is addressed by the content of the table's own file and by the code that reads it, so the
next run finds it, whatever the table is called by then.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from headstart.data.atomic import folder_atomically
from headstart.data.cache import headstart_cache, sources_digest
from headstart.data.content import Content, Pieces
from headstart.data.encoding import unpacked_bytes
from headstart.data.files import READERS, column_bytes
from headstart.data.findings import Finding
from headstart.data.mapped import Window, is_large, map_array
from headstart.data.text_files import content_digest, read_text_folder, text_files

CODE = ("content.py", "delimited.py", "encoding.py", "files.py", "json_rows.py", "stored.py",
        "text_files.py")  # fmt: skip
"""What decides how a file is read."""

CELLS, NUMBERS, DESCRIPTION = "cells.arrow", "numbers.int64", "description.json"


def read_file(path: Path, kind: str) -> Content:
    """Read a table file into memory or, if it is large, into the cache, where it is found again.

    Args:
        kind: its ending, one of `READERS`.

    Raises:
        DataError: the file is not what it should be.
        UserError: the cache cannot be written.
    """
    if not is_large(_bytes_in_memory(path, kind)):
        return READERS[kind](path).whole()
    return _kept(path, _address(path, kind), READERS[kind])


def read_texts(folder: Path) -> Content:
    """Read a folder of .txt files into memory or, if it is large, into the cache.

    Raises:
        DataError: a file is no text, or none holds any.
        UserError: the cache cannot be written.
    """
    if not is_large(sum(map(unpacked_bytes, text_files(folder)))):
        return read_text_folder(folder).whole()
    address = hashlib.sha256(f"{content_digest(folder)} {_code()}".encode()).hexdigest()
    return _kept(folder, address, read_text_folder)


def _kept(path: Path, address: str, read: Callable[[Path], Pieces]) -> Content:
    """What was read before, or is now."""
    place = headstart_cache() / "tables" / address
    found = _open(place, path)
    if found is not None:
        return found
    pieces = read(path)
    with folder_atomically(place) as fresh:
        _write(pieces, fresh, path)
    found = _open(place, path)
    assert found is not None, "it was written just now"
    return found


def _bytes_in_memory(path: Path, kind: str) -> int:
    if kind != ".parquet" or not path.stat().st_size:
        return unpacked_bytes(path)
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            return column_bytes(file)
    except (pa.ArrowException, OSError, ValueError):
        return 0  # whoever reads it says what is wrong


def _address(path: Path, kind: str) -> str:
    with path.open("rb") as file:
        content = hashlib.file_digest(file, "sha256").hexdigest()
    packed = path.suffix.lower() == ".gz"
    return hashlib.sha256(f"{content} {kind} {packed} {_code()}".encode()).hexdigest()


def _code() -> str:
    here = Path(__file__).parent
    return sources_digest(*(here / name for name in CODE))


def _write(pieces: Pieces, folder: Path, path: Path) -> None:
    """Fill a folder with the rows, piece after piece."""
    writer = None
    num_rows = 0
    with (folder / CELLS).open("wb") as cells, (folder / NUMBERS).open("wb") as numbers:
        for table, table_numbers in pieces.pieces:
            if writer is None:
                writer = pa.ipc.new_file(cells, table.schema)
            writer.write_table(table.combine_chunks())
            numbers.write(np.ascontiguousarray(table_numbers, dtype=np.int64).tobytes())
            num_rows += table.num_rows
        assert writer is not None, "a reader refuses a file without rows"
        writer.close()
        size = cells.tell()
    # The file may have another name when this is found again.
    findings = [asdict(f) | {"message": f.message.removeprefix(str(path))} for f in pieces.findings]
    description = {"unit": pieces.unit, "rows": num_rows, "bytes": size, "findings": findings}
    (folder / DESCRIPTION).write_text(json.dumps(description), encoding="utf-8")


def _open(place: Path, path: Path) -> Content | None:
    """What is stored, or None where nothing is or it was damaged (which is removed)."""
    if not place.exists():
        return None
    try:
        description = json.loads((place / DESCRIPTION).read_text(encoding="utf-8"))
        with (place / CELLS).open("rb") as file:
            source = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        columns = pa.ipc.open_file(pa.py_buffer(source)).read_all()
        numbers = map_array(place / NUMBERS, np.int64, description["rows"])
        if (columns.num_rows, len(source)) != (description["rows"], description["bytes"]):
            raise ValueError("rows or bytes are missing")
        findings = tuple(_found(path, values) for values in description["findings"])
        unit = description["unit"]
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException):
        shutil.rmtree(place)
        return None
    os.utime(place)  # the least recently used goes first when room is made
    return Content(columns, numbers, unit, findings, Window(source))


def _found(path: Path, values: dict[str, Any]) -> Finding:
    lists = {name: tuple(values[name]) for name in ("rows", "details")}
    return Finding(**values | lists | {"message": f"{path}{values['message']}"})
