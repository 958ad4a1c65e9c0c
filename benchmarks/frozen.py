"""What a frozen encoder costs: a head, a label curve, and the top two blocks.

    python benchmarks/frozen.py [--full] [--small]

Encoder: all-MiniLM-L6-v2; rows: the demo's. "One forward pass" is headstart's own prediction over
the very rows, tokenising included: what the features cost anyone, whatever is trained on them.
Every figure of ours begins with an empty cache unless the row says otherwise. Trainer with a frozen
encoder runs 2 epochs, and its time is multiplied by 10; with --full it runs all 20, and is judged.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from common import (
    BACKBONE,
    MAX_LENGTH,
    Trainer,
    alternate,
    arguments,
    cold_shop,
    demo_rows,
    judged,
    middle,
    one_stage,
    some,
    timed,
)
from headstart.data.batches import derive_seed
from headstart.data.draw import draw
from headstart.data.examples import Examples
from headstart.models.checkpoint import open_checkpoint, resolve
from headstart.recipe import Recipe
from headstart.training.begin import begin
from headstart.training.stage import Workshop
from table import Row, keep_rows

EPOCHS, HEAD_RATE = 20, 1e-3
SIZES = (32, 64, 128, 256, 512, 1024)
SEEDS = 5
BLOCKS, MOVING = 6, 2


def head_recipe(seed: int = 0) -> Recipe:
    """The head alone for 20 epochs, at the rate and in the batches of a stage's defaults."""
    return one_stage(train="head", epochs=EPOCHS, learning_rate=HEAD_RATE, seed=seed)


def forward_pass(rows: Examples) -> Callable[[int], tuple[float, None]]:
    """Answering once for each row, the model being open."""
    model = begin(open_checkpoint(BACKBONE), head_recipe(), rows.classes)
    model.network.eval()

    def once(number: int) -> tuple[float, None]:
        return timed(lambda: model.logits(rows.texts))[0], None

    once(0)  # the first run asks for memory, as the first of any other way has done before
    return once


def head_of_ours(rows: Examples, test: Examples, number: int) -> tuple[float, float]:
    """Seconds of tokenising, features and 20 epochs, and the accuracy."""
    with cold_shop() as shop:
        stage = shop.run(head_recipe(number), {"rows": rows})[0]
        return stage.record["seconds"], judged(stage, test)


def head_of_theirs(rows: Examples, test: Examples, *, full: bool) -> tuple[float, float | None]:
    """Seconds of 20 epochs of Trainer with the encoder frozen; the accuracy if they were run."""
    trainer = Trainer(resolve(BACKBONE), rows.classes, MAX_LENGTH)
    model = trainer.fresh(0)
    model.base_model.requires_grad_(False)
    epochs = EPOCHS if full else EPOCHS // 10
    schedule = {"learning_rate": HEAD_RATE, "warmup_steps": 0.1}
    texts, labels = rows.texts, rows.labels or []
    model, seconds = trainer.fit(model, texts, labels, epochs=epochs, seed=0, settings=schedule)
    accuracy = trainer.accuracy(model, test.texts, test.labels or []) if full else None
    return seconds * EPOCHS / epochs, accuracy


def head_rows(rows: Examples, test: Examples, rounds: int, *, full: bool) -> list[Row]:
    """A head for 20 epochs beside one forward pass, and beside Trainer."""
    ways: dict[str, Callable[[int], tuple[float, Any]]] = {
        "ours": partial(head_of_ours, rows, test),
        "pass": forward_pass(rows),
    }
    found = alternate(ways, rounds)
    name = f"head on a frozen encoder, {EPOCHS} epochs: {len(rows):,} short reviews"
    ours = middle(found["ours"])
    accuracy = sum(a for _, a in found["ours"]) / rounds
    seconds, theirs = head_of_theirs(rows, test, full=full)
    how = "" if full else "2 epochs were run, and their time multiplied by 10; not judged. "
    return [
        Row(name, ours, "one forward pass, ours", middle(found["pass"]), needed=1 / 1.2,
            ours_accuracy=accuracy, note="at most 1.2 passes, cache empty at first"),
        Row(name, ours, "Trainer, encoder frozen", seconds, accuracy, theirs, needed=40.0,
            note=f"{how}Both at {HEAD_RATE:g}; Trainer float32, 16 texts"),
    ]  # fmt: skip


