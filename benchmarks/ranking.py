"""How well the order of `headstart rank`, told before training, agreed with what was then trained.

    python benchmarks/ranking.py [--labels 64] [--seeds 1] [--small]

Two questions on each target, with the target's few labels and nothing else to rank by. Which
source: every other data set, trained on and carried to the target as `headstart transfer` does.
Which backbone: all-MiniLM-L6-v2 whole, cut to its lower blocks, with upper blocks drawn anew, drawn
anew altogether, and after training on other data; each fine-tuned on the target alone. The
accuracies that were reached on test rows are then laid beside every measure: Kendall's tau,
Pearson's r, and what it costs to take the measure's first instead of the best.

Data sets are the demo's film and product sentences and what lies in ../shared/data; results go to
results/ranking.json, of a `--small` run nowhere.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from common import BACKBONE, arguments, demo_rows, judged, keep, mean, some, timed
from headstart.data.batches import derive_seed
from headstart.data.examples import Examples, examples
from headstart.data.findings import remove_duplicates
from headstart.data.table import read
from headstart.evaluation import transferability
from headstart.models.checkpoint import resolve
from headstart.recipe import Data, Recipe, Stage
from headstart.training.embedding import layer_vectors
from headstart.training.stage import Workshop
from headstart.verdict.arms import stages_of
from headstart.verdict.candidates import open_candidate
from headstart.verdict.order import MEAN_RANK, Order
from headstart.verdict.ranking import rank

SHARED = Path(__file__).parents[2] / "shared" / "data"
TARGETS = ("books", "kitchen", "products", "finance")
AFTER = ("films", "medical")
"""Data sets that a backbone is trained on before it is a candidate of its own."""

MAX_LENGTH = 48
LAST_BLOCK = {"hscore": transferability.h_score, "logme": transferability.log_me}
"""Measures that are also taken of the last block alone, to see what averaging blocks is worth."""


@dataclass(frozen=True)
class Sizes:
    """How much is trained and judged.

    Attributes:
        labels: target rows to rank by and to train on.
        source: rows of a source.
        test: rows that judge.
        seeds: repeats of what is trained on the target; each draws its own labels.
    """

    labels: int
    source: int
    test: int
    seeds: int


@dataclass
class Question:
    """A target's candidates: what was trained, and what the measures said before.

    Attributes:
        accuracy: mean over the seeds, by candidate.
        measures: mean over the seeds, by measure and candidate; a candidate may lack one.
    """

    accuracy: dict[str, float] = field(default_factory=dict)
    measures: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Split:
    """Rows of a data set to train on, as a source or as a target, and rows that judge."""

    train: Examples
    test: Examples


def shared_sets() -> dict[str, Examples]:
    """The data sets in ../shared/data that are there, by name."""
    import pandas as pd

    amazon = SHARED / "amazon_multi_domain" / "sorted_data_acl"
    found: dict[str, Any] = {"books": amazon / "books", "dvd": amazon / "dvd",
                             "electronics": amazon / "electronics",
                             "kitchen": amazon / "kitchen_&_housewares",
                             "imdb": SHARED / "imdb" / "aclImdb"}  # fmt: skip
    sets = {name: examples(read(path)) for name, path in found.items() if path.exists()}
    finance = SHARED / "financial_phrasebank" / "all-data.csv"
    if finance.exists():
        frame = pd.read_csv(finance, names=["label", "text"], encoding="latin-1")
        sets["finance"] = examples(read(frame, name="finance"))
    medical = SHARED / "medical_abstracts" / "medical_tc_train.csv"
    if medical.exists():
        sets["medical"] = examples(read(medical), label="condition_label")
    return sets


def splits(demo: tuple[Examples, Examples, Examples], sizes: Sizes) -> dict[str, Split]:
    """Each data set in two: test rows, and training rows, none of whose texts judges anywhere.

    So a source is the same for all targets, and trained once.
    """
    films, products, test = demo
    whole = {"films": films} | shared_sets()
    tests = {"products": some(test, sizes.test)}
    tests |= {name: some(rows, sizes.test) for name, rows in whole.items()}
    found = {}
    for name, rows in {"products": products, **whole}.items():
        for judges in tests.values():
            rows = remove_duplicates(rows, judges)[0]
        found[name] = Split(rows, tests[name])
    return found


def variants(folder: Path, out: Path) -> dict[str, Path]:
    """BERT checkpoints made of one: blocks cut off, or drawn anew as BERT draws them."""
    made = {"whole": folder}
    for name, (kept, anew) in {
        "first 4 blocks": (4, ()), "first 2 blocks": (2, ()), "upper 2 anew": (6, (4, 5)),
        "upper 4 anew": (6, (2, 3, 4, 5)), "all anew": (6, None),
    }.items():  # fmt: skip
        made[name] = out / name.replace(" ", "-")
        changed(folder, made[name], kept, anew)
    return made


def changed(folder: Path, out: Path, kept: int, anew: Sequence[int] | None) -> None:
    """Copy a BERT folder with its first `kept` blocks, the blocks `anew` (None: all) drawn anew."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(folder, out, ignore=shutil.ignore_patterns("*.bin", "*.onnx", "*.h5", "onnx"))
    config = json.loads((out / "config.json").read_text())
    weights = load_file(folder / "model.safetensors")
    for name in list(weights):
        parts = name.split("encoder.layer.")
        block = int(parts[1].split(".")[0]) if len(parts) > 1 else None
        if block is not None and block >= kept:
            del weights[name]
        elif anew is None or block in anew:
            weights[name] = drawn(name, weights[name])
    (out / "config.json").write_text(json.dumps(config | {"num_hidden_layers": kept}))
    (out / "model.safetensors").unlink()
    save_file(weights, out / "model.safetensors", {"format": "pt"})


