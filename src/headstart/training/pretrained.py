"""A backbone trained without labels: what asks it, and the folder that holds it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headstart.data.batches import Batch
from headstart.data.corpus import Cutting
from headstart.data.text import Tokenizer, Tokens
from headstart.models.chain import Chain
from headstart.models.checkpoint import (
    open_language_model,
    open_masked_model,
    save_language_model,
)
from headstart.models.language import LanguageModel, MaskedLanguageModel, TextToText
from headstart.tasks.task import Task
from headstart.training.model import DESCRIPTION, SCHEMA, versions
from headstart.training.proving import changed_tensors, check_unchanged

Speaking = LanguageModel | TextToText | MaskedLanguageModel


@dataclass(frozen=True)
class Keeping:
    """How a network is written to a folder that opens as a checkpoint, and read back.

    Attributes:
        write: fills a fresh folder with the model.
        read: gives the network that a folder holds.
    """

    write: Callable[[Path, Pretrained], None]
    read: Callable[[Path], Chain]


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
        keeping: how the network is written and read back.
        cutting: how texts become rows; None: each text is a row, and what is too long is cut off.
        encode: from texts and longest row, the tokens of rows that no cutting makes; None: as the
            tokenizer frames a text, or a pair.
    """

    kind: str
    network: Chain
    task: Task
    tokenizer: Tokenizer
    max_length: int
    origin: Path
    provenance: Mapping[str, Any]
    keeping: Keeping
    cutting: Cutting | None = None
    encode: Callable[[Sequence[str], int], Tokens] | None = None


def _write_words(folder: Path, model: Pretrained) -> None:
    assert isinstance(model.network, Speaking), "other networks have a keeping of their own"
    save_language_model(folder, model.network, source=model.origin, max_length=model.max_length)


def _read_words(folder: Path) -> Chain:
    return open_language_model(folder).model


def _read_hidden(folder: Path) -> Chain:
    return open_masked_model(folder).model


WORDS = Keeping(_write_words, _read_words)
"""Of networks that say words."""

HIDDEN_WORDS = Keeping(_write_words, _read_hidden)
"""Of networks that tell hidden words."""


def save_pretrained(model: Pretrained, folder: Path, proof: Batch) -> None:
    """Fill a fresh folder with the model, open it again, and compare.

    Args:
        model: in eval mode on the CPU.
        folder: exists and is fresh; moving it into place is the caller's.
        proof: a prepared batch whose loss the reopened model must give bit for bit.

    Raises:
        HeadstartError: what was read back differs from what was written.
    """
    model.keeping.write(folder, model)
    description = {
        "schema": SCHEMA,
        "task": model.kind,
        "max_length": model.max_length,
        "provenance": dict(model.provenance),
        "versions": versions(),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    _prove(model, model.keeping.read(folder), proof)


def _prove(model: Pretrained, read: Chain, proof: Batch) -> None:
    different = changed_tensors(model.network, read)
    if not different and not torch.equal(_loss(model, model.network, proof),
                                         _loss(model, read, proof)):  # fmt: skip
        different = ["the loss on the first rows"]
    check_unchanged("the saved backbone", different)


@torch.inference_mode()
def _loss(model: Pretrained, network: Chain, proof: Batch) -> Tensor:
    return model.task.loss(network.eval(), proof)
