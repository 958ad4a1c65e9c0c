"""A recipe: stages on one backbone, as validated plain values.

Nothing here imports torch or opens a data file, so a bad recipe is refused in milliseconds, with
every fault at once. A recipe comes from a TOML file, a mapping or keyword arguments, and goes back
to TOML.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from headstart.errors import RecipeError, nearest, unknown_name
from headstart.recipe.train import (
    ADAPTER_KINDS,
    TRAIN_WORDS,
    Adapter,
    Bottleneck,
    Lora,
    Prefix,
    Train,
    adapter_of,
    parse_train,
    train_faults,
)
from headstart.recipe.values import Fraction, Rate, Values

__all__ = [
    "ADAPTER_KINDS",
    "DEFAULT_BACKBONE",
    "TASKS",
    "TRAIN_WORDS",
    "Adapter",
    "Bottleneck",
    "Data",
    "Lora",
    "Prefix",
    "Rate",
    "Recipe",
    "Stage",
    "Task",
    "adapter_of",
    "parse_train",
]

DEFAULT_BACKBONE = "sentence-transformers/all-MiniLM-L6-v2"
TASKS = ("classify",)


class Data(Values):
    """One data set.

    Attributes:
        path: csv, tsv, json lines or parquet file, or a folder in a known layout.
        text: name of the text column; guessed when only one can be meant.
        label: name of the label column; guessed when only one can be meant.
        map: renames labels; rows whose label is not among the keys are left out.
        split: which part of a source that has parts, such as "train" or "train+test".
        labels: draw this many labelled rows, stratified by class, by the recipe's seed.
    """

    path: str
    text: str | None = None
    label: str | None = None
    map: dict[str, str] = Field(default_factory=dict)
    split: str | None = None
    labels: Annotated[int, Field(ge=2)] | None = None


class Task(Values):
    """What is asked of the backbone.

    Attributes:
        kind: "classify", one label for each text.
        class_weights: "balanced" weighs each class by rows / (classes * rows of the class), as
            scikit-learn does; a table gives weights by label.
        label_smoothing: probability mass spread over all classes (Szegedy et al. 2016, section 7).
    """

    kind: Literal["classify"] = "classify"
    class_weights: Literal["balanced"] | dict[str, Annotated[float, Field(gt=0)]] | None = None
    label_smoothing: Fraction = 0.0


def _task_from_name(value: object) -> object:
    """A bare name stands for the task with its defaults."""
    return {"kind": value} if isinstance(value, str) else value


class Stage(Values):
    """One training phase: a task, its data, what moves, and for how long.

    Attributes:
        name: for the log and the report.
        task: what is asked; a bare name is the task with its defaults.
        data: a key of the recipe's data.
        train: "all", "head", "top:N" (the last N blocks and the head), or ordered patterns with
            rates: {"head" = 1e-3, "blocks.5" = 1e-4}; the first that matches a parameter rules, and
            what none matches stays frozen. "lora:N", "prefix:N" and "adapter:N" add something
            small to the frozen backbone and train it with the head, "bitfit" trains biases and
            head (Ben Zaken et al. 2022); these words may stand among patterns too, where the head
            moves at 1e-3 unless it is named; a table with a `kind` gives an `Adapter` in full.
        epochs: passes over the data. Exactly one of epochs and steps is given.
        steps: optimiser updates.
        learning_rate: peak rate where `train` is a word, for all that moves. Default: 1e-4 for
            "all" and "top:N"; for what is added and "bitfit" 3e-3, for "prefix:N" 3e-2, with their
            head, as for "head", at 1e-3.
        layer_decay: rate of a block = rate of the block above times this (Howard & Ruder 2018).
        schedule: how the rate falls after the warm-up.
        warmup: share of the updates over which the rate rises linearly from 0.
        weight_decay: of AdamW; biases and norms are spared.
        clip: largest norm of the gradient of all moving parameters together; 0 switches it off.
        batch_tokens: tokens in a batch, the unit of work of one update.
        micro_batch_tokens: most tokens that go through the network at once; an update of more
            goes in parts, whose gradients add up to the same. Default: all at once.
        recompute: keep only what enters each block, and compute the rest again for the backward
            pass (Chen et al. 2016): a third more work for a fraction of the memory.
        validation: share of the rows held out, stratified, to choose the best epoch by.
        patience: stop after this many epochs without a better validation score.
        head: "keep" starts from the head of the stage before, "new" from a fresh one; "auto"
            keeps it where both have the same classes.
        seed: of this stage's new head, data order and dropout. Default: the recipe's.
    """

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.+-]*$")]
    task: Annotated[Task, BeforeValidator(_task_from_name)] = Task()
    data: str
    train: Train = "all"
    epochs: Annotated[float, Field(gt=0)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    learning_rate: Annotated[float, Field(gt=0, le=1.0)] | None = None
    layer_decay: Annotated[float, Field(gt=0, le=1.0)] = 1.0
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    warmup: Fraction = 0.1
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    clip: Annotated[float, Field(ge=0)] = 1.0
    batch_tokens: Annotated[int, Field(ge=16)] = 1024
    micro_batch_tokens: Annotated[int, Field(ge=16)] | None = None
    recompute: bool = False
    validation: Fraction = 0.0
    patience: Annotated[int, Field(ge=1)] | None = None
    head: Literal["auto", "keep", "new"] = "auto"
    seed: Annotated[int, Field(ge=0)] | None = None

    @property
    def adapter(self) -> Adapter | None:
        """What the stage adds to the backbone, None where nothing."""
        if isinstance(self.train, Lora | Prefix | Bottleneck):
            return self.train
        words = [self.train] if isinstance(self.train, str) else self.train
        return next((made for word in words if (made := adapter_of(word)) is not None), None)


class Recipe(Values):
    """A list of stages on one backbone.

    Attributes:
        backbone: a folder, an installed package's model, or a Hugging Face hub name.
        pooling: how the hidden states of a text become one vector. "auto": what the checkpoint's
            folder says, else the family's; "family": the head transformers gives the family;
            "last": the last token, for backbones that read from left to right.
        max_length: longest text in tokens, special tokens included. Default: the checkpoint's.
        positions: stretch the backbone's learned positions to so many, for texts longer than it
            was trained with. Default: as many as it has.
        seed: of label draws, new heads, data order and dropout.
        data: data sets by name.
        stage: the stages, first to last.
        test: the data set to measure the result on; where a stage trains on it, a stratified
            fifth of it is held out. Default: the last stage's data.
    """

    backbone: str = DEFAULT_BACKBONE
    pooling: Literal["auto", "cls", "mean", "last", "family"] = "auto"
    max_length: Annotated[int, Field(ge=4)] | None = None
    positions: Annotated[int, Field(ge=4)] | None = None
    seed: Annotated[int, Field(ge=0)] = 0
    data: dict[str, Data]
    stage: Annotated[tuple[Stage, ...], Field(min_length=1)]
    test: str | None = None

    @classmethod
    def from_values(cls, values: Mapping[str, Any], place: str = "recipe") -> Recipe:
        """Validate plain values.

        Raises:
            RecipeError: with every fault at once; each names its place, such as "stage[1].train".
        """
        faults = [f"{place}, {fault}" for fault in _cross_faults(values)]
        try:
            recipe = cls.model_validate(dict(values))
        except ValidationError as error:
            raise RecipeError([f"{place}, {f}" for f in _field_faults(error)] + faults) from None
        if faults:
            raise RecipeError(faults)
        return recipe

    @classmethod
    def from_toml(cls, path: str | Path) -> Recipe:
        """Read a recipe file.

        Raises:
            RecipeError: the file is missing, is not TOML, or its values are at fault.
        """
        path = Path(path)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            names = [p.name for p in path.parent.glob("*.toml")] if path.parent.is_dir() else []
            hint = nearest(path.name, names)
            raise RecipeError(f"{path}: there is no such recipe file.{hint}") from None
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read as UTF-8 text: {error}.") from None
        except tomllib.TOMLDecodeError as error:
            raise RecipeError(f"{path}: is not valid TOML: {error}.") from None
        return cls.from_values(values, str(path))

    def to_toml(self) -> str:
        """Write the recipe as TOML that `from_toml` reads back equal; defaults are left out."""
        values = self.model_dump(exclude_defaults=True)
        lines = [f"{key} = {_toml(values[key])}" for key in _plain(values)]
        for name, data in values["data"].items():
            lines += ["", f"[data.{_toml_key(name)}]"]
            lines += [f"{key} = {_toml(value)}" for key, value in data.items()]
        for stage in values["stage"]:
            lines += ["", "[[stage]]"]
            lines += [f"{key} = {_toml(value)}" for key, value in stage.items()]
        return "\n".join(lines).lstrip("\n") + "\n"


def _plain(values: Mapping[str, Any]) -> list[str]:
    return [key for key in values if key not in ("data", "stage")]


def _toml_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key)


def _toml(value: object) -> str:
    """One value in TOML; a basic string of TOML is a JSON string."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, Mapping):
        pairs = (f"{_toml_key(key)} = {_toml(item)}" for key, item in value.items())
        return "{ " + ", ".join(pairs) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _path(location: tuple[int | str, ...]) -> str:
    """("stage", 1, "train") as "stage[1].train"."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else part
    return path


def _known_keys(location: tuple[int | str, ...]) -> list[str]:
    owner: type[Values] = Recipe
    if location and location[0] == "data":
        owner = Data
    elif location and location[0] == "stage":
        owner = Task if "task" in location else Stage
        kinds: dict[str, type[Values]] = {
            "[lora]": Lora, "[prefix]": Prefix, "[adapter]": Bottleneck}  # fmt: skip
        owner = next((kinds[str(part)] for part in location if part in kinds), owner)
    return list(owner.model_fields)


def _field_faults(error: ValidationError) -> Iterator[str]:
    """Word what pydantic found, one fault for each key."""
    faults: dict[tuple[int | str, ...], Any] = {}
    for item in error.errors():
        # A union reports once for each member; its tags are not part of the user's path.
        location = tuple(p for p in item["loc"] if not _is_union_tag(p))
        faults.setdefault(location, item)
    for location, item in faults.items():
        # A fault deeper down is the cause of the one above it.
        deeper = (other[: len(location)] == location != other for other in faults)
        if not any(deeper):
            yield _word(item, location)


def _is_union_tag(part: int | str) -> bool:
    return isinstance(part, str) and (part in ("str", "Stage") or "[" in part)


def _word(item: Any, location: tuple[int | str, ...]) -> str:
    where, kind, found = _path(location), item["type"], item["input"]
    if kind == "extra_forbidden":
        return unknown_name(_path(location[:-1]) or "top level", "key", str(location[-1]),
                            _known_keys(item["loc"][:-1]))  # fmt: skip
    if kind == "missing":
        return f"{where}: is missing. It must be given."
    if kind == "literal_error":
        allowed = re.findall(r"'([^']*)'", item["ctx"]["expected"])
        return unknown_name(where, "choice", str(found), allowed)
    if kind == "union_tag_invalid":
        return unknown_name(f"{where}.kind", "adapter", str(found["kind"]), ADAPTER_KINDS)
    if kind == "union_tag_not_found":
        return f"{where}: must be a word, a table of patterns or one with a kind; got {found!r}."
    message = item["msg"][0].lower() + item["msg"][1:]
    return f"{where}: {message}; got {found!r}."


def _cross_faults(values: Mapping[str, Any]) -> Iterator[str]:
    """Faults between keys, looked for even where single keys are at fault too."""
    data = values.get("data")
    known = list(data) if isinstance(data, Mapping) else []
    stages = values.get("stage")
    stages = stages if isinstance(stages, (list, tuple)) else []
    stages = [s.model_dump() if isinstance(s, Stage) else s for s in stages]
    names: set[str] = set()
    for index, stage in enumerate(stages):
        if isinstance(stage, Mapping):
            yield from _stage_faults(f"stage[{index}]", stage, known)
            name = stage.get("name")
            if isinstance(name, str) and name in names:
                yield f"stage[{index}].name: {name!r} is taken by an earlier stage. Rename one."
            names.add(str(name))
    test = values.get("test")
    if isinstance(test, str) and test not in known:
        yield unknown_name("test", "data set", test, known)


def _stage_faults(place: str, stage: Mapping[str, Any], known: list[str]) -> Iterator[str]:
    name = stage.get("data")
    if isinstance(name, str) and name not in known:
        yield unknown_name(f"{place}.data", "data set", name, known)
    lengths = [key for key in ("epochs", "steps") if stage.get(key) is not None]
    if len(lengths) != 1:
        found = "both" if lengths else "neither"
        yield f"{place}: exactly one of epochs and steps must be given; found {found}."
    yield from train_faults(place, stage)
    if stage.get("patience") is not None and not stage.get("validation"):
        yield f"{place}.patience: needs rows to watch. Set validation, for example 0.1."
