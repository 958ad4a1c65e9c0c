"""A model that learned from episodes: it becomes a classifier for new classes by a few rows.

The folder is one of Hugging Face with the backbone, as any checkpoint's; beside it lie
episodes.safetensors, with what the model has besides (the beginning of a head, inner rates,
low-rank updates that move inside an episode), and headstart.json.

Shapes: N texts, S rows to learn from.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from headstart.data.batches import RaggedStore, take
from headstart.data.examples import Examples
from headstart.data.pair import as_texts, encode
from headstart.data.text import Tokenizer
from headstart.errors import CheckpointError, RecipeError, UserError, nearest
from headstart.models.attach import attach, carried, merge
from headstart.models.checkpoint import open_checkpoint
from headstart.models.functional import (
    BIAS,
    WEIGHT,
    EpisodeHead,
    Functional,
    GeneratedHead,
    LearnedHead,
    MeansHead,
    Vectors,
    layer_of,
)
from headstart.models.network import POOLS, Network
from headstart.models.save import save_backbone
from headstart.models.weights import read_weights, write_weights
from headstart.objectives.anil import Anil, FirstOrderAnil
from headstart.objectives.episodes import EpisodeObjective, Parameters, body_of
from headstart.objectives.maml import FirstOrderMaml, Maml
from headstart.objectives.protonet import ProtoNet
from headstart.objectives.reptile import Reptile
from headstart.recipe import adapter_of
from headstart.recipe.objectives import Anil as AnilValues
from headstart.recipe.objectives import Episodic, Inner, Objective, inner_of
from headstart.recipe.objectives import Maml as MamlValues
from headstart.recipe.objectives import Reptile as ReptileValues
from headstart.tasks.classify import INITIAL_STD, Classify
from headstart.training.inference import best_device
from headstart.training.model import (
    DESCRIPTION,
    EPISODES,
    PROOF_ROWS,
    REPAIR,
    SCHEMA,
    Trained,
    described,
    versions,
)
from headstart.training.proving import changed_tensors, check_unchanged
from headstart.training.trainable import matches

FILE = "episodes.safetensors"


@dataclass
class EpisodicModel:
    """A network that learns from a few labelled rows.

    Attributes:
        network: backbone and pooling; its head makes the head of an episode.
        values: how it learned, and learns.
        ways: classes of every episode, where the beginning of a head fixes that; else None.
        tokenizer: the backbone's.
        max_length: longest text in tokens.
        pooling: "cls", "mean", "last" or "family".
        origin: folder whose tokenizer files are handed on.
        provenance: what it was trained from and on, as plain values.
    """

    network: Network
    values: Episodic
    ways: int | None
    tokenizer: Tokenizer
    max_length: int
    pooling: str
    origin: Path
    provenance: dict[str, Any] = field(default_factory=dict)

    def learner(self, propagate: Callable[[Tensor], None]) -> EpisodeObjective:
        """How it learns from episodes."""
        values, head = self.values, self.network.head
        assert isinstance(head, EpisodeHead)
        if not isinstance(values, Inner):
            return ProtoNet(propagate)
        names, steps = inside(self.network, values), values.inner_steps
        own = {n: p for n, p in self.network.named_parameters() if n in names}
        if isinstance(values, ReptileValues):
            return Reptile(own, head, steps, propagate)
        first_order = isinstance(values, MamlValues) and values.kind == "fomaml"
        if not names:
            return (FirstOrderAnil if first_order else Anil)(head, steps, propagate)
        return (FirstOrderMaml if first_order else Maml)(own, head, steps, propagate)

    def functional(self, depth: int = 0) -> Functional:
        """The network as objectives ask it, behind its first `depth` parts."""
        return Functional(Vectors(self.network, depth), "network.")

    @property
    def test_steps(self) -> int | None:
        """Steps where the model is measured or used; None where there are none to count."""
        values = self.values
        if not isinstance(values, Inner):
            return None
        return values.inner_steps if values.test_steps is None else values.test_steps

    def adapt(self, support: Examples, steps: int | None = None) -> Trained:
        """A classifier for the classes of a few labelled rows; the model stays as it is.

        Args:
            support: S rows; 1 or more of each class.
            steps: of gradient descent. Default: `test_steps`.

        Raises:
            UserError: the model learned with another number of classes, which its head's beginning
                fixes; or there are no steps to count.
        """
        classes = support.classes
        self._check(support, steps)
        device = best_device()
        mine = replace(self, network=copy.deepcopy(self.network).to(device).eval())
        task = Classify(classes)
        assert support.labels is not None
        encoded = encode(self.tokenizer, as_texts(support.texts), self.max_length)
        store = RaggedStore(encoded.values, encoded.offsets, encoded.segments)
        batch = take(store, np.arange(len(support)), task.encode(support.labels))
        learned = mine.learner(_nothing_to_send).learned(
            mine.functional(),
            batch.to(device),
            len(classes),
            self.test_steps if steps is None else steps,
        )
        return mine.with_head(learned, task, len(support))

    def _check(self, support: Examples, steps: int | None) -> None:
        found = len(support.classes)
        if self.ways not in (None, found):
            raise UserError(
                f"{support.name}: has {found} classes, and the model learned a beginning for heads "
                f'of {self.ways}. Give rows of {self.ways} classes, or train with head = "means".'
            )
        if steps is not None and not isinstance(self.values, Inner):
            raise UserError("steps: this model compares with class means, and takes no steps.")

    def with_head(self, learned: Parameters, task: Classify, rows: int) -> Trained:
        """The network as an ordinary classifier, with what was learned of some rows put into it."""
        network = self.network
        with torch.no_grad():
            own = dict(network.named_parameters())
            for name, tensor in body_of(learned).items():
                own[name].copy_(tensor)
        width = learned[WEIGHT].shape[1]
        network.head = nn.Linear(width, len(task.labels), device=learned[WEIGHT].device)
        network.head.load_state_dict({"weight": learned[WEIGHT], "bias": learned[BIAS]})
        merge(network)
        return Trained(
            network=network.cpu().eval(),
            tokenizer=self.tokenizer,
            task=task,
            max_length=self.max_length,
            pooling=self.pooling,
            origin=self.origin,
            provenance=self.provenance | {"adapted": {"rows": rows, "classes": len(task.labels)}},
        )


def _nothing_to_send(loss: Tensor) -> None:
    """Adapting leaves no gradients."""


def inside(network: Network, values: Episodic) -> tuple[str, ...]:
    """Names of the parameters that move inside an episode, besides the head.

    Raises:
        RecipeError: a pattern that rules none.
    """
    names = [n for n, _ in network.named_parameters() if not n.startswith("head.")]
    found: set[str] = set()
    faults = []
    for word in inner_of(values):
        ruled = names if word == "all" else [name for name in names if matches(word, name)]
        if not ruled:
            parts = {".".join(n.split(".")[:k]).removeprefix("backbone.") for n in names
                     for k in range(1, n.count(".") + 1)}  # fmt: skip
            faults.append(f"objective.inner: {word!r} rules no parameter.{nearest(word, parts)}")
        found |= set(ruled)
    if faults:
        raise RecipeError(faults)
    return tuple(name for name in names if name in found)


def prepare(network: Network, values: Episodic, ways: int | None) -> None:
    """Put into a network what episodes need: updates that move inside, and the maker of heads.

    First values are drawn from torch's random state.

    Args:
        network: changed in place.
        values: how it is to learn.
        ways: classes of every episode, for a learned beginning.
    """
    for word in inner_of(values):
        adapter = adapter_of(word)
        if adapter is not None and carried(network) is None:
            attach(network, adapter, "objective.inner")
    names = inside(network, values)
    network.head = _head(network.backbone.width * _widths(network), values, names, ways)


def _widths(network: Network) -> int:
    """How many times the backbone's width a pooled vector is wide."""
    return int(network.head.state_dict()["weight"].shape[1]) // network.backbone.width


