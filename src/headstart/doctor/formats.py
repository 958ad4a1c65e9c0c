"""Writing a table again in the format it was read from, some texts changed, some rows left out.

Every writer takes what was opened, new texts and reasons for leaving rows out, both by row from 0,
and the path of the new file or folder. Columns other than the text are as they were.

Shapes: N rows of a table.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from headstart.data.atomic import folder_atomically, write_atomically
from headstart.data.delimited import delimiter_of
from headstart.data.encoding import ending, open_text
from headstart.data.suites.amazon import REVIEW, is_amazon
from headstart.data.suites.imdb import is_imdb
from headstart.doctor.opened import Opened
from headstart.errors import DataError

BLOCK = 10_000
REVIEW_TEXT = re.compile(r"^<review_text>.*?^</review_text>", re.DOTALL | re.MULTILINE)

Texts = Mapping[int, str]
Dropped = Mapping[int, str]
Writer = Callable[[Opened, Texts, Dropped, Path], None]


def writer_of(opened: Opened) -> Writer:
    """The writer of the format that a data set was read from.

    Raises:
        DataError: folders of this layout are not written.
    """
    path = Path(opened.given)
    if path.is_dir():
        if is_imdb(path):
            return write_imdb
        if is_amazon(path):
            return write_amazon
        raise DataError(f"{path}: folders of this layout cannot be written yet. Give files.")
    return WRITERS[ending(path)]


@contextmanager
def _open(path: Path) -> Iterator[IO[str]]:
    """A text file, packed if its name ends in .gz, whole or not at all."""
    with write_atomically(path) as raw:
        packed = gzip.GzipFile(fileobj=raw, mode="wb", mtime=0) if path.suffix == ".gz" else None
        text = io.TextIOWrapper(packed or raw, encoding="utf-8", newline="")
        yield text
        text.flush()
        text.detach()
        if packed is not None:
            packed.close()


def write_delimited(opened: Opened, texts: Texts, dropped: Dropped, path: Path) -> None:
    """Write a csv or tsv file with the delimiter, and the kind of quotes, that it had."""
    given = Path(opened.given)
    mark = "\t" if ending(given) == ".tsv" else delimiter_of(given)
    literal = any(finding.kind == "literal quotes" for finding in opened.table.findings)
    columns = opened.table.columns
    names = columns.column_names
    place = names.index(opened.text)
    header = ["" if n == f"unnamed {i}" else n for i, n in enumerate(names, start=1)]
    with _open(path) as file:
        table = csv.writer(
            file,
            delimiter=mark,
            lineterminator="\n",
            quoting=csv.QUOTE_NONE if literal else csv.QUOTE_MINIMAL,
            quotechar=None if literal else '"',
        )
        table.writerow(header)
        for start in range(0, columns.num_rows, BLOCK):
            cells = columns.slice(start, BLOCK).to_pydict().values()
            for row, values in enumerate(zip(*cells, strict=True), start):
                if row in dropped:
                    continue
                line = ["" if value is None else value for value in values]
                text = texts.get(row, line[place])
                line[place] = re.sub(r"[\t\r\n]", " ", text) if literal else text
                table.writerow(line)


def write_json(opened: Opened, texts: Texts, dropped: Dropped, path: Path) -> None:
    """Write JSON lines, those without a change as they stood; or a list of objects."""
    table = opened.table
    row_of = {int(number): row for row, number in enumerate(table.number_all().tolist())}
    if table.unit == "item":
        with open_text(Path(opened.given)) as file:
            items = json.load(file)
        kept = [
            item | ({opened.text: texts[row]} if row in texts else {})
            for row, item in enumerate(items)
            if row not in dropped
        ]
        with _open(path) as out:
            json.dump(kept, out, ensure_ascii=False, indent=1)
            out.write("\n")
        return
    with open_text(Path(opened.given)) as file, _open(path) as out:
        for number, line in enumerate(file, start=1):
            row = row_of.get(number)
            if row is None or row in dropped:
                continue
            if row in texts:
                values = json.loads(line) | {opened.text: texts[row]}
                line = json.dumps(values, ensure_ascii=False)
            out.write(line.rstrip("\n") + "\n")


def write_parquet(opened: Opened, texts: Texts, dropped: Dropped, path: Path) -> None:
    """Write a parquet file with the schema that it had."""
    table = pyarrow.parquet.read_table(opened.given)
    place = table.column_names.index(opened.text)
    column = table.schema.field(place)
    values = table.column(place).to_pylist()
    for row, text in texts.items():
        values[row] = text
    fresh = pa.array(values, pa.large_string()).cast(column.type)
    kept = np.array([row for row in range(table.num_rows) if row not in dropped], dtype=np.int64)
    with write_atomically(path) as file:
        pyarrow.parquet.write_table(table.set_column(place, column, fresh).take(kept), file)


def write_imdb(opened: Opened, texts: Texts, dropped: Dropped, path: Path) -> None:
    """Write the files of the split that was read, those without a change as they stood."""
    places = opened.table.places
    assert places is not None, "a folder's rows are files"
    with folder_atomically(path) as fresh:
        for row, place in enumerate(places):
            if row in dropped:
                continue
            (fresh / place).parent.mkdir(parents=True, exist_ok=True)
            if row in texts:
                (fresh / place).write_text(texts[row], encoding="utf-8")
            else:
                shutil.copyfile(Path(opened.given) / place, fresh / place)


def write_amazon(opened: Opened, texts: Texts, dropped: Dropped, path: Path) -> None:
    """Write .review files, byte by byte as they stood but for the reviews that change."""
    given = Path(opened.given)
    base = given if given.is_dir() else given.parent
    rows: dict[str, dict[int, int]] = {}  # of each file, the row of each review
    for row, place in enumerate(opened.table.columns["file"].to_pylist()):
        name, number = place.rsplit(", review ", 1)
        rows.setdefault(name, {})[int(number)] = row
    if given.is_file():
        with write_atomically(path) as file:
            file.write(_reviews(given, rows[given.name], texts, dropped))
        return
    with folder_atomically(path) as fresh:
        for name, numbered in rows.items():
            (fresh / name).parent.mkdir(parents=True, exist_ok=True)
            (fresh / name).write_bytes(_reviews(base / name, numbered, texts, dropped))


def _reviews(file: Path, rows: Mapping[int, int], texts: Texts, dropped: Dropped) -> bytes:
    number = 0

    def changed(match: re.Match[str]) -> str:
        nonlocal number
        number += 1
        row = rows.get(number)
        if row in dropped:
            return ""
        if row is None or row not in texts:
            return match[0]
        text = f"<review_text>\n{texts[row]}\n</review_text>"
        return REVIEW_TEXT.sub(lambda _: text, match[0], count=1)

    content = file.read_bytes().decode("utf-8", "surrogateescape")
    return REVIEW.sub(changed, content).encode("utf-8", "surrogateescape")


WRITERS: dict[str, Writer] = {
    ".csv": write_delimited,
    ".tsv": write_delimited,
    ".jsonl": write_json,
    ".ndjson": write_json,
    ".json": write_json,
    ".parquet": write_parquet,
    ".review": write_amazon,
}
"""Writers by the ending of a file's name."""
