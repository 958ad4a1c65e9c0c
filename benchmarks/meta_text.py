"""Few labels of a new kind of text: meta-learning beside what needs none of it.

    python benchmarks/meta_text.py [--data ../shared/data] [--ways protonet anil ...] [--small]

Learned from: reviews of books, dvds, electronics, kitchen ware and films, SST-2, CoLA and abstracts
of medicine (5 kinds of disease), each a task of its own. Measured on: sentences of business news in
three classes (Financial PhraseBank), of which nothing was seen, with 4, 8 and 16 labels a class.
Everything starts from all-MiniLM-L6-v2, and all ways are tried on the same episodes: 600 where an
episode is cheap, else as many as the row says. "source" is plain fine-tuning on all reviews of the
tasks that are about sentiment; "plain fine-tuning" moves everything on an episode's rows alone.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common import BACKBONE, arguments, cold_shop, keep, some, timed
from headstart.data.episodes import Episodes, Shape, tasks_of
from headstart.data.examples import Examples, examples
from headstart.data.findings import remove_duplicates
from headstart.data.table import read
from headstart.evaluation.episodes import (
    FROZEN,
    Trials,
    episode_interval,
    frozen_vectors,
    tuning_stage,
)
from headstart.recipe import Recipe
from headstart.training.episodic import open_episodic
from headstart.training.progress import OnConsole
from headstart.training.stage import Workshop

MAX_LENGTH, ROWS, SHOTS, QUERIES = 48, 700, (4, 8, 16), 15
EPISODES, DEAR_EPISODES, TUNED_EPISODES = 600, 30, 10
COMMON = {"shots": 4, "queries": 4, "episodes": 2}
INSIDE = {"inner": "lora:8", "inner_steps": 3, "inner_rate": 0.05, "test_steps": 5}
WAYS: dict[str, dict[str, Any]] = {
    "protonet": {"kind": "protonet"},
    "anil": {"kind": "anil", "inner_rate": 0.05, "learn_rates": True},
    "fomaml": {"kind": "fomaml", **INSIDE},
    "reptile": {"kind": "reptile", **INSIDE, "inner_steps": 4},
}
"""Values of `objective`; all train LoRA of rank 8."""

NEEDED = ("amazon_multi_domain", "imdb", "glue", "medical_abstracts", "financial_phrasebank")
SENTIMENT = ("books", "dvd", "electronics", "kitchen", "films", "sst2")


def sources(data: Path) -> dict[str, Examples]:
    """The tasks that are learned from, `ROWS` rows of each at most."""
    amazon = data / "amazon_multi_domain" / "sorted_data_acl"
    found = {domain.split("_")[0]: examples(read(amazon / domain))
             for domain in ("books", "dvd", "electronics", "kitchen_&_housewares")}  # fmt: skip
    found["films"] = examples(read(data / "imdb" / "aclImdb", split="train"))
    found["sst2"] = examples(read(data / "glue" / "SST-2" / "train.tsv"), text="sentence",
                             mapping={"0": "negative", "1": "positive"})  # fmt: skip
    found["cola"] = _plain("cola", _lines(data / "glue" / "CoLA" / "train.tsv", 3, 1))
    medical = data / "medical_abstracts" / "medical_tc_train.csv"
    found["medicine"] = examples(read(medical), text="medical_abstract", label="condition_label")
    words = {"pos": "positive", "neg": "negative"}
    films = found["films"]
    found["films"] = replace(films, labels=[words.get(x, x) for x in films.labels or ()])
    return {name: replace(some(rows, ROWS), name=name) for name, rows in found.items()}


def _lines(file: Path, text: int, label: int) -> Iterator[tuple[str, str]]:
    for line in file.read_text(encoding="utf-8").splitlines():
        cells = line.split("\t")
        yield cells[text], cells[label]


def _plain(name: str, pairs: Iterator[tuple[str, str]]) -> Examples:
    texts, labels = zip(*pairs, strict=True)
    return Examples(name, list(texts), list(labels), np.arange(len(texts)))


def finance(data: Path) -> Examples:
    """The sentences that are measured on, all of them."""
    file = data / "financial_phrasebank" / "all-data.csv"
    with file.open(encoding="latin-1", newline="") as lines:
        return _plain("finance", ((row[1], row[0]) for row in csv.reader(lines)))


def recipe(stage: Mapping[str, Any], names: tuple[str, ...]) -> Recipe:
    """One stage on the sources."""
    return Recipe.from_values(
        {
            "backbone": BACKBONE,
            "max_length": MAX_LENGTH,
            "data": {name: {"path": "<memory>"} for name in names},
            "stage": [{"data": list(names), "train": "lora:8"} | dict(stage)],
        }
    )


class Table:
    """The rows of the result."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, way: str, shots: int, accuracies: np.ndarray, seconds: float) -> None:
        """Keep a row and print it."""
        found = episode_interval(accuracies)
        described = {"way": way, "shots": shots, "episodes": len(accuracies)}
        measured = {"accuracy": vars(found), "training_seconds": round(seconds, 1)}
        self.rows.append(described | measured)
        value, low, high = (100 * figure for figure in (found.value, found.low, found.high))
        interval = f"{value:5.1f} [{low:.1f}, {high:.1f}]"
        print(f"{way:<24} {shots:>3} labels a class: {interval}  {len(accuracies)} episodes")


