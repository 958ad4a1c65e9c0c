"""What can be started from: backbones, sources as data, sources as trained models; opened, checked.

Shapes: N rows of the target, M rows of a source, D width, L blocks, Z classes of a source.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.batches import RaggedStore, derive_seed
from headstart.data.cache import headstart_cache
from headstart.data.draw import draw
from headstart.data.examples import Examples, examples
from headstart.data.findings import Finding, counted, remove_duplicates
from headstart.data.table import read
from headstart.data.text import Tokenizer
from headstart.errors import CheckpointError, DataError, RecipeError, UserError, unknown_name
from headstart.evaluation.transferability import mean_of_blocks
from headstart.models.backbone import Backbone
from headstart.models.checkpoint import Checkpoint, open_checkpoint, open_network
from headstart.training.embedding import layer_vectors
from headstart.training.inference import all_logits, best_device
from headstart.training.model import DESCRIPTION, Trained, open_trained
from headstart.training.progress import Progress
from headstart.verdict.order import MEAN_RANK, MEASURES

Columns = str | Mapping[str, str] | None
PARTS = ("source", "target")

TARGET_ROWS_PER_CLASS = 2
"""Rows that the target must have for each class, on average: one to learn from, one to judge."""


@dataclass(frozen=True)
class Request:
    """What is to be ranked, and on what, as it was asked for.

    Attributes:
        target: what `headstart.data.table.read` takes.
        sources: name, as results call it, and data or the path of a trained model.
        backbones: names or folders.
        text: text column of all, or of "target", of "source" (all of them), of a source by name.
        label: label column, likewise.
        source_map: renames labels of every source that has some of them.
        target_map: renames the target's labels.
        rows: most rows of a data set that are looked at.
        max_length: longest text in tokens; None takes each checkpoint's own.
        by: the measure that is to order, if any was asked for.
    """

    target: Any
    sources: Sequence[tuple[str, Any]]
    backbones: Sequence[str]
    text: Columns
    label: Columns
    source_map: Mapping[str, str]
    target_map: Mapping[str, str]
    rows: int
    max_length: int | None
    by: str | None

    def columns(self, *names: str) -> dict[str, Any]:
        """Text and label column of a data set by the first of its names that one is given for."""
        both = {"text": self.text, "label": self.label}
        return {
            option: next((columns[name] for name in names if name in columns), None)
            if isinstance(columns, Mapping)
            else columns
            for option, columns in both.items()
        }


@dataclass(frozen=True)
class Checked:
    """What is to be ranked, read and found to be usable.

    Attributes:
        target: labelled rows, `rows` of them at most.
        data: labelled rows of each source that is data, without texts of the target.
        models: folder of each source that is a trained model.
        given: rows that each data set has before `rows` are drawn; the target is "".
        findings: what was noticed on the way.
    """

    target: Examples
    data: dict[str, Examples]
    models: dict[str, Path]
    given: dict[str, int]
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class Opened:
    """A backbone to be looked at, with its head where it has one.

    Attributes:
        folder: where it lies on this machine.
        backbone: in eval mode.
        tokenizer: the backbone's.
        max_length: longest text in tokens.
        network: the backbone with a classification head; None where there is none.
        labels: Z names for the head's classes; None where they have none.
    """

    folder: Path
    backbone: Backbone
    tokenizer: Tokenizer
    max_length: int
    network: Any = None
    labels: tuple[str, ...] | None = None

    def vectors(self, rows: Examples, progress: Progress) -> NDArray[np.float64]:
        """The mean over all blocks of the mean over a text's tokens, (N, D); kept in the cache."""
        found = layer_vectors(self.backbone, self.tokenizer, rows, max_length=self.max_length,
                              cache=headstart_cache(), progress=progress)  # fmt: skip
        return mean_of_blocks(found)

    def probabilities(self, rows: Examples, progress: Progress) -> NDArray[np.float64]:
        """What the head says of N rows, (N, Z)."""
        assert self.network is not None, "asked only of what has a head"
        encoded = self.tokenizer.encode(list(rows.texts), self.max_length)
        store, device = RaggedStore(encoded.values, encoded.offsets), best_device()
        logits = all_logits(self.network.to(device).eval(), store, device, progress, "the head")
        return logits.double().softmax(-1).numpy()


