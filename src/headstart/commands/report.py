"""headstart report: a run's page again, or runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headstart.commands.options import option
from headstart.commands.showing import shown

RUNS = typer.Argument(metavar="RUN...", help="The output folder of a run, or a json file that "
                      "headstart printed.")  # fmt: skip
COMPARE = typer.Option("--compare", help="Lay the runs side by side, two or more of them.")
REPORT_OUT = option("FILE", "Write the page here. Default: report.html beside the run's "
                    "verdict.json; with --compare comparison.html in this folder.")  # fmt: skip


def report_command(
    runs: Annotated[list[Path], RUNS],
    compare: Annotated[bool, COMPARE] = False,
    out: Annotated[Path | None, REPORT_OUT] = None,
) -> None:
    """Make the page of a run anew from its verdict.json, or lay runs side by side.

    The page is one file that needs no network: to print, or to send to somebody.
    Rankings (headstart rank --json), explanations (headstart explain --json) and
    recipes that end without a verdict have pages too.

    Examples:

      headstart report runs/shop
      headstart report --compare runs/shop-64 runs/shop-256 --out both.html
    """
    from headstart.api import compare_runs, write_report
    from headstart.errors import RecipeError

    if compare:
        comparison = compare_runs(runs)
        place = out or Path("comparison.html")
        comparison.write_html(place)
        print(comparison)
        print(f"\n{shown(place)}: the same as a page, for a browser")
        return
    if len(runs) > 1:
        raise RecipeError(f"report: makes the page of one run; got {len(runs)}. --compare lays "
                          "them side by side.")  # fmt: skip
    print(shown(write_report(runs[0], out)))
