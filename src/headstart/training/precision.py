"""Which precision this machine trains in: measured once, then remembered."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from headstart.data.atomic import write_atomically
from headstart.data.cache import headstart_cache
from headstart.errors import RecipeError, unknown_name

FabricWord = Literal["32-true", "bf16-mixed"]
PRECISIONS: dict[str, FabricWord] = {"float32": "32-true", "bf16": "bf16-mixed"}
"""Our word: Lightning Fabric's. Weights and optimiser state stay in float32 in both."""

PROBES = 10
"""Steps that are timed each way."""

GAIN_NEEDED = 1.15
"""bf16 is taken on a CPU only if a training step is faster by this much: less is within noise."""


def choose_precision() -> str:
    """ "bf16" or "float32", whichever trains faster here.

    $HEADSTART_PRECISION decides where it is set. A recent GPU takes bf16. On a CPU with bf16
    instructions a short training step is timed both ways, once for a machine and torch version.

    Raises:
        RecipeError: $HEADSTART_PRECISION is no known precision.
    """
    asked = os.environ.get("HEADSTART_PRECISION")
    if asked:
        if asked not in PRECISIONS:
            raise RecipeError(unknown_name("HEADSTART_PRECISION", "precision", asked, PRECISIONS))
        return asked
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"
    machine = f"{_processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads"
    file = headstart_cache() / "precision.json"
    known = _read(file)
    if machine not in known:
        known[machine] = _faster()
        with write_atomically(file) as out:
            out.write(json.dumps(known, indent=2).encode())
    return known[machine]


def _read(file: Path) -> dict[str, str]:
    """What was measured before; a damaged file is measured anew."""
    try:
        known = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) and set(known.values()) <= set(PRECISIONS) else {}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = info.read_text().splitlines()
        names = {line.split(":")[0].strip(): line.split(":", 1)[1].strip()
                 for line in lines if ":" in line}  # fmt: skip
        bf16 = "bf16" if "bf16" in names.get("flags", "") else "no bf16"
        return f"{names.get('model name', platform.processor())} ({bf16})"
    return platform.processor() or platform.machine()


def _faster() -> str:
    if not torch.cpu._is_avx512_bf16_supported() and not torch.cpu._is_amx_tile_supported():
        return "float32"  # emulated bf16 was seen to be 100 times slower
    # In turns, so that what slows the machine for a while slows both alike; the best counts.
    full = half = float("inf")
    step = _probe()
    for _ in range(PROBES):
        full, half = min(full, step(False)), min(half, step(True))
    return "bf16" if full / half >= GAIN_NEEDED else "float32"


def _probe() -> Callable[[bool], float]:
    """Seconds of a step, in bf16 or not, through a feed-forward layer of a small BERT."""
    layer = nn.Sequential(nn.Linear(384, 1536), nn.GELU(), nn.Linear(1536, 384))
    x = torch.randn(1024, 384, generator=torch.Generator().manual_seed(0))

    def step(bf16: bool) -> float:
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = layer(x).float().square().mean()
        loss.backward()
        return time.perf_counter() - start

    return step
