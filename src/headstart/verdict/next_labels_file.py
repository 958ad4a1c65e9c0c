"""The rows to label next as a file that is filled in and read again."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TextIO

from headstart.data.atomic import write_atomically
from headstart.errors import UserError
from headstart.verdict.next_labels import NextLabel

COLUMNS = ("row", "text", "label", "guess", "probability", "uncertainty", "cluster", "stands_for",
           "why")  # fmt: skip


def check_place(out: Path | None) -> None:
    """Whether a file can be written there without losing labels that somebody made.

    Raises:
        UserError: the path is a folder, or a file that is there.
    """
    if out is not None and out.is_dir():
        raise UserError(f"--out: {out} is a folder. Give a file, such as {out / 'to_label.csv'}.")
    if out is not None and out.exists():
        raise UserError(
            f"--out: {out} is there already, and may hold labels that you made; it was not "
            "touched. Give another name, or remove it."
        )


def write_rows(rows: Sequence[NextLabel], out: Path | None) -> None:
    """Write a csv file, whole or not at all, or to standard output.

    Raises:
        UserError: the place cannot be written.
    """
    if out is None:
        _write(rows, sys.stdout)
        return
    with write_atomically(out) as raw:
        file = TextIOWrapper(raw, encoding="utf-8", newline="", write_through=True)
        _write(rows, file)
        file.flush()
        file.detach()


def _write(rows: Sequence[NextLabel], file: TextIO) -> None:
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for found in rows:
        writer.writerow([
            found.row, found.text, "", found.guess, f"{found.probability:.4f}",
            f"{found.uncertainty:.4f}", found.cluster, found.stands_for, found.why,
        ])  # fmt: skip
