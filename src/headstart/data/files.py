"""Table files by their ending, and what is wrong with them, by row and byte."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from headstart.data.content import Pieces
from headstart.data.delimited import read_csv, read_tsv
from headstart.data.json_rows import read_json
from headstart.data.mapped import PIECE, is_large
from headstart.data.text_files import read_lines
from headstart.errors import DataError

ROWS = 10_000
"""Rows of a large parquet file held at a time."""


def read_parquet(path: Path) -> Pieces:
    """Read a parquet file, without the index that pandas may have written into it.

    Raises:
        DataError: it is empty; and on the way that it is damaged, no parquet file, or holds no
            rows.
    """
    if not path.stat().st_size:
        raise DataError(f"{path}: is empty.")
    return Pieces(_numbered(path), "row")


def _numbered(path: Path) -> Iterator[tuple[pa.Table, np.ndarray]]:
    done = 0
    try:
        for table in _parquet_tables(path):
            table.validate(full=True)
            kept = [name for name in table.column_names if not name.startswith("__index_level_")]
            if len(set(kept)) == len(kept):
                table = table.select(kept)
            yield table, np.arange(done + 1, done + table.num_rows + 1)
            done += table.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            f"{path}: is damaged or no parquet file: {reason}. Fetch or write it again."
        ) from None
    if not done:
        raise DataError(f"{path}: holds no rows.")


def _parquet_tables(path: Path) -> Iterator[pa.Table]:
    """The whole, or, of a large file, some rows at a time."""
    with pyarrow.parquet.ParquetFile(path) as file:
        if not is_large(column_bytes(file)):
            yield file.read()
            return
        mean = column_bytes(file) / max(1, file.metadata.num_rows)
        for batch in file.iter_batches(max(1, min(ROWS, int(PIECE / max(1.0, mean))))):
            yield _plain(pa.Table.from_batches([batch]))


def column_bytes(file: pyarrow.parquet.ParquetFile) -> int:
    """What the columns of a parquet file take in memory, about."""
    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    return sum(group.total_byte_size for group in groups)


def _plain(table: pa.Table) -> pa.Table:
    """Categories as what they stand for: each piece of a file may number them otherwise."""
    for place, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            cells = table.column(place).cast(field.type.value_type)
            table = table.set_column(place, field.name, cells)
    return table


READERS: dict[str, Callable[[Path], Pieces]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".parquet": read_parquet,
    ".txt": read_lines,
}
"""Readers by the ending of a file's name."""

REMEDIES = {
    ".zip": "Unpack it first: unzip FILE",
    ".bz2": "Unpack it first: bunzip2 FILE",
    ".xz": "Unpack it first: unxz FILE",
    ".xlsx": "Save it as csv (UTF-8) from the spreadsheet program.",
    ".xls": "Save it as csv (UTF-8) from the spreadsheet program.",
    ".ods": "Save it as csv (UTF-8) from the spreadsheet program.",
    ".pkl": "Write it with frame.to_parquet('FILE.parquet') in pandas.",
    ".feather": "Write it with frame.to_parquet('FILE.parquet') in pandas.",
    ".arrow": "Write it with frame.to_parquet('FILE.parquet') in pandas.",
}
"""What to do with files of other endings."""
