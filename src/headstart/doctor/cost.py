"""What the planned training will take on this machine: memory, counted; time, from a few steps.

Shapes: B rows of a batch, D width.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from headstart.data.batches import Batch, RaggedStore, cut, take
from headstart.data.findings import Finding
from headstart.data.tokens import Tokens
from headstart.models.checkpoint import Checkpoint
from headstart.models.network import POOLS, Network
from headstart.recipe import Stage
from headstart.training.footprint import footprint, free_bytes
from headstart.training.inference import best_device
from headstart.training.precision import choose_precision

STEPS = 3
"""Steps that are timed, after one that is not."""

BATCH_TOKENS = 1024
"""Tokens in the batches of steps, as a stage's."""

UNSTORED = 2.5
"""Forward passes that a step takes, about: backward twice one, and the optimiser."""

TIGHT = 0.8
"""Share of the free memory from which training is warned of."""


@dataclass(frozen=True)
class Cost:
    """An estimate of what training takes on this machine.

    Attributes:
        device: "cpu" or the accelerator's name.
        tokens_per_second: of a training step in which all of the backbone moves, measured.
        pass_seconds: one pass over a data set, by key, all moving.
        memory_bytes: that training holds at once, above what the process holds anyhow.
        free_bytes: free on the device now; None where that cannot be told.
        planned_seconds: of the stages that were given; None without.
    """

    device: str
    tokens_per_second: float
    pass_seconds: Mapping[str, float]
    memory_bytes: int
    free_bytes: int | None
    planned_seconds: float | None


def estimate(
    checkpoint: Checkpoint, tokens: Mapping[str, Tokens], stages: Sequence[Stage] = ()
) -> Cost:
    """Time a few training steps on rows of the last data set, and reckon from there.

    A stage in which only the head moves is taken as one forward pass, whatever its epochs, as what
    is frozen runs once.

    Args:
        checkpoint: of the backbone; it is left as it is.
        tokens: of each data set that is trained on, by key, as stages name them.
        stages: what is planned.
    """
    sample = list(tokens.values())[-1]
    rate = steps_per_second(checkpoint, sample)
    length = min(int(sample.lengths.max()), checkpoint.backbone.max_positions)
    batch_tokens = max([BATCH_TOKENS, *(stage.batch_tokens for stage in stages)])
    held = footprint(checkpoint, "all", batch_tokens=batch_tokens, length=length)
    passes = {key: int(each.lengths.sum()) / rate for key, each in tokens.items()}
    planned = [_seconds(stage, tokens, rate) for stage in stages]
    return Cost(
        device=str(best_device()),
        tokens_per_second=rate,
        pass_seconds=passes,
        memory_bytes=held.total,
        free_bytes=free_bytes(),
        planned_seconds=sum(planned) if planned else None,
    )


def steps_per_second(checkpoint: Checkpoint, tokens: Tokens) -> float:
    """Tokens a second of training steps, in the precision that this machine trains in.

    The fastest of a few steps counts: what else the machine does only ever slows it down.
    """
    device = best_device()
    backbone = copy.deepcopy(checkpoint.backbone)
    pool = POOLS["last" if backbone.causal else "mean"]()
    network = Network(backbone, pool, nn.Linear(backbone.width, 2), checkpoint.dropout)
    network.to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.0)
    bf16 = choose_precision() == "bf16"
    best = 0.0
    with torch.random.fork_rng([]):
        for number, batch in enumerate(_batches(tokens)):
            start = time.perf_counter()
            moved = batch.to(device)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                logits = network(moved.inputs, moved.segments)
            logits.float().square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if number:  # the first step also reserves memory
                best = max(best, batch.num_tokens / (time.perf_counter() - start))
    return best


def _batches(tokens: Tokens) -> list[Batch]:
    """One batch more than is timed, of rows in random order, again from the start if few."""
    random = np.random.default_rng(0)
    lengths = tokens.lengths
    rows: list[int] = []
    while sum(int(lengths[row]) for row in rows) < (STEPS + 1) * BATCH_TOKENS:
        rows += random.permutation(len(lengths))[: (STEPS + 1) * BATCH_TOKENS].tolist()
    store = RaggedStore(tokens.values, tokens.offsets)
    planned = cut(np.array(rows), lengths, BATCH_TOKENS)[: STEPS + 1]
    return [take(store, batch) for batch in planned]


def _seconds(stage: Stage, tokens: Mapping[str, Tokens], rate: float) -> float:
    """Of one stage, about."""
    total = sum(int(tokens[key].lengths.sum()) for key in stage.data_names if key in tokens)
    if stage.train == "head":
        return total / (rate * UNSTORED)
    if stage.steps is not None:
        return stage.steps * stage.batch_tokens / rate
    return total * (stage.epochs or 0.0) / rate


def memory_finding(cost: Cost, name: str) -> list[Finding]:
    """Training that may not fit.

    Args:
        name: of the backbone.
    """
    if cost.free_bytes is None or cost.memory_bytes < TIGHT * cost.free_bytes:
        return []
    return [Finding(
        kind="little memory",
        message=f"training all of {name} holds about {cost.memory_bytes / 1e9:.1f} GB at once; "
        f"{cost.free_bytes / 1e9:.1f} GB are free on this machine ({cost.device}).",
        count=0,
        severity="harmful" if cost.memory_bytes > cost.free_bytes else "warning",
        remedy='Train less of it (train = "lora:8" or "head" in a recipe), a shorter --max-length, '
        "micro_batch_tokens and recompute, or a smaller backbone.",
    )]  # fmt: skip
