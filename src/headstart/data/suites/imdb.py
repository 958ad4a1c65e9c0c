"""The Large Movie Review Dataset (Maas et al. 2011): aclImdb/{train,test}/{pos,neg}/ID_RATING.txt."""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa

from headstart.data.findings import Finding
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
    """Read columns text, label, rating (0 where none was given), file and split.

    Args:
        path: the folder aclImdb.
        split: "train", "test", "unsup", or several joined: "train+test".

    Raises:
        DataError: a split is unknown or not there, or a file is not UTF-8.
    """
    parts = split.split("+")
    unknown = [part for part in parts if part not in FOLDERS]
    if unknown:
        raise DataError([unknown_name(f"{path}, split", "split", part, FOLDERS) for part in unknown])
    folders = [(part, folder) for part in parts for folder in FOLDERS[part]]
    missing = [folder for _, folder in folders if not (path / folder).is_dir()]
    if missing:
        raise DataError([f"{path / folder}: the folder is missing; it holds a part of the split "
                         f"{split!r}. Unpack the archive again." for folder in missing])  # fmt: skip
    rows: list[dict[str, object]] = []
    odd: list[str] = []
    for part, folder in folders:
        for file in sorted((path / folder).iterdir(), key=_number):
            match = NAME.fullmatch(file.name)
            if match is None:
                odd.append(f"{folder}/{file.name}")
                continue
            rows.append({
                "text": _text(file),
                "label": LABELS[Path(folder).name],
                "rating": int(match[2]),
                "file": f"{folder}/{file.name}",
                "split": part,
            })  # fmt: skip
    if not rows:
        raise DataError(f"{path}: the split {split!r} holds no files called ID_RATING.txt.")
    return Table(str(path), pa.Table.from_pylist(rows), unit="review", first=1, text="text",
                 label="label", findings=tuple(_odd_names(path, odd)))  # fmt: skip


def _number(file: Path) -> tuple[int, str]:
    match = NAME.fullmatch(file.name)
    return (int(match[1]) if match else -1, file.name)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{file}: is not UTF-8 (byte {error.start:,}). Unpack it again.") from None


def _odd_names(path: Path, odd: list[str]) -> list[Finding]:
    if not odd:
        return []
    shown = ", ".join(odd[:5])
    return [
        Finding(
            kind="odd file names",
            message=f"{path}: {len(odd):,} files are not called ID_RATING.txt and were left out: {shown}.",
            count=len(odd),
            remedy="Rename them if they are reviews.",
        )
    ]
