"""The folder that a run leaves behind: ours alone, one run at a time."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from headstart.data.atomic import folder_atomically, full_disk_is_a_user_error, write_atomically
from headstart.errors import UserError

MARKER = ".headstart"


@contextmanager
def output_folder(path: Path) -> Iterator[Path]:
    """Hold an output folder for this run.

    Raises:
        UserError: the path is a file, holds things that no run of headstart left, cannot be
            written, or another run is at work in it.
    """
    path = path.absolute()
    if path.exists() and not path.is_dir():
        raise UserError(f"{path}: is a file. Give a folder with --out.")
    marker = path / MARKER
    if path.is_dir() and not marker.exists() and any(path.iterdir()):
        found = ", ".join(sorted(p.name for p in path.iterdir())[:3])
        raise UserError(
            f"{path}: holds files that no run of headstart left ({found}, ...); nothing there was "
            "touched. Choose a new or empty folder with --out."
        )
    with full_disk_is_a_user_error(path):
        path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / f"{MARKER}.lock")
    try:
        with full_disk_is_a_user_error(path):
            lock.acquire(timeout=0)
    except Timeout:
        raise UserError(
            f"{path}: another run is at work in this folder. Wait for it, or choose another --out."
        ) from None
    try:
        with write_atomically(marker) as file:
            file.write(json.dumps({"made_by": "headstart", "process": os.getpid()}).encode())
        yield path
    finally:
        lock.release()


def link_folder(source: Path, target: Path) -> None:
    """Let `target` hold the files of `source`: hard links where they can be, else copies.

    Raises:
        UserError: the disk is full, or the place cannot be written; `target` is then as it was.
    """
    with folder_atomically(target) as fresh:
        for file in sorted(source.rglob("*")):
            place = fresh / file.relative_to(source)
            if file.is_dir():
                place.mkdir()
            else:
                _link_or_copy(file, place)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copy2(source, target)
