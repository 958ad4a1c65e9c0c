"""Any other encoder or decoder of transformers as a backbone, taken apart into its blocks.

A model of transformers runs as a whole. Here its blocks are taken out, and what remains of it, the
hull, runs with a stub in the place of each block. The hull turns tokens into what the first block
reads, and tells by the stubs what else each block is called with: masks and places, which depend
on the lengths of the rows alone. So freezing, layer decay, top:N and the frozen prefix work as for
our own families. A model whose parts do not give what the whole gave is kept whole.

Shapes: B rows, T tokens of all rows, L tokens in the longest row, D width.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache, partial
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from headstart.models.bridged import (
    BridgedBackbone,
    Hull,
    Parts,
    Plan,
    build_model,
    run_whole,
)
from headstart.models.family import Family
from headstart.models.keymap import KeyMap
from headstart.nn.ragged import Layout, Ragged

INSTALL = "pip install 'headstart[transformers]'"
PROOF_LENGTHS = (5, 2, 3)
CLOSE = 1e-4
"""How far the parts of a model may be from the whole, in hidden states of about 1."""

NO_SIZES = (
    *("architectures", "dtype", "torch_dtype", "id2label", "label2id", "problem_type"),
    *("transformers_version", "_name_or_path"),
)
"""Keys of a config.json that change nothing in a bare backbone."""


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


@cache
def _plan(canonical: str) -> Plan:
    """Build a model of a config, given as JSON, with small random weights, and take it apart.

    The random state outside does not move.
    """
    values = json.loads(canonical)
    with torch.device("cpu"), torch.random.fork_rng([]), torch.no_grad():
        torch.manual_seed(0)
        model = build_model(values)
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
        tokens = _proof_tokens(model.config)
        try:
            whole = run_whole(model, tokens, None)
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
        run_whole(model, tokens, None)
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
        run_whole(hull.hull, tokens, None)
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
    before = run_whole(model, tokens.replace(changed), None)
    return torch.allclose(before[:place], whole[:place], atol=1e-6, rtol=1e-6)
