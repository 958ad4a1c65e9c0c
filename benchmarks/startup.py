"""How long a user waits before anything happens, beside the tools they would use instead.

    python benchmarks/startup.py [--small]

Each command runs nine times in a fresh process, in turns; the median counts. Predicting is one
sentence with a fine-tuned all-MiniLM-L6-v2 on disk. Also kept in results/startup.json.
"""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path

from common import alternate, arguments, cold_shop, demo_rows, keep, middle, one_stage, some, timed
from headstart.data.findings import counted
from table import Row, keep_rows

PYTHON = [sys.executable, "-c"]
HEADSTART = [sys.executable, "-m", "headstart.cli"]
SENTENCE = "It broke after a day."
ENCODE = "import sys; from sentence_transformers import SentenceTransformer as S; "
ENCODE += f"S(sys.argv[1]).encode([{SENTENCE!r}])"
TRAINER = "import transformers, touch Trainer"
ENCODER = "sentence-transformers, open and encode it"
LIMITS = {"import headstart": 0.7, "headstart --help": 0.7, "headstart predict, one sentence": 3.0}
REPEATS = 9


def commands(model: Path) -> dict[str, list[str]]:
    """What is run, by name."""
    return {
        "import headstart": [*PYTHON, "import headstart"],
        "headstart --help": [*HEADSTART, "--help"],
        "import headstart, touch transfer": [*PYTHON, "import headstart.api"],
        "headstart predict, one sentence": [*HEADSTART, "predict", str(model), SENTENCE],
        "import torch": [*PYTHON, "import torch"],
        TRAINER: [*PYTHON, "from transformers import Trainer"],
        ENCODER: [*PYTHON, ENCODE, str(model)],
    }


def once(command: list[str], number: int) -> tuple[float, None]:
    """Seconds of one run."""
    run = partial(subprocess.run, command, check=True, capture_output=True)
    return timed(run)[0], None


def main() -> None:
    """Time each command and keep the table."""
    options = arguments(__doc__).parse_args()
    repeats = 1 if options.small else REPEATS
    with demo_rows() as (_, products, _), cold_shop() as shop:
        stage = shop.run(one_stage(train="head", epochs=1), {"rows": some(products, 64)})[0]
        ways = {name: partial(once, given) for name, given in commands(stage.folder).items()}
        alternate(ways, 1)  # warms the disk cache
        found = {name: middle(runs) for name, runs in alternate(ways, repeats).items()}
    for name, seconds in found.items():
        print(f"{name:<44} {seconds:6.3f} s")
    peers = {"headstart predict, one sentence": ENCODER}
    rows = [
        Row(name, found[name], peer := peers.get(name, TRAINER), found[peer], limit=limit,
            note=f"median of {counted(repeats, 'process')}")
        for name, limit in LIMITS.items()
    ]  # fmt: skip
    keep_rows(rows, small=options.small)
    if not options.small:
        seconds = {name: round(value, 3) for name, value in found.items()}
        keep("startup", {"seconds": seconds, "repeats": repeats})


if __name__ == "__main__":
    main()
