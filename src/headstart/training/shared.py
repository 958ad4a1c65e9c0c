"""A backbone that answers for several tasks: what holds it, and the folder that does.

The folder is one of Hugging Face with the backbone, as any checkpoint's; the heads lie beside it,
heads/TASK.safetensors, and headstart.json says what they are of.

Shapes: N texts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from headstart.data.batches import RaggedStore
from headstart.data.pair import are_pairs, as_texts, encode
from headstart.data.text import Tokenizer
from headstart.data.tokens import Tokens
from headstart.errors import CheckpointError, DataError, unknown_name
from headstart.models.chain import Chain
from headstart.models.checkpoint import (
    Checkpoint,
    open_checkpoint,
    open_language_model,
    open_masked_model,
    save_language_model,
)
from headstart.models.language import LanguageModel, MaskedLanguageModel, TextToText
from headstart.models.network import POOLS, Network
from headstart.models.save import save_backbone
from headstart.models.several import SharedBackbone
from headstart.models.weights import read_weights, write_weights
from headstart.tasks.classify import Classify
from headstart.tasks.regress import Regress
from headstart.training.inference import all_logits, best_device
from headstart.training.model import (
    DESCRIPTION,
    PROOF_ROWS,
    REPAIR,
    SCHEMA,
    SEVERAL,
    Trained,
    versions,
)
from headstart.training.model import described as described_in
from headstart.training.progress import Progress, Silent
from headstart.training.proving import changed_tensors, check_unchanged

HEADS = "heads"
SPEAKING = (LanguageModel, TextToText, MaskedLanguageModel)


@dataclass
class Answering:
    """One task of several, as it answers.

    Attributes:
        name: the task's.
        network: backbone, pooling and head.
        task: decodes what the network gives.
        tokenizer: the backbone's.
        max_length: longest text in tokens; longer ones are cut.
        pooling: "cls", "mean", "last" or "family".
        pairs: whether it was trained on pairs of texts.
        origin: folder whose tokenizer files are handed on.
        provenance: what it was trained from and on, as plain values.
    """

    name: str
    network: Network
    task: Classify | Regress
    tokenizer: Tokenizer
    max_length: int
    pooling: str
    pairs: bool
    origin: Path
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """Of the task, as in a recipe."""
        return "regress" if isinstance(self.task, Regress) else "classify"

    def logits(self, texts: Sequence[Any], progress: Progress | None = None) -> Tensor:
        """What the network gives for N texts, or pairs (first, second): (N, C) or (N, 1)."""
        return self.logits_of(self.encode(texts), progress or Silent(), f"predict {self.name}")

    def encode(self, texts: Sequence[Any]) -> Tokens:
        """Tokens of N texts, or pairs (first, second).

        Raises:
            DataError: the task was trained on pairs and these are single texts, or the reverse.
        """
        made = as_texts(texts)
        if made and are_pairs(made) != self.pairs:
            wanted, other = ("pairs", "single texts")[:: 1 if self.pairs else -1]
            how = " (--text FIRST,SECOND of a table)" if self.pairs else ""
            raise DataError(
                f"task {self.name!r}: was trained on {wanted}, and these are {other}. Give "
                f"{wanted}{how}."
            )
        return encode(self.tokenizer, made, self.max_length)

    def logits_of(self, encoded: Tokens, progress: Progress, title: str) -> Tensor:
        """What the network gives for N tokenised texts, float32, in their order."""
        if not len(encoded.full_lengths):
            return torch.empty(0, self.network.head.state_dict()["weight"].shape[0])
        store = RaggedStore(encoded.values, encoded.offsets, encoded.segments)
        device = best_device()
        return all_logits(self.network.to(device).eval(), store, device, progress, title)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (N, C) of logits (N, C); each row sums to 1."""
        return logits.softmax(-1)

    def decode_numbers(self, logits: Tensor) -> np.ndarray:
        """(N,) numbers in the labels' unit of what the network gives, (N, 1).

        Raises:
            CheckpointError: it gives labels.
        """
        if not isinstance(self.task, Regress):
            raise CheckpointError(f"task {self.name!r}: gives labels (classify), not numbers.")
        return self.task.numbers(logits)

    def trained(self) -> Trained:
        """The same as a classifier of its own.

        Raises:
            CheckpointError: it gives numbers.
        """
        if not isinstance(self.task, Classify):
            raise CheckpointError(
                f"task {self.name!r}: gives numbers (regress) where a classifier is needed."
            )
        return Trained(
            network=self.network,
            tokenizer=self.tokenizer,
            task=self.task,
            max_length=self.max_length,
            pooling=self.pooling,
            origin=self.origin,
            provenance=dict(self.provenance),
        )


