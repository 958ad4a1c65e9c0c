"""One epoch of full fine-tuning, headstart beside Hugging Face Trainer: time, accuracy, profile.

    python benchmarks/fine_tuning.py [--seeds 3] [--small]

All start from all-MiniLM-L6-v2 and see the same examples once, on the same schedule: a linear
warm-up over a tenth of the updates to 1e-4, then linearly down to 0; AdamW with decay 0.01,
gradients clipped at 1. Seconds are the median over seeds: of `train()` with the tokens at hand for
Trainer, of tokenising and training for headstart. Short reviews are the demo's; long ones are
IMDB's where they lie beside the repository, else random words of that length, without accuracy.

Also measured: which share of this machine's matrix rate the epoch sustains on real tokens (see
arithmetic.py), and where time goes by operation, kept in results/profile.json.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from arithmetic import Sizes, matrix_rate, training_flops
from common import (
    BACKBONE,
    MAX_LENGTH,
    Trainer,
    alternate,
    arguments,
    cold_shop,
    demo_rows,
    judged,
    keep,
    machine,
    mean,
    middle,
    one_stage,
    random_texts,
    some,
)
from headstart.data.examples import Examples, examples
from headstart.data.findings import counted
from headstart.data.table import read
from headstart.data.text import Tokenizer
from headstart.models.checkpoint import resolve
from headstart.recipe import Stage
from headstart.training.precision import choose_precision
from headstart.training.progress import Bar, Silent
from headstart.training.stage import Workshop
from table import Row, keep_rows

IMDB = Path(__file__).resolve().parents[2] / "shared" / "data" / "imdb" / "aclImdb"
PEAK_RATE, WARMUP, DECAY = 1e-4, 0.1, 0.01
SCHEDULE = {"learning_rate": PEAK_RATE, "warmup_steps": WARMUP, "weight_decay": DECAY}
GROUPED = {"train_sampling_strategy": "group_by_length"}
BATCH_TOKENS = Stage(name="s", data="d", epochs=1).batch_tokens
PROBED_TOKENS = 3000
SIZES = Sizes(width=384, inner=1536, blocks=6)  # of MiniLM-L6
DTYPES = {"float32": torch.float32, "bf16": torch.bfloat16}

Run = tuple[float, dict[str, Any]]
"""Seconds, and what is worth knowing besides: "accuracy", "steps", ..."""


class Job:
    """Rows to train on, and how each tool does it.

    Args:
        title: what the rows are.
        rows: trained on.
        test: judged on; None where labels mean nothing.
        needed: least ratio to Trainer's defaults, and to its best settings.
    """

    def __init__(
        self, title: str, rows: Examples, test: Examples | None, needed: tuple[float, float]
    ) -> None:
        self.title, self.rows, self.test, self.needed = title, rows, test, needed
        folder = resolve(BACKBONE)
        self.trainer = Trainer(folder, rows.classes, MAX_LENGTH)
        self.lengths = Tokenizer.open(folder).encode(rows.texts, MAX_LENGTH).lengths

    def ours(self, seed: int) -> Run:
        """headstart with a stage's defaults; the matrix rate is taken before and after."""
        rates = [self.rate()]
        with cold_shop() as shop:
            stage = shop.run(recipe(seed, epochs=1), {"rows": self.rows})[0]
            accuracy = None if self.test is None else judged(stage, self.test)
        found = {"accuracy": accuracy, "steps": stage.record["steps"]}
        return stage.record["seconds"], found | {"rate": median([*rates, self.rate()])}

    def theirs(self, settings: dict[str, Any], seed: int) -> Run:
        """Trainer on the same schedule, with these settings of its `TrainingArguments`."""
        model, seconds = self.fit(settings, seed)
        texts, labels = (self.test.texts, self.test.labels or []) if self.test else ([], [])
        accuracy = self.trainer.accuracy(model, texts, labels) if self.test else None
        size = settings.get("per_device_train_batch_size", 16)
        return seconds, {"accuracy": accuracy, "steps": -(-len(self.rows) // size)}

    def fit(self, settings: dict[str, Any], seed: int) -> tuple[Any, float]:
        """Train with Trainer; the model and the seconds."""
        model = self.trainer.fresh(seed)
        return self.trainer.fit(
            model,
            self.rows.texts,
            self.rows.labels or [],
            epochs=1,
            seed=seed,
            settings=SCHEDULE | settings,
        )

    def rate(self) -> float:
        """FLOP/s of this machine on the network's own products, in the precision of our run."""
        return matrix_rate(SIZES, BATCH_TOKENS, DTYPES[choose_precision()])


def recipe(seed: int, **length: Any) -> Any:
    """Fine-tune everything with a stage's defaults, on the common schedule."""
    return one_stage(
        seed=seed, learning_rate=PEAK_RATE, warmup=WARMUP, weight_decay=DECAY, **length
    )


def best_precision(job: Job) -> str:
    """What Trainer is faster in here: a few steps each way, the better of two."""
    if not machine()["bf16_instructions"] and not torch.cuda.is_available():
        return "float32"  # emulated, bf16 was seen to be 100 times slower
    steps = max(2, round(PROBED_TOKENS / (16 * float(np.mean(job.lengths)))))
    ways = {
        name: partial(job.fit, GROUPED | {"bf16": name == "bf16", "max_steps": steps})
        for name in DTYPES
    }
    found = {name: min(s for _, s in runs) for name, runs in alternate(ways, 2).items()}
    return min(found, key=found.__getitem__)


def compare(job: Job, rounds: int, *, same_updates: bool) -> list[Row]:
    """All tools on one job, in turns."""
    precision = best_precision(job)
    best = GROUPED | {"bf16": precision == "bf16"}
    size = round(BATCH_TOKENS / float(np.mean(job.lengths)))
    equal = best | {"per_device_train_batch_size": size}
    peers: dict[str, tuple[dict[str, Any], float | None, str]] = {
        "Trainer, defaults": ({}, job.needed[0], "float32, random order, 16 texts"),
        "Trainer, best settings": (best, job.needed[1], f"{precision}, lengths grouped, 16 texts"),
    }
    if same_updates:
        said = f"{precision}, lengths grouped, {size} texts"
        peers["Trainer, best settings, batches as large as ours"] = (equal, None, said)
    ways = {"ours": job.ours} | {name: partial(job.theirs, s) for name, (s, _, _) in peers.items()}
    found = alternate(ways, rounds)
    for name, runs in found.items():
        print(name, [round(run[0], 2) for run in runs], [run[1]["accuracy"] for run in runs])
    rows = [
        Row(
            name=f"full fine-tuning, one epoch: {job.title}",
            ours=middle(found["ours"]),
            peer=name,
            peers=middle(found[name]),
            ours_accuracy=accuracy(found["ours"]),
            peer_accuracy=accuracy(found[name]),
            needed=needed,
            note=f"{said}; {found['ours'][0][1]['steps']} updates beside "
            f"{found[name][0][1]['steps']}; {counted(rounds, 'seed')}",
        )
        for name, (_, needed, said) in peers.items()
    ]
    return [*rows, utilisation(job, found["ours"])]


def utilisation(job: Job, runs: list[Run]) -> Row:
    """The seconds that the arithmetic alone needs beside those that training took."""
    flops = training_flops(SIZES, job.lengths)
    rate = median(found["rate"] for _, found in runs)
    return Row(
        name=f"model FLOPs utilisation: {job.title}",
        ours=middle(runs),
        peer="the arithmetic alone, at the rate of torch.mm",
        peers=flops / rate,
        needed=0.55,
        note=f"{flops / 1e12:.2f} TFLOP on {int(job.lengths.sum()):,} real tokens at "
        f"{rate / 1e9:.0f} GFLOP/s in {choose_precision()}: the ratio is the share sustained",
    )


def accuracy(runs: list[Run]) -> float | None:
    """The mean over seeds; None where there is none."""
    found = [known for _, run in runs if (known := run["accuracy"]) is not None]
    return mean(found) if found else None


class Profiled(Silent):
    """Has torch's profiler look at the loop, and at nothing before and after it."""

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """Silent; what happens inside the stage's bar is recorded."""
        with super().bar(title, total, done) as bar:
            if title != "stage":
                yield bar
                return
            with torch.profiler.profile() as self.profile:
                start = time.perf_counter()
                yield bar
                self.seconds = time.perf_counter() - start


def profile(job: Job, steps: int) -> dict[str, Any]:
    """Where the time of a few updates goes, by operation; the profiler itself costs some."""
    watch = Profiled()
    with cold_shop() as shop:
        Workshop(watch, shop.cache).run(recipe(0, steps=steps), {"rows": job.rows})
    averages = sorted(watch.profile.key_averages(), key=lambda op: -op.self_cpu_time_total)
    inside = sum(op.self_cpu_time_total for op in averages) / 1e6
    table = [
        {
            "operation": op.key,
            "calls": op.count,
            "seconds": round(op.self_cpu_time_total / 1e6, 4),
            "share": round(op.self_cpu_time_total / 1e6 / watch.seconds, 4),
        }
        for op in averages[:40]
    ]
    for op in table[:12]:
        print(f"  {op['share']:6.1%}  {op['calls']:>6}  {op['operation']}")
    outside = max(0.0, 1 - inside / watch.seconds)
    print(f"  {outside:6.1%}          outside operations")
    return {"rows": job.title, "steps": steps, "seconds": round(watch.seconds, 3),
            "outside_operations": round(outside, 4), "operations": table}  # fmt: skip


def long_reviews(count: int, tests: int) -> tuple[str, Examples, Examples | None]:
    """IMDB's reviews, or random words in texts of their lengths."""
    if IMDB.is_dir():
        train, test = (examples(read(IMDB, split=split)) for split in ("train", "test"))
        return f"{count:,} IMDB reviews", some(train, count), some(test, tests)
    random = np.random.default_rng(0)
    lengths = random.lognormal(np.log(225), 0.65, count).clip(10, MAX_LENGTH).astype(int)
    texts = random_texts(Tokenizer.open(resolve(BACKBONE)), lengths, seed=0)
    labels = [("negative", "positive")[i % 2] for i in range(count)]
    title = f"{count:,} texts as long as IMDB's"
    return title, Examples("random", texts, labels, np.arange(count)), None


def main() -> None:
    """Short reviews, long reviews, profile."""
    parser = arguments(__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="of the short reviews; long: 1")
    options = parser.parse_args()
    short, long, tests = (48, 12, 20) if options.small else (3000, 1000, 1000)
    with demo_rows() as (source, _, test):
        title = f"{short:,} short reviews"
        job = Job(title, some(source, short), some(test, tests), (3.5, 1.5))
        seeds = 1 if options.small else options.seeds
        keep_rows(compare(job, seeds, same_updates=True), small=options.small)
        found = profile(job, 2 if options.small else 30)
        if not options.small:
            keep("profile", found)
        imdb = Job(*long_reviews(long, tests), (3.0, 1.4))
        keep_rows(compare(imdb, 1, same_updates=False), small=options.small)


if __name__ == "__main__":
    main()
