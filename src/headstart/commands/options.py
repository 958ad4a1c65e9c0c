"""Options that several commands share."""

from __future__ import annotations

from typing import Any

import typer


def option(metavar: str, what: str, **more: Any) -> Any:
    """An option's line in the help."""
    return typer.Option(metavar=metavar, help=what, **more)


JSON = typer.Option("--json", help="Print verdict.json instead of the table.")
OUT = option("DIR", "Folder for verdict, report and model; made if needed.")
PROFILE = typer.Option("--profile", help="Tell where the time went, and leave profile.txt and "
                       "trace.json in --out.")  # fmt: skip
TRACK = option("KIND", "Pass the log of every stage on, under --out/track, as it is made: to "
               "tensorboard, mlflow or csv.")  # fmt: skip
SEEDS = option("K", "Repeats with other label draws and random starts; they narrow the interval, "
             "and cost K times the target's training. Default: 1.", min=1)  # fmt: skip
