"""headstart rank: which backbone and which source to start from, before any training."""

from __future__ import annotations

from typing import Annotated

import typer

from headstart.commands.values import columns, pairs
from headstart.recipe import DEFAULT_BACKBONE

TARGET = typer.Option(metavar="FILE|DIR", help="Labelled rows like those the model is for.")
SOURCE = typer.Option(metavar="FILE|DIR", help="What could be trained on first: labelled rows, or "
                      "a model that headstart trained. Give it once for each.")  # fmt: skip
BACKBONE = typer.Option(metavar="NAME|DIR", help="A pre-trained model to start from. Give it once "
                        "for each.")  # fmt: skip
TEXT = typer.Option(metavar="COL", help="Text column; or source=COL,target=COL, with the name of a "
                    "source in the place of source for that one. Default: guessed.")  # fmt: skip
LABEL = typer.Option(metavar="COL", help="Label column, likewise.")
SOURCE_MAP = typer.Option(metavar="OLD=NEW,...", help="Rename the labels of every source that has "
                          "some of them, as in 1=negative,5=positive.")  # fmt: skip
TARGET_MAP = typer.Option(metavar="OLD=NEW,...", help="Rename the target's labels likewise.")
ROWS = typer.Option(metavar="N", help="Most rows of a data set that are looked at.", min=2)
MAX_LENGTH = typer.Option(metavar="N", help="Longest text in tokens. Default: each checkpoint's.",
                          min=4)  # fmt: skip
BY = typer.Option(metavar="MEASURE", help="What orders: hscore, logme, nleep, leep, knn, probe, "
                  "answers, similarity or mean-rank. Default: hscore for backbones, leep for "
                  "sources.")  # fmt: skip
JSON = typer.Option("--json", help="Print JSON instead of the tables.")


def rank_command(
    target: Annotated[str, TARGET],
    source: Annotated[list[str] | None, SOURCE] = None,
    backbone: Annotated[list[str] | None, BACKBONE] = None,
    text: Annotated[str | None, TEXT] = None,
    label: Annotated[str | None, LABEL] = None,
    source_map: Annotated[str | None, SOURCE_MAP] = None,
    target_map: Annotated[str | None, TARGET_MAP] = None,
    rows: Annotated[int, ROWS] = 2000,
    max_length: Annotated[int | None, MAX_LENGTH] = None,
    by: Annotated[str | None, BY] = None,
    json: Annotated[bool, JSON] = False,
) -> None:
    """Say which backbone and which source to start from, before any training.

    Every text goes through each frozen backbone once; what that gives is judged
    by several measures, and the tables show them all, best first.
    docs/ranking.md tells what they are, and how they agreed with what was
    trained later.

    Examples:

      headstart rank --target shop.csv --source films.csv --source books.csv
      headstart rank --target shop.csv --backbone all-MiniLM-L6-v2 \\
          --backbone bert-base-uncased
    """
    from headstart.report.ranking import ranking_text
    from headstart.verdict.ranking import rank

    ranking = rank(target, source or (), backbone or DEFAULT_BACKBONE,
                   text=columns("--text", text, known=None),
                   label=columns("--label", label, known=None),
                   source_map=pairs("--source-map", source_map),
                   target_map=pairs("--target-map", target_map),
                   rows=rows, max_length=max_length, by=by)  # fmt: skip
    print(ranking.to_json() if json else ranking_text(ranking), end="" if json else "\n")
