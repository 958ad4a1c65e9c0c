"""Multi-domain sentiment (Blitzer et al. 2007): DOMAIN/{positive,negative}.review.

The files look like XML and are not: most have no root, `&` and `<` stand unescaped, and a few bytes
are of no encoding. So fields are found by their tags, each on a line of its own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pyarrow as pa

from headstart.data.table import Table
from headstart.errors import DataError

REVIEW = re.compile(r"<review>(.*?)</review>", re.DOTALL)
FIELDS = ("review_text", "title", "rating", "product_name", "unique_id")
LABELS = {"positive": "positive", "negative": "negative", "unlabeled": None}


def is_amazon(path: Path) -> bool:
    """Whether a folder holds .review files, or folders of them."""
    return next(path.glob("*.review"), None) is not None or (
        next(path.glob("*/*.review"), None) is not None
    )


def read_amazon(path: Path) -> Table:
    """Read columns text, title, rating, label, domain and file.

    The label is the file's name; where that says neither positive nor negative, more than 3 stars
    are positive and fewer are negative, as the authors have it.

    Args:
        path: a .review file, a domain's folder, or the folder of all domains.

    Raises:
        DataError: a file holds no review, or one without text or rating.
    """
    files = [path] if path.is_file() else sorted({*path.glob("*.review"), *path.glob("*/*.review")})
    rows: list[dict[str, object]] = []
    faults: list[str] = []
    for file in files:
        if file.stem == "unlabeled" and len(files) > 1:
            continue
        found = REVIEW.findall(file.read_text(encoding="utf-8", errors="replace"))
        if not found:
            faults.append(f"{file}: holds no <review>...</review>.")
        for number, body in enumerate(found, start=1):
            fields = {name: _field(body, name) for name in FIELDS}
            try:
                rating = float(fields["rating"])
            except ValueError:
                faults.append(f"{file}, review {number}: its rating is {fields['rating']!r}.")
                continue
            rows.append({
                "text": fields["review_text"],
                "title": fields["title"],
                "rating": rating,
                "label": LABELS.get(file.stem, "positive" if rating > 3 else "negative"),
                "domain": file.parent.name,
                "file": str(file.relative_to(path)) if path.is_dir() else file.name,
            })  # fmt: skip
    if faults:
        raise DataError(faults[:5])
    return Table(str(path), pa.Table.from_pylist(rows), unit="review", first=1, text="text",
                 label="label")  # fmt: skip


def _field(body: str, name: str) -> str:
    """What stands between a field's tags, "" where it is missing."""
    match = re.search(rf"<{name}>\n?(.*?)\n?</{name}>", body, re.DOTALL)
    return match[1].strip() if match else ""