def _head(width: int, values: Episodic, names: Sequence[str], ways: int | None) -> EpisodeHead:
    if not isinstance(values, Inner):
        return MeansHead()
    layers = sorted({layer_of(name) for name in (*names, WEIGHT)})
    learn = isinstance(values, MamlValues | AnilValues) and values.learn_rates
    if values.head == "means":
        return MeansHead(layers, values.inner_rate, learn_rates=learn)
    if values.head == "generated":
        return GeneratedHead(width, layers, values.inner_rate, learn_rates=learn)
    assert ways is not None, "the stage looked at its episodes first"
    start = nn.Linear(width, ways)
    nn.init.normal_(start.weight, std=INITIAL_STD)
    nn.init.zeros_(start.bias)
    return LearnedHead(start, layers, values.inner_rate, learn_rates=learn)


def save_episodic(model: EpisodicModel, folder: Path, proof: Examples) -> None:
    """Fill a fresh folder with the model, open it again, and compare.

    Args:
        model: in eval mode on the CPU.
        folder: exists and is fresh; moving it into place is the caller's.
        proof: labelled rows that the reopened model must make the same classifier of, bit for bit.

    Raises:
        HeadstartError: what was read back differs from what was written.
    """
    network = model.network
    whole = copy.deepcopy(network)
    merge(whole)
    save_backbone(folder, whole.backbone, source=model.origin, pooling=model.pooling,
                  max_length=model.max_length, dropout=network.dropout.p)  # fmt: skip
    stored = whole.state_dict()
    besides = {
        name: tensor.contiguous()
        for name, tensor in network.state_dict().items()
        if not (name.startswith("backbone.") and name in stored
                and torch.equal(stored[name], tensor))
    }  # fmt: skip
    write_weights(folder / FILE, besides)
    description = {
        "schema": SCHEMA,
        "task": EPISODES,
        "objective": model.values.model_dump(mode="json"),
        "ways": model.ways,
        "pooling": model.pooling,
        "max_length": model.max_length,
        "provenance": model.provenance,
        "versions": versions(),
    }
    text = json.dumps(description, indent=2, ensure_ascii=False)
    (folder / DESCRIPTION).write_text(text + "\n", encoding="utf-8")
    _prove(model, open_episodic(folder), proof)


