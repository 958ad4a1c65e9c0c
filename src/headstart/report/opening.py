"""What a run left, as it is read again: the values of its verdict.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.errors import DataError, nearest

FILE = "verdict.json"


@dataclass(frozen=True)
class Run:
    """A run of before.

    Attributes:
        name: what it is called beside others.
        folder: where it lies.
        values: what its verdict.json holds.
    """

    name: str
    folder: Path
    values: dict[str, Any]


def open_run(place: str | Path) -> Run:
    """Read what a run left.

    Args:
        place: its folder, or a json file such as `headstart rank --json` prints.

    Raises:
        DataError: there is none, it has not finished, or the file is damaged.
    """
    place = Path(place)
    file = place / FILE if place.is_dir() else place
    if not file.exists():
        raise DataError(_missing(place))
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read as JSON: {error}.") from error
    if not isinstance(values, dict) or not isinstance(values.get("schema"), str):
        raise DataError(
            f'{file}: is not what headstart writes: it holds no "schema", such as '
            '"headstart.verdict/2".'
        )
    folder = file.parent
    name = folder.name or folder.resolve().name
    return Run(name if file.name == FILE else file.stem, folder, values)


def _missing(place: Path) -> str:
    """Why there is nothing to read."""
    if (place / ".headstart").exists():
        return (
            f"{place}: the run in this folder has not finished, so it holds no {FILE} yet. Give "
            "its command again: it goes on where it stopped."
        )
    if place.is_dir():
        runs = sorted(found.parent.name for found in place.glob(f"*/{FILE}"))
        inside = f" Runs inside it: {', '.join(runs[:5])}." if runs else ""
        return f"{place}: holds no {FILE}, so it is not the output folder of a run.{inside}"
    beside = sorted(found.parent.name for found in place.parent.glob(f"*/{FILE}"))
    return f"{place}: there is no such run.{nearest(place.name, beside)}"
