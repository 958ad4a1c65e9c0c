"""Peak memory of a large table, beside a hundredth of it: read, trained on, and labelled.

    python benchmarks/large_table.py [--rows 5000000] [--steps 200] [--small]

The table is a csv file of synthetic texts, made here and removed again: two labels, words of the
demo's film reviews, each row another. Each size is worked on in processes of their own, with a
cache of their own (a few GB for 5 million rows): one trains a tiny BERT for some updates, after
all rows were read, split, compared and tokenised; one labels every row of the file with it, as
`headstart predict` does. The peak is the most that a process held resident at once, pages of mapped
files among it.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from common import arguments, demo_rows
from growth import sentences, tiny_bert
from table import Row, keep_rows

PART = 100
"""How many times smaller the table is that the large one is held against."""

CHUNK = 50_000
KINDS = ("train", "again", "predict")
TITLES = {
    "train": "reading, splitting, tokenising, training",
    "again": "training again, everything found",
    "predict": "labelling every row",
}


def write_table(file: Path, texts: list[str], count: int) -> None:
    """A csv file of so many labelled rows, some thousand of them in memory at a time."""
    with file.open("w", newline="", encoding="utf-8") as out:
        rows = csv.writer(out)
        rows.writerow(["text", "label"])
        for start in range(0, count, CHUNK):
            some = sentences(texts, min(CHUNK, count - start), seed=start)
            labels = np.random.default_rng(start).choice(["negative", "positive"], len(some))
            rows.writerows((f"{t} {start + n}", labels[n]) for n, t in enumerate(some))


def train(folder: Path, steps: int) -> None:
    """Read the table, hold out a fifth, and train on the rest, as `headstart run` does."""
    from headstart.recipe import Recipe
    from headstart.training.stage import Workshop
    from headstart.verdict.compare import run_recipe
    from headstart.verdict.rows import read_rows

    recipe = Recipe.from_values({
        "backbone": str(folder / "tiny"),
        "max_length": 32,
        "data": {"rows": {"path": str(folder / "rows.csv")}},
        "stage": [{"name": "tune", "data": "rows", "steps": steps}],
    })  # fmt: skip
    found = run_recipe(recipe, read_rows(recipe), Workshop())
    place = folder / "model"
    if not place.exists():
        place.symlink_to(found.winner.folder)


def predict(folder: Path) -> None:
    """Label every row of the table."""
    from headstart.predicting import predict_to

    out = folder / "labelled.csv"
    predict_to(folder / "model", [str(folder / "rows.csv")], text_column=None, json_lines=False,
               out=out)  # fmt: skip


def peak() -> int:
    """Most bytes this process held resident so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def measure(kind: str, folder: Path, steps: int) -> dict[str, float]:
    """Seconds and peak bytes of one kind of work, in a process of its own."""
    command = [sys.executable, __file__, "--kind", kind, "--folder", str(folder)]
    command += ["--steps", str(steps)]
    environment = os.environ | {"HEADSTART_CACHE": str(folder / "cache")}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def all_kinds(count: int, steps: int) -> dict[str, dict[str, float]]:
    """All kinds of work on a table of so many rows."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        tiny_bert(folder / "tiny")
        with demo_rows() as (films, _, _):
            write_table(folder / "rows.csv", list(films.texts), count)
        size = (folder / "rows.csv").stat().st_size
        found = {}
        for kind in KINDS:
            found[kind] = measure(kind, folder, steps) | {"file": size}
            print(f"{count:>9,} rows, {kind:<8} {found[kind]['peak'] / 1e6:8,.0f} MB "
                  f"{found[kind]['seconds']:8.1f} s", flush=True)  # fmt: skip
        return found


def main() -> None:
    """The hundredth, then the whole."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kind is not None:
        start = time.perf_counter()
        if options.kind == "predict":
            predict(options.folder)
        else:
            train(options.folder, options.steps)
        print(json.dumps({"peak": peak(), "seconds": time.perf_counter() - start}))
        return
    if options.small:
        options.rows, options.steps = 20_000, 5
    few = options.rows // PART
    small, large = (all_kinds(count, options.steps) for count in (few, options.rows))
    keep_rows([
        Row(
            name=f"peak memory of {options.rows:,} rows: {TITLES[kind]}",
            ours=large[kind]["peak"] / 1e6,
            peer=f"{few:,} rows",
            peers=small[kind]["peak"] / 1e6,
            note=f"a file of {large[kind]['file'] / 1e6:,.0f} MB; {large[kind]['seconds']:,.0f} s "
            f"beside {small[kind]['seconds']:,.0f} s",
            unit="MB",
        )
        for kind in KINDS
    ], small=options.small)  # fmt: skip


if __name__ == "__main__":
    main()
