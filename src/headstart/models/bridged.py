"""A model of transformers as a backbone in parts: hull, blocks, final map.

How a model comes apart is found and proven in `headstart.models.bridge`.

Shapes: B rows, T tokens of all rows, L tokens in the longest row, D width.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from headstart.models.backbone import Backbone
from headstart.nn.multihead import Borrowed
from headstart.nn.ragged import Layout, Ragged

TRIED = 4096
"""Up to so many places it is tried whether all of them can be used."""

WHOLE = (
    "{family} cannot be taken apart into blocks, so it moves as a whole or not at all: train = "
    '"head", "all" and "lora:8" work, top:N and layer_decay do not, and the frozen part is '
    "all of it"
)

UNLIMITED = 2**20
"""Longest row where a config names no limit."""


@dataclass(frozen=True)
class Parts:
    """Where a model's blocks are, and what comes behind them.

    Attributes:
        blocks: path of the list of blocks; None where the model cannot be taken apart.
        finish: paths of the modules called behind the last block, in their order.
        gives_tuple: whether a block gives its output as the first of several.
    """

    blocks: str | None
    finish: tuple[str, ...] = ()
    gives_tuple: bool = False

    def our_name(self, name: str) -> str:
        """Our name of a parameter of the whole model."""
        if self.blocks is not None and name.startswith(f"{self.blocks}."):
            number, _, rest = name.removeprefix(f"{self.blocks}.").partition(".")
            return f"blocks.{number}.block.{rest}"
        for index, path in enumerate(self.finish):
            if name.startswith(f"{path}."):
                return f"finish.{index}.{name.removeprefix(f'{path}.')}"
        return f"embeddings.hull.{name}"


@dataclass(frozen=True)
class Plan:
    """How models of one config are taken apart.

    Attributes:
        parts: where the blocks are.
        names: our name of each of the model's tensors by theirs.
        base: name of the model's class.
        prefix: what checkpoints with a head put before its names.
        causal: whether a token sees only those before it.
    """

    parts: Parts
    names: dict[str, str]
    base: str
    prefix: str
    causal: bool


class Stub(nn.Module):
    """Stands where a block was: gives back what it gets, and remembers what else it was given.

    Args:
        block: whose plain attributes the model may read.
        gives_tuple: whether the block gives its output as the first of several.
    """

    def __init__(self, block: nn.Module, gives_tuple: bool) -> None:
        super().__init__()
        for name, value in vars(block).items():
            if isinstance(value, str | int | float) and name != "training":
                setattr(self, name, value)
        self.gives_tuple = gives_tuple
        self.seen: tuple[Tensor, tuple[Any, ...], dict[str, Any]] | None = None

    def forward(self, hidden_states: Tensor, *arguments: Any, **named: Any) -> Any:
        """(B, L, D) as it came, in the form that the block gives its output in."""
        self.seen = hidden_states, arguments, named
        return (hidden_states,) if self.gives_tuple else hidden_states


class Hull(nn.Module):
    """What remains of a model without its blocks.

    Args:
        model: of transformers, a stub in the place of each block.
        stubs: in the order of the blocks.
    """

    def __init__(self, model: nn.Module, stubs: list[Stub]) -> None:
        super().__init__()
        self.hull, self._stubs = model, stubs

    def forward(self, tokens: Ragged, segments: Tensor | None) -> Ragged:
        """What the first block reads, (T, D), of tokens (T,) int64."""
        run_whole(self.hull, tokens, segments)
        return tokens.replace(tokens.layout.pack(self.take()[0][0]))

    def calls(self, layout: Layout) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """What else each block is called with, for rows of these lengths."""

        def make() -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
            ids = torch.zeros(layout.total, dtype=torch.int64, device=layout.device)
            with _evaluating(self.hull), torch.no_grad():
                run_whole(self.hull, Ragged(ids, layout), None)
            return [(arguments, named) for _, arguments, named in self.take()]

        return layout.once(("bridge", id(self)), make)

    def take(self) -> list[tuple[Tensor, tuple[Any, ...], dict[str, Any]]]:
        """What the stubs saw, which they then forget."""
        seen = [stub.seen for stub in self._stubs]
        for stub in self._stubs:
            stub.seen = None
        return [call for call in seen if call is not None]


class Whole(nn.Module):
    """A model that cannot be taken apart: all of it maps tokens to hidden states.

    Args:
        model: of transformers.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.hull = model

    def forward(self, tokens: Ragged, segments: Tensor | None) -> Ragged:
        """The last hidden states (T, D) of tokens (T,) int64."""
        return tokens.replace(run_whole(self.hull, tokens, segments))


class BridgedBlock(nn.Module):
    """One block of a model of transformers, over ragged rows.

    Args:
        block: maps (B, L, D), with what the hull says, to (B, L, D).
        index: which of the hull's blocks it is.
        hull: tells what else the block is called with.
    """

    def __init__(self, block: nn.Module, index: int, hull: Hull) -> None:
        super().__init__()
        self.block, self.index = block, index
        self._hull = Borrowed(hull)

    def forward(self, x: Ragged) -> Ragged:
        """Map (T, D) to (T, D)."""
        hull = self._hull.module
        assert isinstance(hull, Hull)
        arguments, named = hull.calls(x.layout)[self.index]
        return x.replace(x.layout.pack(_first(self.block(x.padded(), *arguments, **named))))


