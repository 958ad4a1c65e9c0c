"""Table files by their ending, and what is wrong with them, by row and byte."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from headstart.data.content import Content, objects_table, shorten
from headstart.data.delimited import read_csv, read_tsv
from headstart.data.encoding import check_text, open_text
from headstart.errors import DataError


def read_json(path: Path) -> Content:
    """Read JSON lines, one object a line, or one list of objects.

    Raises:
        DataError: lines that are not JSON objects, the first few named; no rows.
    """
    check_text(path)
    with open_text(path) as file:
        start = next((line.lstrip() for line in file if line.strip()), "")
    if start.startswith("["):
        rows, numbers, unit = *_json_list(path), "item"
    else:
        rows, numbers, unit = *_json_lines(path), "line"
    if not rows:
        raise DataError(f"{path}: holds no rows.")
    columns = objects_table(rows, str(path), lambda row: f"{path}, {unit} {numbers[row]:,}")
    return Content(columns, np.array(numbers, dtype=np.int64), unit)


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


def _json_list(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
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
    return rows, list(range(1, len(rows) + 1))


def _json_lines(path: Path) -> tuple[list[dict[str, Any]], list[int]]:
    rows, numbers, faults = [], [], []
    with open_text(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            row, fault = _parse(line)
            if not fault and not isinstance(row, dict):
                fault = "is no object"
            if fault:
                faults.append(f"{path}, line {number:,}: {fault}: {_shown(line.strip())}.")
            rows.append(row)
            numbers.append(number)
    if len(rows) == 1 or faults:
        _check_one_object(path, rows, bool(faults))
    if faults:
        raise DataError(shorten(faults, "broken lines"))
    return rows, numbers


def _check_one_object(path: Path, rows: list[Any], broken: bool) -> None:
    """Refuse a file that is one object, spread over lines or holding whole columns."""
    whole = _parse(_text(path))[0] if broken else rows[0]
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


def read_parquet(path: Path) -> Content:
    """Read a parquet file, without the index that pandas may have written into it.

    Raises:
        DataError: it is damaged or no parquet file, or holds no rows.
    """
    if not path.stat().st_size:
        raise DataError(f"{path}: is empty.")
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            table = file.read()
        table.validate(full=True)
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise DataError(
            f"{path}: is damaged or no parquet file: {reason}. Fetch or write it again."
        ) from None
    kept = [name for name in table.column_names if not name.startswith("__index_level_")]
    if not table.num_rows:
        raise DataError(f"{path}: holds no rows.")
    if len(set(kept)) == len(kept):
        table = table.select(kept)
    return Content(table, np.arange(1, table.num_rows + 1), "row")


READERS: dict[str, Callable[[Path], Content]] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_json,
    ".ndjson": read_json,
    ".json": read_json,
    ".parquet": read_parquet,
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
