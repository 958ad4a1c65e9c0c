"""What a model said of rows, kept where the model itself need not be.

Models that are trained on a part of the rows, only to judge the rest, are as large as any other:
their answers are kept and they are not. So are the vectors that a frozen backbone makes of texts.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.atomic import folder_atomically
from headstart.training.kept import code_digest

OWN_PARTS = ("answers", "baselines", "collapse", "trials")
"""Modules beside this one that answers depend on."""

Answer = tuple[np.ndarray, dict[str, Any]]
"""Values (N, D) float32, and what else is to be known of them, as plain values."""


@cache
def own_digest() -> str:
    """SHA-256 over the sources that answers depend on, those of a trained stage included."""
    digest = hashlib.sha256(code_digest().encode())
    for name in OWN_PARTS:
        digest.update((Path(__file__).parent / f"{name}.py").read_bytes())
    return digest.hexdigest()


def kept(folder: Path, key: Mapping[str, Any], compute: Callable[[], Answer]) -> Answer:
    """What was computed before from the same key, or what is computed now.

    Args:
        folder: where features are kept.
        key: all that the answer depends on but code, as plain values.
        compute: gives the answer.

    Raises:
        UserError: the folder cannot be written.
    """
    text = json.dumps({**key, "code": own_digest()}, sort_keys=True, ensure_ascii=False)
    place = folder / hashlib.sha256(f"answers {text}".encode()).hexdigest()
    found = _open(place)
    if found is None:
        values, told = compute()
        values = np.ascontiguousarray(values, dtype=np.float32)
        with folder_atomically(place) as fresh:
            np.save(fresh / "values.npy", values)
            described = {"shape": list(values.shape), "told": told}
            (fresh / "description.json").write_text(json.dumps(described), encoding="utf-8")
        found = values, told
    return found


def _open(place: Path) -> Answer | None:
    """What is stored, or None where nothing is or it was damaged (which is removed)."""
    if not place.exists():
        return None
    try:
        described = json.loads((place / "description.json").read_text(encoding="utf-8"))
        values = np.load(place / "values.npy")
        whole = list(values.shape) == described["shape"]
    except (OSError, ValueError, KeyError, EOFError):
        whole = False
    if not whole:
        shutil.rmtree(place)
        return None
    os.utime(place)
    return values, described["told"]
