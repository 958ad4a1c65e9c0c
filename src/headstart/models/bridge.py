"""Any other encoder or decoder of transformers as a backbone, taken apart into its blocks.

A model of transformers runs as a whole. Here its blocks are taken out, and what remains of it, the
hull, runs with a stub in the place of each block. The hull turns tokens into what the first block
reads, and tells by the stubs what else each block is called with: masks and places, which depend
on the lengths of the rows alone. So freezing, layer decay, top:N and the frozen prefix work as for
our own families. A model whose parts do not give what the whole gave is kept whole.

Shapes: B rows, T tokens of all rows, L tokens in the longest row, D width.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from headstart.models.backbone import Backbone
from headstart.models.family import Family
from headstart.models.keymap import KeyMap
from headstart.nn.multihead import Borrowed
from headstart.nn.ragged import Layout, Ragged

INSTALL = "pip install 'headstart[transformers]'"
PROOF_LENGTHS = (5, 2, 3)
CLOSE = 1e-4
"""How far the parts of a model may be from the whole, in hidden states of about 1."""

TRIED = 4096
"""Up to so many places it is tried whether all of them can be used."""

NO_SIZES = (
    *("architectures", "dtype", "torch_dtype", "id2label", "label2id", "problem_type"),
    *("transformers_version", "_name_or_path"),
)
"""Keys of a config.json that change nothing in a bare backbone."""

WHOLE = (
    "{family} cannot be taken apart into blocks, so it moves as a whole or not at all: train = "
    '"head", "all" and "lora:8" work, top:N and layer_decay do not, and the frozen part is '
    "all of it"
)

UNLIMITED = 2**20
"""Longest row where a config names no limit."""


def bridgeable(model_type: str) -> bool | None:
    """Whether transformers has a model of this type; None where it is not installed."""
    if find_spec("transformers") is None:
        return None
    import transformers

    configs = transformers.CONFIG_MAPPING
    return model_type in configs and configs[model_type] in transformers.MODEL_MAPPING


def bridged_family(values: Mapping[str, Any]) -> Family:
    """The family of a model that only transformers knows.

    Args:
        values: of its config.json.

    Raises:
        ValueError: transformers cannot build it, or it is no encoder or decoder of tokens.
    """
    sizes = {key: value for key, value in values.items() if key not in NO_SIZES}
    return family_by(
        _plan(json.dumps(sizes, sort_keys=True, default=str)), str(values["model_type"])
    )


def family_by(plan: Plan, kind: str) -> Family:
    """The family of models of a `model_type` that come apart by a plan."""
    own = "|".join(sorted({re.escape(name.partition(".")[0]) for name in plan.names}))
    return Family(
        name=kind,
        build=partial(BridgedBackbone, kind, plan=plan),
        keys=KeyMap(
            rename=plan.names,
            strip=(plan.prefix,),
            legacy={".gamma": ".weight", ".beta": ".bias"},
            # Whatever a head is called, it is none of the backbone's own modules.
            drop=(rf"(?!({own})\.).*", r".*\.position_ids"),
        ),
        base=plan.base,
        prefix="",
        default_pooling="last" if plan.causal else "mean",
    )


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


@cache
def _plan(canonical: str) -> Plan:
    """Build a model of a config, given as JSON, with small random weights, and take it apart.

    The random state outside does not move.
    """
    values = json.loads(canonical)
    with torch.device("cpu"), torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        model = _model(values)
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
        tokens = _proof_tokens(model.config)
        try:
            whole = _run(model, tokens, None)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            first = str(error).split("\n")[0]
            raise ValueError(
                f"model_type: this {values['model_type']} cannot run: {first}"
            ) from error
        causal = _sees_only_before(model, tokens, whole)
        parts = next(
            (p for p in _candidates(model, tokens) if _proves(values, model, p, tokens, whole)),
            Parts(None),
        )
    names = [name for name in model.state_dict() if not name.startswith("pooler.")]
    return Plan(
        parts=parts,
        names={name: parts.our_name(name) for name in names},
        base=type(model).__name__,
        prefix=f"{model.base_model_prefix}.",
        causal=causal,
    )


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
        _run(self.hull, tokens, segments)
        return tokens.replace(tokens.layout.pack(self.take()[0][0]))

    def calls(self, layout: Layout) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        """What else each block is called with, for rows of these lengths."""

        def make() -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
            ids = torch.zeros(layout.total, dtype=torch.int64, device=layout.device)
            with _evaluating(self.hull), torch.no_grad():
                _run(self.hull, Ragged(ids, layout), None)
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
        return tokens.replace(_run(self.hull, tokens, segments))


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
            self._take_apart(family, _model(values), plan)

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


def _model(values: Mapping[str, Any]) -> Any:
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


def _run(model: Any, tokens: Ragged, segments: Tensor | None) -> Tensor:
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


def _proof_tokens(config: Any) -> Ragged:
    """Rows of unequal length, of tokens other than padding."""
    count = config.vocab_size
    ids = torch.arange(sum(PROOF_LENGTHS)) * 7 % count
    padding = getattr(config, "pad_token_id", None) or 0
    ids[ids == padding] = (padding + 1) % count
    return Ragged(ids, Layout(PROOF_LENGTHS))


def _candidates(model: Any, tokens: Ragged) -> Iterator[Parts]:
    """Ways in which a model may come apart, the likeliest first.

    A list of blocks is one whose modules are of one kind and called once each, in their order; of
    what is called behind the last of them, as little as gives the whole is the final map.
    """
    lists = [
        (path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len({type(m) for m in module}) == 1
    ]
    for path, blocks in sorted(lists, key=lambda item: (-len(item[1]), item[0].count("."))):
        called, tuples = _watch(model, path, blocks, tokens)
        names = [f"{path}.{index}" for index in range(len(blocks))]
        if [name for name in called if name in names] != names:
            continue
        behind = called[called.index(names[-1]) + 1 :]
        for count in range(min(len(behind), 3) + 1):
            yield Parts(path, tuple(behind[:count]), tuples)


def _watch(model: Any, path: str, blocks: nn.ModuleList, tokens: Ragged) -> tuple[list[str], bool]:
    """Names of the blocks and of the outermost modules behind them, as they are called.

    Returns:
        The names, and whether a block gives a tuple.
    """
    called: list[str] = []
    depth, tuples = 0, False
    last = f"{path}.{len(blocks) - 1}"

    def enter(name: str, module: nn.Module, arguments: Any) -> None:
        nonlocal depth
        if depth == 0 and (name.startswith(f"{path}.") or last in called):
            called.append(name)
        depth += name in called

    def leave(name: str, module: nn.Module, arguments: Any, output: Any) -> None:
        nonlocal depth, tuples
        depth -= name in called
        tuples = tuples or (name == last and isinstance(output, tuple))

    hooks = []
    for name, module in model.named_modules():
        if name and not (path + ".").startswith(name + "."):
            hooks.append(module.register_forward_pre_hook(partial(enter, name)))
            hooks.append(module.register_forward_hook(partial(leave, name)))
    try:
        _run(model, tokens, None)
    finally:
        for hook in hooks:
            hook.remove()
    return called, tuples


def _proves(
    values: Mapping[str, Any], model: Any, parts: Parts, tokens: Ragged, whole: Tensor
) -> bool:
    """Whether the parts give what the whole gave, and nothing else of the model moves a block."""
    names = {name: parts.our_name(name) for name in model.state_dict()}
    plan = Plan(parts, names, "", "", False)
    try:
        backbone = BridgedBackbone(str(values["model_type"]), values, plan=plan).eval()
        state = {names[name]: tensor for name, tensor in model.state_dict().items()}
        wanted = backbone.state_dict().keys()
        backbone.load_state_dict({name: state[name] for name in wanted})
        same = torch.allclose(backbone(tokens).values, whole, atol=CLOSE, rtol=CLOSE)
    except (ValueError, TypeError, AttributeError, KeyError, IndexError, RuntimeError):
        return False  # a model that this way of taking apart breaks
    return same and not _moved_from_outside(backbone, tokens)


def _moved_from_outside(backbone: BridgedBackbone, tokens: Ragged) -> bool:
    """Whether a block is called with something that is computed from weights outside of it."""
    hull = backbone.embeddings
    assert isinstance(hull, Hull)
    with torch.enable_grad():
        _run(hull.hull, tokens, None)
    return any(
        torch.is_tensor(x) and x.requires_grad
        for _, arguments, named in hull.take()
        for value in (*arguments, *named.values())
        for x in (value if isinstance(value, tuple) else (value,))
    )


def _sees_only_before(model: Any, tokens: Ragged, whole: Tensor) -> bool:
    """Whether changing the last token of the first row leaves the hidden state before it alone."""
    changed = tokens.values.clone()
    place = PROOF_LENGTHS[0] - 1
    changed[place] = changed[place - 1]
    before = _run(model, tokens.replace(changed), None)
    return torch.allclose(before[:place], whole[:place], atol=1e-6, rtol=1e-6)


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
