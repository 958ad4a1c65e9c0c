"""headstart cache: what the cache holds, and how it is emptied."""

from __future__ import annotations

from typing import Annotated

import typer

CLEAR = typer.Option("--clear", metavar="KIND", help="Remove what is there: all, stages, features, "
                     "tables, tokens or unfinished.")  # fmt: skip


def cache_command(clear: Annotated[str | None, CLEAR] = None) -> None:
    """Show what the cache holds, or empty it. Nothing in it is lost for good.

    It holds trained stages, so that no run trains one twice; what frozen parts of
    networks gave, so that they run once; large tables and their tokens, so that
    they are read once; and states of stages that were stopped.
    Above $HEADSTART_CACHE_GB gigabytes (20 by default) the least recently used
    goes first.

    Examples:

      headstart cache
      headstart cache --clear features
    """
    from headstart.data.cache import headstart_cache
    from headstart.errors import RecipeError, unknown_name
    from headstart.training.room import KINDS, entries, limit_bytes, remove

    there = entries(headstart_cache())
    if clear is None:
        print(_table(there, limit_bytes()))
        return
    if clear not in ("all", *KINDS):
        raise RecipeError(unknown_name("--clear", "kind", clear, ("all", *KINDS)))
    chosen = [entry for entry in there if clear in ("all", entry.kind)]
    gone = [entry for entry in chosen if remove(entry)]
    freed = sum(entry.num_bytes for entry in gone)
    print(f"removed {len(gone)} of {len(chosen)}, {freed / 1e6:,.0f} MB")
    if len(gone) < len(chosen):
        print("what is left is in use by another run")


def _table(there: list, limit: float) -> str:
    """The entries, the most recently used first, and their sum."""
    from datetime import datetime

    from headstart.data.cache import headstart_cache

    lines = [
        f"{entry.kind:<10} {entry.num_bytes / 1e6:>9,.1f} MB  "
        f"{datetime.fromtimestamp(entry.used):%Y-%m-%d %H:%M}  {entry.what}"
        for entry in reversed(there)
    ]
    total = sum(entry.num_bytes for entry in there)
    lines.append(
        f"{headstart_cache()}: {total / 1e9:,.2f} of {limit / 1e9:g} GB in {len(there)} entries"
    )
    return "\n".join(lines)
