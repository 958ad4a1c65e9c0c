"""Files and folders are there whole or not at all."""

import errno
from pathlib import Path

import pytest

from headstart.data.atomic import folder_atomically, write_atomically
from headstart.errors import UserError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_complete(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    with write_atomically(path) as file:
        file.write(b"x")
        assert not path.exists()
    assert path.read_bytes() == b"x"
    assert names(path.parent) == ["a.txt"]


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), write_atomically(path) as file:
        file.write(b"half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_replaces_an_old_one_whole(tmp_path):
    path = tmp_path / "model"
    path.mkdir()
    (path / "old.txt").write_text("old")
    with folder_atomically(path) as fresh:
        (fresh / "new.txt").write_text("new")
        assert (path / "old.txt").exists()
    assert names(path) == ["new.txt"]
    assert names(tmp_path) == ["model"]


def test_a_full_disk_is_told_and_leaves_nothing(tmp_path):
    full = pytest.raises(UserError, match=r"model: the disk is full .* Make room")
    with full as caught, folder_atomically(tmp_path / "model") as fresh:
        (fresh / "weights").write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.exit_code == 2
    assert names(tmp_path) == []
