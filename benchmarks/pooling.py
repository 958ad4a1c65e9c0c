"""Which pooling is best with few labels: what decides `pooling = "auto"`.

    python benchmarks/pooling.py [--seeds 3] [--labels 32 64 256]

Fine-tunes all-MiniLM-L6-v2 (published with mean pooling) on product sentences alone, by the target
arm of `headstart transfer`, and judges on the demo's 1,000 test rows. Kept in results/pooling.json.
"""

from __future__ import annotations

import argparse

from common import demo_rows, keep, mean
from main_job import Headstart


def main() -> None:
    """Train every pooling on the same draws and print the means."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--labels", type=int, nargs="+", default=[32, 64, 256])
    options = parser.parse_args()
    rows = []
    with demo_rows() as (source, target, test):
        for labels in options.labels:
            for pooling in ("mean", "cls", "family"):
                job = Headstart(source, target, test, pooling)
                found = [job.arm("target", labels, seed)[0] for seed in range(options.seeds)]
                rows.append({"labels": labels, "pooling": pooling, "accuracy": mean(found),
                             "seeds": found})  # fmt: skip
                print(f"{labels:>5} labels  {pooling:<7} {mean(found):.3f}  {found}", flush=True)
    keep("pooling", {"rows": rows})


if __name__ == "__main__":
    main()
