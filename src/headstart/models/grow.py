"""More tokens than a checkpoint was trained with.

Shapes: V tokens before, N new ones, D width.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from headstart.errors import CheckpointError
from headstart.models.save import TOKENIZER_FILES
from headstart.models.weights import read_json, read_weights, weight_files, write_weights


def grow(folder: Path, fresh: Path, stand_for: Sequence[Sequence[int]], first: int) -> None:
    """Copy a checkpoint with a row for each new token, but not its tokenizer's files.

    A new token's vector is the mean of the vectors that its text was read with before (Hewitt 2021,
    "Initializing New Word Embeddings for Pretrained Language Models"); so are its row and its bias
    where words are scored, tied or not.

    Args:
        folder: the checkpoint.
        fresh: exists and is fresh.
        stand_for: for each of N new tokens the old ones that its text was.
        first: id of the first new token; rows that the vocabulary left unused come to be used.

    Raises:
        CheckpointError: config.json says nothing of the vocabulary, or its size is another size
            too, so that it cannot be told which weights are of it.
    """
    config = read_json(folder / "config.json")
    size = config.get("vocab_size")
    if not isinstance(size, int):
        raise CheckpointError(f"{folder / 'config.json'}, vocab_size: is missing, so there is no "
                              "vocabulary to extend.")  # fmt: skip
    same = [key for key, value in config.items() if value == size and key != "vocab_size"]
    if same:
        raise CheckpointError(
            f"{folder / 'config.json'}: vocab_size and {same[0]} are both {size}, so it cannot be "
            "told which weights are of the vocabulary. It cannot be extended."
        )
    files = weight_files(folder)
    tensors = {
        name: _grown(tensor, stand_for, first) if tensor.shape[:1] == (size,) else tensor
        for name, tensor in read_weights(files).items()
    }
    write_weights(fresh / "model.safetensors", tensors)
    config["vocab_size"] = max(size, first + len(stand_for))
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (fresh / "config.json").write_text(text + "\n", encoding="utf-8")
    left = {"config.json", "tokenizer_config.json", *TOKENIZER_FILES, *(f.name for f in files)}
    for file in folder.iterdir():
        if file.is_dir() and (file / "config.json").exists():
            shutil.copytree(file, fresh / file.name)
        elif file.is_file() and file.name not in left and file.suffix == ".json":
            shutil.copyfile(file, fresh / file.name)


def _grown(tensor: Tensor, stand_for: Sequence[Sequence[int]], first: int) -> Tensor:
    """(V, ...) to (V or more, ...), the rows from `first` on the means of others."""
    more = max(0, first + len(stand_for) - len(tensor))
    grown = torch.cat([tensor, tensor.new_zeros(more, *tensor.shape[1:])])
    for place, old in enumerate(stand_for, first):
        grown[place] = tensor[torch.as_tensor(old)].float().mean(0).to(tensor.dtype)
    return grown
