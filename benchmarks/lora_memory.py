"""How much memory training takes: everything, LoRA, or the head alone.

    python benchmarks/lora_memory.py [--backbone NAME] [--steps 20] [--batch-tokens 1024]

Each way trains in a process of its own on the demo's source rows; the peak is what that process
held at most (on a GPU: what torch had allocated), and "above start" what of it came after the
checkpoint was open. Kept in results/lora_memory.json, beside what `headstart models` estimates.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from common import keep

WAYS = {"full": "all", "lora:8": "lora:8", "head": "head"}
BACKBONE = "sentence-transformers/all-MiniLM-L6-v2"
ESTIMATE_LENGTH = 64


def train(way: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train one way in this process."""
    import torch

    from headstart.data.draw import draw
    from headstart.data.suites.vader import demo_examples
    from headstart.recipe import Recipe
    from headstart.training.footprint import footprint
    from headstart.training.stage import Workshop

    source = demo_examples()[0]
    rows = source.take(draw(source.labels or [], min(options.rows, len(source)), 0)[0])
    stage = {"name": "s", "data": "d", "train": WAYS[way], "steps": options.steps}
    recipe = Recipe.from_values(
        {
            "backbone": options.backbone,
            "data": {"d": {"path": "<memory>"}},
            "stage": [stage | {"batch_tokens": options.batch_tokens}],
        }
    )
    with tempfile.TemporaryDirectory() as cache:
        shop = Workshop(cache=Path(cache))
        checkpoint = shop.checkpoint(options.backbone)
        start = 0 if torch.cuda.is_available() else peak()
        record = shop.run(recipe, {"d": rows})[0].record
    found = footprint(
        checkpoint, WAYS[way], batch_tokens=options.batch_tokens, length=ESTIMATE_LENGTH
    )
    return {
        "way": way,
        "moving_parameters": sum(r["parameters"] for r in record["trainable"]
                                 if r["learning_rate"] > 0),
        "peak_bytes": record["peak_memory_bytes"],
        "above_start_bytes": record["peak_memory_bytes"] - start,
        "estimated_bytes": found.total,
        "seconds": round(record["seconds"], 2),
        "precision": record["inputs"]["precision"],
    }  # fmt: skip


def peak() -> int:
    """Most bytes this process held so far."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main() -> None:
    """Run each way in a process of its own and keep the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default=BACKBONE)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--batch-tokens", type=int, default=1024)
    parser.add_argument("--way", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is not None:
        print(json.dumps(train(options.way, options)))
        return
    rows = []
    for way in WAYS:
        command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(done.stdout.splitlines()[-1])
        rows.append(row)
        print(f"{way:<8} {row['moving_parameters']:>12,} moving   peak "
              f"{row['peak_bytes'] / 1e6:8,.0f} MB   above start "
              f"{row['above_start_bytes'] / 1e6:8,.0f} MB   {row['seconds']:6.1f} s",
              flush=True)  # fmt: skip
    keep("lora_memory", {"backbone": options.backbone, "steps": options.steps,
                         "batch_tokens": options.batch_tokens, "rows": rows})  # fmt: skip


if __name__ == "__main__":
    main()