class BridgedBackbone(Backbone):
    """A model of transformers in parts: hull, blocks, final map.

    Args:
        family: its `model_type`.
        values: of its config.json.
        plan: how it is taken apart.

    Attributes:
        plan: the same.
    """

    def __init__(self, family: str, values: Mapping[str, Any], *, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        # Its constants (rotary rates, places) are in no checkpoint, so they are made in memory.
        with torch.device("cpu"), torch.random.fork_rng([]):
            self._take_apart(family, build_model(values), plan)

    def _take_apart(self, family: str, model: Any, plan: Plan) -> None:
        self.family, self.causal, self.width = family, plan.causal, model.config.hidden_size
        self._values = {**model.config.to_dict(), "model_type": family}
        if hasattr(model, "pooler"):
            model.pooler = None
        self._assemble(model, plan.parts)
        self.note = None if len(self.blocks) else WHOLE.format(family=family)
        self.max_positions = _longest(self.embeddings, model.config)

    def _assemble(self, model: nn.Module, parts: Parts) -> None:
        """Take the blocks out, and what comes behind them."""
        self.finish = nn.Sequential(*(_take_out(model, path) for path in parts.finish))
        self.embeddings: nn.Module = Whole(model)
        self.blocks = nn.ModuleList()
        if parts.blocks is not None:
            holder = model.get_submodule(parts.blocks)
            assert isinstance(holder, nn.ModuleList)
            blocks = list(holder)
            stubs = [Stub(block, parts.gives_tuple) for block in blocks]
            for index, stub in enumerate(stubs):
                holder[index] = stub
            self.embeddings = hull = Hull(model, stubs)
            self.blocks.extend(BridgedBlock(b, i, hull) for i, b in enumerate(blocks))

    def embed(self, tokens: Ragged, segments: Tensor | None = None) -> Ragged:
        """Map tokens (T,) int64, and segments (T,) int64 where there are pairs, to (T, D)."""
        return self.embeddings(tokens, segments)

    def embedding_modules(self) -> list[nn.Module]:
        """The modules that own the parameters of `embed`."""
        return [self.embeddings]

    def hf_config(self) -> dict[str, Any]:
        """The config as transformers words it."""
        return dict(self._values)


def build_model(values: Mapping[str, Any]) -> Any:
    """A model of transformers without a head, in eval mode, its weights not yet loaded."""
    from transformers import AutoConfig, AutoModel

    kind = str(values["model_type"])
    rest = {key: value for key, value in values.items() if key != "model_type"}
    try:
        config = AutoConfig.for_model(kind, **rest)
        model = AutoModel.from_config(config).eval()  # type: ignore[no-untyped-call]
    except Exception as error:  # whatever its constructors raise is a fault of the config
        first = str(error).strip().split("\n")[0]
        raise ValueError(f"model_type: transformers cannot build this {kind}: {first}") from error
    if config.is_encoder_decoder or not hasattr(config, "hidden_size"):
        raise ValueError(
            f"model_type: a {kind} is no single encoder or decoder of tokens, and the bridge takes "
            "no other."
        )
    shared = len(list(model.named_parameters(remove_duplicate=False)))
    if shared != len(list(model.named_parameters())):
        raise ValueError(f"model_type: a {kind} has modules that share a tensor; no bridge leads.")
    return model


def run_whole(model: Any, tokens: Ragged, segments: Tensor | None) -> Tensor:
    """Last hidden states (T, D) of the whole model."""
    mask = tokens.layout.mask
    padding = getattr(model.config, "pad_token_id", None) or 0
    given: dict[str, Any] = {"attention_mask": mask.long()}
    taken = inspect.signature(model.forward).parameters
    if segments is not None and "token_type_ids" in taken:
        given["token_type_ids"] = tokens.layout.pad(segments)
    if "use_cache" in taken:  # else there is nothing that could be kept
        given["use_cache"] = False
    padded = tokens.padded().masked_fill(~mask, padding)
    out = model(input_ids=padded, **given, return_dict=True)
    return tokens.layout.pack(out.last_hidden_state)


def _take_out(model: nn.Module, path: str) -> nn.Module:
    """A module of the model, an identity left in its place."""
    owner, _, name = path.rpartition(".")
    module = model.get_submodule(path)
    setattr(model.get_submodule(owner), name, nn.Identity())
    return module


def _first(out: Any) -> Tensor:
    """A block's hidden states, whatever else it gives."""
    return out[0] if isinstance(out, tuple) else out


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Eval mode inside a `with` block; afterwards each module is in the mode it was in."""
    training = [m for m in module.modules() if m.training]
    module.eval()
    try:
        yield
    finally:
        for m in training:
            m.training = True


def _longest(embeddings: nn.Module, config: Any) -> int:
    """The longest row in tokens; fewer than the places where some are kept for padding."""
    places = getattr(config, "max_position_embeddings", None) or UNLIMITED
    if places > TRIED:
        return int(places)
    reserved = (getattr(config, "pad_token_id", None) or 0) + 1
    for length in (places, places - reserved):
        tokens = Ragged(torch.full((length,), reserved % config.vocab_size), Layout([length]))
        try:
            with torch.no_grad(), _evaluating(embeddings):
                embeddings(tokens, None)
        except (IndexError, RuntimeError):
            continue
        return int(length)
    return int(places - reserved)