def drawn(name: str, weight: Any) -> Any:
    """A weight as BERT begins with: norms at 1, biases at 0, all else from N(0, 0.02)."""
    import torch

    if name.endswith("bias"):
        return torch.zeros_like(weight)
    if "LayerNorm" in name:
        return torch.ones_like(weight)
    if not weight.is_floating_point():
        return weight
    generator = torch.Generator().manual_seed(derive_seed("anew", 0, name) % 2**63)
    return torch.randn(weight.shape, generator=generator, dtype=torch.float32) * 0.02


def recipe(stages: tuple[Stage, ...], backbone: str, seed: int) -> Recipe:
    """An arm of `headstart transfer`; the source stage has a seed of its own."""
    fixed = tuple(s.model_copy(update={"seed": 0}) if s.data == "source" else s for s in stages)
    data = {str(stage.data): Data(path="<memory>") for stage in fixed}
    return Recipe(backbone=backbone, pooling="mean", max_length=MAX_LENGTH, data=data, stage=fixed,
                  seed=seed)  # fmt: skip


class Study:
    """Everything that is trained and ranked, each once.

    Args:
        sets: by name.
        sizes: how much of it.
        folder: where changed checkpoints are put.
    """

    def __init__(self, sets: Mapping[str, Split], sizes: Sizes, folder: Path) -> None:
        self.sets, self.sizes, self.folder = sets, sizes, folder
        self.shop = Workshop()

    def source(self, name: str) -> Examples:
        """The rows of a data set as a source."""
        return some(self.sets[name].train, self.sizes.source)

    def few(self, target: str, seed: int) -> Examples:
        """The target's labelled rows."""
        return some(self.sets[target].train, self.sizes.labels, derive_seed("labels", seed))

    def sources(self, target: str, names: Sequence[str]) -> Question:
        """Which source for a target: told, then trained."""
        rows = {name: self.source(name) for name in names}
        question, reached = Question(), {name: [] for name in names}
        told = []
        for seed in range(self.sizes.seeds):
            few = self.few(target, seed)
            told.append(rank(few, rows, BACKBONE, max_length=MAX_LENGTH, progress=False).sources[0])
            for name in names:
                stages = stages_of("source+target", self.sizes.labels)
                data = {"source": rows[name], "target": few}
                done = self.shop.run(recipe(stages, BACKBONE, seed), data)
                reached[name].append(judged(done[-1], self.sets[target].test))
            self._say(target, seed, {name: values[-1] for name, values in reached.items()})
        question.accuracy = {name: float(np.mean(values)) for name, values in reached.items()}
        question.measures = averaged([measured(order) for order in told])
        return question

    def backbones(self, target: str, folders: Mapping[str, Path]) -> Question:
        """Which backbone for a target: told, then trained."""
        question, reached = Question(), {name: [] for name in folders}
        told = []
        names = {str(folder): name for name, folder in folders.items()}
        for seed in range(self.sizes.seeds):
            few = self.few(target, seed)
            order = rank(few, (), list(names), max_length=MAX_LENGTH, progress=False).backbones
            said = measured(order)
            said |= {f"{m}, last block": self._last_block(m, few, names) for m in LAST_BLOCK}
            told.append({m: {names.get(c, c): v for c, v in of.items()} for m, of in said.items()})
            for name, folder in folders.items():
                stages = stages_of("target", self.sizes.labels)
                done = self.shop.run(recipe(stages, str(folder), seed), {"target": few})
                reached[name].append(judged(done[-1], self.sets[target].test))
            self._say(target, seed, {name: values[-1] for name, values in reached.items()})
        question.accuracy = {name: float(np.mean(values)) for name, values in reached.items()}
        question.measures = averaged(told)
        return question

    def after(self, name: str) -> Path:
        """MiniLM trained on a data set: the source stage of the arms."""
        one = recipe(stages_of("source", self.sizes.labels), BACKBONE, 0)
        return self.shop.run(one, {"source": self.source(name)})[-1].folder

    def _last_block(
        self, measure: str, few: Examples, names: Mapping[str, str]
    ) -> dict[str, float]:
        classes = np.unique(list(few.labels or ()), return_inverse=True)[1]
        found = {}
        for folder, name in names.items():
            opened = open_candidate(folder, MAX_LENGTH)
            vectors = layer_vectors(
                opened.backbone, opened.tokenizer, few, max_length=opened.max_length
            )
            found[name] = LAST_BLOCK[measure](vectors[:, -1], classes)
        return found

    def _say(self, target: str, seed: int, reached: Mapping[str, float]) -> None:
        shown = ", ".join(f"{name} {100 * a:.1f}" for name, a in reached.items())
        print(f"{target}, seed {seed}: {shown}", flush=True)


