"""Comma- and tab-separated files to tables.

Read with Python's csv module: it numbers rows as a spreadsheet does, takes fields of any length,
and tells where a quote is wrong.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headstart.data.content import SHOWN, Pieces, shorten
from headstart.data.encoding import check_text, open_text
from headstart.data.findings import Finding
from headstart.data.mapped import PIECE
from headstart.errors import DataError

NAMES = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}
LONGEST_FIELD = 2**31 - 1
CHUNK = 10_000
"""Rows held as Python lists at a time, so that a large file takes little more than its text."""


def read_csv(path: Path) -> Pieces:
    """Read a comma-separated file with a header; every cell is text, empty ones are missing.

    A header without a comma but with semicolons (as spreadsheets write them where the comma is the
    decimal point), tabs or bars is read as separated by these.

    Raises:
        DataError: wrong encoding or NUL bytes; and on the way a quote that is not closed, rows with
            too many or too few fields, a column named twice, or no rows. Rows are counted as a
            spreadsheet does, the header being row 1.
    """
    check_text(path)
    return Pieces(_tables(path, delimiter_of(path), quoted=True), "row")


def read_tsv(path: Path) -> Pieces:
    """Read a tab-separated file with a header; every cell is text, empty ones are missing.

    Some programs quote fields in such files, others write quotes as they stand. What fits the
    whole file is taken: quoted fields, unless reading them glues lines that are whole without.

    Raises:
        DataError: as `read_csv`.
    """
    check_text(path)
    quotes = _literal_quotes(path)
    if quotes is None:
        return Pieces(_tables(path, "\t", quoted=True), "row")
    finding = Finding(
        kind="literal quotes",
        message=f"{path}: its double quotes do not enclose whole fields, so they were read "
        "as text.",
        count=quotes,
        remedy="Nothing to do if this is how the file was meant.",
    )
    return Pieces(_tables(path, "\t", quoted=False), "row", (finding,))


def _literal_quotes(path: Path) -> int | None:
    """How many rows hold a double quote, where quotes are text; None where they enclose fields.

    Raises:
        DataError: neither reading fits the file.
    """
    fault = None
    try:
        num_quoted, width, _ = _count(path, quoted=True)
        if width == 1:
            return None
    except DataError as error:
        fault = error
    try:
        num_literal, _, with_quotes = _count(path, quoted=False)
    except DataError:
        if fault is not None:
            raise fault from None
        return None
    return None if fault is None and num_literal == num_quoted else with_quotes


def _count(path: Path, *, quoted: bool) -> tuple[int, int, int]:
    """Rows of a tab-separated file, its columns, and rows that hold a double quote."""
    count = width = with_quotes = 0
    for names, rows, _ in _rows(path, "\t", quoted=quoted):
        count, width = count + len(rows), len(names)
        if not quoted:
            with_quotes += sum(any('"' in cell for cell in row) for row in rows)
    return count, width, with_quotes


def delimiter_of(path: Path) -> str:
    """What separates the fields of a csv file, by its header."""
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


def _tables(path: Path, delimiter: str, *, quoted: bool) -> Iterator[tuple[pa.Table, np.ndarray]]:
    for names, rows, numbers in _rows(path, delimiter, quoted=quoted):
        yield _cells(names, rows), np.array(numbers, dtype=np.int64)


def _rows(
    path: Path, delimiter: str, *, quoted: bool
) -> Iterator[tuple[list[str], list[list[str]], list[int]]]:
    """Names of the columns, and up to `CHUNK` rows with their numbers, until the file ends.

    Raises:
        DataError: once all rows were seen, with what is wrong with them.
    """
    records = _records(path, delimiter, quoted=quoted)
    first, header = next(records, (0, []))
    if not header:
        raise DataError(f"{path}: holds blank lines only.")
    names = _column_names(path, first, header)
    rows: list[list[str]] = []
    numbers: list[int] = []
    broken: list[str] = []
    size, empty = 0, True
    try:
        for number, record in records:
            if len(record) != len(names):
                told = len(broken) < SHOWN
                broken.append(_misfit(path, number, record, len(names), delimiter) if told else "")
                continue
            numbers.append(number)
            rows.append(record)
            size += sum(map(len, record))
            if len(rows) == CHUNK or size > PIECE:
                yield names, rows, numbers
                rows, numbers, size, empty = [], [], 0, False
    except DataError as error:
        broken += error.faults
    if broken:
        raise DataError(shorten(broken, "broken rows"))
    if rows:
        yield names, rows, numbers
    elif empty:
        raise DataError(f"{path}: holds a header ({', '.join(names)}) and no rows.")


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
