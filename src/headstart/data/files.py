"""Table files to arrow tables, and what is wrong with them, by row and byte."""

from __future__ import annotations

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from headstart.errors import DataError

BLOCK = 1 << 20
SHOWN = 5


def shorten(faults: list[str], more: str = "faults") -> list[str]:
    """The first few of many faults, and how many there are besides."""
    rest = len(faults) - SHOWN
    return faults[:SHOWN] + ([f"... and {rest} more {more}."] if rest > 0 else [])


def read_csv(path: Path) -> pa.Table:
    """Read a comma-separated file with a header; every cell is text, empty ones are missing."""
    return _delimited(path, ",")


def read_tsv(path: Path) -> pa.Table:
    """Read a tab-separated file with a header; every cell is text, empty ones are missing."""
    return _delimited(path, "\t")


def _delimited(path: Path, delimiter: str) -> pa.Table:
    """Read a delimited file.

    Raises:
        DataError: wrong encoding, NUL bytes, an unclosed quote, rows with too many or too few
            fields, a column named twice, or no rows. Rows are counted as a spreadsheet does, the
            header being row 1.
    """
    check_text(path)
    _check_quotes(path, delimiter)
    header = next(_records(path, delimiter), [])
    _check_names(path, header)
    broken: list[str] = []

    def refuse(row: Any) -> str:
        broken.append(
            f"{path}, row {row.number}: has {row.actual_columns} fields where the header has "
            f"{row.expected_columns}: {row.text[:80]!r}. A field that holds a {_name(delimiter)} must "
            'stand in double quotes, and a quote in it must be doubled ("").'
        )
        return "skip"

    try:
        table = pa.csv.read_csv(
            path,
            read_options=pa.csv.ReadOptions(use_threads=False),  # else rows are not numbered
            parse_options=pa.csv.ParseOptions(
                delimiter=delimiter, newlines_in_values=True, invalid_row_handler=refuse
            ),
            convert_options=pa.csv.ConvertOptions(
                column_types=dict.fromkeys(header, pa.string()),
                strings_can_be_null=True,
                null_values=[""],
            ),
        )
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}: cannot be read as a table: {error}.") from error
    if broken:
        raise DataError(shorten(broken, "broken rows"))
    if not table.num_rows:
        raise DataError(f"{path}: holds a header ({', '.join(header)}) and no rows.")
    return table


def _name(delimiter: str) -> str:
    return {",": "comma", "\t": "tab"}[delimiter]


def _records(path: Path, delimiter: str) -> Iterator[list[str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.reader(file, delimiter=delimiter)


def _check_names(path: Path, header: list[str]) -> None:
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}, row 1: the header names {twice} more than once. Rename them.")


def _check_quotes(path: Path, delimiter: str) -> None:
    """Find a quote that is never closed: readers take the rest of the file as one field."""
    quotes = sum(block.count(b'"') for block in _blocks(path))
    if quotes % 2 == 0:
        return
    csv.field_size_limit(max(csv.field_size_limit(), path.stat().st_size + 1))
    row = 0
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        line = 0
        try:
            for _ in reader:
                row, line = row + 1, reader.line_num
        except csv.Error as error:
            raise DataError(
                f"{path}, row {row + 1} (line {line + 1}): a double quote is opened there and not "
                f"closed as it should be ({error}). Close it, or double the quotes that belong to "
                "the text."
            ) from None


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            yield block


def check_text(path: Path) -> None:
    """Check that a file is UTF-8 text.

    Raises:
        DataError: it is empty, holds NUL bytes, or is not UTF-8; names the byte and the line.
    """
    if not path.stat().st_size:
        raise DataError(f"{path}: is empty.")
    decoder = codecs.getincrementaldecoder("utf-8")()
    offset = lines = 0
    try:
        for block in _blocks(path):
            if not offset and block.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise DataError(_wrong_encoding(path, 0, 1, "utf-16"))
            zero = block.find(b"\0")
            if zero >= 0:
                line = lines + block[:zero].count(b"\n") + 1
                raise DataError(
                    f"{path}, line {line}: holds a NUL byte (at byte {offset + zero:,}), so it is no "
                    "text file, or a damaged one. Remove them: "
                    f"tr -d '\\000' < {path.name} > clean{path.suffix}"
                )
            pending = len(decoder.getstate()[0])
            decoder.decode(block)
            offset, lines = offset + len(block), lines + block.count(b"\n")
        pending = len(decoder.getstate()[0])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        at = offset - pending + error.start
        line = lines + error.object[: error.start].count(b"\n") + 1
        raise DataError(_wrong_encoding(path, at, line, _guess(path))) from None


def _guess(path: Path) -> str:
    """The likeliest encoding of a file that is not UTF-8; latin-1 can hold any bytes."""
    try:
        for block in _blocks(path):
            block.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _wrong_encoding(path: Path, offset: int, line: int, guess: str) -> str:
    return (
        f"{path}, line {line}: is not UTF-8 (byte {offset:,}); it looks like {guess}. Convert it: "
        f"iconv -f {guess} -t utf-8 {path.name} > utf8-{path.name}"
    )


def read_json(path: Path) -> pa.Table:
    """Read JSON lines, one object a line, or one list of objects.

    Raises:
        DataError: lines that are not JSON objects, all named; no rows.
    """
    check_text(path)
    with path.open(encoding="utf-8-sig") as file:
        start = file.read(BLOCK).lstrip()[:1]
    rows = _list_of_objects(path) if start == "[" else _json_lines(path)
    if not rows:
        raise DataError(f"{path}: holds no rows.")
    return objects_table(rows, str(path))


def _list_of_objects(path: Path) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {error.lineno}: is not JSON: {error.msg}.") from None
    wrong = [f"{path}, item {i}: is no object: {row!r:.60}." for i, row in enumerate(rows, 1)
             if not isinstance(row, dict)]  # fmt: skip
    if wrong:
        raise DataError(shorten(wrong))
    return rows


def _json_lines(path: Path) -> list[dict[str, Any]]:
    rows, faults = [], []
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                faults.append(f"{path}, line {number}: is not JSON: {error.msg}: {line[:60]!r}.")
                continue
            if isinstance(row, dict):
                rows.append(row)
            else:
                faults.append(f"{path}, line {number}: is no object: {line[:60]!r}.")
    if faults:
        raise DataError(shorten(faults, "broken lines"))
    return rows


def objects_table(rows: list[dict[str, Any]], name: str) -> pa.Table:
    """Rows as dictionaries to a table; a column of mixed kinds becomes text."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    columns = {}
    for key in names:
        values = [row.get(key) for row in rows]
        try:
            columns[key] = pa.array(values)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            columns[key] = pa.array([None if v is None else str(v) for v in values])
    if not names:
        raise DataError(f"{name}: its rows have no columns.")
    return pa.table(columns)


def read_parquet(path: Path) -> pa.Table:
    """Read a parquet file.

    Raises:
        DataError: it is damaged or no parquet file, or holds no rows.
    """
    if not path.stat().st_size:
        raise DataError(f"{path}: is empty.")
    try:
        table = pa.parquet.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: is damaged or no parquet file: {reason} Fetch it again.") from None
    if not table.num_rows:
        raise DataError(f"{path}: holds no rows.")
    return table


READERS: dict[str, Callable[[Path], pa.Table]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".parquet": read_parquet,
}
"""Readers by the ending of a file's name."""
