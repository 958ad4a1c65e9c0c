"""Comma- and tab-separated files to tables.

Read with Python's csv module: it numbers rows as a spreadsheet does, takes fields of any length,
and tells where a quote is wrong.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headstart.data.content import SHOWN, Content, shorten
from headstart.data.encoding import check_text, open_text
from headstart.data.findings import Finding
from headstart.errors import DataError

NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
LONGEST_FIELD = 2**31 - 1
CHUNK = 10_000
"""Rows held as Python lists at a time, so that a large file takes little more than its text."""


def read_csv(path: Path) -> Content:
    """Read a comma-separated file with a header; every cell is text, empty ones are missing.

    A header without a comma but with semicolons (as spreadsheets write them where the comma is the
    decimal point), tabs or bars is read as separated by these.

    Raises:
        DataError: wrong encoding, NUL bytes, a quote that is not closed, rows with too many or too
            few fields, a column named twice, or no rows. Rows are counted as a spreadsheet does,
            the header being row 1.
    """
    check_text(path)
    return _parse(path, _delimiter(path), quoted=True)


def read_tsv(path: Path) -> Content:
    """Read a tab-separated file with a header; every cell is text, empty ones are missing.

    Some programs quote fields in such files, others write quotes as they stand. What fits the
    whole file is taken: quoted fields, unless reading them glues lines that are whole without.

    Raises:
        DataError: as `read_csv`.
    """
    check_text(path)
    try:
        quoted = _parse(path, "\t", quoted=True)
    except DataError:
        try:
            return _literal_quotes(path, _parse(path, "\t", quoted=False))
        except DataError:
            pass
        raise
    if len(quoted.columns.column_names) == 1:
        return quoted
    try:
        literal = _parse(path, "\t", quoted=False)
    except DataError:
        return quoted
    same = literal.columns.num_rows == quoted.columns.num_rows
    return quoted if same else _literal_quotes(path, literal)


def _literal_quotes(path: Path, content: Content) -> Content:
    cells = zip(*(column.to_pylist() for column in content.columns.columns), strict=True)
    count = sum(any('"' in (cell or "") for cell in row) for row in cells)
    finding = Finding(
        kind="literal quotes",
        message=f"{path}: its double quotes do not enclose whole fields, so they were read "
        "as text.",
        count=count,
        remedy="Nothing to do if this is how the file was meant.",
    )
    return replace(content, findings=(finding,))


def _delimiter(path: Path) -> str:
    with open_text(path) as file:
        header = re.sub(r'"[^"]*"', "", next((line for line in file if line.strip()), ""))
    return next((mark for mark in (",", ";", "\t", "|") if mark in header), ",")


@contextmanager
def _any_length() -> Iterator[None]:
    """The csv module takes fields of any length meanwhile."""
    before = csv.field_size_limit(LONGEST_FIELD)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _records(path: Path, delimiter: str, *, quoted: bool) -> Iterator[tuple[int, list[str]]]:
    """Rows with their numbers; blank lines are counted and left out."""
    number, line = 0, 1
    with open_text(path, newline="") as file, _any_length():
        reader = csv.reader(
            file,
            delimiter=delimiter,
            strict=True,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
        try:
            for number, record in enumerate(reader, start=1):
                line = reader.line_num + 1
                if record and (len(record) > 1 or record[0] == "" or record[0].strip()):
                    yield number, record
        except csv.Error as error:
            how = "never closed" if "end of data" in str(error) else "not closed rightly"
            raise DataError(
                f"{path}, row {number + 1:,} (line {line:,}): a double quote is opened there and "
                f"{how} ({error}). Close it, or double the quotes that belong to the text."
            ) from None


def _parse(path: Path, delimiter: str, *, quoted: bool) -> Content:
    records = _records(path, delimiter, quoted=quoted)
    first, header = next(records, (0, []))
    if not header:
        raise DataError(f"{path}: holds blank lines only.")
    names = _column_names(path, first, header)
    numbers: list[int] = []
    rows: list[list[str]] = []
    broken: list[str] = []
    parts: list[pa.Table] = []
    try:
        for number, record in records:
            if len(record) != len(names):
                told = len(broken) < SHOWN
                broken.append(_misfit(path, number, record, len(names), delimiter) if told else "")
                continue
            numbers.append(number)
            rows.append(record)
            if len(rows) == CHUNK:
                parts.append(_cells(names, rows))
                rows = []
    except DataError as error:
        broken += error.faults
    if broken:
        raise DataError(shorten(broken, "broken rows"))
    if not numbers:
        raise DataError(f"{path}: holds a header ({', '.join(names)}) and no rows.")
    if rows:
        parts.append(_cells(names, rows))
    return Content(pa.concat_tables(parts), np.array(numbers, dtype=np.int64), "row")


def _cells(names: list[str], rows: list[list[str]]) -> pa.Table:
    """Rows as a table of text; empty cells are missing."""
    columns = {}
    for name, cells in zip(names, zip(*rows, strict=True), strict=True):
        array = pa.array(cells, pa.large_string())
        columns[name] = pc.if_else(pc.equal(array, ""), pa.scalar(None, array.type), array)
    return pa.table(columns)


def _column_names(path: Path, number: int, header: list[str]) -> list[str]:
    """The header without blanks around names; a nameless column is called by its place."""
    names = [name.strip() or f"unnamed {place}" for place, name in enumerate(header, start=1)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(
            f"{path}, row {number}: the header names {', '.join(map(repr, twice))} more than once. "
            "Rename the columns."
        )
    return names


def _misfit(path: Path, number: int, record: list[str], expected: int, delimiter: str) -> str:
    name = NAMES[delimiter]
    remedy = (
        f"A field that holds a {name} must stand in double quotes, and a quote in it be doubled."
        if len(record) > expected
        else f"Fill in what is missing; an empty field needs its {name} too."
    )
    text = delimiter.join(record)
    shown = text if len(text) <= 80 else text[:80] + "..."
    return (
        f"{path}, row {number:,}: has {len(record):,} fields where the header has {expected}: "
        f"{shown!r}. {remedy}"
    )
