"""Weight files on disk, read and written.

Safetensors always; a pickle only through torch's weights-only reader, which runs no code.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import stat
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from headstart.errors import CheckpointError

AGAIN = "Copy or download it again."


def read_json(file: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        CheckpointError: the file is missing, unreadable, or holds something else.
    """
    values = read_any_json(file)
    if not isinstance(values, dict):
        raise CheckpointError(f"{file}: must hold a JSON object, got a {type(values).__name__}.")
    return values


def read_any_json(file: Path) -> Any:
    """Read JSON.

    Raises:
        CheckpointError: the file is missing or unreadable.
    """
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        there = sorted(p.name for p in file.parent.iterdir())[:10] if file.parent.is_dir() else []
        raise CheckpointError(
            f"{file}: is missing, so {file.parent} is no complete Hugging Face checkpoint. "
            f"It holds: {', '.join(there) or 'nothing'}.{_deeper(file)}"
        ) from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{file}: cannot be read ({error}). {AGAIN}") from None


def _deeper(file: Path) -> str:
    """A hint where a file is missing that the model/ folder below has, as in a run's output."""
    model = file.parent / "model"
    return f" Did you mean {str(model)!r}?" if (model / file.name).exists() else ""


def weight_files(folder: Path) -> list[Path]:
    """The files that hold a folder's weights: one, or all its shards.

    Raises:
        CheckpointError: there are none, or shards are missing.
    """
    for single in ("model.safetensors", "pytorch_model.bin"):
        if (folder / single).exists():
            return [folder / single]
        index = folder / f"{single}.index.json"
        if index.exists():
            return _shards(index)
    others = [p.name for p in sorted(folder.iterdir()) if p.suffix in (".h5", ".msgpack", ".ckpt")]
    found = f" {', '.join(others)} cannot be read: no PyTorch weights." if others else ""
    raise CheckpointError(
        f"{folder}: holds no weights; model.safetensors (or pytorch_model.bin) is needed.{found}"
    )


def _shards(index: Path) -> list[Path]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointError(f"{index}: holds no weight_map. {AGAIN}")
    names = sorted({Path(str(name)).name for name in weight_map.values()})
    missing = [name for name in names if not (index.parent / name).exists()]
    if missing:
        raise CheckpointError(
            [f"{index.parent / name}: is missing, {index.name} lists it." for name in missing]
        )
    return [index.parent / name for name in names]


def read_weights(files: Sequence[Path]) -> dict[str, Tensor]:
    """Tensors by name, in the precision they are stored in.

    Raises:
        CheckpointError: a file is truncated, damaged, or needs code to be run.
    """
    tensors: dict[str, Tensor] = {}
    faults: list[str] = []
    for file in files:
        try:
            tensors |= load_file(file) if file.suffix == ".safetensors" else _unpickle(file)
        except (SafetensorError, OSError, RuntimeError, ValueError, EOFError) as error:
            reason = str(error).strip().split("\n")[0]
            size = f"{file.stat().st_size:,} bytes"
            faults.append(f"{file}: is truncated or damaged ({size}; {reason}). {AGAIN}")
        except pickle.UnpicklingError:
            faults.append(
                f"{file}: is damaged, or holds more than weights and would run code. {AGAIN} "
                "Better: take the same checkpoint as safetensors."
            )
    if faults:
        raise CheckpointError(faults)
    return tensors


def _unpickle(file: Path) -> dict[str, Tensor]:
    values = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(values, Mapping) or not all(torch.is_tensor(v) for v in values.values()):
        raise ValueError("it holds no table of tensors")
    return dict(values)


def write_weights(file: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors, with the mark that transformers looks for.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    file.touch()
    mode = stat.S_IMODE(file.stat().st_mode)
    try:
        save_file(plain, file, metadata={"format": "pt"})
        file.chmod(mode)  # safetensors leaves a file that only its owner can read
    except SafetensorError as error:
        code = re.search(r"os error (\d+)", str(error))
        if code is None:
            raise
        raise OSError(int(code.group(1)), os.strerror(int(code.group(1))), str(file)) from None


def files_digest(files: Sequence[Path]) -> str:
    """SHA-256, in hex, over the bytes of files in the order given."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
