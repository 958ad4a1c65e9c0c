"""Which ways of fine-tuning help beyond noise: what sets the recipe of `headstart transfer`.

    python benchmarks/tuning.py [--small] [--only swa "sam 0.05" ...] [--labels 16 64 256]
                                [--seeds 5] [--updates 20]

From films to products: the source stage is trained once, then a few product sentences train the
head and after it everything, as the arm "source+target" does. Each way changes one thing of that.
The seeds draw the labels, and all ways of a seed see the same; the rows not drawn, at most
`UNLABELLED`, serve without their labels where a way reads such. So that 18 ways fit into half an
hour, no stage that fine-tunes has more than `--updates` updates, where the arm would have some 20,
50 and 120 on 16, 64 and 256 labels; give --updates 1000 to have it as it is (an hour and a half).
Judged on `TEST` of the demo's test rows: gains over the default are paired by seed and row, and
"helps" or "hurts" is said where 0 is outside an interval that holds for all ways of the table at
once (Bonferroni). Kept in results/tuning.json.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common import BACKBONE, MAX_LENGTH, arguments, demo_rows, keep, some, timed
from headstart.data.batches import derive_seed
from headstart.data.draw import draw
from headstart.data.examples import Examples
from headstart.data.text import Tokenizer
from headstart.evaluation.intervals import Interval, contrast
from headstart.evaluation.scores import score
from headstart.models.checkpoint import open_checkpoint
from headstart.recipe import Recipe
from headstart.training.model import open_trained
from headstart.training.progress import Silent
from headstart.training.stage import StageResult, Workshop
from headstart.verdict.arms import PROBE, SOURCE, tune_stage

UNLABELLED, TEST = 1000, 500
DEFAULT = "default"


@dataclass(frozen=True)
class Way:
    """How a way differs from the default.

    Attributes:
        tune: values of the last stage that differ.
        probe: whether the head is trained first.
        tuned: whether everything is trained after that.
        after: values of a stage that follows.
        taught: whether the default's model of the same seed is the teacher.
    """

    tune: Mapping[str, Any] = field(default_factory=dict)
    probe: bool = True
    tuned: bool = True
    after: Mapping[str, Any] | None = None
    taught: bool = False


def beside(kind: str, **values: Any) -> dict[str, Any]:
    """An objective that reads the unlabelled rows."""
    return {"objective": {"kind": kind, "unlabelled": "free", **values}}


WAYS = {
    DEFAULT: Way(),
    "head alone": Way(tuned=False),
    "no head first": Way(probe=False),
    "layer decay 0.8": Way({"layer_decay": 0.8}),
    "slanted rates": Way({"schedule": "slanted"}),
    "gradual unfreezing": Way({"unfreeze": "gradual"}),
    "1 fresh block": Way({"fresh_blocks": 1}),
    "swa": Way({"average": "swa", "average_share": 0.5, "schedule": "constant"}),
    "ema": Way({"average": "ema", "average_share": 0.25, "schedule": "constant"}),
    "wise-ft 0.5": Way({"interpolate": 0.5}),
    "sam 0.05": Way({"sharpness": 0.05}),
    "mixout 0.7": Way({"mixout": 0.7}),
    "r3f": Way({"objective": {"kind": "r3f", "size": 1e-2}}),
    "smart": Way({"objective": {"kind": "smart", "size": 1e-1, "step_size": 1e-1}}),
    "consistency": Way(beside("consistency")),
    "self-training": Way(after=beside("self-train")),
    "self-training, soft": Way(after=beside("self-train", soft=True)),
    "distilled from default": Way(beside("distill"), taught=True),
}


def recipe(
    way: Way, tune: dict[str, Any], seed: int, teacher: StageResult | None, small: bool
) -> Recipe:
    """The stages of a way: all share the source, and most the head."""
    changed = dict(way.tune)
    if way.taught:
        assert teacher is not None
        changed["objective"] = changed["objective"] | {"teacher": str(teacher.folder)}
    stages = [SOURCE.model_dump(exclude_defaults=True) | {"seed": 0}]
    stages += [PROBE.model_dump(exclude_defaults=True)] if way.probe else []
    stages += [tune | changed] if way.tuned else []
    if way.after is not None:
        stages.append(tune | {"name": "after"} | dict(way.after))
    if small:
        short = {"epochs": None, "steps": 3}
        stages = [stage | short for stage in stages]
    data = {name: {"path": f"<{name}>"} for name in ("source", "target", "free")}
    values = {"backbone": BACKBONE, "seed": seed, "data": data, "stage": stages}
    return Recipe.from_values(values)


def tuning(rows: int, tokens: int, updates: int) -> dict[str, Any]:
    """The last stage of the arm on so many rows of so many tokens, cut where it would be longer."""
    stage = tune_stage(rows)
    planned = (stage.epochs or 0) * max(1, -(-tokens // stage.batch_tokens))
    values = stage.model_dump(exclude_defaults=True)
    return values if planned <= updates else values | {"epochs": None, "steps": updates}


def drawn(target: Examples, labels: int, seed: int) -> dict[str, Examples]:
    """The labelled rows of a seed, and others without their labels."""
    chosen, rest = draw(target.labels or [], labels, derive_seed("labels", seed))
    free = np.random.default_rng(derive_seed("free", seed)).permutation(rest)[:UNLABELLED]
    texts = target.take(np.sort(free))
    return {
        "target": target.take(chosen),
        "free": Examples("free", texts.texts, None, texts.rows),
    }


def answers(stage: StageResult, test: Examples) -> np.ndarray:
    """(N,) the class that the model of a stage gives to each test row."""
    model = open_trained(stage.folder)
    best = model.logits(test.texts).argmax(-1).numpy()
    return np.array([test.classes.index(label) for label in model.task.labels])[best]


def run(
    names: list[str], counts: list[int], seeds: int, updates: int, small: bool
) -> dict[str, Any]:
    """Answers (S, N) and seconds of each way by label count, and the truth (N,)."""
    found: dict[str, Any] = {name: {} for name in names}
    with demo_rows() as (source, target, test):
        test, shop = some(test, 100 if small else TEST), Workshop(Silent())
        tokenizer = Tokenizer.open(open_checkpoint(BACKBONE).folder)
        for labels in counts:
            for seed in range(seeds):
                sets = {"source": source, **drawn(target, labels, seed)}
                teacher, left = None, []
                tokens = int(tokenizer.encode(sets["target"].texts, MAX_LENGTH).lengths.sum())
                tune = tuning(labels, tokens, updates)
                for name in names:
                    made = recipe(WAYS[name], tune, seed, teacher, small)
                    seconds, stages = timed(lambda made=made, sets=sets: shop.run(made, sets))
                    teacher = stages[-1] if name == DEFAULT else teacher
                    left += [s.folder for s in stages[1:]]
                    given = found[name].setdefault(labels, {"answers": [], "seconds": []})
                    given["answers"].append(answers(stages[-1], test))
                    given["seconds"].append(seconds)
                for folder in set(left):  # what a seed made fills the disk
                    shutil.rmtree(folder)
                print(f"{labels:>4} labels, seed {seed}: done", flush=True)
        truth = np.array([test.classes.index(label) for label in test.labels or []])
    return {"found": found, "truth": truth}


def gained(found: Any, truth: np.ndarray, name: str, counts: list[int], level: float) -> Interval:
    """The mean gain over the default, over label counts."""
    parts = []
    for labels in counts:
        for sign, way in ((1.0, name), (-1.0, DEFAULT)):
            given = np.stack(found[way][labels]["answers"])
            parts.append((sign / len(counts), score("accuracy", given, truth)))
    return contrast(parts, level=level)


def table(result: dict[str, Any], names: list[str], counts: list[int]) -> list[dict[str, Any]]:
    """A row for each way and label count, and one for all counts together."""
    found, truth, rows = result["found"], result["truth"], []
    others = max(1, len(names) - 1)
    for name in names:
        for some_counts in [*([labels] for labels in counts), counts]:
            means = [float((np.stack(found[name][labels]["answers"]) == truth).mean())
                     for labels in some_counts]  # fmt: skip
            seconds = [s for labels in some_counts for s in found[name][labels]["seconds"]]
            row: dict[str, Any] = {
                "way": name,
                "labels": some_counts[0] if len(some_counts) == 1 else "all",
                "accuracy": round(float(np.mean(means)), 4),
                "seconds": round(float(np.median(seconds)), 2),
            }
            if name != DEFAULT:
                gain = gained(found, truth, name, some_counts, 0.95)
                wide = gained(found, truth, name, some_counts, 1 - 0.05 / others)
                said = "helps" if wide.low > 0 else "hurts" if wide.high < 0 else "unclear"
                row |= {"gain": round(gain.value, 4), "low": round(gain.low, 4),
                        "high": round(gain.high, 4), "beyond_noise": said}  # fmt: skip
            rows.append(row)
    return rows


def shown(rows: list[dict[str, Any]]) -> str:
    """The table in words."""
    lines = [
        f"{'way':<24}{'labels':>7}{'accuracy':>10}{'gain':>8}  95 % interval      beyond noise"
    ]
    for row in rows:
        line = f"{row['way']:<24}{row['labels']:>7}{row['accuracy']:>10.3f}"
        if "gain" in row:
            low, high = 100 * row["low"], 100 * row["high"]
            line += f"{100 * row['gain']:>+8.1f}  [{low:+.1f}, {high:+.1f}]".ljust(29)
            line += row["beyond_noise"]
        lines.append(line)
    return "\n".join(lines)


def main() -> None:
    """Run all ways on the same draws, print the table and keep it."""
    parser = arguments(__doc__)
    parser.add_argument("--only", nargs="+", metavar="WAY", choices=list(WAYS))
    parser.add_argument("--labels", type=int, nargs="+")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--updates", type=int, default=20)
    options = parser.parse_args()
    counts = options.labels or ([16] if options.small else [16, 64, 256])
    seeds = options.seeds or (1 if options.small else 5)
    names = list(dict.fromkeys([DEFAULT, *(options.only or WAYS)]))
    seconds, result = timed(lambda: run(names, counts, seeds, options.updates, options.small))
    rows = table(result, names, counts)
    print(shown(rows))
    if not options.small and options.only is None:
        helped = sorted({row["way"] for row in rows if row.get("beyond_noise") == "helps"})
        said = {"seeds": seeds, "updates": options.updates, "seconds": round(seconds)}
        keep("tuning", {"rows": rows, **said, "helps": helped})


if __name__ == "__main__":
    main()
