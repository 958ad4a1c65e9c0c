"""Mending what can be mended safely: new files of the same format, and a list of what was changed.

What is mended: mojibake and HTML remains are taken out of texts; rows without a text, rows that
repeat an earlier one with the same label, and training rows that are test rows are left out. Test
rows keep their repeats: which rows judge is not for headstart to change. Nothing that was given is
touched.

Shapes: N rows of a table.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from headstart.data.atomic import write_atomically
from headstart.data.findings import plain
from headstart.data.mapped import at_once
from headstart.doctor.damage import mended
from headstart.doctor.formats import writer_of
from headstart.doctor.opened import Opened
from headstart.doctor.subject import TEST
from headstart.errors import UserError

CHANGES = "changes.csv"
"""The list of what was changed, and the sign that a folder was written here."""

BLOCK = 10_000
CUT = 200
"""Characters of a text before and after that the list shows, from where they first differ."""


@dataclass
class Changes:
    """What is changed of a table.

    Attributes:
        texts: new texts, by row from 0.
        dropped: why a row is left out, by row from 0.
    """

    texts: dict[int, str] = field(default_factory=dict)
    dropped: dict[int, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.texts or self.dropped)


@dataclass(frozen=True)
class Mended:
    """A file that was written.

    Attributes:
        data: key of the data set.
        path: of the new file, or folder; None where there was nothing to mend.
        texts: how many texts were mended.
        dropped: how many rows were left out.
        rows: how many rows it has.
    """

    data: str
    path: Path | None
    texts: int
    dropped: int
    rows: int


def mend(opened: list[Opened], out: Path) -> tuple[Mended, ...]:
    """Write OUT/KEY/NAME for each data set in which something is mended, and OUT/changes.csv.

    Args:
        opened: each from a file or folder.
        out: new, empty, or a folder that was written here before.

    Raises:
        UserError: data was given as no file; the folder holds other things, or what is to be
            mended; or cannot be written.
    """
    _check(opened, out)
    changes = plan(opened)
    found = []
    for each in opened:
        mine = changes[each.key]
        path = None
        if mine:
            path = out / each.key / Path(each.given).name
            writer_of(each)(each, mine.texts, mine.dropped, path)
        kept = {row for row in mine.texts if row not in mine.dropped}
        rows = len(each.table) - len(mine.dropped)
        found.append(Mended(each.key, path, len(kept), len(mine.dropped), rows))
    with write_atomically(out / CHANGES) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        table = csv.writer(text, lineterminator="\n")
        table.writerow(["data", "file", "row", "change", "before", "after"])
        for each in opened:
            table.writerows(_listed(each, changes[each.key]))
        text.flush()
        text.detach()
    return tuple(found)


def plan(opened: list[Opened]) -> dict[str, Changes]:
    """What is to be changed of each data set, by key; texts are compared once they are mended."""
    tested: dict[str, str] = {}
    changes: dict[str, Changes] = {}
    in_order = sorted(opened, key=lambda each: each.key != TEST)
    for each in in_order:
        changes[each.key] = mine = Changes()
        seen: dict[tuple[str, str], int] = {}
        for row, before, label in _rows(each):
            after = mended(before)
            if after != before:
                mine.texts[row] = after
            key = plain(after)
            name = each.named(each.table.number(row))
            if not key:
                mine.dropped[row] = "left out: no text"
            elif each.key == TEST:
                tested.setdefault(key, name)
            elif key in tested:
                mine.dropped[row] = f"left out: has the text of test {tested[key]}"
            elif (key, label) in seen:
                first = each.named(each.table.number(seen[key, label]))
                mine.dropped[row] = f"left out: repeats {first}"
            seen.setdefault((key, label), row)
    return changes


def _rows(each: Opened) -> Iterator[tuple[int, str, str]]:
    """Row from 0, text and label, for all rows."""
    texts, labels = each.texts(), each.labels()
    step = at_once(texts, BLOCK)
    for start in range(0, len(texts), step):
        stop = start + step
        for row, (text, label) in enumerate(
            zip(texts[start:stop], labels[start:stop], strict=True), start
        ):
            yield row, text, label.strip()


def _listed(each: Opened, changes: Changes) -> Iterator[list[object]]:
    """Rows of the list of changes, in the order of the table."""
    texts, unit_of = each.texts(), each.table
    for row in sorted({*changes.texts, *changes.dropped}):
        name = unit_of.number(row) if unit_of.places is None else unit_of.places[row]
        before = texts[row]
        where = [each.key, str(each.given), name]
        if row in changes.dropped:
            yield [*where, changes.dropped[row], before[:CUT], ""]
        else:
            after = changes.texts[row]
            start = _first_difference(before, after)
            yield [*where, "text mended", before[start : start + CUT], after[start : start + CUT]]


def _first_difference(one: str, other: str) -> int:
    """Where two texts begin to differ, a few characters before."""
    same = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), 0)
    return max(0, same - 20)


def _check(opened: list[Opened], out: Path) -> None:
    """Whether files can be written without touching anything.

    Raises:
        UserError: one line for each reason why not.
    """
    faults = [
        f"fix: {each.key} was given as a {type(each.given).__name__}, and what is mended is "
        "written as a file of the same format. Save it first, as a csv file for example."
        for each in opened
        if not isinstance(each.given, (str, Path))
    ]
    if out.exists() and not out.is_dir():
        faults.append(f"{out}: is a file. Name a new folder with --out.")
    elif out.is_dir() and any(out.iterdir()) and not (out / CHANGES).exists():
        some = ", ".join(sorted(entry.name for entry in out.iterdir())[:3])
        faults.append(
            f"{out}: holds other things ({some}); nothing there was touched. Name a new folder "
            "with --out."
        )
    places = [Path(each.given).resolve() for each in opened if isinstance(each.given, (str, Path))]
    faults += [
        f"{out}: {place} is in it, and what is mended must not be written over. Name another "
        "folder with --out."
        for place in places
        if place.is_relative_to(out.resolve()) or out.resolve().is_relative_to(place)
    ]
    if faults:
        raise UserError(faults)
