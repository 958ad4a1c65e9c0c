"""Models that no stage of headstart made, kept as stages leave theirs.

Shapes: D width, C classes.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from filelock import FileLock

from headstart.data.atomic import folder_atomically, full_disk_is_a_user_error
from headstart.data.batches import derive_seed
from headstart.data.examples import Examples
from headstart.models.checkpoint import Checkpoint
from headstart.recipe import Recipe
from headstart.training.begin import begin
from headstart.training.kept import RECORD, StageResult, found, peak_memory
from headstart.training.model import Trained, save_trained
from headstart.training.stage import Workshop
from headstart.verdict.answers import own_digest
from headstart.verdict.baselines import Linear

INITIAL_STD = 0.02
"""Standard deviation of random weights, BERT's initializer_range (Devlin et al. 2019)."""


def has_bias(checkpoint: Checkpoint, recipe: Recipe) -> bool:
    """Whether a head on this backbone has a bias; some families' own has none."""
    pooling = checkpoint.default_pooling if recipe.pooling == "auto" else recipe.pooling
    said = checkpoint.classifier if pooling == "family" else None
    return said is None or said.head_bias


def frozen_model(
    shop: Workshop, recipe: Recipe, rows: Examples, linear: Linear, seconds: float
) -> StageResult:
    """The checkpoint with a logistic regression for its head.

    Args:
        shop: opens the checkpoint, and says where stages are kept.
        recipe: names backbone, pooling and length.
        rows: what the regression was fitted to.
        linear: the regression, of the sorted classes.
        seconds: that it took.
    """
    inputs = {
        "parent": shop.checkpoint(recipe.backbone).digest,
        "stage": "frozen",
        "recipe": recipe.model_dump(mode="json", include={"pooling", "max_length", "positions"}),
        "data": rows.digest,
        "precision": shop.precision,
        "code": own_digest(),
    }
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    before = found(shop.cache / "stages" / digest, digest)
    if before is not None:
        return before
    model = begin(shop.checkpoint(recipe.backbone), recipe, rows.classes)
    order = [rows.classes.index(name) for name in model.task.labels]
    state = {"weight": torch.from_numpy(linear.weight[order]).float()}
    if has_bias(shop.checkpoint(recipe.backbone), recipe):
        state["bias"] = torch.from_numpy(linear.bias[order]).float()
    model.network.head.load_state_dict(state)
    stage = {"name": "frozen", "digest": digest, "data": rows.name, "rows": len(rows)}
    model.network.eval()
    model.provenance = {"backbone": recipe.backbone, "stages": [stage]}
    tokens = int(shop.encoded(model.tokenizer, model.max_length, rows).lengths.sum())
    record = _record(digest, "frozen", inputs, model, recipe.seed)
    record |= {"seconds": seconds, "tokens": tokens}
    return _keep(shop, digest, model, record, list(rows.texts[:16]))


def random_backbone(shop: Workshop, recipe: Recipe, classes: tuple[str, ...]) -> str:
    """A folder of the recipe's backbone with random weights: the same sizes, nothing learned.

    Matrices are drawn from a normal distribution, scales of norms are 1 and all biases 0, as BERT
    begins.
    """
    seed = derive_seed("random weights", recipe.seed)
    inputs = {"parent": shop.checkpoint(recipe.backbone).digest, "seed": seed, "code": own_digest(),
              "pooling": recipe.pooling, "classes": classes}  # fmt: skip
    digest = hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()
    before = found(shop.cache / "stages" / digest, digest)
    if before is not None:
        return str(before.folder)
    model = begin(shop.checkpoint(recipe.backbone), recipe, classes)
    chance = torch.Generator().manual_seed(seed % 2**31)
    with torch.no_grad():
        for name, parameter in model.network.named_parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=INITIAL_STD, generator=chance)
            else:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
    model.network.eval()
    model.provenance = {"backbone": recipe.backbone, "stages": []}
    record = _record(digest, "random weights", inputs, model, recipe.seed)
    return str(_keep(shop, digest, model, record, ["a", "b c"]).folder)


def _record(
    digest: str, name: str, inputs: dict[str, Any], model: Trained, seed: int
) -> dict[str, Any]:
    """A stage.json of what no stage made."""
    total = sum(p.numel() for p in model.network.parameters())
    head = sum(p.numel() for p in model.network.head.parameters())
    table = [("head.*", head, 1.0), (".*", total - head, 0.0)]
    columns = ("pattern", "parameters", "learning_rate")
    return {
        "digest": digest,
        "name": name,
        "inputs": inputs,
        "provenance": model.provenance,
        "seed": seed,
        "seconds": 0.0,
        "steps": 0,
        "tokens": 0,
        "tokens_per_second": 0.0,
        "peak_memory_bytes": peak_memory(),
        "trainable": [dict(zip(columns, row, strict=True)) for row in table],
        "log": [],
    }


def _keep(
    shop: Workshop, digest: str, model: Trained, record: dict[str, Any], texts: list[str]
) -> StageResult:
    folder = shop.cache / "stages" / digest
    with full_disk_is_a_user_error(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        before = found(folder, digest)
        if before is not None:
            return before
        with folder_atomically(folder) as fresh:
            save_trained(model, fresh, texts)
            record["tokens_per_second"] = record["tokens"] / max(record["seconds"], 1e-9)
            text = json.dumps(record, indent=1, ensure_ascii=False)
            (fresh / RECORD).write_text(text + "\n", encoding="utf-8")
            (fresh / "log.jsonl").write_text("", encoding="utf-8")
    return StageResult(digest, folder, record, reused=False)
