"""Which parameters move, and at what rate: ordered patterns that cover every parameter.

The idea is big_vision's: a list of (pattern, rate) read from the top, the first match rules, and a
parameter that none matches is an error. Here a rate of 0 means frozen. What a stage adds to the
backbone (`models.attach`) has parameters like any other; a word stands for their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from headstart.errors import RecipeError, nearest
from headstart.models.attach import carried
from headstart.models.attach import matches as rules_name
from headstart.models.chain import Chain
from headstart.models.language import TiedHead
from headstart.recipe import Bottleneck, Lora, Prefix, Stage, adapter_of, parse_train
from headstart.training.rowwise import RowwiseAdamW, ask_for_rows

HEAD_RATE = 1e-3
BACKBONE_RATE = 1e-4
ADDED_RATES = {"lora": 3e-3, "adapter": 3e-3, "bitfit": 3e-3, "prefix": 3e-2}
"""Peak rates that little beside a frozen backbone learns at: the best of 3e-4 to 1e-2 but for LoRA,
which still gained at 1e-2, on 200 reviews with all-MiniLM-L6-v2. Large backbones want less."""
ROWS_PER_TOKEN = 4
"""A table is updated by rows where it has more than so many for each token of a batch."""

HEAD = r"head|pool"  # a family's pooler belongs to its head: both are made for the task at hand
WORDS = {
    "lora": r".*\.lora\w*",
    "prefix": r".*\.prefix",
    "adapter": r".*\.adapter",
    "bitfit": r".*\.bias",
}
"""Patterns by the words for what is added, and for the biases."""


@dataclass(frozen=True)
class Group:
    """The parameters that one pattern rules.

    Attributes:
        pattern: the regular expression, matched from the start of a name up to a dot or its end.
        learning_rate: peak rate; 0 means frozen.
        names: names of the parameters in the network.
        num_parameters: how many numbers they hold.
    """

    pattern: str
    learning_rate: float
    names: tuple[str, ...]
    num_parameters: int


def patterns(stage: Stage, num_blocks: int) -> list[tuple[str, float]]:
    """The ordered (pattern, rate) pairs of a stage's `train`.

    Raises:
        RecipeError: "top:N" asks for more blocks than there are.
    """
    if isinstance(stage.train, Lora | Prefix | Bottleneck):
        return _added(stage, stage.train.kind, stage.train.rates)
    if not isinstance(stage.train, str):
        added = any(adapter_of(word) is not None for word in stage.train)
        return _with_head(stage.train) if added else _named(stage.train)
    kind, count = parse_train(stage.train)
    if kind == "head":
        return [(HEAD, stage.learning_rate or HEAD_RATE), (".*", 0.0)]
    if kind in WORDS:
        return _added(stage, stage.train, {})
    rate = stage.learning_rate or BACKBONE_RATE
    if kind == "all":
        return [(".*", rate)]
    if count > num_blocks:
        raise RecipeError(
            f"stage {stage.name!r}, train: top:{count} asks for {count} blocks; the backbone has "
            f"{num_blocks}. Use top:{num_blocks} or less, or all."
        )
    moving = "|".join(str(i) for i in range(num_blocks - count, num_blocks))
    return [(rf"{HEAD}|blocks\.({moving})|finish", rate), (".*", 0.0)]


def _added(stage: Stage, word: str, rates: Mapping[str, float]) -> list[tuple[str, float]]:
    """What is added, and the head, at the rates given or the stage's."""
    if rates:
        return _with_head(rates)
    rate = stage.learning_rate or ADDED_RATES[word.partition(":")[0]]
    return [(HEAD, stage.learning_rate or HEAD_RATE), (word, rate), (".*", 0.0)]


def _with_head(rates: Mapping[str, float]) -> list[tuple[str, float]]:
    """The patterns, before them the head where none names it: what is added needs one to answer."""
    named = any(pattern != ".*" and matches(pattern, "head.weight") for pattern in rates)
    return _named(rates) if named else [(HEAD, HEAD_RATE), *_named(rates)]


def _named(rates: Mapping[str, float]) -> list[tuple[str, float]]:
    return [(HEAD if p == "head" else p, rate) for p, rate in rates.items()]


def groups(network: Chain, stage: Stage) -> list[Group]:
    """Sort every parameter of the network under the pattern that rules it.

    Raises:
        RecipeError: a parameter that no pattern matches, a pattern that matches none, or nothing
            that moves.
    """
    assert stage.adapter is None or carried(network) is not None, "attach comes first"
    pairs = patterns(stage, len(network.backbone.blocks))
    owned: dict[str, list[str]] = {pattern: [] for pattern, _ in pairs}
    uncovered = []
    for name, _ in network.named_parameters():
        ruler = next((p for p, _ in pairs if matches(p, name)), None)
        if ruler is None:
            uncovered.append(name)
        else:
            owned[ruler].append(name)
    faults = list(_cover_faults(network, stage, owned, uncovered))
    if not faults and not any(rate > 0 and owned[p] for p, rate in pairs):
        faults = [f"stage {stage.name!r}, train: nothing moves. Give one pattern a rate above 0."]
    if faults:
        raise RecipeError(faults)
    sizes = {name: p.numel() for name, p in network.named_parameters()}
    return [
        Group(pattern, rate, tuple(owned[pattern]), sum(sizes[n] for n in owned[pattern]))
        for pattern, rate in pairs
    ]


