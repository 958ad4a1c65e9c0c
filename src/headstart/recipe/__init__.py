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

from pydantic import Field, ValidationError

from headstart.errors import RecipeError, nearest, unknown_name
from headstart.recipe.faults import field_faults
from headstart.recipe.objectives import OBJECTIVES, Objective
from headstart.recipe.several import (
    Balance,
    Member,
    Mix,
    Several,
    labels_asked,
    labels_read,
    members_of,
)
from headstart.recipe.stage import Stage, stage_faults
from headstart.recipe.tasks import TASKS, CausalLm, Classify, MaskedLm, Regress, Task, reads_labels
from headstart.recipe.train import (
    ADAPTER_KINDS,
    TRAIN_WORDS,
    Adapter,
    Bottleneck,
    Lora,
    Prefix,
    adapter_of,
    parse_train,
)
from headstart.recipe.values import Rate, Values
from headstart.recipe.vocabulary import NEW, SIZES, Vocabulary, is_new, vocabulary_faults

__all__ = [
    "ADAPTER_KINDS",
    "DEFAULT_BACKBONE",
    "NEW",
    "OBJECTIVES",
    "SIZES",
    "TASKS",
    "TRAIN_WORDS",
    "Adapter",
    "Balance",
    "Bottleneck",
    "CausalLm",
    "Classify",
    "Data",
    "Lora",
    "MaskedLm",
    "Member",
    "Mix",
    "Objective",
    "Prefix",
    "Rate",
    "Recipe",
    "Regress",
    "Several",
    "Stage",
    "Task",
    "Vocabulary",
    "adapter_of",
    "is_new",
    "labels_asked",
    "labels_read",
    "members_of",
    "parse_train",
    "reads_labels",
]

DEFAULT_BACKBONE = "sentence-transformers/all-MiniLM-L6-v2"


class Data(Values):
    """One data set.

    Attributes:
        path: csv, tsv, json lines or parquet file, or a folder in a known layout.
        text: name of the text column; guessed when only one can be meant; two of them are pairs.
        label: name of the label column; guessed when only one can be meant.
        map: renames labels; rows whose label is not among the keys are left out.
        split: which part of a source that has parts, such as "train" or "train+test".
        labels: draw this many labelled rows, stratified by class, by the recipe's seed.
    """

    path: str
    text: str | tuple[str, str] | None = None
    label: str | None = None
    map: dict[str, str] = Field(default_factory=dict)
    split: str | None = None
    labels: Annotated[int, Field(ge=2)] | None = None


class Recipe(Values):
    """A list of stages on one backbone.

    Attributes:
        backbone: a folder, an installed package's model, or a Hugging Face hub name; or "new:" and
            a size, such as "new:bert-tiny", for one from nothing.
        vocabulary: of a backbone from nothing, or new words for a checkpoint's.
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
    vocabulary: Vocabulary = Vocabulary()
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
            raise RecipeError(
                [f"{place}, {f}" for f in field_faults(error, OWNERS)] + faults
            ) from None
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
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


OWNERS: dict[str, type[Values]] = {
    "": Recipe,
    "data": Data,
    "stage": Stage,
    "vocabulary": Vocabulary,
}
"""What holds the keys below each key of the top level."""


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
            yield from stage_faults(f"stage[{index}]", stage, known)
            name = stage.get("name")
            if isinstance(name, str) and name in names:
                yield f"stage[{index}].name: {name!r} is taken by an earlier stage. Rename one."
            names.add(str(name))
    yield from vocabulary_faults(values)
    test = values.get("test")
    if isinstance(test, str) and test not in known:
        yield unknown_name("test", "data set", test, known)
