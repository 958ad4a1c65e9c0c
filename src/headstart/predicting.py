"""Labels for texts from anywhere, streamed: what `headstart predict` does."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TextIO

from headstart.api import Model, load
from headstart.data.examples import examples
from headstart.data.table import TABLE_ENDINGS, read
from headstart.errors import DataError
from headstart.training.files import write_atomically
from headstart.training.progress import OnConsole

CHUNK = 2048
LINES = 64


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
    """
    model = load(model_folder)
    chunks = _chunks(what, text_column)
    with _opened(out) as file:
        writer = csv.writer(file, lineterminator="\n")
        if not json_lines:
            writer.writerow(["text", "label", "probability"])
        for texts in chunks:
            for text, label, probability in answers(model, texts):
                if json_lines:
                    row = {"text": text, "label": label, "probability": probability}
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
                else:
                    writer.writerow([text, label, f"{probability:.6f}"])
            file.flush()


def answers(model: Model, texts: Sequence[str]) -> Iterator[tuple[str, str, float]]:
    """(text, best label, its probability) for each text."""
    probabilities = model.predict_proba(texts)
    for text, row in zip(texts, probabilities, strict=True):
        best = int(row.argmax())
        yield text, model.classes[best], round(float(row[best]), 6)


def _chunks(what: Sequence[str], text_column: str | None) -> Iterator[list[str]]:
    if list(what) == ["-"]:
        yield from _groups((line.rstrip("\r\n") for line in sys.stdin), LINES)
    elif len(what) == 1 and _means_file(what[0]):
        table = read(what[0], name=what[0])
        rows = examples(table, text=text_column, require_label=False, keep_empty=True)
        progress = OnConsole()
        with progress.bar("predict", len(rows)) as bar:
            for texts in _groups(rows.texts, CHUNK):
                yield texts
                bar.advance(len(texts))
    else:
        if text_column is not None:
            raise DataError(f"--text: {text_column!r} is for a table file; texts were given.")
        yield from _groups(what, CHUNK)


def _groups(texts: Iterable[str], size: int) -> Iterator[list[str]]:
    """Cut a stream into lists of up to `size` texts."""
    stream = iter(texts)
    while group := list(islice(stream, size)):
        yield group


def _means_file(argument: str) -> bool:
    """A path that exists, or one that ends like a table: then its absence is worth an error."""
    ending = Path(argument).suffix.lower()
    return (ending in TABLE_ENDINGS and " " not in argument) or (
        len(argument) < 1024 and Path(argument).exists()
    )


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    with write_atomically(out) as raw:
        file = TextIOWrapper(raw, encoding="utf-8", newline="", write_through=True)
        yield file
        file.flush()
        file.detach()
