"""How fast the heads of a Llama turn: what a config.json says about rotary places.

Two spellings are on the hub: `rope_theta` with `rope_scaling`, and since transformers 5
`rope_parameters`, which holds both. All kinds but "default" stretch rates that were trained on
shorter texts.

Shapes: d width of a head.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from headstart.errors import nearest
from headstart.nn.position import Rotary, rotary_rates

KEY = "rope_parameters"
PLACE = f"{KEY} or rope_scaling"
BASE = 10_000.0
"""Su et al. 2021, section 3.2.2; where a config.json names none."""

Said = Mapping[str, Any]
Rates = tuple[Tensor, float]
"""(d / 2,) radians a place, and what turned elements are multiplied by."""


def read_rope(values: Said) -> dict[str, Any]:
    """What a config.json says about rotary places, in the spelling of `rope_parameters`.

    Args:
        values: of a config.json, in either spelling; where it has both, `rope_scaling` counts, as
            in transformers.
    """
    said = values.get("rope_scaling") or values.get(KEY) or {}
    if not isinstance(said, Mapping):
        return {"rope_type": said}  # refused as a kind that nobody has
    read = {key: value for key, value in said.items() if key != "type"}
    read.setdefault("rope_type", said.get("type", "default"))
    read.setdefault("rope_theta", values.get("rope_theta", BASE))
    if read["rope_type"] in _LIMITED:
        trained = values.get("original_max_position_embeddings")
        read.setdefault("original_max_position_embeddings", values.get("max_position_embeddings"))
        read |= {} if trained is None else {"original_max_position_embeddings": trained}
    return read


def write_rope(rope: Said) -> dict[str, Any]:
    """The same in both spellings, so that older readers do not fall back on a base of 10,000.

    Args:
        rope: as `read_rope` gives it.
    """
    scaling = {key: value for key, value in rope.items() if key != "rope_theta"}
    return {
        KEY: dict(rope),
        "rope_theta": rope["rope_theta"],
        "rope_scaling": None if rope["rope_type"] == "default" else scaling,
    }


def rope_faults(rope: Said) -> list[str]:
    """One fault for each setting that is missing, not known, or cannot be.

    Args:
        rope: as `read_rope` gives it.
    """
    kind = rope["rope_type"]
    if not isinstance(kind, str) or kind not in _KINDS:
        return [
            f"{PLACE}, rope_type: {kind!r} is not supported.{nearest(str(kind), _KINDS)} "
            f"Known: {', '.join(_KINDS)}."
        ]
    faults = [
        f"{PLACE}, {key}: {rope[key]!r} is not supported. Known: {', '.join(_NUMBERS)}, truncate."
        for key in rope
        if key not in {*_NUMBERS, "rope_type", "truncate", "partial_rotary_factor"}
    ]
    if rope.get("partial_rotary_factor") not in (None, 1):
        faults.append(
            f"{PLACE}, partial_rotary_factor: {rope['partial_rotary_factor']!r} is not supported, "
            "only 1.0."
        )
    if rope.get("truncate") not in (None, True, False):
        faults.append(f"{PLACE}, truncate: must be true or false; got {rope['truncate']!r}.")
    needed = {"rope_theta", *_NEEDED[kind]}
    for key in _NUMBERS:
        value = rope.get(key)
        if value is None and key in needed:
            faults.append(f"{PLACE}, {key}: is missing; {kind} needs it.")
        elif value is not None and not _above_0(value):
            faults.append(f"{PLACE}, {key}: must be a number above 0; got {value!r}.")
    if not faults and kind == "llama3" and rope["low_freq_factor"] >= rope["high_freq_factor"]:
        faults.append(
            f"{PLACE}, low_freq_factor: must be below high_freq_factor {rope['high_freq_factor']}; "
            f"got {rope['low_freq_factor']}."
        )
    return faults


def rotary(rope: Said, width: int, max_positions: int) -> Rotary:
    """The turning of heads.

    Args:
        rope: as `read_rope` gives it, without faults.
        width: d, even.
        max_positions: longest row in tokens.
    """
    return Rotary(*_KINDS[rope["rope_type"]](rope, width, max_positions))


def _default(rope: Said, width: int, max_positions: int) -> Rates:
    return rotary_rates(width, rope["rope_theta"]), 1.0


def _linear(rope: Said, width: int, max_positions: int) -> Rates:
    """Places divided by a factor (Chen et al. 2023, https://arxiv.org/abs/2306.15595)."""
    return rotary_rates(width, rope["rope_theta"]) / rope["factor"], 1.0


def _llama3(rope: Said, width: int, max_positions: int) -> Rates:
    """Slow pairs divided by a factor, fast ones not, those between in part.

    As Llama 3.1 does it (Grattafiori et al. 2024, https://arxiv.org/abs/2407.21783, section 3.4.2,
    which gives the base alone; the rest is in Meta's published code). A pair is slow that turns
    fewer times than `low_freq_factor` over the length it was trained on, fast that turns oftener
    than `high_freq_factor`.
    """
    rates = rotary_rates(width, rope["rope_theta"])
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    turns = rates * rope["original_max_position_embeddings"] / (2 * math.pi)
    kept = ((turns - low) / (high - low)).clamp(0, 1)
    return rates * (kept + (1 - kept) / rope["factor"]), 1.0


def _yarn(rope: Said, width: int, max_positions: int) -> Rates:
    """YaRN (Peng et al. 2023, https://arxiv.org/abs/2309.00071), sections 3.2 and 3.4.

    The same idea, with a ramp over the index of a pair; turned elements grow a little.
    """
    base, trained = rope["rope_theta"], rope["original_max_position_embeddings"]
    factor = rope.get("factor") or max_positions / trained

    def pair_that_turns(times: float) -> float:
        return width * math.log(trained / (times * 2 * math.pi)) / (2 * math.log(base))

    first = pair_that_turns(rope.get("beta_fast") or 32)
    last = pair_that_turns(rope.get("beta_slow") or 1)
    if rope.get("truncate") in (None, True):
        first, last = math.floor(first), math.ceil(last)
    first, last = max(first, 0), min(last, width - 1)
    last += 0.001 if first == last else 0.0
    pairs = torch.arange(width // 2, device="cpu").float()
    stretched = ((pairs - first) / (last - first)).clamp(0, 1)
    rates = rotary_rates(width, base)
    return rates * (1 - stretched) + rates / factor * stretched, _yarn_factor(rope, factor)


def _yarn_factor(rope: Said, factor: float) -> float:
    """What turned elements are multiplied by: the root of the paper's 1 / t, equation 22."""

    def growth(scale: float) -> float:
        return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0

    if rope.get("attention_factor") is not None:
        return float(rope["attention_factor"])
    if rope.get("mscale") and rope.get("mscale_all_dim"):  # DeepSeek's two weights of it
        return growth(rope["mscale"]) / growth(rope["mscale_all_dim"])
    return growth(1.0)


_KINDS: dict[str, Callable[[Said, int, int], Rates]] = {
    "default": _default,
    "linear": _linear,
    "dynamic": _default,  # stretches rows longer than `max_positions`; there are none
    "llama3": _llama3,
    "yarn": _yarn,
}
_NEEDED = {
    "default": (),
    "linear": ("factor",),
    "dynamic": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
    "yarn": ("original_max_position_embeddings",),
}
_LIMITED = ("llama3", "yarn")
"""Kinds that know how long the texts were that the rates were trained on."""

_NUMBERS = (
    "rope_theta",
    "factor",
    "original_max_position_embeddings",
    "low_freq_factor",
    "high_freq_factor",
    "beta_fast",
    "beta_slow",
    "attention_factor",
    "mscale",
    "mscale_all_dim",
)


def _above_0(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value > 0
