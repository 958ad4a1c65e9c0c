"""Running headstart as its users do: in this process where enough, else in one of its own."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from headstart import cli
from tests.conftest import FILLER, PRODUCT, reviews

COMMAND = [sys.executable, "-m", "headstart.cli"]


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Here:
    """Runs commands in this process, exactly as the script does, in a folder of their own."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self.capsys, self.monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: object) -> Done:
        self.monkeypatch.setattr(sys, "argv", ["headstart", *map(str, arguments)])
        self.monkeypatch.setenv("COLUMNS", "80")
        self.capsys.readouterr()
        code = 0
        try:
            cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        return Done(code, *self.capsys.readouterr())


def start(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """Begin a command in a process of its own."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "80"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([*COMMAND, *map(str, arguments)], text=True, encoding="utf-8",
                            env=environment, **(pipes | options))  # fmt: skip


def finish(process: subprocess.Popen[str], given: str | None = None) -> Done:
    """Wait for a command."""
    out, err = process.communicate(given, timeout=120)
    return Done(process.returncode, out or "", err or "")


def write_csv(path: Path, rows: Sequence[Sequence[object]], header: Sequence[str]) -> Path:
    """Write a table."""
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_reviews(
    folder: Path, films: int = 97, shop: int = 83, header: Sequence[str] = ("review", "sentiment")
) -> tuple[Path, Path]:
    """films.csv and shop.csv in a folder."""
    return (write_csv(folder / "films.csv", reviews(films, 3, FILLER), header),
            write_csv(folder / "shop.csv", reviews(shop, 5, PRODUCT), header))  # fmt: skip
