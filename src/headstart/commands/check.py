"""headstart check: what is wrong with data, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headstart.commands.values import columns, pairs
from headstart.errors import RecipeError
from headstart.recipe import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from headstart.data.findings import Finding
    from headstart.doctor.checkup import Checkup, Described
    from headstart.doctor.rewrite import Mended
    from headstart.recipe import Stage

SHOWN_DETAILS = 3
SHOWN_CLASSES = 6
SHOWN_ROWS = 10
TITLES = {"harmful": "Harmful", "warning": "Warnings", "note": "Notes"}

SOURCE = typer.Option(metavar="FILE|DIR", help="Rows with many labels, as for transfer; or a "
                      "folder of images.")  # fmt: skip
TARGET = typer.Option(metavar="FILE|DIR", help="Rows like those the model is for.")
TEST = typer.Option(metavar="FILE|DIR", help="Rows to judge by.")
TEXT = typer.Option(metavar="COL", help="Text column; or source=COL,target=COL. Default: guessed.")
LABEL = typer.Option(metavar="COL", help="Label column, likewise.")
SOURCE_MAP = typer.Option(metavar="OLD=NEW,...", help="Rename the source's labels.")
TARGET_MAP = typer.Option(metavar="OLD=NEW,...", help="Rename the labels of target and test.")
BACKBONE = typer.Option(metavar="NAME|DIR", help="Whose tokens and vectors are looked at.")
MAX_LENGTH = typer.Option(metavar="N", help="Longest text in tokens. Default: the checkpoint's.",
                          min=4)  # fmt: skip
DEEP = typer.Option(
    "--deep/--quick",
    help="Also look through the frozen backbone: tokens, labels in doubt, whether data sets are of "
    "one kind, memory and time.",
)
DEEP_ROWS = typer.Option(
    metavar="N", min=1, help="Rows of each data set that the backbone reads; of more, so many."
)
FIX = typer.Option("--fix", help="Write what can safely be mended to new files in --out.")
OUT = typer.Option(metavar="DIR", help="Folder for --fix.")
JSON = typer.Option("--json", help="Print JSON, with all rows of each finding.")


def check_command(
    source: Annotated[str | None, SOURCE] = None,
    target: Annotated[str | None, TARGET] = None,
    test: Annotated[str | None, TEST] = None,
    text: Annotated[str | None, TEXT] = None,
    label: Annotated[str | None, LABEL] = None,
    source_map: Annotated[str | None, SOURCE_MAP] = None,
    target_map: Annotated[str | None, TARGET_MAP] = None,
    backbone: Annotated[str, BACKBONE] = DEFAULT_BACKBONE,
    max_length: Annotated[int | None, MAX_LENGTH] = None,
    deep: Annotated[bool, DEEP] = True,
    deep_rows: Annotated[int, DEEP_ROWS] = 5_000,
    fix: Annotated[bool, FIX] = False,
    out: Annotated[Path | None, OUT] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Look for what is wrong with data, before anything is trained.

    Leaks into the test rows, repeats and near-repeats, texts under two labels,
    labels in doubt, mojibake and HTML, classes that do not match, other scripts
    and languages, how far source and target are apart, what cutting and padding
    cost; and what training will take on this machine. Each finding names its
    rows and a remedy.

    Examples:

      headstart check --source films.csv --target shop.csv
      headstart check --target shop.csv --test test.csv --quick
      headstart check --source films.csv --target shop.csv --fix --out mended
    """
    from headstart.doctor.checkup import check

    if fix != (out is not None):
        raise RecipeError(
            "check: --fix and --out go together: --fix --out DIR writes mended copies into DIR."
        )
    checkup = check(
        source, target, test=test, text=columns("--text", text), label=columns("--label", label),
        source_map=pairs("--source-map", source_map),
        target_map=pairs("--target-map", target_map), backbone=backbone, max_length=max_length,
        deep=deep, deep_rows=deep_rows, plan=_planned if target is not None else None,
    )  # fmt: skip
    mended = checkup.fix(out) if out is not None else ()
    if json:
        print(checkup.to_json(), end="")
        return
    print("\n".join(told(checkup)))
    if out is not None:
        print("\n".join(["", *told_mended(mended, out)]))


def _planned(labels: int) -> tuple[Stage, ...]:
    """The stages of a plain transfer: on the target alone, and on the source before it."""
    from headstart.verdict.arms import stages_of

    return (*stages_of("target", labels), *stages_of("source+target", labels))


def told(checkup: Checkup) -> Iterator[str]:
    """A check-up for the terminal, line by line, 80 columns wide."""
    names = {each.name: each.key for each in checkup.sets}
    for each in checkup.sets:
        yield from _described(each)
    yield from _apart(checkup)
    for severity, title in TITLES.items():
        findings = checkup.of(severity)  # type: ignore[arg-type]
        if findings:
            yield ""
            yield f"{title} ({len(findings)})"
        for finding in findings:
            yield from _finding(finding, names)
    if not checkup.findings:
        yield "\nNothing was found."
    yield from _cost(checkup)


