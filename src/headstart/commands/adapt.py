"""headstart adapt: a classifier for new classes from a few rows, by a meta-trained model."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from headstart.commands.values import pairs

MODEL = typer.Argument(metavar="MODEL", help="A model that learned from episodes: the output "
                       "folder of a run, or its model/ folder.")  # fmt: skip
SUPPORT = typer.Option(metavar="FILE", help="A few labelled rows, one or more of each class.")
TEXT = typer.Option(metavar="COL", help="Text column. Default: guessed.")
LABEL = typer.Option(metavar="COL", help="Label column. Default: guessed.")
MAP = typer.Option(metavar="OLD=NEW,...", help="Rename labels, and leave out rows with others.")
STEPS = typer.Option(metavar="N", help="Steps of gradient descent. Default: as the model was "
                     "measured.", min=0)  # fmt: skip
OUT = typer.Option(metavar="DIR", help="Where the classifier goes: a folder that is new or empty.")


def adapt_command(
    model: Annotated[Path, MODEL],
    support: Annotated[str, SUPPORT],
    out: Annotated[Path, OUT] = Path("runs/adapted"),
    text: Annotated[str | None, TEXT] = None,
    label: Annotated[str | None, LABEL] = None,
    label_map: Annotated[str | None, MAP] = None,
    steps: Annotated[int | None, STEPS] = None,
) -> None:
    """Make a classifier for new classes from a few labelled rows, in seconds.

    The model comes from a recipe whose last stage learns from episodes
    (objective = "protonet" and others; docs/meta.md). What is left is an
    ordinary model: predict, explain and export take it.

    Examples:

      headstart adapt runs/meta --support few.csv --out runs/shop
      headstart predict runs/shop "It broke after a day."
    """
    import time

    from headstart.api import adapt

    start = time.perf_counter()
    made = adapt(model, support, text=text, label=label, label_map=pairs("--label-map", label_map),
                 steps=steps, out=out)  # fmt: skip
    rows = made.provenance["adapted"]["rows"]
    print(f"{out}: tells apart {', '.join(made.classes)}; from {rows} rows, "
          f"{time.perf_counter() - start:.1f} s")  # fmt: skip
    print(f'\nNext:\n  headstart predict {shlex.quote(str(out))} "a text of yours"')
