"""One source or several, each with a name of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.errors import RecipeError
from headstart.verdict.arms import ALL, RESERVED, TITLES

ONE = "source"
"""What a single source is called."""


def named_sources(source: Any) -> dict[str, Any]:
    """The sources by name: "source" where there is one, else by the stems of their files.

    Several sources are a list of paths, or of frames and the like, which are called source1,
    source2 and so on.

    Raises:
        RecipeError: a list holds the same path twice.
    """
    if not _several(source):
        only = source[0] if isinstance(source, list | tuple) and _is_paths(source) else source
        return {ONE: only}
    paths = [str(item) for item in source if isinstance(item, str | Path)]
    twice = sorted({path for path in paths if paths.count(path) > 1})
    if twice:
        raise RecipeError([f"source: {path!r} is given twice." for path in twice])
    named: dict[str, Any] = {}
    for number, item in enumerate(source, start=1):
        named[_name(item, number, named)] = item
    return named


def _several(source: Any) -> bool:
    if not isinstance(source, list | tuple) or len(source) < 2:
        return False
    return _is_paths(source) or not any(
        isinstance(item, str | list | tuple | Mapping) for item in source
    )


def _is_paths(source: Any) -> bool:
    return len(source) > 0 and all(isinstance(item, str | Path) for item in source)


def _name(item: Any, number: int, taken: Mapping[str, Any]) -> str:
    """A stem as a word that arms can be called by, other than those that are taken."""
    stem = Path(item).stem if isinstance(item, str | Path) else f"{ONE}{number}"
    word = re.sub(r"[^\w.-]+", "-", stem).strip("-") or f"{ONE}{number}"
    used = {*taken, *RESERVED, *TITLES, ALL}
    name, count = word, 2
    while name in used:
        name, count = f"{word}-{count}", count + 1
    return name