def curve_rows(rows: Examples, sizes: tuple[int, ...], seeds: int, rounds: int) -> list[Row]:
    """A head for each size and seed, on nested draws, beside one forward pass over all rows."""

    def curve(number: int) -> tuple[float, float]:
        points = [(size, seed) for size in sizes for seed in range(seeds)]
        with cold_shop() as shop:
            wall, seconds = timed(lambda: sum(one_point(shop, rows, *point) for point in points))
        return seconds, wall

    found = alternate({"ours": curve, "pass": forward_pass(rows)}, rounds)
    one = middle(found["pass"])
    points = len(sizes) * seeds
    name = f"label curve on frozen features, {len(sizes)} sizes x {seeds} seeds of {len(rows):,}"
    wall = sorted(wall for _, wall in found["ours"])[rounds // 2]
    return [
        Row(name, middle(found["ours"]), "one forward pass, ours", one, needed=1 / 1.5,
            note=f"at most 1.5 passes; features and training of {points} heads"),
        Row(f"{name}, saved", wall, "one forward pass, ours", one,
            note=f"the same with {points} whole models written and proved"),
    ]  # fmt: skip


def one_point(shop: Workshop, rows: Examples, size: int, seed: int) -> float:
    """Seconds of one head, trained on so many labels; all share the features of all rows."""
    assert rows.labels is not None
    chosen = rows.part(draw(rows.labels, size, derive_seed("labels", seed))[0])
    return shop.run(head_recipe(seed), {"rows": chosen})[0].record["seconds"]


def top_row(rows: Examples, rounds: int) -> Row:
    """An epoch of the top two blocks, features at hand, beside an epoch of everything."""
    with tempfile.TemporaryDirectory() as folder:
        shop = Workshop(cache=Path(folder))

        def epoch(train: str, number: int) -> tuple[float, None]:
            recipe = one_stage(train=train, epochs=1, seed=number)
            return shop.run(recipe, {"rows": rows})[0].record["seconds"], None

        epoch(f"top:{MOVING}", rounds)  # computes the features
        ways = {name: partial(epoch, name) for name in (f"top:{MOVING}", "all")}
        found = alternate(ways, rounds)
    share = MOVING / BLOCKS
    return Row(
        f"top:{MOVING}, an epoch after the first: {len(rows):,} short reviews",
        middle(found[f"top:{MOVING}"]),
        "an epoch of full fine-tuning, ours",
        middle(found["all"]),
        needed=1 / (1.2 * share),
        note=f"{MOVING} of {BLOCKS} blocks move: at most {share:.2f} of the time, and a fifth more",
    )


def main() -> None:
    """Head, curve, top."""
    parser = arguments(__doc__)
    parser.add_argument("--full", action="store_true", help="Trainer's 20 epochs: 10 minutes")
    options = parser.parse_args()
    small = options.small
    count, rounds = (40, 1) if small else (3000, 3)
    with demo_rows() as (source, target, test):
        test = some(test, 20) if small else test
        rows = some(source, count)
        keep_rows(head_rows(rows, test, rounds, full=options.full), small=small)
        pool = some(target, count)
        sizes, seeds = ((8, 16), 2) if small else (SIZES, SEEDS)
        keep_rows(curve_rows(pool, sizes, seeds, 1 if small else 2), small=small)
        keep_rows([top_row(some(source, count // 3), rounds)], small=small)


if __name__ == "__main__":
    main()
