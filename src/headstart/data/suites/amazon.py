"""Multi-domain sentiment (Blitzer et al. 2007): DOMAIN/{positive,negative}.review.

The files look like XML and are not: most have no root, `&` and `<` stand unescaped, and a few bytes
are of no encoding. So fields are found by their tags, each on a line of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pyarrow as pa

from headstart.data.content import shorten
from headstart.data.findings import Finding, counted
from headstart.data.table import Table
from headstart.errors import DataError

REVIEW = re.compile(r"<review>\s*\n(.*?)\n\s*</review>", re.DOTALL)
LABELS = {"positive": "positive", "negative": "negative", "unlabeled": None}


def is_amazon(path: Path) -> bool:
    """Whether a folder holds .review files, or folders of them."""
    return any(next(path.glob(pattern), None) for pattern in ("*.review", "*/*.review"))


def read_amazon(path: Path) -> Table:
    """Read columns text, title, rating, label, domain and file.

    The label is the file's name. Where that says neither positive nor negative (all.review), more
    than 3 stars are positive, fewer negative, as the authors have it, and 3 stars are left out.
    Of a folder, unlabeled.review is left out; by its own path it is read, without labels.

    Args:
        path: a .review file, a domain's folder, or the folder of all domains.

    Raises:
        DataError: a file holds no review, or reviews without a text or a rating; names them.
    """
    files = [path] if path.is_file() else sorted({*path.glob("*.review"), *path.glob("*/*.review")})
    if path.is_dir():
        files = [file for file in files if file.stem != "unlabeled"] or files
    rows: list[dict[str, object]] = []
    faults: list[str] = []
    base = path if path.is_dir() else path.parent
    for file in files:
        content = file.read_text(encoding="utf-8", errors="replace")
        found = REVIEW.findall(content)
        if not found:
            faults.append(f"{file}: holds no <review>...</review>.")
        for number, body in enumerate(found, start=1):
            try:
                rows.append(_row(body, file, f"{file.relative_to(base)}, review {number}"))
            except ValueError as error:
                faults.append(f"{file}, review {number}: {error}.")
    if faults:
        raise DataError(shorten(faults, "such reviews"))
    return _table(path, rows)


def _row(body: str, file: Path, place: str) -> dict[str, object]:
    """The cells of one review.

    Raises:
        ValueError: it has no text, or a rating that is no number.
    """
    text, stars = _field(body, "review_text"), _field(body, "rating")
    if not text:
        raise ValueError("has no <review_text>")
    try:
        rating = float(stars)
    except ValueError:
        raise ValueError(f"its <rating> is {stars!r}, no number") from None
    by_stars = "positive" if rating > 3 else "negative" if rating < 3 else "neither"
    return {
        "text": text,
        "title": _field(body, "title"),
        "rating": rating,
        "label": LABELS.get(file.stem, by_stars),
        "domain": file.parent.name,
        "file": place,
    }


def _field(body: str, name: str) -> str:
    """What stands between a field's tags, "" where it is missing."""
    match = re.search(rf"^<{name}>(.*?)^</{name}>", body, re.DOTALL | re.MULTILINE)
    return match[1].strip() if match else ""


def _table(path: Path, rows: list[dict[str, object]]) -> Table:
    numbers = np.array([n for n, row in enumerate(rows, 1) if row["label"] != "neither"])
    kept = [rows[number - 1] for number in numbers]
    if not kept:
        raise DataError(f"{path}: all {len(rows):,} reviews have 3 stars, neither good nor bad.")
    findings = []
    if len(kept) < len(rows):
        findings.append(Finding(
            kind="three stars",
            message=f"{path}: {counted(len(rows) - len(kept), 'review')} left out, having 3 stars.",
            count=len(rows) - len(kept),
            remedy="Nothing to do: 3 stars are neither positive nor negative.",
        ))  # fmt: skip
    unreadable = sum("\ufffd" in str(row["text"]) for row in kept)
    if unreadable:
        findings.append(Finding(
            kind="unreadable characters",
            message=f"{path}: {counted(unreadable, 'review')} with characters of no encoding, read "
            "as '\ufffd'.",
            count=unreadable,
            remedy="Nothing to do: the files were published so.",
        ))  # fmt: skip
    # A single file is named already: its rows are told by their numbers.
    places = [str(row["file"]) for row in kept] if path.is_dir() else None
    return Table(str(path), pa.Table.from_pylist(kept), unit="review", text="text", label="label",
                 findings=tuple(findings), numbers=numbers, places=places)  # fmt: skip