def open_candidate(name: str | Path, max_length: int | None) -> Opened:
    """Open a backbone, or a trained model with the head it was trained with.

    Raises:
        CheckpointError: it cannot be opened.
        RecipeError: it reads images, or fewer tokens than `max_length`.
    """
    folder = model_folder(name)
    if folder is not None:
        return _of_trained(open_trained(folder), str(name), max_length)
    checkpoint = open_checkpoint(name)
    if checkpoint.backbone.patch_values is not None:
        raise RecipeError(
            f"backbone {str(name)!r}: a {checkpoint.family} reads images, and the target holds "
            "texts. Choose one that reads texts, such as 'bert-base-uncased'."
        )
    network = open_network(checkpoint.folder) if _classifies(checkpoint) else None
    return Opened(
        folder=checkpoint.folder,
        backbone=checkpoint.backbone if network is None else network.backbone,
        tokenizer=Tokenizer.open(checkpoint.folder),
        max_length=_length(str(name), checkpoint.backbone, checkpoint.max_length, max_length),
        network=network,
        labels=None if network is None else checkpoint.labels,
    )


def _classifies(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint has a head of two classes or more."""
    return checkpoint.head is not None and len(checkpoint.head["weight"]) > 1


def _of_trained(trained: Trained, name: str, max_length: int | None) -> Opened:
    network = trained.network
    return Opened(
        folder=trained.origin,
        backbone=network.backbone,
        tokenizer=trained.tokenizer,
        max_length=_length(name, network.backbone, trained.max_length, max_length),
        network=network,
        labels=trained.task.labels,
    )


def _length(name: str, backbone: Backbone, own: int, asked: int | None) -> int:
    if asked is not None and asked > backbone.max_positions:
        raise RecipeError(
            f"max_length: {name} reads {backbone.max_positions:,} tokens at most; got {asked:,}. "
            "Ask for that many or fewer, or leave it out."
        )
    return asked or own


def model_folder(source: Any) -> Path | None:
    """The folder of a trained model that a path names; None where it names none.

    Raises:
        CheckpointError: it is the folder of a run that has not finished.
    """
    if not isinstance(source, (str, Path)):
        return None
    folder = Path(source).expanduser()
    for place in (folder / "model", folder):
        if (place / DESCRIPTION).is_file():
            return place
    if (folder / ".headstart").exists():
        raise CheckpointError(
            f"{folder}: the run in this folder has not finished, so it holds no model yet. Give "
            "its command again: it goes on where it stopped."
        )
    return None


def check(request: Request) -> Checked:
    """Read all data and open every model once, so that all faults come to light together.

    Raises:
        UserError: with every fault that was found.
    """
    faults = [*_unfit(request), *_repeated(request)]
    target = None
    models: dict[str, Path] = {}
    with _gathering(faults):
        target = _target(request)
    folders: dict[Path, str] = {}
    for name in dict.fromkeys(request.backbones):
        with _gathering(faults):
            folder = open_candidate(name, request.max_length).folder.resolve()
            if folders.setdefault(folder, name) != name:
                faults.append(f"backbone {name!r}: is {folders[folder]!r}. Give it once.")
    data = _sources(request, models, faults)
    if faults or target is None:
        raise UserError(faults)
    return _cut(target, data, models, request.rows)


def _cut(
    target: Examples, data: dict[str, Examples], models: dict[str, Path], count: int
) -> Checked:
    """Leave out of the sources what the target has, and draw at most `count` rows of each."""
    given = {"": len(target)} | {name: len(rows) for name, rows in data.items()}
    findings = [*target.findings, *(f for rows in data.values() for f in rows.findings)]
    faults: list[str] = []
    drawn: dict[str, Examples] = {}
    for name, rows in data.items():
        apart, finding = _without(name, rows, target)
        findings += [finding] if finding else []
        with _gathering(faults):
            drawn[name] = _drawn(f"source {name}", apart, count, 1)
    with _gathering(faults):
        target = _drawn("target", target, count, TARGET_ROWS_PER_CLASS)
    if faults:
        raise DataError(faults)
    return Checked(target, drawn, models, given, tuple(findings))


@contextmanager
def _gathering(faults: list[str]) -> Iterator[None]:
    """Keep the faults of what is tried, and go on."""
    try:
        yield
    except UserError as error:
        faults += error.faults


def _unfit(request: Request) -> list[str]:
    """What cannot be, whatever the data."""
    faults = []
    if len(request.sources) < 2 and len(request.backbones) < 2:
        faults.append(
            "nothing to rank: give two sources or more (--source A --source B), or two backbones "
            "or more (--backbone A --backbone B). There are "
            f"{counted(len(request.sources), 'source')} and "
            f"{counted(len(request.backbones), 'backbone')}."
        )
    if request.rows < 2:
        faults.append(f"rows: must be 2 or more; got {request.rows}.")
    if request.max_length is not None and request.max_length < 4:
        faults.append(f"max_length: must be 4 or more; got {request.max_length}.")
    known = (*MEASURES, MEAN_RANK)
    if request.by is not None and request.by not in known:
        faults.append(unknown_name("by", "measure", request.by, known))
    for option, columns in (("text", request.text), ("label", request.label)):
        named = columns if isinstance(columns, Mapping) else {}
        sets = (*PARTS, *(name for name, _ in request.sources))
        faults += [unknown_name(option, "data set", n, sets) for n in named if n not in sets]
    return faults


def _repeated(request: Request) -> list[str]:
    """What is given twice under one name."""
    faults = []
    sources = [name for name, _ in request.sources]
    for kind, names in (("backbone", list(request.backbones)), ("source", sources)):
        places = [_place(name) if kind == "source" else name for name in names]
        for number, place in enumerate(places):
            if places.index(place) < number:
                first = names[places.index(place)]
                same = "" if first == names[number] else f", as {first!r}"
                faults.append(f"{kind} {names[number]!r}: is given twice{same}. Give it once.")
    if isinstance(request.target, (str, Path)):
        target = _place(str(request.target))
        faults += [
            f"source {name!r}: is the target itself. Give rows that are not the target's."
            for name in sources
            if _place(name) == target
        ]
    return faults


def _place(name: str) -> str:
    """A path without detours; any other name as it is."""
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name


def _target(request: Request) -> Examples:
    if isinstance(request.target, Examples):
        return request.target
    table = read(request.target, name="target")
    return examples(table, mapping=request.target_map or None, **request.columns("target"))


def _sources(request: Request, models: dict[str, Path], faults: list[str]) -> dict[str, Examples]:
    """The rows of the sources that are data; those that are models go into `models`."""
    data: dict[str, Examples] = {}
    mapped = False
    for name, source in dict(request.sources).items():
        with _gathering(faults):
            folder = model_folder(source)
            if folder is not None:
                open_candidate(folder, request.max_length)
                models[name] = folder
                continue
            _refuse_checkpoint(name, source)
            data[name], fits = _source(request, name, source)
            mapped = mapped or fits
            others = [other for other in data if _place(other) != _place(name)]
            twin = next((n for n in others if data[n].digest == data[name].digest), None)
            if twin:
                faults.append(f"source {name!r}: holds the rows of {twin!r}. Leave one out.")
    if request.source_map and data and not mapped:
        known = sorted({label for rows in data.values() for label in rows.classes})
        faults.append(
            f"source_map: none of {sorted(request.source_map)} is a label of any source. Their "
            f"labels: {', '.join(map(repr, known[:10]))}."
        )
    return data


def _refuse_checkpoint(name: str, source: Any) -> None:
    if isinstance(source, (str, Path)) and (Path(source).expanduser() / "config.json").is_file():
        raise CheckpointError(
            f"source {name!r}: is a checkpoint that headstart did not train. Give it as a backbone "
            "(--backbone); what its head says is judged there."
        )


def _source(request: Request, name: str, source: Any) -> tuple[Examples, bool]:
    """A source's rows, and whether the map of labels was for it."""
    if isinstance(source, Examples):
        return source, False
    table = read(source, name=name)
    columns = request.columns(name, "source")
    rows = examples(table, **columns)
    if not set(request.source_map) & set(rows.classes):
        return rows, False
    return examples(table, mapping=request.source_map, **columns), True


def _without(name: str, rows: Examples, target: Examples) -> tuple[Examples, Finding | None]:
    """A source's rows whose text is not among the target's."""
    apart, finding = remove_duplicates(rows, target)
    if finding is None:
        return rows, None
    message = (
        f"{name}: {finding.count:,} rows left out, having the text of a target row: they would "
        "make this source look better than it is."
    )
    return apart, replace(finding, kind="rows of the target", message=message)


def _drawn(name: str, rows: Examples, count: int, each: int) -> Examples:
    """At most `count` rows, the classes in proportion.

    Raises:
        DataError: there are fewer than `each` rows for each class, on average.
    """
    if not len(rows):
        raise DataError(f"{name}: every row has the text of a target row, so none is left.")
    assert rows.labels is not None
    taken = min(count, len(rows))
    needed = each * len(rows.classes)
    if taken < needed:
        remedy = f"look at more with rows={needed:,} (--rows)" if taken < len(rows) else "add rows"
        raise DataError(
            f"{name}: {taken:,} rows of {len(rows.classes):,} classes; at least {needed:,} are "
            f"needed. Leave classes out with a map, or {remedy}."
        )
    if taken == len(rows):
        return rows
    return rows.take(draw(rows.labels, taken, derive_seed("ranking", 0))[0])
