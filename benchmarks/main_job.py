"""The main job, headstart and Hugging Face Trainer in one run: accuracy by label count, and time.

    python benchmarks/main_job.py [--seeds 3] [--labels 64 256 1982] [--quick]

Both start from all-MiniLM-L6-v2, see the same rows in the same number of epochs, and are judged on
the same 1,000 product sentences. headstart runs as `headstart transfer` does; Trainer with its
defaults and batches of 16. The table is printed and kept in benchmarks/results/main_job.json.
"""

from __future__ import annotations

import argparse
import copy
import os
from typing import Any

from common import Trainer, demo_rows, keep, machine, mean
from headstart.data.batches import derive_seed
from headstart.data.draw import draw
from headstart.data.examples import Examples
from headstart.models.checkpoint import resolve
from headstart.recipe import Data, Recipe
from headstart.training.model import open_trained
from headstart.training.progress import OnConsole, Silent
from headstart.training.stage import StageResult, Workshop
from headstart.verdict.arms import SOURCE, build_arms, tune_epochs

BACKBONE = "all-MiniLM-L6-v2"


class Headstart:
    """headstart's arms on the demo's rows, in a cache of its own: nothing was done before."""

    def __init__(
        self, source: Examples, target: Examples, test: Examples, pooling: str = "auto"
    ) -> None:
        self.pooling = pooling
        self.sets = {"source": source, "target": target}
        self.test = test
        self.shop = Workshop(OnConsole() if os.isatty(2) else Silent())

    def arm(self, name: str, labels: int, seed: int) -> tuple[float, float]:
        """Accuracy on the test rows and seconds of training, the source not counted."""
        common = Recipe(
            backbone=BACKBONE,
            pooling=self.pooling,
            data={n: Data(path=f"<{n}>") for n in self.sets},
            stage=(SOURCE,),
        )
        arms = build_arms([name], common, labels=labels, label_limit=None, seeds=seed + 1)
        recipe = arms[0].recipes[-1]
        chosen = draw_labels(self.sets["target"], labels, seed)
        stages = self.shop.run(recipe, self.sets | {"target": chosen})
        seconds = sum(s.record["seconds"] for s in stages if s.record["name"] != "source")
        return self.accuracy(stages[-1]), seconds

    def source(self) -> tuple[float, float]:
        """Accuracy of the source alone, and seconds to train it."""
        common = Recipe(backbone=BACKBONE, data={n: Data(path=n) for n in self.sets},
                        stage=(SOURCE,))  # fmt: skip
        arms = build_arms(["source"], common, labels=0, label_limit=None, seeds=1)
        stages = self.shop.run(arms[0].recipes[0], self.sets)
        return self.accuracy(stages[-1]), stages[-1].record["seconds"]

    def accuracy(self, stage: StageResult) -> float:
        """Share of right answers on the test rows."""
        model = open_trained(stage.folder)
        answers = model.task.decode(model.logits(self.test.texts))
        return sum(a == b for a, b in zip(answers, self.test.labels or [], strict=True)) / len(
            answers
        )


def draw_labels(target: Examples, labels: int, seed: int) -> Examples:
    """The rows that `headstart transfer --labels` trains on with this seed."""
    if labels >= len(target):
        return target
    assert target.labels is not None
    return target.take(draw(target.labels, labels, derive_seed("labels", seed))[0])


def run_headstart(sets: tuple[Examples, Examples, Examples], counts: list[int], seeds: int) -> Any:
    ours = Headstart(*sets)
    accuracy, seconds = ours.source()
    print(f"headstart  source only            {accuracy:.3f}  {seconds:7.1f} s", flush=True)
    found: dict[str, Any] = {"source": {"accuracy": accuracy, "seconds": seconds}}
    for labels in counts:
        for arm in ("target", "source+target"):
            runs = [ours.arm(arm, labels, seed) for seed in range(seeds)]
            found[f"{arm} {labels}"] = summary("headstart", arm, labels, runs)
    return found


def run_trainer(sets: tuple[Examples, Examples, Examples], counts: list[int], seeds: int) -> Any:
    source, target, test = sets
    trainer = Trainer(resolve(BACKBONE), source.classes, 256)
    model, seconds = trainer.fit(trainer.fresh(0), source.texts, source.labels, epochs=2, seed=0)
    accuracy = trainer.accuracy(model, test.texts, test.labels)
    print(f"Trainer    source only            {accuracy:.3f}  {seconds:7.1f} s", flush=True)
    found: dict[str, Any] = {"source": {"accuracy": accuracy, "seconds": seconds}}
    learned = copy.deepcopy(model.state_dict())
    for labels in counts:
        for arm in ("target", "source+target"):
            runs = []
            for seed in range(seeds):
                rows = draw_labels(target, labels, seed)
                if arm == "target":
                    model = trainer.fresh(seed)
                else:
                    model.load_state_dict(learned)
                model, seconds = trainer.fit(model, rows.texts, rows.labels,
                                             epochs=tune_epochs(labels), seed=seed)  # fmt: skip
                runs.append((trainer.accuracy(model, test.texts, test.labels), seconds))
            found[f"{arm} {labels}"] = summary("Trainer", arm, labels, runs)
    return found


def summary(tool: str, arm: str, labels: int, runs: list[tuple[float, float]]) -> dict[str, Any]:
    accuracies, seconds = [a for a, _ in runs], [s for _, s in runs]
    line = f"{tool:<10} {arm:<14} {labels:>5}   {mean(accuracies):.3f}  {mean(seconds):7.1f} s"
    print(f"{line}  {accuracies}", flush=True)
    return {"accuracy": mean(accuracies), "seeds": accuracies, "seconds": mean(seconds)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, nargs="+", default=[64, 256, 1982])
    parser.add_argument("--quick", action="store_true", help="one seed, 64 labels")
    options = parser.parse_args()
    counts, seeds = ([64], 1) if options.quick else (options.labels, options.seeds)
    with demo_rows() as sets:
        result = {
            "seeds": seeds,
            "headstart": run_headstart(sets, counts, seeds),
            "trainer": run_trainer(sets, counts, seeds),
        }
    result["time_ratio"] = time_ratio(result, 256 if 256 in counts else counts[0])
    path = keep("main_job-quick" if options.quick else "main_job", result)
    ratio = f"Trainer takes {result['time_ratio']:.2f} times headstart's time for source + target"
    print(f"{machine()['processor']}: {ratio}. Kept in {path}")


def time_ratio(result: dict[str, Any], labels: int) -> float:
    """Trainer's seconds for the source and one source -> target, over headstart's."""

    def total(tool: str) -> float:
        return sum(result[tool][k]["seconds"] for k in ("source", f"source+target {labels}"))

    return round(total("trainer") / total("headstart"), 3)


if __name__ == "__main__":
    main()
