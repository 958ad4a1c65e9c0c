"""The Large Movie Review Dataset (Maas et al. 2011).

aclImdb/{train,test}/{pos,neg}/ID_RATING.txt
aclImdb/train/unsup/ID_0.txt
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa

from headstart.data.content import shorten
from headstart.data.findings import Finding, counted
from headstart.data.table import Table
from headstart.errors import DataError, unknown_name

FOLDERS = {
    "train": ("train/pos", "train/neg"),
    "test": ("test/pos", "test/neg"),
    "unsup": ("train/unsup",),
}
LABELS = {"pos": "positive", "neg": "negative", "unsup": None}
NAME = re.compile(r"(\d+)_(\d+)\.txt")


def is_imdb(path: Path) -> bool:
    """Whether a folder has the layout."""
    return any((path / folder).is_dir() for folders in FOLDERS.values() for folder in folders)


def read_imdb(path: Path, split: str = "train") -> Table:
    """Read columns text, label, rating (0 where none was given), split and file.

    Args:
        path: the folder aclImdb.
        split: "train", "test", "unsup", or several joined: "train+test".

    Raises:
        DataError: a split is unknown or not there, or a file is not UTF-8.
    """
    folders = _folders(path, split)
    rows: list[dict[str, object]] = []
    odd: list[str] = []
    faults: list[str] = []
    for part, folder in folders:
        for file in sorted((path / folder).iterdir(), key=_number):
            match = NAME.fullmatch(file.name)
            if match is None:
                odd.append(f"{folder}/{file.name}")
                continue
            try:
                text = file.read_text(encoding="utf-8")
            except UnicodeDecodeError as error:
                faults.append(f"{file}: is not UTF-8 (byte {error.start:,}). Unpack it again.")
                continue
            label, rating = LABELS[Path(folder).name], int(match[2])
            rows.append({"text": text, "label": label, "rating": rating, "split": part,
                         "file": f"{folder}/{file.name}"})  # fmt: skip
    if faults:
        raise DataError(shorten(faults, "such files"))
    if not rows:
        raise DataError(f"{path}: the split {split!r} holds no files called ID_RATING.txt.")
    return Table(
        name=str(path),
        columns=pa.Table.from_pylist(rows),
        first=1,
        unit="review",
        text="text",
        label="label",
        places=[str(row["file"]) for row in rows],
        findings=tuple(_odd_names(path, odd)),
    )


def _folders(path: Path, split: str) -> list[tuple[str, str]]:
    """(part, folder) for each folder of a split.

    Raises:
        DataError: a part is unknown, or folders are missing; names them all.
    """
    parts = split.split("+")
    unknown = [part for part in parts if part not in FOLDERS]
    if unknown:
        raise DataError(
            [unknown_name(f"{path}, split", "split", part, FOLDERS) for part in unknown]
        )
    folders = [(part, folder) for part in parts for folder in FOLDERS[part]]
    missing = [folder for _, folder in folders if not (path / folder).is_dir()]
    if missing:
        raise DataError([
            f"{path / folder}: the folder is missing; it holds a part of the split {split!r}. "
            "Unpack the archive again." for folder in missing
        ])  # fmt: skip
    return folders


def _number(file: Path) -> tuple[int, str]:
    match = NAME.fullmatch(file.name)
    return (int(match[1]) if match else -1, file.name)


def _odd_names(path: Path, odd: list[str]) -> list[Finding]:
    if not odd:
        return []
    shown = ", ".join(odd[:5])
    return [
        Finding(
            kind="odd file names",
            message=f"{path}: {counted(len(odd), 'file')} left out, not called ID_RATING.txt: "
            f"{shown}.",
            count=len(odd),
            remedy="Rename them if they are reviews.",
        )
    ]
