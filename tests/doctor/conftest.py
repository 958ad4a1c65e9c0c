"""Data sets by hand, and the real ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from headstart.data.examples import Examples
from headstart.data.findings import Finding
from headstart.doctor.subject import Subject, by_number

DATA = Path(__file__).parents[3] / "shared" / "data"


def made(*rows: tuple[str, str], name: str = "shop.csv", first: int = 2) -> Examples:
    """Rows of a csv file, whose header is row 1."""
    return Examples(name, [text for text, _ in rows], [label for _, label in rows],
                    np.arange(len(rows)) + first)  # fmt: skip


def subject(rows: Examples, key: str = "target") -> Subject:
    return Subject(key, rows, by_number)


def one(findings: list[Finding], kind: str, data: str | None = None) -> Finding:
    """The finding of a kind, which is there once."""
    found = [f for f in findings if f.kind == kind and data in (None, f.data)]
    assert len(found) == 1, f"{kind}: {[(f.kind, f.data) for f in findings]}"
    return found[0]


@pytest.fixture
def real() -> Path:
    """Where the real data sets are."""
    if not DATA.is_dir():
        pytest.skip(f"{DATA} is not there")
    return DATA
