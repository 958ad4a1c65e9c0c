"""Plain text: a .txt file holds a text a line, a folder of .txt files a text a file.

What is longer than a cell may be is cut at line ends, so that a book can be a file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from headstart.data.content import Pieces
from headstart.data.encoding import check_text, ending, open_bytes, open_text
from headstart.data.findings import Finding, counted
from headstart.errors import DataError

LONGEST = 500_000
"""Characters of a text at most; what is longer becomes several."""

ROWS = 2_000
"""Texts held at a time, of a megabyte at most where they are long."""

CHARACTERS = 1 << 20


def read_lines(path: Path) -> Pieces:
    """Read a file of one text a line; lines of white space alone are no texts.

    Raises:
        DataError: it is empty, no text or not UTF-8; and on the way that it holds no text.
    """
    check_text(path)
    return Pieces(_lines(path), "line")


def _lines(path: Path) -> Iterator[tuple[pa.Table, np.ndarray]]:
    texts: list[str] = []
    numbers: list[int] = []
    size = done = 0
    with open_text(path) as file:
        for number, line in enumerate(file, 1):
            text = line.strip()
            if not text:
                continue
            texts.append(text)
            numbers.append(number)
            size += len(text)
            if len(texts) >= ROWS or size >= CHARACTERS:
                yield pa.table({"text": texts}), np.array(numbers)
                done += len(texts)
                texts, numbers, size = [], [], 0
    if texts:
        yield pa.table({"text": texts}), np.array(numbers)
    elif not done:
        raise DataError(f"{path}: holds nothing but white space.")


def text_files(folder: Path) -> list[Path]:
    """The .txt files that lie in a folder, in the order of their names."""
    return sorted(file for file in folder.iterdir() if file.is_file() and ending(file) == ".txt")


def read_text_folder(folder: Path) -> Pieces:
    """Read a folder of .txt files, each a text, or several where it is long.

    Raises:
        DataError: on the way that a file is no text or not UTF-8, or that no file holds any.
    """
    files = text_files(folder)
    others = sum(1 for _ in folder.iterdir()) - len(files)
    findings: tuple[Finding, ...] = ()
    if others:
        said = f"{folder}: {counted(others, 'other file')} or folder beside the .txt files left out"
        findings = (Finding("other files", f"{said}.", others, remedy="Convert them to .txt if "
                            "they hold texts."),)  # fmt: skip
    return Pieces(_files(folder, files), "text", findings)


def content_digest(folder: Path) -> str:
    """SHA-256 over the names and the content of the .txt files of a folder."""
    digest = hashlib.sha256()
    for file in text_files(folder):
        with open_bytes(file) as content:
            found = hashlib.file_digest(content, "sha256")  # type: ignore[arg-type]
        digest.update(f"{file.name} {found.hexdigest()} ".encode())
    return digest.hexdigest()


def _files(folder: Path, files: list[Path]) -> Iterator[tuple[pa.Table, np.ndarray]]:
    texts: list[str] = []
    names: list[str] = []
    size = done = 0
    for file in files:
        if not file.stat().st_size:
            continue
        check_text(file)
        for text in _parts(file):
            texts.append(text)
            names.append(file.name)
            size += len(text)
            if len(texts) >= ROWS or size >= CHARACTERS:
                yield _table(texts, names), np.arange(done + 1, done + len(texts) + 1)
                done += len(texts)
                texts, names, size = [], [], 0
    if texts:
        yield _table(texts, names), np.arange(done + 1, done + len(texts) + 1)
    elif not done:
        raise DataError(f"{folder}: its .txt files hold nothing but white space.")


def _table(texts: list[str], names: list[str]) -> pa.Table:
    return pa.table({"text": texts, "file": names})


def _parts(file: Path) -> Iterator[str]:
    """The text of a file, cut at line ends where it is too long."""
    lines: list[str] = []
    size = 0
    with open_text(file) as content:
        while line := content.readline(LONGEST):
            if size + len(line) > LONGEST:
                yield from _text(lines)
                lines, size = [], 0
            lines.append(line)
            size += len(line)
    yield from _text(lines)


def _text(lines: list[str]) -> Iterator[str]:
    text = "".join(lines).strip()
    if text:
        yield text
