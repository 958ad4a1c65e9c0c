"""Where everything that can be computed or fetched again lives."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path


def headstart_cache() -> Path:
    """$HEADSTART_CACHE, or ~/.cache/headstart."""
    return Path(os.environ.get("HEADSTART_CACHE") or Path.home() / ".cache" / "headstart")


@cache
def sources_digest(*files: Path) -> str:
    """SHA-256 over the names and the content of source files."""
    digest = hashlib.sha256()
    for file in files:
        content = file.read_bytes()
        digest.update(f"{file.name} {len(content)} ".encode() + content)
    return digest.hexdigest()
