"""Continued pre-training on the target's own texts, then fine-tuning; against fine-tuning alone.

    python benchmarks/adapt.py [--seeds 5] [--labels 64 256] [--small]

The demo's product sentences, from all-MiniLM-L6-v2. Task-adaptive pre-training (Gururangan et al.
2020) reads the texts of all target rows without their labels: first a new head for hidden words is
trained with the encoder frozen, since the checkpoint was published without one, then everything.
Both ways then take the same steps on the same labels, drawn by the seed, and are judged on the
demo's 1,000 test rows; the gain is paired by seed and row. Pseudo-perplexity (Salazar et al. 2020)
is of texts that no stage saw, before and after the encoder moved. Kept in results/adapt.json.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from common import (
    BACKBONE,
    MAX_LENGTH,
    arguments,
    cold_shop,
    demo_rows,
    keep,
    mean,
    some,
)
from headstart.data.batches import derive_seed
from headstart.data.examples import Examples
from headstart.data.findings import counted
from headstart.evaluation.intervals import gain
from headstart.recipe import Data, MaskedLm, Recipe, Stage
from headstart.training.model import open_trained
from headstart.training.stage import Workshop
from headstart.verdict.arms import stages_of
from headstart.verdict.running import pretrain, read_texts

TASK = MaskedLm(kind="masked-lm")


def adapting(epochs: float) -> tuple[Stage, Stage]:
    """The stages without labels: the head, then everything."""
    head = Stage(name="words", task=TASK, data="texts", train="head", epochs=epochs, seed=0)
    return head, Stage(name="adapt", task=TASK, data="texts", epochs=epochs, learning_rate=5e-5,
                       seed=0)  # fmt: skip


def recipe_of(stages: tuple[Stage, ...], seed: int) -> Recipe:
    """Stages on the demo's backbone."""
    data = {name: Data(path="<memory>") for stage in stages for name in stage.data_names}
    return Recipe(backbone=BACKBONE, max_length=MAX_LENGTH, data=data, stage=stages, seed=seed)


def answers(shop: Workshop, recipe: Recipe, data: dict[str, Examples], test: Examples) -> Any:
    """(N,) class of each test row by the model that a recipe leaves."""
    model = open_trained(shop.run(recipe, data)[-1].folder)
    return model.logits(test.texts).argmax(-1).numpy(), model.task.labels


def compared(
    shop: Workshop, target: Examples, test: Examples, texts: Examples, labels: int, seeds: int,
    before: tuple[Stage, ...],
) -> dict[str, Any]:  # fmt: skip
    """Both ways on so many labels, and the gain of one over the other."""
    found: dict[str, list[np.ndarray]] = {"target": [], "texts -> target": []}
    classes: tuple[str, ...] = ()
    for seed in range(seeds):
        rows = some(target, labels, derive_seed("labels", seed))
        data = {"target": rows, "texts": texts}
        for name, first in (("target", ()), ("texts -> target", before)):
            recipe = recipe_of((*first, *stages_of("target", labels)), seed)
            said, classes = answers(shop, recipe, data, test)
            found[name].append(said)
    truth = np.array([classes.index(label) for label in test.labels or ()])
    worth = gain("accuracy", np.stack(found["texts -> target"]), np.stack(found["target"]), truth)
    rows_of = {n: [float((a == truth).mean()) for a in some_] for n, some_ in found.items()}
    print(
        f"{labels:>5} labels  target {mean(rows_of['target']):.3f}  texts -> target "
        f"{mean(rows_of['texts -> target']):.3f}  gain {100 * worth.value:+.1f} "
        f"[{100 * worth.low:.1f}, {100 * worth.high:.1f}] points, {counted(seeds, 'seed')}",
        flush=True,
    )
    return {"labels": labels, "accuracy": {n: mean(v) for n, v in rows_of.items()},
            "seeds": rows_of, "gain": vars(worth)}  # fmt: skip


def main() -> None:
    """Measure the texts, then the labels."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--labels", type=int, nargs="+", default=[64, 256])
    options = parser.parse_args()
    seeds, counts = (1, [8]) if options.small else (options.seeds, options.labels)
    before = adapting(0.1 if options.small else 3)
    with demo_rows() as (_, target, test), cold_shop() as shop:
        if options.small:
            target, test = some(target, 200), some(test, 20)
        texts = replace(target, labels=None)
        held = pretrain(recipe_of(before, 0), read_texts(recipe_of(before, 0), {"texts": list(
            texts.texts)}), shop)  # fmt: skip
        print(held.sentence, flush=True)
        rows = [compared(shop, target, test, texts, n, seeds, before) for n in counts]
    result = {"rows": rows, "pseudo_perplexity": held.judged, "texts": len(texts)}
    if options.small:
        print("a small run is not kept")
    else:
        print(f"kept in {Path(keep('adapt', result)).name}")


if __name__ == "__main__":
    main()
