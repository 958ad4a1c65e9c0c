"""A stage that adds something to its backbone: put in before training, kept and proved after it.

Shapes: N texts, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headstart.data.batches import derive_seed
from headstart.errors import HeadstartError
from headstart.models.adapters import (
    Base,
    Origin,
    attach,
    bare,
    merge,
    open_adapter,
    save_adapter,
    weights_digest,
)
from headstart.models.attach import carried
from headstart.models.network import Network
from headstart.recipe import Lora, Prefix, Stage
from headstart.training.model import ADAPTER, PROOF_ROWS, Trained, proof
from headstart.training.progress import Progress
from headstart.training.trainable import Group

TOLERANCE = 1e-4
"""Largest difference of a logit, as a share of the largest, that rounding may make in a merge."""


def begin_adapter(model: Trained, stage: Stage, base_name: str, seed: int) -> None:
    """Put into a model what a stage trains beside its weights; nothing where it adds nothing.

    Args:
        model: changed in place; a prefix makes its texts shorter.
        stage: the plain values.
        base_name: what the weights were opened as.
        seed: of first values.

    Raises:
        RecipeError: see `attach`.
    """
    adapter = stage.adapter
    if adapter is None and stage.train != "bitfit":
        return
    network = model.network
    model.base = Origin(base_name, weights_digest(bare(network).backbone))
    if adapter is None:
        return
    before = carried(network)
    if before is not None and before == adapter.model_copy(update={"rates": {}}):
        return  # the stage before left one just like it: training goes on
    torch.manual_seed(derive_seed("adapter", seed))
    attach(network, adapter, f"stage {stage.name!r}, train")
    if isinstance(adapter, Prefix):
        room = network.backbone.max_positions - adapter.length
        model.max_length = min(model.max_length, room)


def keep_adapter(
    model: Trained,
    stage: Stage,
    rules: Sequence[Group],
    folder: Path,
    texts: Sequence[str],
    progress: Progress,
) -> dict[str, Any]:
    """Write what a stage trained as an adapter, prove it, and merge low-rank updates.

    What cannot be merged stays in the network, and is written with it by `save_trained`.

    Args:
        model: in eval mode on the CPU; changed in place where something is merged.
        stage: the plain values.
        rules: which parameters moved.
        folder: of the model; its adapter/ is made.
        texts: N whose logits are compared.
        progress: where the outcome is told.

    Returns:
        For the stage's record: "form", PEFT's or our own, and "merge_difference", the largest
        difference that merging made to a logit.

    Raises:
        HeadstartError: the adapter read back, or the merged model, gives other logits.
    """
    adapter = stage.adapter
    if not isinstance(adapter, Lora) and stage.train != "bitfit":
        return {}
    assert model.base is not None, "begin_adapter was called"
    network, place = model.network, folder / ADAPTER
    place.mkdir()
    own = set(dict(bare(network).named_parameters()))
    moved = {name for rule in rules if rule.learning_rate > 0 for name in rule.names}
    moved |= {name for name, _ in network.named_parameters() if name not in own}
    in_peft = save_adapter(
        place,
        network,
        adapter=adapter,
        moved=moved,
        labels=model.task.labels,
        pooling=model.pooling,
        max_length=model.max_length,
        origin=model.base,
    )
    texts = texts[:PROOF_ROWS]
    before = proof(model, texts)
    _prove_adapter(model, place, before, texts)
    merge(network)
    difference = _compare(stage, before, proof(model, texts), "merging changed")
    form = "peft" if in_peft else "headstart"
    if not in_peft:
        progress.say(f"{stage.name}: PEFT has no form for what moved; adapter/ is headstart's own")
    return {"form": form, "merge_difference": difference}


def _prove_adapter(model: Trained, place: Path, before: Tensor, texts: Sequence[str]) -> None:
    """Open what was written on the weights it was trained on, and compare."""
    assert model.base is not None
    plain = bare(model.network)
    pooler = plain.pool if model.pooling == "family" else None
    base = Base(model.base.name, plain.backbone, pooler, model.task.labels, model.max_length,
                model.base.digest)  # fmt: skip
    trained: Network = model.network
    try:
        model.network = open_adapter(place, base).network
        _compare(None, before, proof(model, texts), "reading the adapter back changed")
    finally:
        model.network = trained


def _compare(stage: Stage | None, before: Tensor, after: Tensor, what: str) -> float:
    difference = float((before - after).abs().max()) if len(before) else 0.0
    if not difference <= TOLERANCE * max(1.0, float(before.abs().max())):
        where = "" if stage is None else f"stage {stage.name!r}: "
        raise HeadstartError(
            f"{where}{what} the logits of the first rows by up to {difference:g}; rounding alone "
            "does not do that. The disk or the memory may be faulty."
        )
    return difference
