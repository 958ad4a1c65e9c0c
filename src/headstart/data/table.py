"""One table from anything: a file, a folder in a known layout, a frame, a list, a data set."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from headstart.data.files import READERS, objects_table
from headstart.errors import DataError, nearest, unknown_name

TABLE_ENDINGS = tuple(READERS)
"""Endings of the table files that `read` takes."""

LAYOUTS = "an aclImdb folder ({train,test}/{pos,neg}/*.txt) or a folder of Blitzer's .review files"


@dataclass(frozen=True)
class Table:
    """Rows from one source.

    Attributes:
        name: what messages call it.
        columns: the cells, by column name.
        first: number of the first row, as its user counts.
        unit: what its user calls a row.
        text: name of the text column, where the layout says so.
        label: name of the label column, where the layout says so.
        findings: what the reader noticed and did.
    """

    name: str
    columns: pa.Table
    first: int = 0
    unit: str = "row"
    text: str | None = None
    label: str | None = None
    findings: tuple[Any, ...] = field(default=())

    def place(self, row: int) -> str:
        """Where row i came from: "shop.csv, row 17", counted as a spreadsheet does."""
        return f"{self.name}, {self.unit} {row + self.first}"

    def __len__(self) -> int:
        return self.columns.num_rows


def read(source: Any, *, name: str = "data", split: str | None = None) -> Table:
    """Read rows from anything.

    Args:
        source: the path of a csv, tsv, json lines, json or parquet file, or of a folder in a known
            layout; or a pandas frame, an arrow table, a list of mappings, of (text, label) pairs
            or of texts, a Hugging Face data set, or a mapping of splits to any of these.
        name: what messages call data that has no path.
        split: which part of a source that has parts: "train", "test", "unsup"; "train+test"
            takes both. Default: "train".

    Raises:
        DataError: there is no such thing, or it is damaged; says where and how to mend it.
    """
    if isinstance(source, Table):
        return source
    if isinstance(source, (str, Path)):
        return _read_path(Path(source), split)
    if isinstance(source, Mapping):
        return _read_split(source, name, split)
    if isinstance(source, pd.DataFrame):
        return Table(name, _frame_table(source, name))
    if isinstance(source, pa.Table):
        return Table(name, source)
    if hasattr(source, "features") and hasattr(source, "with_format"):
        return Table(name, _data_set_table(source))
    if isinstance(source, (list, tuple)):
        return _read_list(list(source), name)
    raise DataError(
        f"{name}: a {type(source).__name__} cannot be read. Give a path, a pandas frame, a list of "
        "(text, label) pairs, a list of texts, or a Hugging Face data set."
    )


def _read_path(path: Path, split: str | None) -> Table:
    if path.is_dir():
        return _read_folder(path, split)
    if not path.exists():
        folder = path.parent
        near = nearest(path.name, [p.name for p in folder.iterdir()]) if folder.is_dir() else ""
        where = "" if folder.is_dir() else f" (nor a folder {folder})"
        raise DataError(f"{path}: there is no such file{where}.{near}")
    if path.suffix == ".review":
        from headstart.data.suites.amazon import read_amazon

        return read_amazon(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: files ending in {path.suffix or 'nothing'!r} are not read. Known endings: "
            f"{', '.join(TABLE_ENDINGS)}, .review. Rename the file if it is one of these."
        )
    columns = reader(path)
    delimited = path.suffix.lower() in (".csv", ".tsv")
    return Table(str(path), columns, first=2 if delimited else 1)


def _read_folder(path: Path, split: str | None) -> Table:
    from headstart.data.suites.amazon import is_amazon, read_amazon
    from headstart.data.suites.imdb import is_imdb, read_imdb

    if is_imdb(path):
        return read_imdb(path, split or "train")
    if is_amazon(path):
        return read_amazon(path)
    found = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
    raise DataError(f"{path}: is no layout that is known; it holds {found}. Known: {LAYOUTS}.")


def _read_split(source: Mapping[str, Any], name: str, split: str | None) -> Table:
    """One split of a mapping such as a DatasetDict, or several joined."""
    chosen = (split or ("train" if "train" in source or len(source) != 1 else next(iter(source))))
    unknown = [part for part in chosen.split("+") if part not in source]
    if unknown:
        raise DataError([unknown_name(f"{name}, split", "split", p, list(source)) for p in unknown])
    parts = [read(source[part], name=name).columns for part in chosen.split("+")]
    return Table(name, pa.concat_tables(parts, promote_options="default"))


def _frame_table(frame: pd.DataFrame, name: str) -> pa.Table:
    twice = sorted({str(c) for c in frame.columns[frame.columns.duplicated()]})
    if twice:
        raise DataError(f"{name}: the frame has columns {twice} more than once. Rename them.")
    columns = {}
    for column in frame.columns:
        series = frame[column]
        try:
            columns[str(column)] = pa.Array.from_pandas(series)
        except (pa.ArrowInvalid, pa.ArrowTypeError):
            missing = series.isna()
            columns[str(column)] = pa.array(series.astype(str).where(~missing, None))
    if not columns or not len(frame):
        raise DataError(f"{name}: the frame has no {'columns' if not columns else 'rows'}.")
    return pa.table(columns)


def _data_set_table(data_set: Any) -> pa.Table:
    """A Hugging Face data set; class numbers become their names."""
    table = data_set.with_format("arrow")[:]
    for position, column in enumerate(table.column_names):
        names = getattr(data_set.features[column], "names", None)
        if names is not None:
            values = [None if v is None or v < 0 else names[v] for v in table[column].to_pylist()]
            table = table.set_column(position, column, pa.array(values, pa.string()))
    return table


def _read_list(rows: list[Any], name: str) -> Table:
    if not rows:
        raise DataError(f"{name}: the list is empty.")
    if all(isinstance(row, str) for row in rows):
        return Table(name, pa.table({"text": rows}), text="text")
    if all(isinstance(row, Mapping) for row in rows):
        return Table(name, objects_table([dict(row) for row in rows], name))
    if all(isinstance(row, (tuple, list)) and len(row) == 2 for row in rows):
        pairs = [{"text": text, "label": label} for text, label in rows]
        return Table(name, objects_table(pairs, name), text="text", label="label")
    kinds = sorted({type(row).__name__ for row in rows})
    raise DataError(
        f"{name}: a list of {', '.join(kinds[:4])} cannot be read. Give texts, (text, label) pairs, or "
        "mappings of column names to values."
    )
