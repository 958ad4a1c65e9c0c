"""What moves in a stage: the values of `train`, and what can be wrong with them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from headstart.errors import unknown_name
from headstart.recipe.values import Fraction, Rate, Values

TRAIN_WORDS = ("all", "head", "top:N", "lora:N", "prefix:N", "adapter:N", "bitfit")
ADAPTER_KINDS = ("lora", "prefix", "adapter")


class Lora(Values):
    """Low-rank updates of linear maps (Hu et al. 2021); merged into the weights afterwards.

    Attributes:
        kind: "lora".
        rank: of each update.
        alpha: an update is scaled by alpha / rank. Default: twice the rank.
        targets: "attention", the maps to queries, keys, values and output; "all-linear", every
            linear map of the blocks; or a pattern of names as in `Stage.train`, or of their last
            parts, such as "query|value".
        dropout: probability of zeroing an element of what an update reads.
        rslora: scale by alpha / sqrt(rank) instead (Kalajdzievski 2023).
        dora: train the length of each row of the weights on its own (Liu et al. 2024).
        rates: ordered patterns with rates, as in `Stage.train`; "lora" stands for the updates.
            Default: updates and head at the stage's rate.
    """

    kind: Literal["lora"]
    rank: Annotated[int, Field(ge=1)]
    alpha: Annotated[float, Field(gt=0)] | None = None
    targets: str = "attention"
    dropout: Fraction = 0.0
    rslora: bool = False
    dora: bool = False
    rates: dict[str, Rate] = Field(default_factory=dict)

    @property
    def scale(self) -> float:
        """What an update is multiplied by."""
        alpha = 2.0 * self.rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(self.rank) if self.rslora else self.rank)


class Prefix(Values):
    """Trained keys and values in every block, before a text's own (Li & Liang 2021).

    Attributes:
        kind: "prefix".
        length: how many; texts may be so many tokens shorter.
        rates: ordered patterns with rates; "prefix" stands for the keys and values.
    """

    kind: Literal["prefix"]
    length: Annotated[int, Field(ge=1)]
    rates: dict[str, Rate] = Field(default_factory=dict)


class Bottleneck(Values):
    """Two small modules in every block, after attention and feed-forward (Houlsby et al. 2019).

    Attributes:
        kind: "adapter".
        width: inside a module.
        rates: ordered patterns with rates; "adapter" stands for the modules.
    """

    kind: Literal["adapter"]
    width: Annotated[int, Field(ge=1)]
    rates: dict[str, Rate] = Field(default_factory=dict)


Adapter = Lora | Prefix | Bottleneck
"""What a stage may add to a backbone and train instead of it."""


def _train_form(value: object) -> str | None:
    """Which member of the union a value of `train` is for."""
    if isinstance(value, str):
        return "[word]"
    if isinstance(value, Lora | Prefix | Bottleneck):
        return f"[{value.kind}]"
    if isinstance(value, Mapping):
        return f"[{value['kind']}]" if "kind" in value else "[patterns]"
    return None


Train = Annotated[
    Annotated[str, Tag("[word]")]
    | Annotated[dict[str, Rate], Tag("[patterns]")]
    | Annotated[Lora, Tag("[lora]")]
    | Annotated[Prefix, Tag("[prefix]")]
    | Annotated[Bottleneck, Tag("[adapter]")],
    Discriminator(_train_form),
]


def parse_train(train: str) -> tuple[str, int]:
    """Split a `train` word into its kind and number: "top:2" gives ("top", 2), "all" ("all", 0).

    Raises:
        ValueError: the word is not known.
    """
    if train in ("all", "head", "bitfit"):
        return train, 0
    match = re.fullmatch(r"(top|lora|prefix|adapter):([1-9]\d*)", train)
    if not match:
        raise ValueError(unknown_name("train", "way", train, TRAIN_WORDS))
    return match[1], int(match[2])


def adapter_of(word: str) -> Adapter | None:
    """What a `train` word adds to the backbone; None for other words and for patterns."""
    match = re.fullmatch(r"(lora|prefix|adapter):([1-9]\d*)", word)
    if match is None:
        return None
    number = int(match[2])
    if match[1] == "lora":
        return Lora(kind="lora", rank=number)
    if match[1] == "prefix":
        return Prefix(kind="prefix", length=number)
    return Bottleneck(kind="adapter", width=number)


def train_faults(place: str, stage: Mapping[str, Any]) -> Iterator[str]:
    """Faults of a stage's `train` that its types do not tell.

    Args:
        place: of the stage, such as "stage[1]".
        stage: its values.
    """
    train = stage.get("train", "all")
    if isinstance(train, str):
        try:
            parse_train(train)
        except ValueError as error:
            yield f"{place}.{error}"
    elif isinstance(train, Mapping) and "kind" in train:
        yield from _adapter_faults(place, stage, train)
    elif isinstance(train, Mapping):
        yield from _pattern_faults(place, "train", stage, train)
        yield from _word_faults(f"{place}.train", train)


def _adapter_faults(
    place: str, stage: Mapping[str, Any], train: Mapping[str, Any]
) -> Iterator[str]:
    targets, rates = train.get("targets"), train.get("rates")
    if isinstance(targets, str):
        yield from _expression_faults(f"{place}.train.targets", [targets])
    if isinstance(rates, Mapping) and rates:
        yield from _pattern_faults(place, "train.rates", stage, rates)
        words = [word for word in rates if re.fullmatch(r"(lora|prefix|adapter):\d+", word)]
        for word in words:
            yield (
                f"{place}.train.rates: {word!r} says again what `kind` says. Write "
                f"{word.split(':')[0]!r}."
            )


def _word_faults(place: str, train: Mapping[str, Any]) -> Iterator[str]:
    """Faults of words that stand among patterns."""
    added = [word for word in train if adapter_of(word) is not None]
    if len(added) > 1:
        yield f"{place}: one thing may be added in a stage; found {', '.join(added)}. Keep one."
    for word in train:
        if re.fullmatch(r"[a-z]+:\d*", word) and word not in added:
            allowed = [f"{kind}:N" for kind in ADAPTER_KINDS]
            yield unknown_name(place, "adapter", word, allowed)


def _pattern_faults(
    place: str, key: str, stage: Mapping[str, Any], train: Mapping[str, Any]
) -> Iterator[str]:
    if not train:
        yield f"{place}.{key}: an empty table moves nothing. Name a pattern and its rate."
    yield from _expression_faults(f"{place}.{key}", train)
    if stage.get("learning_rate") is not None:
        yield f"{place}.learning_rate: `{key}` already gives a rate for each pattern. Drop one."


def _expression_faults(place: str, patterns: Iterable[str]) -> Iterator[str]:
    for pattern in patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            yield f"{place}: {pattern!r} is not a regular expression: {error}."