def _prove(written: EpisodicModel, read: EpisodicModel, rows: Examples) -> None:
    different = changed_tensors(written.network, read.network)
    if not different:
        texts = rows.texts[:PROOF_ROWS]
        if not torch.equal(written.adapt(rows).logits(texts), read.adapt(rows).logits(texts)):
            different = ["the answers after adapting to the first rows"]
    check_unchanged(f"{read.origin}: the saved model", different)


def open_episodic(folder: str | Path) -> EpisodicModel:
    """Open a folder that `save_episodic` wrote.

    Raises:
        CheckpointError: it is no such folder, or a file in it is damaged.
    """
    folder = Path(folder)
    description = described(folder)
    if description.get("task") != EPISODES:
        raise CheckpointError(
            f"{folder}: did not learn from episodes (its task is "
            f"{description.get('task', 'classify')}), so it cannot be adapted by a few rows. Train "
            'a stage with objective = "protonet" or another of docs/meta.md; or fine-tune it: '
            f"headstart transfer --backbone {folder} ..."
        )
    try:
        values: Any = TypeAdapter(Objective).validate_python(description["objective"])
        ways, pooling = description["ways"], str(description["pooling"])
        max_length, provenance = int(description["max_length"]), dict(description["provenance"])
    except (KeyError, TypeError, ValueError) as error:
        first = str(error).split("\n")[0]
        raise CheckpointError(f"{folder / DESCRIPTION}: is damaged ({first}). {REPAIR}") from None
    network = _network(folder, values, ways, pooling)
    return EpisodicModel(network, values, ways, Tokenizer.open(folder), max_length, pooling,
                         folder, provenance)  # fmt: skip


def _network(folder: Path, values: Episodic, ways: int | None, pooling: str) -> Network:
    """The network in a folder."""
    checkpoint = open_checkpoint(folder)
    pool = POOLS[pooling]() if pooling in POOLS else checkpoint.fresh_pooler()
    said = checkpoint.classifier if pooling == "family" else None
    width = checkpoint.backbone.width * (said.pooled_widths if said else 1)
    network = Network(checkpoint.backbone, pool, nn.Linear(width, 2), checkpoint.dropout)
    with torch.random.fork_rng([]):
        prepare(network, values, ways)
    file, state = folder / FILE, network.state_dict()
    tensors = read_weights([file])
    needed = {n for n in state if not n.startswith("backbone.") or ".lora." in n}
    faults = [f"{name}: is missing" for name in sorted(needed - tensors.keys())]
    faults += [f"{name}: is of no such model" for name in sorted(tensors.keys() - state.keys())]
    faults += [
        f"{name}: has shape {tuple(tensors[name].shape)}, not {tuple(state[name].shape)}"
        for name in sorted(tensors.keys() & state.keys())
        if tensors[name].shape != state[name].shape
    ]
    if faults:
        raise CheckpointError([f"{file}, {fault}. {REPAIR}" for fault in faults])
    network.load_state_dict(state | tensors)
    return network.eval()
