"""A backbone trained without labels: what asks it, and the folder that holds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headstart.data.batches import Batch
from headstart.data.corpus import Cutting
from headstart.data.text import Tokenizer
from headstart.errors import HeadstartError
from headstart.models.chain import Chain
from headstart.models.checkpoint import (
    open_language_model,
    open_masked_model,
    save_language_model,
)
from headstart.models.language import LanguageModel, MaskedLanguageModel, TextToText
from headstart.tasks.task import Task
from headstart.training.model import DESCRIPTION, SCHEMA, versions

Speaking = LanguageModel | TextToText | MaskedLanguageModel


@dataclass
class Pretrained:
    """A network that learns without labels.

    Attributes:
        kind: of the task, as in a recipe.
        network: backbone and what the task puts on it.
        task: prepares batches and gives losses.
        tokenizer: the backbone's.
        max_length: longest text in tokens; longer ones are cut.
        origin: folder whose tokenizer files are handed on when the model is saved.
        provenance: what it was trained from and on, as plain values.
        cutting: how texts become rows; None: each text is a row, and what is too long is cut off.
    """

    kind: str
    network: Speaking
    task: Task
    tokenizer: Tokenizer
    max_length: int
    origin: Path
    provenance: Mapping[str, Any]
    cutting: Cutting | None = None


def save_pretrained(model: Pretrained, folder: Path, proof: Batch) -> None:
    """Fill a fresh folder with the model, open it again, and compare.

    Args:
        model: in eval mode on the CPU.
        folder: exists and is fresh; moving it into place is the caller's.
        proof: a prepared batch whose loss the reopened model must give bit for bit.

    Raises:
        HeadstartError: what was read back differs from what was written.
    """
    save_language_model(folder, model.network, source=model.origin, max_length=model.max_length)
    description = {
        "schema": SCHEMA,
        "task": model.kind,
        "max_length": model.max_length,
        "provenance": dict(model.provenance),
        "versions": versions(),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    masked = isinstance(model.network, MaskedLanguageModel)
    read = open_masked_model(folder).model if masked else open_language_model(folder).model
    _prove(model, read, proof)


def _prove(model: Pretrained, read: Chain, proof: Batch) -> None:
    before, after = model.network.state_dict(), read.state_dict()
    different = sorted(before.keys() ^ after.keys())
    different += [n for n in before.keys() & after.keys() if not torch.equal(before[n], after[n])]
    if not different and not torch.equal(_loss(model, model.network, proof),
                                         _loss(model, read, proof)):  # fmt: skip
        different = ["the loss on the first rows"]
    if different:
        raise HeadstartError(
            "the saved backbone is not the trained one; these differ after reading it back: "
            f"{', '.join(different[:5])}. The disk or the memory may be faulty."
        )


@torch.inference_mode()
def _loss(model: Pretrained, network: Chain, proof: Batch) -> Tensor:
    return model.task.loss(network.eval(), proof)
