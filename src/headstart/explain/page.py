"""Explanations as HTML: a fragment for any page, and a page of its own without a request.

A fragment is laid out by `style` and brought to life by `script`, each of which a page needs once,
however many fragments it holds. All of them keep to names that begin with "hs-".
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from headstart.data.atomic import write_atomically
from headstart.explain.shades import Shade, shades
from headstart.explain.values import (
    AttentionValues,
    ExplanationValues,
    LayersValues,
    ProbeValues,
    TextValues,
)

PICTURED = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n\r"}
"""Control characters, which no page may hold, as the pictures Unicode has for them."""


def fragment(values: ExplanationValues) -> str:
    """An explanation as HTML to be put into a page; see `style` and `script`.

    Args:
        values: what was explained; what is None or empty in it takes no room.
    """
    return _rendered("fragment.html.j2", values=values)


def style() -> str:
    """The style of all fragments, to be put into a <style> element."""
    return _file("fragment.css")


def script() -> str:
    """What makes attention answer to pointer and keyboard, to be put into a <script> element
    behind the last fragment."""
    return _file("fragment.js")


def page(values: ExplanationValues) -> str:
    """An explanation as a whole page: one file, no request, dark and light."""
    return _rendered("page.html.j2", values=values, style=Markup(style()),
                     script=Markup(script()), body=Markup(fragment(values)))  # fmt: skip


def write_page(values: ExplanationValues, path: Path) -> None:
    """Write the page, whole or not at all.

    Raises:
        UserError: the disk is full, or the place cannot be written.
    """
    content = page(values).encode("utf-8")
    with write_atomically(path) as file:
        file.write(content)


def packed(attention: AttentionValues) -> dict[str, Any]:
    """Attention as the script reads it: a byte for each weight, which is its square root in 255ths.

    Square roots keep small weights apart; a page of nested lists would be ten times as long.
    """
    weights = np.array(attention["weights"], dtype=np.float64)
    rollout = attention["rollout"]
    return {
        "kind": attention["kind"],
        "queries": attention["queries"],
        "keys": attention["keys"],
        "layers": weights.shape[0],
        "heads": weights.shape[1],
        "weights": _bytes(weights),
        "rollout": None if rollout is None else _bytes(np.array(rollout)),
        "grid": attention["grid"],
    }


def _bytes(weights: np.ndarray) -> str:
    roots = np.sqrt(weights.clip(0, 1)) * 255
    return base64.b64encode(roots.round().astype(np.uint8).tobytes()).decode("ascii")


def script_data(value: Any) -> Markup:
    """A value as JSON inside a <script> element, which none of its texts can end."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c"))


def layer_rows(layers: LayersValues, *, intervals: bool = True) -> list[list[str]]:
    """A row for each layer: its name, similarities, accuracies with their intervals or without."""
    similarity, probing = list(layers["similarity"].values()), list(layers["probing"].values())
    depth = max([len(column) for column in similarity] + [len(column) for column in probing],
                default=0)  # fmt: skip
    rows = []
    for layer in range(depth):
        cells = ["embeddings" if layer == 0 else f"block {layer}"]
        cells += [_decimal(column[layer]) for column in similarity]  # all of one depth
        for column in probing:
            cells.append(_share(column[layer], intervals) if layer < len(column) else "–")
        rows.append(cells)
    return rows


def shaded(text: TextValues, signed: bool) -> Sequence[Shade]:
    """The text in pieces, each with its colour."""
    return shades(text, [word["score"] for word in text["words"]], signed=signed)


def shaded_before(text: TextValues, scores: Sequence[float | None]) -> Sequence[Shade]:
    """The text in pieces, coloured by another model's scores."""
    return shades(text, scores, signed=True)


def _decimal(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("-", "−")


def _share(found: ProbeValues, interval: bool) -> str:
    ends = f" [{100 * found['low']:.1f}, {100 * found['high']:.1f}]" if interval else ""
    return f"{100 * found['accuracy']:.1f}{ends}"


def signed_number(value: float) -> str:
    """1.314 as "+1.31"."""
    return f"{value:+.2f}".replace("-", "−")


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("headstart.explain", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for helper in (packed, script_data, layer_rows, shaded, shaded_before, signed_number):
        environment.filters[helper.__name__] = helper
    return environment


def _rendered(template: str, **given: Any) -> str:
    text = _environment().get_template(template).render(**given)
    return text.translate(PICTURED).encode("utf-8", "replace").decode("utf-8")


def _file(name: str) -> str:
    return files("headstart.explain").joinpath(name).read_text(encoding="utf-8")