def measured(order: Order) -> dict[str, dict[str, float]]:
    """What an order's measures say of each candidate; more is better, of the mean rank too."""
    said: dict[str, dict[str, float]] = {MEAN_RANK: {}}
    for candidate in order.candidates:
        said[MEAN_RANK][candidate.name] = -candidate.mean_rank
        for measure, score in candidate.scores.items():
            said.setdefault(measure, {})[candidate.name] = score.value
    return said


def averaged(told: Sequence[Mapping[str, Mapping[str, float]]]) -> dict[str, dict[str, float]]:
    """The mean over seeds of what each measure says of each candidate."""
    return {
        measure: {name: float(np.mean([one[measure][name] for one in told])) for name in of}
        for measure, of in told[0].items()
    }


def agreement(said: Mapping[str, float], reached: Mapping[str, float]) -> dict[str, float] | None:
    """How a measure agrees with accuracies, over the candidates that it has; None below three.

    Returns:
        tau (Kendall's b), pearson, and regret: the best accuracy less that of the measure's first.
    """
    from scipy.stats import ConstantInputWarning, kendalltau, pearsonr

    names = list(said)
    if len(names) < 3:
        return None
    told, true = ([of[name] for name in names] for of in (said, reached))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        tau, pearson = kendalltau(told, true).statistic, pearsonr(told, true).statistic
    first = max(names, key=lambda name: said[name])
    regret = max(true) - reached[first]
    # A measure that finds all alike agrees with nothing.
    return {"tau": float(np.nan_to_num(tau)), "pearson": float(np.nan_to_num(pearson)),
            "regret": float(regret), "candidates": len(names)}  # fmt: skip


def summary(questions: Mapping[str, Question]) -> dict[str, dict[str, Any]]:
    """The agreement of each measure: mean over the targets, and the targets one by one."""
    found: dict[str, dict[str, Any]] = {}
    measures = dict.fromkeys(m for q in questions.values() for m in q.measures)
    for measure in measures:
        each = {
            target: agreement(question.measures[measure], question.accuracy)
            for target, question in questions.items()
            if measure in question.measures
        }
        there = {target: values for target, values in each.items() if values}
        if there:
            over = {key: mean([values[key] for values in there.values()])
                    for key in ("tau", "pearson", "regret")}  # fmt: skip
            found[measure] = over | {"targets": there}
    return dict(sorted(found.items(), key=lambda item: -item[1]["tau"]))


def table(kind: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """A line for each measure, the one that agrees best first."""
    lines = [f"{kind:<22} {'tau':>6} {'pearson':>8} {'regret':>7}  targets"]
    lines += [
        f"{measure:<22} {values['tau']:>6.2f} {values['pearson']:>8.2f} "
        f"{100 * values['regret']:>7.1f}  {len(values['targets'])}"
        for measure, values in found.items()
    ]
    return "\n".join(lines)


def study(sets: Mapping[str, Split], sizes: Sizes, targets: Sequence[str], small: bool) -> Any:
    """Train, rank and compare; returns what is kept."""
    with tempfile.TemporaryDirectory() as folder:
        work = Study(sets, sizes, Path(folder))
        by_source, by_backbone = {}, {}
        made = variants(resolve(BACKBONE), Path(folder))
        made = dict(list(made.items())[:2]) if small else made
        for target in targets:
            others = [name for name in sets if name != target]
            by_source[target] = work.sources(target, others[:3] if small else others)
            made |= {f"after {name}": work.after(name) for name in AFTER[: 1 if small else None]
                     if name in sets}  # fmt: skip
            fair = {n: f for n, f in made.items() if n != f"after {target}"}
            by_backbone[target] = work.backbones(target, fair)
    questions = {"sources": by_source, "backbones": by_backbone}
    return {
        "agreement": {kind: summary(of) for kind, of in questions.items()},
        "trained": {
            kind: {target: vars(question) for target, question in of.items()}
            for kind, of in questions.items()
        },
    }


def main() -> None:
    """Both questions on every target."""
    parser = arguments(__doc__)
    parser.add_argument("--labels", type=int, default=64)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    sizes = Sizes(options.labels, 390, 300, options.seeds)
    if options.small:
        sizes = Sizes(12, 16, 20, 1)
    with demo_rows() as demo:
        sets = splits(demo, sizes)
        targets = [name for name in TARGETS if name in sets][: 1 if options.small else None]
        seconds, found = timed(lambda: study(sets, sizes, targets, options.small))
    for kind, measures in found["agreement"].items():
        print(table(kind, measures), end="\n\n")
    print(f"{seconds:.0f} s")
    if not options.small:
        keep("ranking", {"sizes": vars(sizes), "max_length": MAX_LENGTH, "seconds": round(seconds)}
             | found)  # fmt: skip


if __name__ == "__main__":
    main()
