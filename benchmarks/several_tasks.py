"""Are tasks better off together? Each alone against all together, with paired intervals.

    python benchmarks/several_tasks.py [--small] [--seeds 3] [--balances pcgrad nash ...]

Two sets of four tasks, on all-MiniLM-L6-v2: the reviews of books, DVDs, electronics and kitchenware
(Blitzer et al. 2007), 560 rows each; and CoLA, SST-2, RTE and MRPC of GLUE, 1,000 rows each, judged
on their development rows. Alone and together a task's rows are gone through equally often, in the
same order, from the same head. Wants ../shared/data, or --data FOLDER with `amazon_multi_domain`
and `glue` as published; what is absent is left out. Kept in results/several_tasks.json.
"""

from __future__ import annotations

import csv
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from common import BACKBONE, arguments, keep, some
from headstart.data.examples import Examples, examples
from headstart.data.pair import Pair
from headstart.data.table import read
from headstart.recipe import Recipe
from headstart.report.tasks import tasks_table
from headstart.training.progress import OnConsole
from headstart.training.stage import Workshop
from headstart.verdict.rows import hold_out
from headstart.verdict.task_rows import TaskRows
from headstart.verdict.together import run_together

DOMAINS = {
    "books": "books",
    "dvd": "dvd",
    "electronics": "electronics",
    "kitchen": "kitchen_&_housewares",
}
"""Folders of the domains."""
GLUE: dict[str, tuple[int | None, Sequence[int], int]] = {
    "CoLA": (None, (3,), 1),
    "SST-2": (0, (0,), 1),
    "RTE": (0, (1, 2), 3),
    "MRPC": (0, (3, 4), 0),
}
"""Of each task the row that is a header, the columns of its texts, and that of its label."""


def amazon(folder: Path, small: bool) -> TaskRows | None:
    """Four domains, a fifth of each held out."""
    place = folder / "amazon_multi_domain" / "sorted_data_acl"
    if not place.is_dir():
        return None
    train, test = {}, {}
    for name, inside in DOMAINS.items():
        train[name], test[name] = hold_out(examples(read(place / inside, name=name)))
    return _cut(train, test, 48 if small else 560, 40 if small else 140)


def glue(folder: Path, small: bool) -> TaskRows | None:
    """Four tasks, a thousand rows each, and their development rows."""
    if not all((folder / "glue" / name).is_dir() for name in GLUE):
        return None
    train = {name: _glue_rows(folder / "glue" / name / "train.tsv") for name in GLUE}
    test = {name: _glue_rows(folder / "glue" / name / "dev.tsv") for name in GLUE}
    return _cut(train, test, 48 if small else 1000, 40 if small else 2000)


def _cut(train: dict[str, Examples], test: dict[str, Examples], most: int, judges: int) -> TaskRows:
    train = {name: some(rows, most) for name, rows in train.items()}
    test = {name: some(rows, judges) for name, rows in test.items()}
    return TaskRows(train, test, frozenset(), ())


def _glue_rows(file: Path) -> Examples:
    """Rows of a GLUE file: tabs between columns, quotes as they are."""
    header, texts, label = GLUE[file.parent.name]
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = list(csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE))
    rows = [row for row in rows[0 if header is None else 1 :] if len(row) > max(*texts, label)]
    made = [
        Pair(row[texts[0]], row[texts[-1]]) if len(texts) > 1 else row[texts[0]] for row in rows
    ]
    name = f"{file.parent.name} {file.stem}"
    return Examples(name, made, [row[label] for row in rows], np.arange(1, len(rows) + 1))


def recipe(rows: TaskRows, balance: str, small: bool) -> Recipe:
    """All tasks together, in proportion to their rows."""
    return Recipe.from_values(
        {
            "backbone": BACKBONE,
            "max_length": 16 if small else 64,
            "data": {name: {"path": "<memory>"} for name in rows.train},
            "stage": [{
                "name": "together",
                "task": [{"data": name} for name in rows.train],
                "epochs": 1 if small else 2,
                "batch_tokens": 512,
                "balance": balance,
            }],
        }
    )  # fmt: skip


def main() -> None:
    """Train both sets, print a table for each, keep everything."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--balances", nargs="+", default=["sum"])
    there = Path(__file__).parent.parent.parent / "shared" / "data"
    parser.add_argument("--data", type=Path, default=there)
    options = parser.parse_args()
    found: dict[str, Any] = {}
    for title, made in (("amazon", amazon), ("glue", glue)):
        rows = made(options.data, options.small)
        if rows is None:
            print(f"{title}: not in {options.data}, left out")
            continue
        with tempfile.TemporaryDirectory() as cache:
            os.environ["HEADSTART_CACHE"] = cache
            for balance in options.balances:
                shop = Workshop(OnConsole(), cache=Path(cache))
                asked = recipe(rows, balance, options.small)
                seeds = 2 if options.small else options.seeds
                result = run_together(asked, rows, shop, seeds=seeds)
                print(f"\n{title}, {balance}\n{tasks_table(result.values)}", flush=True)
                kept = ("sentence", "tasks", "seeds", "recipe", "precision", "seconds")
                found[f"{title}, {balance}"] = {key: result.values[key] for key in kept}
    if not options.small:
        keep("several_tasks", found)


if __name__ == "__main__":
    main()
