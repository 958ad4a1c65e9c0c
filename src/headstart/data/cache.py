"""Where everything that can be computed or fetched again lives."""

from __future__ import annotations

import os
from pathlib import Path


def headstart_cache() -> Path:
    """$HEADSTART_CACHE, or ~/.cache/headstart."""
    return Path(os.environ.get("HEADSTART_CACHE") or Path.home() / ".cache" / "headstart")
