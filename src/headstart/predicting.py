"""Labels for texts from anywhere, streamed, as `headstart predict` gives them; and which texts
are most worth a label of their own, as `headstart next-labels` does.
"""

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
from typing import TYPE_CHECKING, Any, BinaryIO, TextIO, TypeVar

from headstart.answering import Model
from headstart.api import load
from headstart.errors import DataError, UserError

if TYPE_CHECKING:
    from torch import Tensor

    from headstart.data.examples import Examples
    from headstart.data.tokens import Tokens
    from headstart.training.progress import Progress
    from headstart.verdict.next_labels import NextLabel

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
    task: str | None = None,
) -> None:
    """Label texts and write one row for each, as csv or JSON lines.

    Args:
        model_folder: what `headstart.load` opens.
        what: a table file, "-" for a text a line on standard input, or texts.
        text_column: of the table file; guessed when unambiguous. Two with a comma between them are
            of pairs.
        json_lines: JSON lines instead of csv.
        out: a file; None writes to standard output.
        task: which of the model's several tasks.

    Raises:
        CheckpointError: there is no such model or task, or a task must be named.
        DataError: the file cannot be read.
        UserError: `out` cannot be written.
    """
    if out is not None and out.is_dir():
        raise UserError(f"--out: {out} is a folder. Give a file, such as {out / 'labelled.csv'}.")
    chunks, total = _chunks(what, text_column)
    model = load(model_folder)
    model = model if task is None else model.task(task)
    answers = _numbers if model.gives_numbers else _labels
    with _opened(out) as file, _bar(total) as advance:
        writer = csv.writer(file, lineterminator="\n")
        if not json_lines:
            names = ["number"] if model.gives_numbers else ["label", "probability"]
            writer.writerow(["text", *(["second"] if model.reads_pairs else []), *names])
            file.flush()
        for texts, logits in _answered(model, chunks, ahead=total is not None):
            for text, row in zip(texts, answers(model, logits), strict=True):
                shown = _texts_of(text) | row
                if json_lines:
                    file.write(json.dumps(shown, ensure_ascii=False) + "\n")
                else:
                    writer.writerow(_cell(value) for value in shown.values())
            file.flush()
            advance(len(texts))


def next_labels(
    model: str | Path,
    unlabelled: Any,
    count: int = 50,
    *,
    labelled: Any = None,
    text: str | None = None,
    seed: int = 0,
    progress: Progress | bool = True,
) -> list[NextLabel]:
    """Which rows are most worth a label: those a model is unsure of, spread over what there is.

    Args:
        model: the output folder of a run, or a model/ folder.
        unlabelled: rows to choose from, as `transfer` takes data; labels are not needed.
        count: how many to choose.
        labelled: rows that have labels: neither they nor what is much like them is chosen.
        text: name of the text column; guessed when unambiguous.
        seed: another one makes another choice, as good.
        progress: whether to show progress on standard error, or where it goes.

    Returns:
        The rows with the reason, the most worth first.

    Raises:
        CheckpointError: there is no such model.
        DataError: the rows cannot be read, or fewer are left than are asked for.
    """
    from headstart.data.examples import examples
    from headstart.data.table import read
    from headstart.training.progress import OnConsole, Silent
    from headstart.verdict.next_labels import next_labels as chosen

    def rows(data: Any, name: str) -> Examples:
        return examples(read(data, name=name), text=text, require_label=False)

    choosing = rows(unlabelled, "unlabelled rows")
    done = None if labelled is None else rows(labelled, "labelled rows")
    shown = (OnConsole() if progress else Silent()) if isinstance(progress, bool) else progress
    trained = load(model)._trained
    return chosen(trained, choosing, count, labelled=done, seed=seed, progress=shown)


def _answered(
    model: Model, chunks: Iterable[list[str]], *, ahead: bool
) -> Iterator[tuple[list[str], Tensor]]:
    """Each list of texts with what the network gives for it, (N, C).

    Args:
        ahead: tokenise the next texts meanwhile; not where they are waited for.
    """
    from headstart.data.ahead import Ahead
    from headstart.training.progress import Silent

    asked = model._asked  # tokens made before they are asked for are no one else's concern

    def encode(texts: list[str]) -> tuple[list[str], Tokens]:
        return texts, asked.encode(texts)

    encoded = map(encode, chunks)
    with Ahead(encoded) if ahead else nullcontext(encoded) as arriving:
        for texts, tokens in arriving:
            yield texts, asked.logits_of(tokens, Silent(), "predict")


def _labels(model: Model, logits: Tensor) -> Iterator[dict[str, Any]]:
    """The best label of each text, and its probability."""
    for row in model._asked.probabilities(logits).numpy():
        best = int(row.argmax())
        yield {"label": model.classes[best], "probability": round(float(row[best]), 6)}


def _numbers(model: Model, logits: Tensor) -> Iterator[dict[str, Any]]:
    """The number of each text."""
    for value in model._only().decode_numbers(logits).tolist():
        yield {"number": round(value, 6)}


def _texts_of(text: str) -> dict[str, str]:
    from headstart.data.pair import Pair

    if isinstance(text, Pair):
        return {"text": text.first, "second": text.second}
    return {"text": text}


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6f}"


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
    from headstart.data.pairs import pair_examples
    from headstart.data.table import read

    if Path(file).suffix.lower() == ".txt" and Path(file).is_file():
        raise DataError(
            f"{file}: is no table. If it holds one text a line, give it on standard input: "
            f"headstart predict MODEL - < {file}"
        )
    table = read(file, name=file)
    names = (text_column or "").split(",")
    if len(names) == 2 and text_column not in table.columns.column_names:
        return pair_examples(table, text=names, require_label=False, keep_empty=True)
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
