"""What the verdict says with a handful of labels, and whether many labels agree.

    python benchmarks/verdicts.py [--labels 48] [--only films-products ...] [--small]

Each job carries a source to a target of which few rows are labelled. The verdict is what
`headstart transfer` says with those rows alone, each judged by models that did not see it. The
truth is the gain on all other labelled rows of the target, which the verdict never saw, over other
draws of as many labels. They agree where the truth lies in the verdict's interval, and they clash
where both are sure and of different signs.

Jobs: film sentences to product sentences; all pairs of the four Amazon domains; IMDB to
electronics; and two sources that ask something else altogether, medical abstracts (which disease)
and finance (good or bad news). Data sets are the demo's and what lies in ../shared/data. Results
go to results/verdicts.json after each job, of a `--small` run nowhere.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

from common import BACKBONE, arguments, demo_rows, keep, some
from headstart import transfer
from headstart.data.batches import derive_seed
from headstart.data.draw import draw
from headstart.data.examples import Examples
from headstart.data.findings import remove_duplicates
from headstart.evaluation.intervals import Interval, effect
from ranking import shared_sets

DOMAINS = ("books", "dvd", "electronics", "kitchen")
JOBS = (
    ("films", "products"),
    ("imdb", "electronics"),
    ("medical", "products"),
    ("finance", "kitchen"),
    *itertools.permutations(DOMAINS, 2),
)
MAX_LENGTH = 48
ARMS = "target,source+target"


def read_sets() -> dict[str, Examples]:
    """Every data set that is there, by name."""
    with demo_rows() as (films, products, test):
        whole = {"films": films, "products": remove_duplicates(products, test)[0]}
        return whole | shared_sets()


def judged(source: Examples, target: Examples, labels: int, sizes: dict[str, int]) -> Any:
    """The verdict with few labels, and the truth on the other rows."""
    assert target.labels is not None
    few, others = draw(target.labels, labels, derive_seed("labels", 0))
    rest = target.take(others)
    test = some(rest, sizes["test"])
    pool = remove_duplicates(rest, test)[0]
    common: dict[str, Any] = {"arms": ARMS, "backbone": BACKBONE, "max_length": MAX_LENGTH}
    source = some(source, sizes["source"])
    said = transfer(source, target.take(few), folds=3, seeds=1, **common)
    seeds = sizes["seeds"]
    truth = transfer(source, pool, test=test, labels=labels, seeds=seeds, **common)
    return said, truth


def compared(said: Any, truth: Any) -> dict[str, Any]:
    """Both gains, and how they go together."""
    ours, true = said.gain, truth.gain
    return {
        "sentence": said.sentence,
        "gain": vars(ours),
        "truth": vars(true),
        "truth_sentence": truth.sentence,
        "holds": ours.low <= true.value <= ours.high,
        "clash": {effect(ours), effect(true)} == {"helps", "hurts"},
        "negative_transfer": said.negative_transfer,
        "true_negative_transfer": truth.negative_transfer,
    }


def line(name: str, found: dict[str, Any]) -> str:
    """One job on one line."""

    def points(gain: dict[str, float]) -> str:
        value = Interval(**gain)
        return f"{100 * value.value:+5.1f} [{100 * value.low:+.1f}, {100 * value.high:+.1f}]"

    agrees = "CLASH" if found["clash"] else "holds" if found["holds"] else "outside"
    return f"{name:<24} {points(found['gain']):<24} {points(found['truth']):<24} {agrees}"


def main() -> None:
    """Judge each job twice and keep the table."""
    parser = arguments(__doc__)
    parser.add_argument("--labels", type=int, default=48)
    parser.add_argument("--only", nargs="*", help="SOURCE-TARGET, ...")
    options = parser.parse_args()
    full = {"source": 1500, "test": 500, "seeds": 2}
    sizes = {"source": 40, "test": 40, "seeds": 1} if options.small else full
    labels = 18 if options.small else options.labels
    sets, found = read_sets(), {}
    wanted = [job for job in JOBS if not options.only or "-".join(job) in options.only]
    print(f"{'source-target':<24} {'verdict':<24} {'truth':<24}")
    for source, target in wanted[:1] if options.small else wanted:
        if not {source, target} <= sets.keys():
            print(f"{source}-{target}: its data are not beside this repository; left out")
            continue
        name = f"{source}-{target}"
        found[name] = compared(*judged(sets[source], sets[target], labels, sizes))
        print(line(name, found[name]), flush=True)
        summary = {
            "labels": labels,
            "jobs": found,
            "holds": sum(job["holds"] for job in found.values()),
            "clashes": sum(job["clash"] for job in found.values()),
        }
        if not options.small:
            keep("verdicts", summary)
    print(json.dumps({key: summary[key] for key in ("labels", "holds", "clashes")}))


if __name__ == "__main__":
    main()
