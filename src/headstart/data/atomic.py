"""Files and folders that are there whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from headstart.errors import UserError

UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EEXIST)
"""Not allowed; or a folder where a file shall be, or a file where a folder shall be."""


@contextmanager
def full_disk_is_a_user_error(path: Path) -> Iterator[None]:
    """Word the errors that only the user can mend: no space, no permission.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            free = shutil.disk_usage(_existing(path)).free
            raise UserError(
                f"{path}: the disk is full ({free / 1e6:,.0f} MB free); nothing half-written is "
                "left. Make room, or choose another place with --out or HEADSTART_CACHE; the same "
                "command then goes on."
            ) from error
        if error.errno in UNWRITABLE:
            raise UserError(f"{path}: cannot be written: {error.strerror}.") from error
        raise


def _existing(path: Path) -> Path:
    return next(p for p in (path, *path.absolute().parents) if p.exists())


@contextmanager
def write_atomically(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside its place and move it there when complete.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    with full_disk_is_a_user_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
            Path(name).chmod(0o644)  # mkstemp's files are for their owner alone
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise


@contextmanager
def folder_atomically(path: Path) -> Iterator[Path]:
    """Fill a folder beside its place and move it there when complete, in place of an old one.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    with full_disk_is_a_user_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        fresh.chmod(0o755)
        try:
            yield fresh
            if path.exists():
                old = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.old."))
                path.replace(old / path.name)
                fresh.replace(path)
                shutil.rmtree(old)
            else:
                fresh.replace(path)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