def told_mended(mended: tuple[Mended, ...], out: Path) -> Iterator[str]:
    """What was written, a line for each data set."""
    from headstart.data.findings import counted
    from headstart.doctor.rewrite import CHANGES

    for each in mended:
        if each.path is None:
            yield f"{each.data}: nothing to mend, nothing written"
            continue
        done = [f"{counted(each.texts, 'text')} mended"] if each.texts else []
        done += [f"{counted(each.dropped, 'row')} left out"] if each.dropped else []
        yield f"{each.data}: {', '.join(done)}; {counted(each.rows, 'row')} in {each.path}"
    yield f"what was changed, row by row: {out / CHANGES}"


def _described(each: Described) -> Iterator[str]:
    """Rows, classes, and what the texts are like."""
    counts = sorted(each.classes.items(), key=lambda item: -item[1])
    shown = ", ".join(f"{count:,} {name}" for name, count in counts[:SHOWN_CLASSES])
    more = f", and {len(counts) - SHOWN_CLASSES} more classes" if counts[SHOWN_CLASSES:] else ""
    rows = f"{each.key}: {each.name}, {each.rows:,} rows"
    yield _indented(rows + (f" ({shown}{more})" if counts else ""), "", "  ")
    words = f"; half of the texts up to {each.median_words:,.0f} words" if each.median_words else ""
    yield _indented(f"{each.writing}{words}", "  ")
    lengths = each.tokens
    if lengths is not None:
        yield _indented(
            f"{lengths.shortest:,} to {lengths.longest:,} tokens, half up to "
            f"{lengths.median:,.0f}, 95 % up to {lengths.p95:,.0f}; cut to {lengths.max_length:,}, "
            f"{lengths.cut:.1%} of all are lost. Batches of 32 in random order would be "
            f"{lengths.padding:.0%} padding; headstart packs them.",
            "  ",
        )


def _apart(checkup: Checkup) -> Iterator[str]:
    """How far the data sets are from the target."""
    tests = {test.data: test for test in checkup.two_samples}
    for shift in checkup.shifts:
        unknown = f" (not {', '.join(shift.unknown[:5])})" if shift.unknown else ""
        yield ""
        yield _indented(
            f"{shift.data} and {shift.target}: {shift.data} has {shift.known_words:.1%} of "
            f"{shift.target}'s running words{unknown}.",
            "",
            "  ",
        )
        test = tests.get(shift.data)
        if test is not None:
            low, high = 100 * test.accuracy.low, 100 * test.accuracy.high
            chance = f"= {test.chance:.2g}" if test.chance >= 1e-4 else "< 0.0001"
            yield _indented(
                f"A classifier on frozen vectors tells them apart in "
                f"{100 * test.accuracy.value:.1f} % [{low:.1f}, {high:.1f}] of "
                f"{test.num_rows:,} rows; 50 % is chance (p {chance}).",
                "  ",
            )


def _finding(finding: Finding, names: Mapping[str, str]) -> Iterator[str]:
    """What was found, the first rows with what is said of them, and the remedy.

    Args:
        names: key of each data set by its name, which is long where it is a path.
    """
    message = finding.message
    for name in sorted(names, key=len, reverse=True):
        message = message.replace(name, names[name])
    yield _indented(message, "- ")
    if finding.details:
        for detail in finding.details[:SHOWN_DETAILS]:
            yield _indented(detail, "    ")
    if finding.count > len(finding.details[:SHOWN_DETAILS]) and finding.rows:
        rows = ", ".join(f"{row:,}" for row in finding.rows[:SHOWN_ROWS])
        rest = finding.count - min(len(finding.rows), SHOWN_ROWS)
        more = f" and {rest:,} more" if rest > 0 else ""
        yield _indented(f"{'row' if finding.count == 1 else 'rows'} {rows}{more}", "    ")
    mends = " (--fix mends it)" if finding.mendable and "--fix" not in finding.remedy else ""
    yield _indented(f"-> {finding.remedy}{mends}", "    ")


def _indented(text: str, before: str, behind: str | None = None) -> str:
    """A paragraph of 80 columns, its first line behind `before`, the others behind `behind`."""
    import textwrap

    from headstart.report.text import WIDTH

    return textwrap.fill(
        text, WIDTH, initial_indent=before,
        subsequent_indent=" " * len(before) if behind is None else behind,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _cost(checkup: Checkup) -> Iterator[str]:
    """What training will take here."""
    from headstart.report.text import duration, wrapped

    cost = checkup.cost
    if cost is None:
        return
    yield ""
    passes = ", ".join(f"{duration(s)} for {key}" for key, s in cost.pass_seconds.items())
    free = "" if cost.free_bytes is None else f" of {cost.free_bytes / 1e9:.1f} GB free"
    yield wrapped(
        f"Training all of {checkup.backbone} here ({cost.device}): about "
        f"{cost.memory_bytes / 1e6:,.0f} MB{free}; a pass over the rows takes {passes}."
    )
    if cost.planned_seconds is not None:
        yield wrapped(
            f"headstart transfer on these rows, one seed: about {duration(cost.planned_seconds)}. "
            "Both are estimates: the time from a few measured steps."
        )
