"""A trained model: network, tokenizer and task together, and the folder that holds them.

Shapes: N texts, C classes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from headstart.data.batches import RaggedStore, plan_reading, take
from headstart.data.pair import as_texts, encode
from headstart.data.text import Tokenizer, Tokens
from headstart.errors import CheckpointError, nearest
from headstart.models.adapters import Base, Origin, open_adapter, save_adapter, weights_digest
from headstart.models.attach import bare, carried
from headstart.models.checkpoint import open_network, save_network
from headstart.models.network import Network
from headstart.tasks.classify import Classify
from headstart.tasks.temperature import Temperature
from headstart.training.inference import READ_TOKENS, all_logits, best_device
from headstart.training.progress import Progress, Silent
from headstart.training.proving import changed_tensors, check_unchanged

SCHEMA = "headstart.model/1"
DESCRIPTION = "headstart.json"
ADAPTER = "adapter"
SEVERAL = "several"
"""The task of a folder with heads for several."""
EPISODES = "episodes"
"""The task of a folder that learned from episodes, and becomes a classifier by a few rows."""
PROOF_ROWS = 16
REPAIR = "Copy the model again, or give the command again that made it."
FIELDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "labels": ("list of 2 or more names", lambda value: isinstance(value, list)
               and len(value) > 1 and all(isinstance(name, str) for name in value)),
    "max_length": ("whole number above 0", lambda value: isinstance(value, int) and value > 0),
    "pooling": ("word", lambda value: isinstance(value, str)),
    "provenance": ("table", lambda value: isinstance(value, dict)),
}  # fmt: skip
"""What a description must hold besides its schema."""


@dataclass
class Trained:
    """A network that answers in the data set's words.

    Attributes:
        network: backbone, pooling and head, in eval mode.
        tokenizer: the backbone's.
        task: holds the class names.
        max_length: longest text in tokens; longer ones are cut.
        pooling: "cls", "mean" or "family".
        origin: folder whose tokenizer files are handed on when the model is saved.
        provenance: what it was trained from and on, as plain values.
        adapter: folder of the adapter that was merged into the network, handed on when the model
            is saved; None where there is none.
        base: the weights under a prefix or bottlenecks that the network carries; None: its own.
        temperature: what logits are divided by before they become probabilities; None: nothing.
    """

    network: Network
    tokenizer: Tokenizer
    task: Classify
    max_length: int
    pooling: str
    origin: Path
    provenance: dict[str, Any] = field(default_factory=dict)
    adapter: Path | None = None
    base: Origin | None = None
    temperature: Temperature | None = None

    def logits(self, texts: Sequence[str], progress: Progress | None = None) -> Tensor:
        """Logits (N, C) float32 of N texts, in their order."""
        return self.logits_of(self.encode(texts), progress or Silent(), "predict")

    def encode(self, texts: Sequence[Any]) -> Tokens:
        """Tokens of N texts, or pairs (first, second)."""
        return encode(self.tokenizer, as_texts(texts), self.max_length)

    def logits_of(self, encoded: Tokens, progress: Progress, title: str) -> Tensor:
        """Logits (N, C) float32 of N tokenised texts, in their order."""
        if not len(encoded.full_lengths):
            return torch.empty(0, len(self.task.labels))
        device = best_device()
        forward = self.network.to(device).eval()
        store = RaggedStore(encoded.values, encoded.offsets, encoded.segments)
        return all_logits(forward, store, device, progress, title)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated probabilities (N, C) of logits (N, C); each row sums to 1."""
        return self.temperature.probabilities(logits) if self.temperature else logits.softmax(-1)


def versions() -> dict[str, str]:
    """Versions of what a result depends on."""
    names = ("headstart", "torch", "lightning-fabric", "tokenizers", "safetensors", "scikit-learn")
    return {name: version(name) for name in names}


def open_trained(folder: str | Path, task: str | None = None) -> Trained:
    """Open a folder that `save_trained` wrote, or one task of a folder of several.

    Args:
        folder: what a stage or a run left.
        task: which of several tasks. Default: the only one.

    Raises:
        CheckpointError: it is no such folder, or a file in it is damaged.
    """
    folder = Path(folder)
    if task is not None or described(folder).get("task") == SEVERAL:
        from headstart.training.shared import open_task  # which knows what is trained here

        return open_task(folder, task).trained()
    description = _describe(folder)
    network = open_network(folder).eval()
    _check_fit(folder / DESCRIPTION, description, network)
    tokenizer = Tokenizer.open(folder)
    carries = description.get("carries") is not None
    merged = not carries and (folder / ADAPTER).is_dir()
    return Trained(
        network=_carrying(folder, description, network) if carries else network,
        tokenizer=tokenizer,
        task=Classify(tuple(description["labels"])),
        max_length=description["max_length"],
        pooling=description["pooling"],
        origin=folder,
        provenance=description["provenance"],
        adapter=folder / ADAPTER if merged else None,
        temperature=_temperature(folder / DESCRIPTION, description),
    )


def _temperature(file: Path, description: dict[str, Any]) -> Temperature | None:
    """How sure the model may be; None where nobody measured it, as in older folders."""
    values = description.get("calibration")
    if values is None:
        return None
    try:
        return Temperature.from_values(values)
    except ValueError as error:
        raise CheckpointError(f"{file}, calibration: {error}. {REPAIR}") from None


def answers(folder: Path) -> bool:
    """Whether a folder that a stage left holds a head that answers, rather than a backbone alone.

    Raises:
        CheckpointError: see `open_trained`.
    """
    return described(folder).get("task") == "classify"