def describe(rules: list[Group]) -> str:
    """What moves and what does not, in a line: "moving head|pool (770 at 0.001); frozen ..."."""
    moving = [f"{r.pattern} ({r.num_parameters:,} at {r.learning_rate:g})" for r in rules
              if r.learning_rate > 0]  # fmt: skip
    frozen = sum(rule.num_parameters for rule in rules if rule.learning_rate == 0)
    return f"moving {', '.join(moving)}; frozen {frozen:,} parameters"


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern, or a word for one, rules a parameter; "backbone." may be left out."""
    word = re.fullmatch(r"([a-z]+)(:\d+)?", pattern)
    return rules_name(WORDS.get(word[1], pattern) if word else pattern, name)


def _cover_faults(
    network: Chain, stage: Stage, owned: Mapping[str, list[str]], uncovered: list[str]
) -> Iterator[str]:
    place = f"stage {stage.name!r}, train"
    if uncovered:
        more = f" and {len(uncovered) - 3} more" if len(uncovered) > 3 else ""
        yield (
            f'{place}: no pattern covers {", ".join(uncovered[:3])}{more}. End with ".*" = 0 to '
            "freeze the rest, or give it a rate."
        )
    if stage.train == "bitfit" and not owned["bitfit"]:
        yield f"{place}: a {network.backbone.family} has no biases. Use lora:8, or top:1."
    # "pool" has no parameters under most poolings, so an empty default pattern is no fault.
    if isinstance(stage.train, str):
        return
    for pattern, names in owned.items():
        if not names and pattern not in (HEAD, ".*"):
            parts = {".".join(n.split(".")[:k]) for n, _ in network.named_parameters()
                     for k in range(1, n.count(".") + 1)}  # fmt: skip
            parts |= {part.removeprefix("backbone.") for part in parts}
            yield f"{place}: {pattern!r} rules no parameter.{nearest(pattern, parts)}"


def freeze(network: Chain, rules: list[Group]) -> None:
    """Let only what has a rate move; parts in which nothing moves stay in eval mode for good."""
    moving = {name for rule in rules if rule.learning_rate > 0 for name in rule.names}
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name in moving)
    network.pin_frozen_parts()


def optimizer(network: Chain, rules: list[Group], stage: Stage) -> RowwiseAdamW:
    """AdamW with bias correction (Loshchilov & Hutter 2019) over what moves.

    Of a table of words that moves, only the rows that a batch asks for do, see `RowwiseAdamW`.

    Biases and norms are not decayed. With `layer_decay` d, a parameter k blocks below the head
    moves at rate * d ** k.
    """
    parameters = dict(network.named_parameters())
    num_blocks = len(network.backbone.blocks)
    sets: dict[tuple[float, float], list[nn.Parameter]] = {}
    for rule in rules:
        for name in rule.names if rule.learning_rate > 0 else ():
            parameter = parameters[name]
            rate = rule.learning_rate * stage.layer_decay ** _depth_below_head(name, num_blocks)
            decay = stage.weight_decay if parameter.ndim > 1 else 0.0
            sets.setdefault((rate, decay), []).append(parameter)
    ask_for_rows(network, _large_tables(network, stage.batch_tokens))
    return RowwiseAdamW(
        {"params": ps, "lr": rate, "weight_decay": decay} for (rate, decay), ps in sets.items()
    )


def _large_tables(network: Chain, batch_tokens: int) -> list[nn.Embedding]:
    """Tables of which a batch cannot ask for most rows, on a CPU: elsewhere dense is as fast.

    A table that also scores words has a gradient in every row.
    """
    scoring = [module.embedding for module in network.modules() if isinstance(module, TiedHead)]
    return [
        module
        for module in network.backbone.modules()
        if isinstance(module, nn.Embedding)
        and not any(module is other for other in scoring)
        and module.num_embeddings > ROWS_PER_TOKEN * batch_tokens
        and module.weight.device.type == "cpu"
        and not torch.accelerator.is_available()
    ]


def _depth_below_head(name: str, num_blocks: int) -> int:
    """0 for head, pool and final norm; 1 for the last block; num_blocks + 1 for embeddings."""
    block = re.match(r"backbone\.blocks\.(\d+)\.", name)
    if block:
        return num_blocks - int(block[1])
    return num_blocks + 1 if name.startswith("backbone.embeddings") else 0
