"""One table from anything: a file, a folder in a known layout, a frame, a list, a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from headstart.data.content import Content, loaded_pandas, objects_table, to_array
from headstart.data.encoding import ending
from headstart.data.files import READERS, REMEDIES
from headstart.data.findings import Finding
from headstart.data.mapped import Window
from headstart.data.stored import read_file, read_texts
from headstart.data.text_files import text_files
from headstart.errors import DataError, nearest, unknown_name

TABLE_ENDINGS = tuple(READERS)
"""Endings of the table files that `read` takes."""

LAYOUTS = (
    "an aclImdb folder ({train,test}/{pos,neg}/*.txt), a folder of Blitzer's .review files, or one "
    "of .txt files"
)


@dataclass(frozen=True)
class Table:
    """N rows from one source.

    Attributes:
        name: what messages call it.
        columns: the cells, by column name.
        first: number of the first row, as its user counts.
        unit: what its user calls a row.
        text: name of the text column, where the layout says so.
        label: name of the label column, where the layout says so.
        findings: what the reader noticed and did.
        numbers: (N,) int64 number of each row, as its user counts, where they do not simply follow
            the first.
        places: where each row stands below `name`, such as a file of a folder, where that says more
            than a number.
        window: over the map that the columns are read through, where there is one.
    """

    name: str
    columns: pa.Table
    first: int = 0
    unit: str = "row"
    text: str | None = None
    label: str | None = None
    findings: tuple[Finding, ...] = ()
    numbers: np.ndarray | None = None
    places: Sequence[str] | None = None
    window: Window = field(default_factory=lambda: Window(None))

    def number(self, row: int) -> int:
        """The number of row i (from 0) as its user counts: in a spreadsheet the header is row 1."""
        return int(row + self.first if self.numbers is None else self.numbers[row])

    def number_all(self, rows: np.ndarray | None = None) -> np.ndarray:
        """(M,) int64 numbers of the given rows (from 0), or of all."""
        if self.numbers is not None:
            return self.numbers if rows is None else self.numbers[rows]
        return (np.arange(len(self)) if rows is None else rows) + self.first

    def place(self, row: int) -> str:
        """Where row i (from 0) came from, such as "shop.csv, row 17"."""
        if self.places is not None:
            return f"{self.name}/{self.places[row]}"
        return f"{self.name}, {self.unit} {self.number(row):,}"

    def __len__(self) -> int:
        return self.columns.num_rows


def read(source: Any, *, name: str = "data", split: str | None = None) -> Table:
    """Read rows from anything.

    Args:
        source: the path of a csv, tsv, json lines, json or parquet file, or of a folder in a known
            layout; or a pandas frame or series, an arrow table (or what can give one), a list of
            mappings, of (text, label) pairs or of texts, a Hugging Face data set, or a mapping of
            splits to any of these.
        name: what messages call data that has no path.
        split: which part of a source that has parts: "train", "test", "unsup"; "train+test"
            takes both. Default: "train", or the only one.

    Raises:
        DataError: there is no such thing, or it is damaged; says where and how to mend it.
    """
    if isinstance(source, Mapping):
        return _read_split(source, name, split)
    if isinstance(source, (str, Path)):
        return _checked(_read_path(Path(source).expanduser(), split))
    own = getattr(source, "split", None)
    if split is not None and str(own) != split:
        raise _no_parts(name, split)
    return source if isinstance(source, Table) else _checked(_read_object(source, name))


def _read_object(source: Any, name: str) -> Table:
    pandas = loaded_pandas()
    if pandas is not None and isinstance(source, pandas.DataFrame):
        return Table(name, _frame_table(source, name))
    if isinstance(source, np.ndarray) or (pandas and isinstance(source, pandas.Series)):
        source = source.tolist()
    if hasattr(source, "features") and hasattr(source, "with_format"):
        return Table(name, _data_set_table(source, name))
    if isinstance(source, pa.Table):
        return Table(name, source)
    if hasattr(source, "__arrow_c_stream__"):
        return Table(name, pa.table(source))
    if isinstance(source, (list, tuple)):
        return _read_list(list(source), name)
    raise DataError(
        f"{name}: a {type(source).__name__} cannot be read. Give a path, a pandas frame, a list of "
        "(text, label) pairs, a list of texts, or a Hugging Face data set."
    )


def _checked(table: Table) -> Table:
    names = table.columns.column_names
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DataError(f"{table.name}: has columns {twice} more than once. Rename them.")
    if not names or not len(table):
        raise DataError(f"{table.name}: has no {'rows' if names else 'columns'}.")
    return table


def _no_parts(name: str, split: str) -> DataError:
    return DataError(f"{name}: has no parts, so there is no split {split!r} to take. Leave it out.")


def _read_path(path: Path, split: str | None) -> Table:
    try:
        if path.is_dir():
            return _read_folder(path, split)
        if not path.exists():
            raise DataError(_not_there(path))
        if split is not None:
            raise _no_parts(str(path), split)
        return _read_file(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be opened: {error.strerror or error}.") from None


def _not_there(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"{path}: there is no such file, nor a folder {folder}."
    names = [entry.name for entry in folder.iterdir()]
    return f"{path}: there is no such file.{nearest(path.name, names)}"


def _read_file(path: Path) -> Table:
    kind = ending(path)
    if kind == ".review" and path.suffix.lower() == kind:
        from headstart.data.suites.amazon import read_amazon

        return read_amazon(path)
    if kind not in READERS:
        remedy = REMEDIES.get(kind, "Rename the file if it is one of these.")
        found = f"ending in {path.suffix!r}" if path.suffix else "without an ending"
        raise DataError(
            f"{path}: files {found} are not read. Known endings: {', '.join(TABLE_ENDINGS)}, "
            ".review (.csv.gz and its like too). "
            + remedy.replace("FILE", path.stem if "'FILE." in remedy else path.name)
        )
    plain = kind == ".txt"
    return _table(str(path), read_file(path, kind), text="text" if plain else None)


def _table(name: str, content: Content, text: str | None) -> Table:
    return Table(name, content.columns, unit=content.unit, findings=content.findings, text=text,
                 numbers=content.numbers, window=content.window)  # fmt: skip


def _read_folder(path: Path, split: str | None) -> Table:
    from headstart.data.suites.amazon import is_amazon, read_amazon
    from headstart.data.suites.imdb import is_imdb, read_imdb

    if is_imdb(path):
        return read_imdb(path, split or "train")
    if is_amazon(path):
        if split is not None:
            raise _no_parts(str(path), split)
        return read_amazon(path)
    entries = sorted(path.iterdir())
    found = ", ".join(entry.name for entry in entries[:5]) or "nothing"
    around = [path.resolve().parent, *(entry for entry in entries if entry.is_dir())]
    fitting = next((folder for folder in around if is_imdb(folder) or is_amazon(folder)), None)
    part = is_imdb(path.resolve().parent) and path.resolve().name in ("train", "test")
    if text_files(path) and not part:  # its lists of addresses are .txt files
        if split is not None:
            raise _no_parts(str(path), split)
        return _table(str(path), read_texts(path), text="text")
    hint = f" {fitting} is one: did you mean that?" if fitting else ""
    more = f", and {len(entries) - 5:,} more" if len(entries) > 5 else ""
    raise DataError(
        f"{path}: is no layout that is known; it holds {found}{more}. Known: {LAYOUTS}; or give a "
        f"file ending in {', '.join(TABLE_ENDINGS)}.{hint}"
    )


def _read_split(source: Mapping[str, Any], name: str, split: str | None) -> Table:
    """One split of a mapping such as a DatasetDict, or several joined."""
    names = [str(part) for part in source]
    chosen = split or ("train" if len(names) != 1 else names[0])
    unknown = [part for part in chosen.split("+") if part not in source]
    if unknown:
        hint = "" if split else (" If these are columns, make them a frame: pandas.DataFrame(data)."
                                 " Else say which split to take.")  # fmt: skip
        raise DataError(
            [unknown_name(f"{name}, split", "split", part, names) + hint for part in unknown]
        )
    parts = [read(source[part], name=f"{name}[{part!r}]") for part in chosen.split("+")]
    return parts[0] if len(parts) == 1 else _joined(parts, f"{name}[{chosen!r}]")


def _joined(parts: list[Table], name: str) -> Table:
    """Tables below each other; a column of different kinds becomes text."""
    findings = tuple(finding for part in parts for finding in part.findings)
    tables = [part.columns for part in parts]
    try:
        columns = pa.concat_tables(tables, promote_options="default")
    except pa.ArrowException:
        rows = [row for table in tables for row in table.to_pylist()]
        columns = objects_table(rows, name, lambda row: f"{name}, row {row:,}")
    first = parts[0]
    return replace(Table(name, columns, findings=findings), text=first.text, label=first.label)


def _frame_table(frame: Any, name: str) -> pa.Table:
    """A frame; its index is left out, and rows are counted from 0, as iloc does."""
    names = [str(column) for column in frame.columns]
    twice = sorted({column for column in names if names.count(column) > 1})
    if twice:
        raise DataError(f"{name}: the frame has columns {twice} more than once. Rename them.")
    columns = {}
    for position, column in enumerate(names):
        series = frame.iloc[:, position]
        try:
            columns[column] = pa.Array.from_pandas(series)
        except (pa.ArrowException, OverflowError, TypeError, ValueError):
            columns[column] = to_array(series.tolist(), lambda row: f"{name}, row {row:,}")
    return pa.table(columns)


def _data_set_table(data_set: Any, name: str) -> pa.Table:
    """A Hugging Face data set; class numbers become their names."""
    if not hasattr(data_set, "__len__"):
        raise DataError(
            f"{name}: a {type(data_set).__name__} has no length. Load it without streaming, or "
            "take a list of its first rows: list(data.take(10_000))."
        )
    table = data_set.with_format("arrow")[:]
    for position, column in enumerate(table.column_names):
        names = getattr(data_set.features[column], "names", None)
        if names is not None:
            values = [None if v is None or v < 0 else names[v] for v in table[column].to_pylist()]
            table = table.set_column(position, column, pa.array(values, pa.string()))
    return table


def _read_list(rows: list[Any], name: str) -> Table:
    def place(row: int) -> str:
        return f"{name}, row {row:,}"

    if not rows:
        raise DataError(f"{name}: the list is empty.")
    if all(isinstance(row, str) for row in rows):
        return Table(name, pa.table({"text": to_array(rows, place)}), text="text")
    if all(isinstance(row, Mapping) for row in rows):
        return Table(name, objects_table(rows, name, place))
    if all(isinstance(row, (tuple, list)) and len(row) == 2 for row in rows):
        pairs = [{"text": text, "label": label} for text, label in rows]
        return Table(name, objects_table(pairs, name, place), text="text", label="label")
    kinds = sorted({type(row).__name__ for row in rows})
    raise DataError(
        f"{name}: a list of {', '.join(kinds[:4])} cannot be read. Give texts, (text, label) "
        "pairs, or mappings of column names to values."
    )