def _carrying(folder: Path, description: dict[str, Any], network: Network) -> Network:
    """A folder's network with the prefix or the bottlenecks that lie beside it."""
    base = Base(
        name=str(folder),
        backbone=network.backbone,
        pooler=network.pool if description["pooling"] == "family" else None,
        labels=tuple(description["labels"]),
        max_length=description["max_length"],
        digest=weights_digest(network.backbone),
    )
    return open_adapter(folder / ADAPTER, base).network


def _describe(folder: Path) -> dict[str, Any]:
    """What a folder with a head says about it."""
    file, description = folder / DESCRIPTION, described(folder)
    task = description.get("task", "classify")
    if task == EPISODES:
        raise CheckpointError(
            f"{folder}: learned from episodes and waits for rows of the classes that it is to tell "
            f"apart. Make a classifier of it: headstart adapt {folder} --support few.csv"
        )
    if task != "classify":
        raise CheckpointError(
            f"{folder}: was pre-trained ({task}), so it holds a backbone and no head that answers. "
            f"Train one on it: headstart transfer --backbone {folder} ..."
        )
    wrong = [
        f"{file}, {key}: is missing or no {kind}. {REPAIR}"
        for key, (kind, holds) in FIELDS.items()
        if not holds(description.get(key))
    ]
    if wrong:
        raise CheckpointError(wrong)
    return description


def described(folder: Path) -> dict[str, Any]:
    """What a folder says about itself, of a schema that is known."""
    file = folder / DESCRIPTION
    try:
        description = json.loads(file.read_text(encoding="utf-8"))
        schema = description["schema"]
    except (FileNotFoundError, NotADirectoryError):
        what = f"holds no {DESCRIPTION}" if folder.is_dir() else "is a file"
        near = ""
        if not folder.exists():
            there = folder.absolute().parent
            what = "there is no such folder"
            near = nearest(folder.name, _folders(there)) if there.is_dir() else ""
        raise CheckpointError(
            f"{folder}: {what}, so it is no model saved by headstart.{near} Give the output "
            "folder of `headstart transfer` or `headstart run`, or the model/ folder in it."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{file}: is damaged ({_first(error)}). {REPAIR}") from None
    except OSError as error:
        raise CheckpointError(f"{file}: cannot be read: {error.strerror}.") from None
    if schema != SCHEMA:
        raise CheckpointError(f"{file}: has schema {schema!r}; this headstart reads {SCHEMA!r}.")
    return description


def _check_fit(file: Path, description: dict[str, Any], network: Network) -> None:
    """Whether description and weights are of one model."""
    classes = network.head.state_dict()["weight"].shape[0]
    positions = network.backbone.max_positions
    faults = []
    if len(description["labels"]) != classes:
        faults.append(
            f"labels: names {len(description['labels'])} classes; the weights have {classes}"
        )
    if description["max_length"] > positions:
        faults.append(f"max_length: is {description['max_length']}; the weights have {positions}")
    if faults:
        raise CheckpointError([f"{file}, {fault}. {REPAIR}" for fault in faults])


def _folders(place: Path) -> list[str]:
    return [path.name for path in place.iterdir() if path.is_dir()]


def _first(error: Exception) -> str:
    """What was wrong, on one line."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error).split("\n")[0] or "no JSON object"


def save_trained(model: Trained, folder: Path, proof_texts: Sequence[str]) -> None:
    """Fill a fresh folder with the model, open it again, and compare.

    The caller moves the folder into place once this has returned.

    Args:
        proof_texts: texts whose logits the reopened model must give bit for bit.

    Raises:
        HeadstartError: what was read back differs from what was written.
    """
    save_network(folder, bare(model.network), source=model.origin, labels=model.task.labels,
                 pooling=model.pooling, max_length=model.max_length)  # fmt: skip
    carries = carried(model.network)
    if carries is not None:
        _save_carried(model, folder / ADAPTER)
    elif model.adapter is not None:
        shutil.copytree(model.adapter, folder / ADAPTER)
    description = {
        "schema": SCHEMA,
        "task": "classify",
        "labels": list(model.task.labels),
        "pooling": model.pooling,
        "max_length": model.max_length,
        "provenance": model.provenance,
        "calibration": model.temperature and model.temperature.to_values(),
        "versions": versions(),
        "carries": None if carries is None else carries.model_dump(mode="json"),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    _prove(model, open_trained(folder), proof_texts[:PROOF_ROWS])


def _save_carried(model: Trained, folder: Path) -> None:
    """What is attached and cannot be merged, for the weights that lie in the folder around it."""
    network = model.network
    digest = weights_digest(bare(network).backbone)
    same = model.base is not None and model.base.digest == digest
    origin = model.base if same and model.base is not None else Origin("..", digest)
    folder.mkdir()
    own = set(dict(bare(network).named_parameters()))
    save_adapter(
        folder,
        network,
        adapter=carried(network),
        moved={name for name, _ in network.named_parameters() if name not in own},
        labels=model.task.labels,
        pooling=model.pooling,
        max_length=model.max_length,
        origin=origin,
    )


def _prove(written: Trained, read: Trained, texts: Sequence[str]) -> None:
    different = changed_tensors(written.network, read.network)
    if not different and not torch.equal(proof(written, texts), proof(read, texts)):
        different = ["the logits of the first rows"]
    check_unchanged(f"{read.origin}: the saved model", different)


@torch.inference_mode()
def proof(model: Trained, texts: Sequence[str]) -> Tensor:
    """Logits (N, C) on the model's device; on a CPU the same input gives the same bits."""
    encoded = encode(model.tokenizer, texts, model.max_length)
    store = RaggedStore(encoded.values, encoded.offsets, encoded.segments)
    device = next(model.network.parameters()).device
    batches = [take(store, rows).to(device) for rows in plan_reading(store.lengths, READ_TOKENS)]
    return torch.cat([model.network(batch.inputs, batch.segments) for batch in batches])
