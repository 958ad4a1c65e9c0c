"""A classifier that is asked about one text in many versions.

What is explained is the log-odds of a class, log p / (1 - p): it is a sum where a probability is
none, and of two classes it is the difference of their logits.

Shapes: N versions of a text, L its tokens, D width, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from headstart.data.batches import RaggedStore
from headstart.data.text import Tokenizer
from headstart.errors import CheckpointError, UserError, unknown_name
from headstart.explain.reading import Reading, read
from headstart.nn.ragged import Layout, Ragged
from headstart.training.inference import READ_TOKENS, all_logits, best_device
from headstart.training.model import Trained
from headstart.training.progress import Silent


class Subject:
    """A model that is explained.

    Args:
        trained: the model.
        name: what it is called where several are compared.

    Raises:
        CheckpointError: its tokenizer has no token that could stand in a word's place.
    """

    def __init__(self, trained: Trained, name: str) -> None:
        self.trained, self.name = trained, name
        self.device = best_device()
        self.network = trained.network.to(self.device).eval()
        self.classes = trained.task.labels
        self.max_length = trained.max_length
        self.stand_in = stand_in(trained.tokenizer, name)

    @property
    def in_parts(self) -> bool:
        """Whether its blocks can be run one by one, as gradients and attention need it."""
        return len(self.network.backbone.blocks) > 0

    @property
    def stand_in_text(self) -> str:
        """The token that stands in a word's place, as text."""
        return self.trained.tokenizer.decode([self.stand_in], skip_special=False)

    def read(self, text: str, name: str = "text") -> Reading:
        """Read a text.

        Raises:
            DataError: it is empty.
        """
        return read(self.trained.tokenizer, text, self.max_length, name)

    def class_number(self, name: str) -> int:
        """The column of a class.

        Raises:
            UserError: there is no such class.
        """
        if name not in self.classes:
            raise UserError(unknown_name("class", "class of the model", name, self.classes))
        return self.classes.index(name)

    def logits(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Logits (N, C) float32 of rows of token ids."""
        lengths = [0, *map(len, rows)]
        values = np.fromiter(chain.from_iterable(rows), np.int32)
        store = RaggedStore(values, np.cumsum(np.array(lengths, np.int64)))
        return all_logits(self.network, store, self.device, Silent(), "explain")

    def vectors(self, row: Sequence[int]) -> Tensor:
        """What the first block reads, (L, D), of a row of token ids."""
        with torch.no_grad():
            return self.network.backbone.embed(self.ragged(row)).values

    def ragged(self, row: Sequence[int]) -> Ragged:
        """One row of token ids, on the model's device."""
        return Ragged(torch.tensor(row, device=self.device), Layout([len(row)], self.device))

    def log_odds_of_vectors(self, vectors: Tensor) -> Tensor:
        """Log-odds (N, C) of what the first block reads, (N, L, D); gradients flow."""
        count, length, _ = vectors.shape
        rows = Ragged(vectors.flatten(0, 1), Layout([length] * count, self.device))
        return log_odds(self.network.suffix(rows, 1))

    def at_once(self, length: int) -> int:
        """How many rows of so many tokens are computed together where gradients are kept."""
        return max(1, READ_TOKENS // length)


def log_odds(logits: Tensor) -> Tensor:
    """log p / (1 - p) of each class, (N, C), from logits (N, C)."""
    num_classes = logits.shape[-1]
    own = torch.eye(num_classes, dtype=torch.bool, device=logits.device)
    others = logits[..., None, :].expand(*logits.shape, num_classes).masked_fill(own, -torch.inf)
    return logits - others.logsumexp(-1)


def stand_in(tokenizer: Tokenizer, name: str) -> int:
    """The token that is put in the place of one that is hidden from the model.

    That is the mask token, by which the paper of normalised AOPC hides words; else the first there
    is of unknown, padding and end of text.

    Raises:
        CheckpointError: there is none.
    """
    asked = (tokenizer.mask_id, tokenizer.unk_id, tokenizer.pad_id, tokenizer.eos_id)
    found = next((token for token in asked if token is not None), None)
    if found is None:
        raise CheckpointError(
            f"{name}: its tokenizer has no mask, unk, pad or eos token to put in the place of a "
            'word, so no word can be hidden. Name one in tokenizer_config.json, as "mask_token".'
        )
    return found
