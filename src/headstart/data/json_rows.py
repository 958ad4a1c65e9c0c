"""JSON lines, and lists of JSON objects, to tables.

A large file of lines is read twice: to find what is wrong with it and of what kind each column is,
and to make the columns, some thousand rows at a time.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from headstart.data.content import SHOWN, Pieces, objects_table, shorten, to_array, to_texts
from headstart.data.encoding import check_text, open_text, unpacked_bytes
from headstart.data.mapped import PIECE, is_large
from headstart.errors import DataError

CHUNK = 10_000
"""Rows of a large file held as Python objects at a time."""

Row = dict[str, Any]
Numbered = tuple[int, Row]
"""A row behind its number, as its user counts."""


def read_json(path: Path) -> Pieces:
    """Read JSON lines, one object a line, or one list of objects.

    Raises:
        DataError: lines that are not JSON objects, the first few named; no rows.
    """
    check_text(path)
    with open_text(path) as file:
        start = next((line.lstrip() for line in file if line.strip()), "")
    if start.startswith("["):
        return _one_piece(path, _json_list(path), "item")
    if not is_large(unpacked_bytes(path)):
        return _one_piece(path, _json_lines(path), "line")
    return Pieces(_pieces(path, _kinds(path)), "line")


def _one_piece(path: Path, records: Iterator[Numbered], unit: str) -> Pieces:
    listed = list(records)
    if not listed:
        raise DataError(f"{path}: holds no rows.")
    numbers, rows = zip(*listed, strict=True)
    columns = objects_table(rows, str(path), lambda row: f"{path}, {unit} {numbers[row]:,}")
    return Pieces(iter([(columns, np.array(numbers, dtype=np.int64))]), unit)


def _kinds(path: Path) -> dict[str, pa.DataType]:
    """The columns of a file of JSON lines, with what each must be to hold all its values."""
    kinds: dict[str, pa.DataType] = {}
    empty = True
    for numbers, rows in _chunks(path):
        empty = False
        for key in dict.fromkeys(key for row in rows for key in row):
            array = to_array([row.get(key) for row in rows], _placed(path, numbers))
            kinds[key] = _common(kinds.get(key, pa.null()), array.type)
    if empty:
        raise DataError(f"{path}: holds no rows.")
    if not kinds:
        raise DataError(f"{path}: its rows have no columns.")
    return kinds


def _common(first: pa.DataType, second: pa.DataType) -> pa.DataType:
    """What holds values of both kinds; text, where nothing else does."""
    if first == second:
        return first
    if pa.types.is_unsigned_integer(first) or pa.types.is_unsigned_integer(second):
        return pa.string()
    schemas = [pa.schema([("x", kind)]) for kind in (first, second)]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive").field("x").type
    except pa.ArrowException:
        return pa.string()


def _pieces(path: Path, kinds: dict[str, pa.DataType]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    for numbers, rows in _chunks(path):
        columns = {
            key: _column(path, key, [row.get(key) for row in rows], kind)
            for key, kind in kinds.items()
        }
        yield pa.table(columns), np.array(numbers, dtype=np.int64)


def _column(path: Path, key: str, values: list[Any], kind: pa.DataType) -> Any:
    try:
        return pa.array(values, kind, from_pandas=True)
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        if pa.types.is_string(kind):
            return to_texts(values)
        if pa.types.is_floating(kind):  # among others, whole numbers too large to be exact
            return pa.array([None if value is None else float(value) for value in values], kind)
        raise DataError(
            f"{path}, column {key!r}: holds values of kinds that do not go together ({error}). "
            "Write them alike, or leave the column out."
        ) from None


def _placed(path: Path, numbers: list[int]) -> Any:
    return lambda row: f"{path}, line {numbers[row]:,}"


def _chunks(path: Path) -> Iterator[tuple[list[int], list[Row]]]:
    """Numbers and rows, some thousand at a time, until the file ends."""
    numbers: list[int] = []
    rows: list[Row] = []
    size = 0
    for number, row in _json_lines(path):
        numbers.append(number)
        rows.append(row)
        size += sum(len(value) for value in row.values() if isinstance(value, str))
        if len(rows) == CHUNK or size > PIECE:
            yield numbers, rows
            numbers, rows, size = [], [], 0
    if rows:
        yield numbers, rows


def _parse(text: str) -> tuple[Any, str]:
    """(value, "") or (None, what is wrong)."""
    try:
        return json.loads(text), ""
    except json.JSONDecodeError as error:
        line = f"line {error.lineno:,}, " if error.lineno > 1 else ""
        return None, f"is not JSON: {error.msg} at {line}column {error.colno:,}"
    except RecursionError:
        return None, "is nested too deeply"
    except ValueError as error:  # whole numbers of more digits than Python converts
        return None, f"holds a value that cannot be read: {str(error).split(';')[0]}"


def _text(path: Path) -> str:
    with open_text(path) as file:
        return file.read()


def _json_list(path: Path) -> Iterator[Numbered]:
    rows, fault = _parse(_text(path))
    if fault:
        raise DataError(
            f"{path}: {fault}. Mend it, or write one object a line (JSON lines, .jsonl)."
        )
    wrong = [
        f"{path}, item {i:,}: is no object but {_shown(json.dumps(row))}. Each row must be one, "
        'such as {"text": "Fine.", "label": "positive"}.'
        for i, row in enumerate(rows, start=1)
        if not isinstance(row, dict)
    ]
    if wrong:
        raise DataError(shorten(wrong, "such items"))
    yield from enumerate(rows, start=1)


def _json_lines(path: Path) -> Iterator[Numbered]:
    """The objects with their line numbers.

    Raises:
        DataError: once all lines were seen, with what is wrong with them.
    """
    faults: list[str] = []
    first, count = ("", None), 0
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            row, fault = _parse(line)
            first, count = first if count else (fault, row), count + 1
            if not fault and isinstance(row, dict):
                yield number, row
                continue
            told = f"{path}, line {number:,}: {fault or 'is no object'}: {_shown(line.strip())}."
            faults.append(told if len(faults) < SHOWN else "")
    if faults and (count == 1 or first[0]):  # else line 1 is whole, and so not a part of an object
        _check_one_object(path, _parse(_text(path))[0], broken=True)
    elif count == 1:
        _check_one_object(path, first[1], broken=False)
    if faults:
        raise DataError(shorten(faults, "broken lines"))


def _check_one_object(path: Path, whole: Any, *, broken: bool) -> None:
    """Refuse a file that is one object, spread over lines or holding whole columns."""
    if not isinstance(whole, dict):
        return
    nested = bool(whole) and all(isinstance(value, (dict, list)) for value in whole.values())
    if broken or nested:
        raise DataError(
            f"{path}: holds one object (keys: {', '.join(list(whole)[:5])}), where rows are "
            "needed: one object a line, or a list of objects. pandas writes them with "
            "frame.to_json(file, orient='records', lines=True)."
        )


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:60] + "...")
