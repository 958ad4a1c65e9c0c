"""headstart next-labels: which rows are most worth a label."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

MODEL = typer.Argument(metavar="MODEL", help="The output folder of a run, or a model/ folder.")
UNLABELLED = typer.Argument(metavar="UNLABELLED", help="Rows to choose from: a table file.")
COUNT = typer.Option(metavar="N", help="Rows to choose.", min=1)
LABELLED = typer.Option(metavar="FILE", help="Rows that have labels: neither they nor what is much "
                        "like them is chosen.")  # fmt: skip
TEXT = typer.Option(metavar="COL", help="Text column. Default: guessed.")
OUT = typer.Option(metavar="FILE", help="A new csv file. Default: standard output.")
SEED = typer.Option(metavar="N", help="Another seed makes another choice, as good.")


def next_labels_command(
    model: Annotated[Path, MODEL],
    unlabelled: Annotated[str, UNLABELLED],
    count: Annotated[int, COUNT] = 50,
    labelled: Annotated[str | None, LABELLED] = None,
    text: Annotated[str | None, TEXT] = None,
    out: Annotated[Path | None, OUT] = None,
    seed: Annotated[int, SEED] = 0,
) -> None:
    """Choose the rows that are most worth a label, and write them with the reason.

    They are those the model is unsure of, spread over what there is: one of each
    group of rows that are alike. The column "label" is empty, for you to fill in;
    then give the file as --target, or add it to the labelled rows there are.

    Examples:

      headstart next-labels runs/shop reviews.csv --count 50 --out to_label.csv
      headstart next-labels runs/shop reviews.csv --labelled shop.csv
    """
    from headstart.predicting import next_labels
    from headstart.verdict.next_labels_file import check_place, write_rows

    check_place(out)
    found = next_labels(model, unlabelled, count, labelled=labelled, text=text, seed=seed)
    write_rows(found, out)
    if out is not None:
        print(f'{out}: {len(found):,} rows to label. Fill in the column "label".')
        print(f"\nThen:\n  headstart transfer --source ... --target {shlex.quote(str(out))}")
