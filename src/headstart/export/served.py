"""A model that was exported to ONNX, opened again.

Shapes: N texts, C classes, L tokens in the longest text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from headstart.data.text import Tokenizer
from headstart.export.graph import GRAPH, check_packages
from headstart.models.load import class_names
from headstart.models.weights import read_json

ROWS = 32


class OnnxModel:
    """Answers as the model that was exported, from nothing but its folder.

    Args:
        folder: what `export` wrote.

    Raises:
        UserError: onnxruntime is not installed.
        CheckpointError: a file is missing or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        check_packages()
        import onnxruntime

        folder = Path(folder)
        config = read_json(folder / "config.json")
        self.classes = class_names(config)
        self.max_length = int(read_json(folder / "tokenizer_config.json")["model_max_length"])
        self._padding = int(config.get("pad_token_id") or 0)
        self._tokenizer = Tokenizer.open(folder)
        self._session = onnxruntime.InferenceSession(
            str(folder / GRAPH), providers=["CPUExecutionProvider"]
        )
        self._inputs = [given.name for given in self._session.get_inputs()]

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """(N, C) float32."""
        tokens = self._tokenizer.encode(texts, self.max_length)
        rows = np.split(tokens.values, tokens.offsets[1:-1]) if len(texts) else []
        order = np.argsort(
            tokens.lengths, kind="stable"
        )  # rows of one length pad each other little
        parts = [
            self._answer([rows[number] for number in order[i : i + ROWS]])
            for i in range(0, len(rows), ROWS)
        ]
        by_length = np.concatenate([np.empty((0, len(self.classes)), np.float32), *parts])
        return by_length[np.argsort(order)]

    def predict(self, texts: Sequence[str]) -> list[str]:
        """The label of each of N texts."""
        return [self.classes[i] for i in self.logits(texts).argmax(-1)]

    def _answer(self, rows: Sequence[np.ndarray]) -> np.ndarray:
        """Logits of a few rows, padded to the longest of them."""
        shape = len(rows), max(map(len, rows))
        given = {
            "input_ids": np.full(shape, self._padding, np.int64),
            "attention_mask": np.zeros(shape, np.int64),
            "token_type_ids": np.zeros(shape, np.int64),
        }
        for number, row in enumerate(rows):
            given["input_ids"][number, : len(row)] = row
            given["attention_mask"][number, : len(row)] = 1
        (logits,) = self._session.run(["logits"], {name: given[name] for name in self._inputs})
        return logits
