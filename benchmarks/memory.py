"""Peak memory of one epoch of full fine-tuning, headstart beside Hugging Face Trainer.

    python benchmarks/memory.py [--rows 1000] [--batch-tokens 1024] [--small]

Each trains in a process of its own; the peak is the most that process held resident at once up to
the end of training, with Python, torch and the tool itself. Batches hold equally many real tokens:
headstart's are cut by tokens, Trainer's hold as many texts as come to that on average, in its
default random order. Rows are the demo's short reviews, and random texts as long as IMDB's.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys

import numpy as np

from common import (
    BACKBONE,
    MAX_LENGTH,
    Trainer,
    arguments,
    cold_shop,
    demo_rows,
    one_stage,
    random_texts,
    some,
)
from headstart.data.examples import Examples
from headstart.data.text import Tokenizer
from headstart.models.checkpoint import resolve
from table import Row, keep_rows

TOOLS = ("ours", "Trainer")


def reviews(kind: str, count: int) -> Examples:
    """Short reviews of the demo, or random texts as long as IMDB's reviews."""
    if kind == "short":
        with demo_rows() as (source, _, _):
            return some(source, count)
    lengths = np.random.default_rng(0).lognormal(np.log(225), 0.65, count)
    tokenizer = Tokenizer.open(resolve(BACKBONE))
    texts = random_texts(tokenizer, lengths.clip(10, MAX_LENGTH).astype(int), seed=0)
    labels = [("negative", "positive")[i % 2] for i in range(count)]
    return Examples("random", texts, labels, np.arange(count))


def train(tool: str, options: argparse.Namespace) -> dict[str, float]:
    """One epoch in this process: seconds, peak bytes, and those before training began."""
    rows = reviews(options.kind, options.rows)
    if tool == "ours":
        with cold_shop() as shop:
            shop.checkpoint(BACKBONE)
            before = peak()
            recipe = one_stage(epochs=1, batch_tokens=options.batch_tokens)
            record = shop.run(recipe, {"rows": rows})[0].record
        trained = record["peak_memory_bytes"]  # as Trainer's: before anything is saved
        return {"seconds": record["seconds"], "peak": trained, "before": before, "saved": peak()}
    import transformers.trainer  # noqa: F401 (what it takes is held before training begins)

    trainer = Trainer(resolve(BACKBONE), rows.classes, MAX_LENGTH)
    model = trainer.fresh(0)
    lengths = Tokenizer.open(resolve(BACKBONE)).encode(rows.texts, MAX_LENGTH).lengths
    size = max(1, round(options.batch_tokens / float(np.mean(lengths))))
    before = peak()
    _, seconds = trainer.fit(model, rows.texts, rows.labels or [], epochs=1, seed=0,
                             settings={"per_device_train_batch_size": size})  # fmt: skip
    return {"seconds": seconds, "peak": peak(), "before": before, "texts": size}


def peak() -> int:
    """Most bytes this process held resident so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def row(kind: str, options: argparse.Namespace) -> Row:
    """Both tools, each in a process of its own."""
    found = {}
    for tool in TOOLS:
        command = [sys.executable, __file__, "--tool", tool, "--kind", kind]
        command += ["--rows", str(options.rows), "--batch-tokens", str(options.batch_tokens)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found[tool] = json.loads(done.stdout.splitlines()[-1])
    ours, theirs = (found[tool] for tool in TOOLS)
    grown = [(run["peak"] - run["before"]) / 1e6 for run in (ours, theirs)]
    return Row(
        name=f"peak memory of one epoch: {options.rows:,} {kind} texts",
        ours=ours["peak"] / 1e6,
        peer="Trainer, equal tokens in a batch",
        peers=theirs["peak"] / 1e6,
        needed=1.0,
        note=f"{options.batch_tokens:,} tokens or {theirs['texts']} texts a batch; above what was "
        f"held when training began: {grown[0]:,.0f} MB beside {grown[1]:,.0f} MB; "
        f"{ours['seconds']:.1f} s beside {theirs['seconds']:.1f} s; ours with the model saved and "
        f"proved: {ours['saved'] / 1e6:,.0f} MB",
        unit="MB",
    )


def main() -> None:
    """Short texts, long texts."""
    parser = arguments(__doc__)
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--tool", choices=TOOLS, help=argparse.SUPPRESS)
    parser.add_argument("--kind", choices=("short", "long"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.tool is not None:
        print(json.dumps(train(options.tool, options)))
        return
    if options.small:
        options.rows, options.batch_tokens = 24, 256
    keep_rows([row(kind, options) for kind in ("short", "long")], small=options.small)


if __name__ == "__main__":
    main()
