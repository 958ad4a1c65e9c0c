"""What families share in reading the values of a config.json, and in finding fault with them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any, ClassVar, Protocol, TypeGuard, TypeVar

from torch import Tensor
from torch.nn import functional as F

from headstart.errors import nearest
from headstart.nn.feedforward import gelu_tanh

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,
    "gelu_new": gelu_tanh,
    "gelu_pytorch_tanh": gelu_tanh,
    "relu": F.relu,
    "silu": F.silu,
    "swish": F.silu,
}

ONLY: dict[str, Any] = {  # values a config.json may hold that would change the computation
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
    "is_encoder_decoder": False,
    "pruned_heads": {},
    "quantization_config": None,
}


class Sizes(Protocol):
    """Sizes and rates of a family, each by our name; a frozen dataclass.

    A family words what each of them means.
    """

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def width(self) -> int: ...  # noqa: D102

    @property
    def num_heads(self) -> int: ...  # noqa: D102

    @property
    def activation(self) -> str: ...  # noqa: D102

    @property
    def initializer_range(self) -> float: ...  # noqa: D102

    def to_hf(self) -> dict[str, Any]:
        """The values of a config.json, but for its `model_type`."""


class Config(Sizes, Protocol):
    """Sizes and rates of a family that reads texts."""

    @property
    def vocabulary(self) -> int: ...  # noqa: D102

    @property
    def padding_token(self) -> int | None: ...  # noqa: D102


C = TypeVar("C", bound=Sizes)


def read_config(
    kind: type[C],
    names: Mapping[str, str],
    values: Mapping[str, Any],
    only: Mapping[str, Any] = ONLY,
) -> C:
    """Make a config from the values of a config.json.

    Args:
        kind: a dataclass that raises ValueError, with one line for each fault.
        names: their key by our field.
        values: by their keys.
        only: by their keys, the one value that each may have where it is said at all.

    Raises:
        ValueError: one line for each value that is missing or cannot be honoured.
    """
    faults = [
        f"{key}: {values[key]!r} is not supported, only {value!r}."
        for key, value in only.items()
        if values.get(key) not in (None, value)
    ]
    given = {ours: values[theirs] for ours, theirs in names.items() if theirs in values}
    missing = {f.name for f in fields(kind) if f.default is MISSING} - set(given)
    faults += [f"{names[name]}: is missing." for name in sorted(missing)]
    heads = given.get("num_heads")
    stand_in = heads if _whole(heads) and heads > 0 else 1  # divides, and is no second fault
    try:
        config = kind(**dict.fromkeys(missing, stand_in) | given)
    except ValueError as error:
        raise ValueError("\n".join([*faults, *str(error).split("\n")])) from None
    if faults:
        raise ValueError("\n".join(faults))
    return config


def size_faults(config: Sizes, names: Mapping[str, str], sizes: Iterable[str]) -> list[str]:
    """One fault for each size that is no whole number above 0, or a width no heads divide."""
    faults = count_faults(config, names, sizes)
    if not faults and config.width % config.num_heads:
        faults.append(
            f"{names['num_heads']}: {config.num_heads} does not divide "
            f"{names['width']} {config.width}."
        )
    return faults


def count_faults(
    config: Sizes, names: Mapping[str, str], counts: Iterable[str], least: int = 1
) -> list[str]:
    """One fault for each count that is no whole number, or below the least there can be."""
    values = {names[name]: getattr(config, name) for name in counts}
    return [
        f"{name}: must be a whole number, {least} or more; got {value!r}."
        for name, value in values.items()
        if not _whole(value) or value < least
    ]


def padding_faults(config: Config, names: Mapping[str, str]) -> list[str]:
    """The fault of a padding token that is not in the vocabulary; None is no fault."""
    token, vocabulary = config.padding_token, config.vocabulary
    if token is None or (_whole(token) and _whole(vocabulary) and 0 <= token < vocabulary):
        return []
    return [
        f"{names['padding_token']}: must be a token, 0 or more and below {names['vocabulary']} "
        f"{vocabulary}; got {token!r}."
    ]


def rate_faults(
    config: Sizes, names: Mapping[str, str], rates: Iterable[str], positive: Iterable[str]
) -> list[str]:
    """One fault for each rate outside [0, 1), and for each number that is not above 0.

    A rate that is None by default may be None.
    """
    faults = []
    defaults = {f.name: f.default for f in fields(config)}
    for name in rates:
        value = getattr(config, name)
        unset = value is None and defaults[name] is None
        if not unset and not (isinstance(value, int | float) and 0 <= value < 1):
            faults.append(f"{names[name]}: must be at least 0 and below 1; got {value!r}.")
    for name in positive:
        value = getattr(config, name)
        if not isinstance(value, int | float) or value <= 0:
            faults.append(f"{names[name]}: must be a number above 0; got {value!r}.")
    return faults


def flag_faults(config: Config, names: Mapping[str, str], flags: Iterable[str]) -> list[str]:
    """One fault for each flag that is neither true nor false."""
    values = {names[name]: getattr(config, name) for name in flags}
    return [
        f"{name}: must be true or false; got {value!r}."
        for name, value in values.items()
        if not isinstance(value, bool)
    ]


def activation_faults(
    config: Sizes, names: Mapping[str, str], known: Collection[str] = tuple(ACTIVATIONS)
) -> list[str]:
    """The fault of an activation that is not known."""
    name = config.activation
    if name in known:
        return []
    return [
        f"{names['activation']}: {name!r} is not supported."
        f"{nearest(str(name), known)} Known: {', '.join(known)}."
    ]


def _whole(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
