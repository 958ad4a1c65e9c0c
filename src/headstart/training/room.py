"""How much the cache may hold, what is in it, and what goes first.

Everything in it can be computed or fetched again: finished stages, frozen features, large tables as
they were read, their tokens, the states of stages that were stopped, the demo's data.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from headstart.errors import UserError

LIMIT = "HEADSTART_CACHE_GB"
DEFAULT_GIGABYTES = 20.0
KINDS = ("stages", "features", "tables", "tokens", "backbones", "unfinished")
FOUND_AGAIN = ("features", "tables", "tokens", "backbones")
"""Kinds that no process holds: one that reads them goes on reading what was removed."""

GIGABYTE = 1e9


@dataclass(frozen=True)
class Entry:
    """One thing that the cache holds.

    Attributes:
        kind: one of `KINDS`: a finished stage, frozen features, a large table as it was read, its
            tokens, a backbone made from nothing or with new words, the state of a stopped stage.
        place: its folder or file.
        what: in words.
        num_bytes: on disk.
        used: when it was last used, in seconds since 1970.
    """

    kind: str
    place: Path
    what: str
    num_bytes: int
    used: float


def limit_bytes() -> float:
    """What the cache may hold: $HEADSTART_CACHE_GB, 20 by default, in bytes.

    Raises:
        UserError: it is no number above 0.
    """
    given = os.environ.get(LIMIT, str(DEFAULT_GIGABYTES))
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = -1.0
    if not gigabytes > 0:
        raise UserError(f"${LIMIT}: must be a number of gigabytes above 0; got {given!r}.")
    return gigabytes * GIGABYTE


def entries(cache: Path) -> list[Entry]:
    """What the cache holds, the least recently used first."""
    return sorted(_entries(cache), key=lambda entry: entry.used)


def make_room(cache: Path, limit: float, keep: Collection[Path] = ()) -> list[Entry]:
    """Remove the least recently used until the rest is within the limit.

    What another process is just training is left alone, and so is what is in `keep`.

    Args:
        cache: the folder.
        limit: bytes.
        keep: places that this run still needs.

    Returns:
        What was removed.
    """
    there = entries(cache)
    excess = sum(entry.num_bytes for entry in there) - limit
    removed = []
    for entry in there:
        if excess <= 0:
            break
        if entry.place not in keep and remove(entry):
            removed.append(entry)
            excess -= entry.num_bytes
    return removed


def remove(entry: Entry) -> bool:
    """Remove an entry, unless a process holds it. Returns whether it is gone."""
    if entry.kind in FOUND_AGAIN:
        shutil.rmtree(entry.place, ignore_errors=True)
        return not entry.place.exists()
    lock = entry.place.with_suffix(".lock")
    try:
        with FileLock(lock, timeout=0):
            if entry.place.is_dir():
                shutil.rmtree(entry.place, ignore_errors=True)
            else:
                entry.place.unlink(missing_ok=True)
    except Timeout:
        return False
    return not entry.place.exists()


def _entries(cache: Path) -> Iterator[Entry]:
    for kind in ("stages", *FOUND_AGAIN):
        for place in _inside(cache / kind):
            if place.is_dir() and not place.name.startswith("."):
                yield _entry(kind, place, _words(kind, place))
    for place in _inside(cache / "stages"):
        if place.suffix == ".state":
            yield _entry("unfinished", place, "a stage that was stopped; it would go on from here")


def _inside(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _entry(kind: str, place: Path, what: str) -> Entry:
    files = [f for f in place.rglob("*") if f.is_file()] if place.is_dir() else [place]
    sizes = sum(file.stat().st_size for file in files)
    return Entry(kind, place, what, sizes, place.stat().st_mtime)


def _words(kind: str, place: Path) -> str:
    """What an entry is, from the description that lies in it."""
    try:
        if kind == "stages":
            provenance = json.loads((place / "stage.json").read_text(encoding="utf-8"))[
                "provenance"
            ]
            names = " -> ".join(stage["name"] for stage in provenance["stages"])
            return f"{names} ({provenance['backbone']}, {provenance['stages'][-1]['data']})"
        described = json.loads((place / "description.json").read_text(encoding="utf-8"))
        if kind == "backbones":
            return str(described["what"])
        if kind == "tables":
            return f"a table of {described['rows']:,} rows"
        if kind == "tokens":
            return f"{described['tokens']:,} tokens of {described['rows']:,} texts"
        rows, width = described["shape"][:2]
        return f"{rows:,} vectors of width {width}"
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return "damaged; it would be computed again"
