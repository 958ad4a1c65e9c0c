"""The rows of bench.json, and the table that they make.

    python benchmarks/table.py

Every script beside this one puts its rows into results/bench.json, in the place of those that it
put there before; `make bench` runs them all and then this one.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from common import PACKAGES, RESULTS, machine, versions

SMALL = Path(tempfile.gettempdir()) / "headstart-bench-small.json"
"""Where rows of a `--small` run go: they say that a script works, and nothing about speed."""


@dataclass(frozen=True)
class Row:
    """One comparison: less is better.

    Attributes:
        name: what was done.
        ours: seconds that headstart took; with unit "MB", memory.
        peer: what it is compared with.
        peers: seconds, or memory, of that; None where there is only a limit.
        ours_accuracy: share of right answers, None where nothing was answered.
        peer_accuracy: likewise.
        needed: least ratio that issue and docs ask for; None: none is.
        limit: most that `ours` may be; None: none is set.
        note: what must be known to read the row.
        unit: "s" or "MB".
    """

    name: str
    ours: float
    peer: str = ""
    peers: float | None = None
    ours_accuracy: float | None = None
    peer_accuracy: float | None = None
    needed: float | None = None
    limit: float | None = None
    note: str = ""
    unit: str = "s"

    @property
    def ratio(self) -> float | None:
        """How many times as much the peer takes."""
        return None if self.peers is None else self.peers / self.ours

    def values(self) -> dict[str, Any]:
        """The row as bench.json has it; seconds only under keys that say so."""
        unit = self.unit.lower()
        found = {"name": self.name, "ours_s": None, "peer": self.peer, "peer_s": None}
        found |= {f"ours_{unit}": _rounded(self.ours), f"peer_{unit}": _rounded(self.peers)}
        return found | {
            "ratio": _rounded(self.ratio),
            "ours_accuracy": _rounded(self.ours_accuracy),
            "peer_accuracy": _rounded(self.peer_accuracy),
            "needed": self.needed,
            "limit": self.limit,
            "note": self.note,
        }


def keep_rows(rows: Sequence[Row], *, small: bool = False, file: Path | None = None) -> None:
    """Put rows into bench.json, those of the same name and peer replaced, and print them.

    Args:
        small: whether they are of a run that only tried whether the script works.
        file: where to instead.
    """
    file = file or (SMALL if small else RESULTS / "bench.json")
    described = {
        "machine": machine(),
        "versions": versions(*PACKAGES),
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }
    fresh = [row.values() | described for row in rows]
    known = {(row["name"], row["peer"]): row for row in [*read_rows(file), *fresh]}
    file.parent.mkdir(exist_ok=True)
    partial = file.with_suffix(".partial")
    partial.write_text(json.dumps(list(known.values()), indent=1, ensure_ascii=False) + "\n")
    partial.replace(file)
    print(table(fresh), flush=True)


def read_rows(file: Path) -> list[dict[str, Any]]:
    """What a bench.json holds, in its order; nothing where there is none yet."""
    return json.loads(file.read_text()) if file.exists() else []


def table(rows: Iterable[Mapping[str, Any]]) -> str:
    """One line for each row, columns aligned, notes below."""
    lines = [("what", "ours", "beside", "theirs", "ratio", "needed", "", "accuracy")]
    notes = []
    for row in rows:
        lines.append(_line(row))
        if row["note"]:
            notes.append(f"  {row['name']}{' / ' * bool(row['peer'])}{row['peer']}: {row['note']}")
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    left = (0, 2, 6, 7)
    shown = [
        "  ".join(
            cell.ljust(width) if place in left else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    ]
    return "\n".join([*shown, *notes])


def _line(row: Mapping[str, Any]) -> tuple[str, ...]:
    ratio, needed, limit = row["ratio"], row["needed"], row["limit"]
    unit = "s" if row["ours_s"] is not None else "MB"
    ours, theirs = (row[f"{who}_{unit.lower()}"] for who in ("ours", "peer"))
    asked, holds = "", []
    if needed is not None:
        asked, holds = f"{needed:.3g}", [ratio >= needed]
    if limit is not None:
        asked, holds = f"{asked} <= {limit:g} {unit}".strip(), [*holds, ours <= limit]
    accuracies = [_share(row["ours_accuracy"]), _share(row["peer_accuracy"])]
    return (
        row["name"],
        f"{ours:,.2f} {unit}",
        row["peer"],
        "" if theirs is None else f"{theirs:,.2f} {unit}",
        "" if ratio is None else f"{ratio:.3g}",
        asked,
        ("" if not holds else "holds" if all(holds) else "FAILS"),
        " / ".join(accuracies) if any(a != "-" for a in accuracies) else "",
    )


def _share(accuracy: float | None) -> str:
    return "-" if accuracy is None else f"{accuracy:.3f}"


def _rounded(value: float | None) -> float | None:
    """Four digits that count: more would be noise."""
    return None if value is None else float(f"{value:.4g}")


if __name__ == "__main__":
    print(table(read_rows(RESULTS / "bench.json")))