def meta_ways(
    shop: Workshop, given: Mapping[str, Examples], trials: list[Trials], steps: int, table: Table,
    ways: list[str],
) -> None:  # fmt: skip
    """Train each way of meta-learning, and try it."""
    for way in ways:
        stage = {"name": way, "steps": steps, "objective": COMMON | WAYS[way]}
        planned = recipe(stage, tuple(given))
        seconds, results = timed(lambda planned=planned: shop.run(planned, given))
        model = open_episodic(results[0].folder)
        dear = "inner" in WAYS[way]
        shown = trials[0].read(model, shop)
        for one in trials:
            count = min(one.count, DEAR_EPISODES) if dear else one.count
            accuracies = replace(one, count=count).accuracies(model, shown)
            table.add(f"{way}, lora:8", one.draws.shape.shots[0], accuracies, seconds)


def frozen_ways(shop: Workshop, trials: list[Trials], start: Recipe, table: Table, prefix: str,
                seconds: float) -> None:  # fmt: skip
    """Logistic regression and class means on a frozen backbone."""
    vectors = frozen_vectors(trials[0], shop, start)
    for one in trials:
        for name, answer in FROZEN.items():
            accuracies = one.of_vectors(vectors, answer)
            table.add(name.replace("frozen", prefix), one.draws.shape.shots[0], accuracies, seconds)


def source_way(
    shop: Workshop, given: Mapping[str, Examples], trials: list[Trials], steps: int, table: Table
) -> None:
    """Plain fine-tuning on the sources about sentiment, then frozen."""
    names = tuple(name for name in SENTIMENT if name in given)
    stage = {"name": "source", "steps": steps, "batch_tokens": 2048}
    seconds, results = timed(
        lambda: shop.run(recipe(stage, names), {name: given[name] for name in names})
    )
    start = recipe(stage, names).model_copy(update={"backbone": str(results[0].folder)})
    frozen_ways(shop, trials, start, table, "source", seconds)


def measured(shop: Workshop, data: Path, options: Any) -> list[dict[str, Any]]:
    """Everything in one table."""
    target = finance(data)
    given = {n: remove_duplicates(r, target)[0] for n, r in sources(data).items()}
    episodes, steps, tuned = EPISODES, options.steps, TUNED_EPISODES
    shots: tuple[int, ...] = SHOTS
    if options.small:
        target, episodes, steps, tuned, shots = some(target, 97), 5, 3, 1, (4,)
        given = {name: some(rows, 41) for name, rows in given.items() if name in ("books", "dvd")}
    trials = [
        Trials(Episodes(tasks_of({"finance": target}), Shape(None, (few,), QUERIES)), target,
               episodes, seed=few)
        for few in shots
    ]  # fmt: skip
    table, start = Table(), recipe({"name": "none", "steps": 1}, tuple(given))
    frozen_ways(shop, trials, start, table, "frozen", 0.0)
    source_way(shop, given, trials, steps, table)
    meta_ways(shop, given, trials, steps, table, options.ways)
    for one in trials:
        few = replace(one, count=tuned, progress=OnConsole())
        stage = tuning_stage(epochs=2 if options.small else 20)
        seconds, accuracies = timed(lambda few=few, stage=stage: few.tuned(shop, start, stage))
        table.add("plain fine-tuning", one.draws.shape.shots[0], accuracies, seconds / tuned)
    return table.rows


def main() -> None:
    """Measure all ways, and keep the table."""
    parser = arguments(__doc__)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--steps", type=int, default=200, help="updates of each way")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    options = parser.parse_args()
    lacking = [name for name in NEEDED if not (options.data / name).is_dir()]
    if lacking:
        sys.exit(
            f"{options.data}: lacks {', '.join(lacking)}. Give the folder that holds the data sets "
            "with --data; the docstring says which they are."
        )
    with cold_shop() as shop:
        shop.progress = OnConsole()
        rows = measured(shop, options.data, options)
    settings = {"steps": options.steps, "max_length": MAX_LENGTH, "rows_of_a_task": ROWS,
                "common": COMMON, "ways": WAYS, "queries": QUERIES}  # fmt: skip
    if not options.small:
        print(keep("meta_text", {"settings": settings, "rows": rows}))


if __name__ == "__main__":
    main()
