"""A folder to an image and a text tower that share one space, and back.

Shapes: B images or texts, E width of an embedding.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.errors import CheckpointError, unknown_name
from headstart.models.clip import CLIP_PAIRING
from headstart.models.families import FAMILIES
from headstart.models.load import fill, without_storage
from headstart.models.published import Published
from headstart.models.resolve import resolve
from headstart.models.save import IMAGE_FILES, TOKENIZER_FILES
from headstart.models.sides import Pair, Pairing
from headstart.models.siglip import SIGLIP_PAIRING
from headstart.models.weights import (
    files_digest,
    read_json,
    read_weights,
    weight_files,
    write_weights,
)

PAIRS: dict[str, Pairing] = {"clip": CLIP_PAIRING, "siglip": SIGLIP_PAIRING}
"""By `model_type`; each is a name in `FAMILIES`, too, whose backbone is the image tower."""


@dataclass(frozen=True, eq=False)
class PairCheckpoint:
    """A pre-trained pair and what its folder says about it.

    Attributes:
        folder: where it lies on this machine.
        name: what it was asked for as.
        family: its `model_type`.
        config: values of its config.json.
        model: in eval mode, float32.
        max_length: longest text in tokens.
        digest: SHA-256, in hex, over config and weights.
        dropped: names in the weights that were left out on purpose.
    """

    folder: Path
    name: str
    family: str
    config: Mapping[str, Any]
    model: Pair
    max_length: int
    digest: str
    dropped: tuple[str, ...]


def open_pair(name: str | Path) -> PairCheckpoint:
    """Open a checkpoint that compares images with texts: CLIP or SigLIP.

    Args:
        name: see `resolve`.

    Raises:
        CheckpointError: it does not exist, is damaged, or is no pair; every parameter that is
            missing, unexpected or of another shape is named.
    """
    folder = resolve(name)
    config = read_json(folder / "config.json")
    kind = str(config.get("model_type"))
    if kind not in PAIRS:
        place = f"{folder / 'config.json'}, model_type"
        raise CheckpointError(unknown_name(place, "pair of image and text towers", kind, PAIRS))
    model = _build(folder, PAIRS[kind], config)
    files = weight_files(folder)
    dropped = fill(folder, FAMILIES[kind], config, model.parts(), read_weights(files))
    text = model.text.backbone
    return PairCheckpoint(
        folder=folder,
        name=str(name),
        family=kind,
        config=config,
        model=model.eval(),
        max_length=Published.read(folder, text.max_positions).max_length,
        digest=files_digest([folder / "config.json", *files]),
        dropped=dropped,
    )


def save_pair(folder: Path, model: Pair, *, source: Path) -> None:
    """Write a folder that `open_pair` and transformers both open.

    Args:
        folder: exists and is fresh; moving it into place is the caller's.
        model: image and text tower.
        source: folder whose tokenizer and image processor files are copied.

    Raises:
        OSError: the disk is full, or a file cannot be read or written.
    """
    config = {
        "architectures": [PAIRS[model.family].architecture],
        **model.hf_config(),
        "dtype": "float32",
    }
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")
    state = {
        start + name: tensor
        for start, module in model.parts().items()
        for name, tensor in module.state_dict().items()
    }
    family = FAMILIES[model.family]
    write_weights(folder / "model.safetensors", family.their_weights(state, whole=False))
    for name in (*TOKENIZER_FILES, "tokenizer_config.json", *IMAGE_FILES):
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)


def _build(folder: Path, pairing: Pairing, config: Mapping[str, Any]) -> Pair:
    try:
        with without_storage():
            return pairing.build(config)
    except ValueError as error:
        file = folder / "config.json"
        raise CheckpointError([f"{file}, {line}" for line in str(error).split("\n")]) from None
