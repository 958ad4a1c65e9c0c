"""Labels for texts from anywhere, streamed: what `headstart predict` does."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO, TypeVar

from headstart.answering import Model
from headstart.api import load
from headstart.errors import DataError, UserError

if TYPE_CHECKING:
    import numpy as np

    from headstart.data.examples import Examples
    from headstart.data.tokens import Tokens

T = TypeVar("T")
CHUNK = 2048
"""Texts read together, sorted by their length."""

BLOCK = 1 << 20
TABLES = (".csv", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet", ".gz", ".review")
OTHER_FILES = (".txt", ".xlsx", ".xls", ".ods", ".zip", ".md", ".html", ".pdf", ".docx")
"""Endings of what `read` refuses; a word that ends so is a file all the same, and never a text."""


def predict_to(
    model_folder: Path,
    what: Sequence[str],
    *,
    text_column: str | None,
    json_lines: bool,
    out: Path | None,
) -> None:
    """Label texts and write one row for each, as csv or JSON lines.

    Args:
        model_folder: what `headstart.load` opens.
        what: a table file, "-" for a text a line on standard input, or texts.
        text_column: of the table file; guessed when unambiguous.
        json_lines: JSON lines instead of csv.
        out: a file; None writes to standard output.

    Raises:
        CheckpointError: there is no such model.
        DataError: the file cannot be read.
        UserError: `out` cannot be written.
    """
    if out is not None and out.is_dir():
        raise UserError(f"--out: {out} is a folder. Give a file, such as {out / 'labelled.csv'}.")
    chunks, total = _chunks(what, text_column)
    model = load(model_folder)
    with _opened(out) as file, _bar(total) as advance:
        writer = csv.writer(file, lineterminator="\n")
        if not json_lines:
            writer.writerow(["text", "label", "probability"])
            file.flush()
        for texts, probabilities in _answered(model, chunks, ahead=total is not None):
            for text, label, probability in _rows(texts, probabilities, model.classes):
                if json_lines:
                    row = {"text": text, "label": label, "probability": probability}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                else:
                    writer.writerow([text, label, f"{probability:.6f}"])
            file.flush()
            advance(len(texts))


def _answered(
    model: Model, chunks: Iterable[list[str]], *, ahead: bool
) -> Iterator[tuple[list[str], np.ndarray]]:
    """Each list of texts with its (N, C) probabilities.

    Args:
        ahead: tokenise the next texts meanwhile; not where they are waited for.
    """
    from headstart.data.ahead import Ahead
    from headstart.training.progress import Silent

    trained = model._trained  # tokens made before they are asked for are no one else's concern

    def encode(texts: list[str]) -> tuple[list[str], Tokens]:
        return texts, trained.tokenizer.encode(texts, trained.max_length)

    encoded = map(encode, chunks)
    with Ahead(encoded) if ahead else nullcontext(encoded) as arriving:
        for texts, tokens in arriving:
            yield texts, trained.logits_of(tokens, Silent(), "predict").softmax(-1).numpy()


def _rows(
    texts: Sequence[str], probabilities: np.ndarray, classes: Sequence[str]
) -> Iterator[tuple[str, str, float]]:
    """(text, best label, its probability) for each text."""
    for text, row in zip(texts, probabilities, strict=True):
        best = int(row.argmax())
        yield text, classes[best], round(float(row[best]), 6)


def _chunks(what: Sequence[str], text_column: str | None) -> tuple[Iterator[list[str]], int | None]:
    """The texts in lists, and how many there are in all where they come from a table.

    What can be wrong with a file is said before the model is opened.
    """
    files = [argument for argument in what if argument == "-" or means_file(argument)]
    if files and len(what) > 1:
        raise DataError(
            f"{files[0]}: is a file among {len(what)} arguments; one file at a time is labelled. "
            "Give it alone, or give texts only."
        )
    if files and files[0] != "-":
        rows = _read(files[0], text_column)
        return _groups(rows.texts, CHUNK), len(rows)
    if text_column is not None:
        raise DataError(
            f"--text: {text_column!r} names a column, and no table file was given. Leave "
            "it out, or give a csv, tsv, jsonl or parquet file."
        )
    return arriving_lines(sys.stdin.buffer) if files else _groups(_checked(what), CHUNK), None


def _read(file: str, text_column: str | None) -> Examples:
    from headstart.data.examples import examples
    from headstart.data.table import read

    if Path(file).suffix.lower() == ".txt" and Path(file).is_file():
        raise DataError(
            f"{file}: is no table. If it holds one text a line, give it on standard input: "
            f"headstart predict MODEL - < {file}"
        )
    table = read(file, name=file)
    return examples(table, text=text_column, require_label=False, keep_empty=True)


def _bar(total: int | None) -> AbstractContextManager[Callable[[int], None]]:
    """A bar of so many texts; none where nobody knows how many will come."""
    return nullcontext(lambda done: None) if total is None else _shown_bar(total)


@contextmanager
def _shown_bar(total: int) -> Iterator[Callable[[int], None]]:
    from headstart.training.progress import OnConsole

    with OnConsole().bar("predict", total) as bar:
        yield bar.advance


def arriving_lines(stream: BinaryIO) -> Iterator[list[str]]:
    """The lines of a stream as they arrive, those that are there together in one list.

    Raises:
        DataError: a line is not UTF-8.
    """
    if stream.isatty():
        print("One text a line; end with Ctrl-D.", file=sys.stderr)
    rest, done = b"", 0
    read = getattr(stream, "read1", stream.read)
    while block := read(BLOCK):
        *lines, rest = (rest + block).split(b"\n")
        for group in _groups(lines, CHUNK):
            yield [_decoded(line, done + i) for i, line in enumerate(group, start=1)]
            done += len(group)
    if rest:
        yield [_decoded(rest, done + 1)]


def _decoded(line: bytes, number: int) -> str:
    try:
        return line.decode("utf-8").removesuffix("\r").removeprefix("\ufeff" if number == 1 else "")
    except UnicodeDecodeError as error:
        raise DataError(
            f"standard input, line {number:,}: is not UTF-8 (byte {error.start:,} of the line). "
            "Convert it first: iconv -f cp1252 -t utf-8 FILE | headstart predict MODEL -"
        ) from None


def _checked(texts: Sequence[str]) -> Sequence[str]:
    """Arguments that are text; bytes that are none reach us as lone surrogates."""
    for number, text in enumerate(texts, start=1):
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise DataError(f"text {number}: is not UTF-8. Set the terminal to UTF-8.")
    return texts


def _groups(texts: Iterable[T], size: int) -> Iterator[list[T]]:
    """Cut a stream into lists of up to `size` items."""
    stream = iter(texts)
    while group := list(islice(stream, size)):
        yield group


def means_file(argument: str) -> bool:
    """A path that exists, or a word that ends like a file: then its absence is worth an error."""
    if not argument.strip():
        return False
    ends = Path(argument).suffix.lower() in TABLES + OTHER_FILES
    return (ends and " " not in argument) or os.path.exists(argument)  # noqa: PTH110


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    from headstart.data.atomic import write_atomically

    if out is None:
        yield sys.stdout
        return
    with write_atomically(out) as raw:
        file = TextIOWrapper(raw, encoding="utf-8", newline="", write_through=True)
        yield file
        file.flush()
        file.detach()
