"""What a folder says besides config and weights: pooling, normalisation, longest text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.errors import CheckpointError
from headstart.models.weights import read_any_json, read_json

HEAD_FILE = "head.safetensors"
"""Holds a head that no architecture of transformers has: "weight" (C, D) and "bias" (C,)."""

GENERATION_FILE = "generation_config.json"
"""Holds how a language model was published to be sampled: which tokens end a text, and so on."""

MISSING_LIMIT = 1e29
"""What transformers stores for a tokenizer without a limit, 1e30, is above this."""

OLD_POOLING_KEYS = {  # sentence-transformers before 5: one switch for each
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class Published:
    """How sentence-transformers is told to use a folder.

    Attributes:
        pooling: the mode's name, several joined by "+"; None where nothing is said.
        normalize: whether embeddings are scaled to length 1.
        max_length: longest text in tokens.
    """

    pooling: str | None
    normalize: bool
    max_length: int

    @classmethod
    def read(cls, folder: Path, max_positions: int, usual: int | None = None) -> Published:
        """Read modules.json and what it points to.

        Args:
            folder: of a checkpoint.
            max_positions: longest row in tokens.
            usual: longest text in tokens where the folder names no limit; None: `max_positions`.

        Raises:
            CheckpointError: a file is damaged.
        """
        modules = _modules(folder)
        kinds = [str(module.get("type", "")).rpartition(".")[2] for module in modules]
        pooling = None
        if "Pooling" in kinds:
            place = folder / str(modules[kinds.index("Pooling")].get("path", ""))
            pooling = _pooling(read_json(place / "config.json"))
            others = [k for k in kinds if k not in ("Transformer", "Pooling", "Normalize")]
            pooling = "+".join([pooling, *others])
        return cls(pooling, "Normalize" in kinds, _max_length(folder, max_positions, usual))


def _modules(folder: Path) -> list[dict[str, Any]]:
    file = folder / "modules.json"
    if not file.exists():
        return []
    modules = read_any_json(file)
    if not isinstance(modules, list) or not all(isinstance(m, dict) for m in modules):
        raise CheckpointError(f"{file}: must hold a list of objects.")
    return modules


def _pooling(values: dict[str, Any]) -> str:
    mode = values.get("pooling_mode")
    if mode is None:
        mode = [name for key, name in OLD_POOLING_KEYS.items() if values.get(key)] or ["mean"]
    return mode if isinstance(mode, str) else "+".join(map(str, mode))


def _max_length(folder: Path, max_positions: int, usual: int | None) -> int:
    """The first limit that the folder names, else the usual, never above the positions."""
    limits = {"sentence_bert_config.json": "max_seq_length"}
    limits["tokenizer_config.json"] = "model_max_length"
    for file, key in limits.items():
        limit = read_json(folder / file).get(key) if (folder / file).exists() else None
        if isinstance(limit, int | float) and 1 <= limit < MISSING_LIMIT:
            return int(min(limit, max_positions))
    return max_positions if usual is None else min(usual, max_positions)