@dataclass
class SharedModel:
    """A backbone with the heads of several tasks.

    Attributes:
        network: all of it.
        kinds: each task's kind, by name; tasks without labels among them.
        answering: those that answer, by name.
        pooling: of the heads.
        max_length: longest text in tokens.
        dropout: probability in front of the heads.
        origin: folder whose tokenizer files are handed on.
        provenance: what it was trained from and on, as plain values.
    """

    network: SharedBackbone
    kinds: dict[str, str]
    answering: dict[str, Answering]
    pooling: str
    max_length: int
    dropout: float
    origin: Path
    provenance: dict[str, Any] = field(default_factory=dict)


def is_shared(folder: Path) -> bool:
    """Whether a folder holds a backbone that answers for several tasks."""
    return (folder / DESCRIPTION).exists() and described_in(folder).get("task") == SEVERAL


def save_shared(model: SharedModel, folder: Path, proofs: Mapping[str, Sequence[str]]) -> None:
    """Fill a fresh folder with the model, open it again, and compare.

    Where a task without labels has a head that transformers knows, such as BERT's for hidden words,
    the folder is one of that class.

    Args:
        model: in eval mode on the CPU.
        folder: exists and is fresh; moving it into place is the caller's.
        proofs: texts, by task, whose logits the reopened model must give bit for bit.

    Raises:
        HeadstartError: what was read back differs from what was written.
    """
    speaking = _speaking(model)
    if speaking is None:
        save_backbone(folder, model.network.backbone, source=model.origin, pooling=model.pooling,
                      max_length=model.max_length, dropout=model.dropout)  # fmt: skip
    else:
        save_language_model(folder, speaking, source=model.origin, max_length=model.max_length)
    (folder / HEADS).mkdir()
    for name in model.kinds:
        if model.network.network(name) is not speaking:
            write_weights(folder / HEADS / f"{name}.safetensors", _state(model.network, name))
    description = {
        "schema": SCHEMA,
        "task": SEVERAL,
        "tasks": [_described(model, name, kind) for name, kind in model.kinds.items()],
        "pooling": model.pooling,
        "max_length": model.max_length,
        "dropout": model.dropout,
        "provenance": model.provenance,
        "versions": versions(),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    _prove(model, speaking, folder, proofs)


def _speaking(model: SharedModel) -> LanguageModel | TextToText | MaskedLanguageModel | None:
    """The first of the networks that a folder of transformers can hold whole."""
    networks = (model.network.network(name) for name in model.kinds)
    return next((n for n in networks if isinstance(n, SPEAKING)), None)


def _state(network: SharedBackbone, name: str) -> dict[str, Tensor]:
    return {key: t.contiguous() for key, t in network.head[name].state_dict().items()}


def _described(model: SharedModel, name: str, kind: str) -> dict[str, Any]:
    described: dict[str, Any] = {"name": name, "kind": kind}
    answering = model.answering.get(name)
    if answering is None:
        return described
    described["pairs"] = answering.pairs
    task = answering.task
    if isinstance(task, Regress):
        return described | {"mean": task.mean, "deviation": task.deviation}
    return described | {"labels": list(task.labels)}


def open_shared(folder: str | Path) -> dict[str, Answering]:
    """The tasks that answer, by name, of a folder that `save_shared` wrote; one backbone for all.

    Raises:
        CheckpointError: there is no such model, or a file in it is damaged.
    """
    folder = Path(folder)
    description = described_in(folder)
    if description.get("task") != SEVERAL:
        raise CheckpointError(f"{folder}: holds one task, not several.")
    checkpoint, tokenizer = open_checkpoint(folder), Tokenizer.open(folder)
    answering = {}
    try:
        for told in description["tasks"]:
            task = _task(told)
            if task is None:
                continue
            answering[told["name"]] = Answering(
                name=told["name"],
                network=_network(checkpoint, folder, told["name"], description),
                task=task,
                tokenizer=tokenizer,
                max_length=description["max_length"],
                pooling=description["pooling"],
                pairs=bool(told["pairs"]),
                origin=folder,
                provenance=description["provenance"],
            )
    except (KeyError, TypeError, RuntimeError, OSError) as error:
        said = str(error).split("\n")[0]
        raise CheckpointError(f"{folder / DESCRIPTION}: is damaged ({said}). {REPAIR}") from None
    return answering


def _task(told: Mapping[str, Any]) -> Classify | Regress | None:
    if told["kind"] == "classify":
        return Classify(tuple(told["labels"]))
    if told["kind"] == "regress":
        return Regress(float(told["mean"]), float(told["deviation"]))
    return None


def _network(
    checkpoint: Checkpoint, folder: Path, name: str, description: Mapping[str, Any]
) -> Network:
    """A task's network on the folder's backbone."""
    state = read_weights([folder / HEADS / f"{name}.safetensors"])
    pooling = description["pooling"]
    pool = POOLS[pooling]() if pooling in POOLS else checkpoint.fresh_pooler()
    outputs, width = state["head.weight"].shape
    head = nn.Linear(width, outputs, bias="head.bias" in state)
    pool.load_state_dict(_part(state, "pool."))
    head.load_state_dict(_part(state, "head."))
    return Network(checkpoint.backbone, pool, head, description["dropout"]).eval()


def _part(state: Mapping[str, Tensor], start: str) -> dict[str, Tensor]:
    return {key.removeprefix(start): t for key, t in state.items() if key.startswith(start)}


def open_task(folder: str | Path, name: str | None) -> Answering:
    """One task of a folder; without a name its only one.

    Raises:
        CheckpointError: there is no such task, or there are several and none is named.
    """
    there = open_shared(folder)
    if name is None and len(there) != 1:
        raise CheckpointError(
            f"{folder}: answers for {len(there)} tasks: {', '.join(there)}. Name one: headstart "
            "predict --task NAME, or headstart.load(...).task(NAME) in Python."
        )
    name = name if name is not None else next(iter(there))
    if name not in there:
        raise CheckpointError(unknown_name(str(folder), "task", name, list(there)))
    return there[name]


def task_of_classes(
    folder: Path, labels: Sequence[str], preferred: Sequence[str] = ()
) -> str | None:
    """Which of several tasks in a folder tells these classes apart; None where none does.

    Args:
        folder: what a stage left.
        labels: the classes, in any order.
        preferred: names that go first, such as that of the data to come.
    """
    if not is_shared(folder):
        return None
    there = described_in(folder)["tasks"]
    names = [told["name"] for told in there if set(told.get("labels", ())) == set(labels)]
    return next(iter([n for n in names if n in preferred] + names), None)


def heads_in(folder: Path) -> list[tuple[dict[str, Any], dict[str, Tensor]]]:
    """What a folder's heads are of, and their weights; of another folder none."""
    if not is_shared(folder):
        return []
    return [
        (told, read_weights([folder / HEADS / f"{told['name']}.safetensors"]))
        for told in described_in(folder)["tasks"]
        if told["kind"] in ("classify", "regress")
    ]


def _prove(
    model: SharedModel,
    speaking: Chain | None,
    folder: Path,
    proofs: Mapping[str, Sequence[str]],
) -> None:
    read = open_shared(folder)
    different = []
    for name, written in model.answering.items():
        changed = changed_tensors(written.network, read[name].network)
        different += [f"{name}: {key}" for key in changed]
        texts = list(proofs[name][:PROOF_ROWS])
        if not different and not torch.equal(_proof(written, texts), _proof(read[name], texts)):
            different = [f"the logits of the first rows of {name}"]
    if speaking is not None:
        masked = isinstance(speaking, MaskedLanguageModel)
        again = open_masked_model(folder) if masked else open_language_model(folder)
        different += changed_tensors(speaking, again.model)
    check_unchanged(f"{folder}: the saved model", different)


@torch.inference_mode()
def _proof(answering: Answering, texts: Sequence[str]) -> Tensor:
    assert are_pairs(texts) == answering.pairs, "proof texts are of the rows trained on"
    encoded = encode(answering.tokenizer, texts, answering.max_length)
    store = RaggedStore(encoded.values, encoded.offsets, encoded.segments)
    return all_logits(answering.network, store, torch.device("cpu"), Silent(), "prove")
