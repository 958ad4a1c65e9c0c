"""The order of the rows over a whole stage, as a function of the seed alone."""

from __future__ import annotations

import math

import numpy as np

from headstart.data.batches import derive_seed, plan_epoch


class Order:
    """Which rows each update of a stage sees. Any place can be found without walking there.

    Args:
        lengths: (N,) tokens in each row.
        batch_tokens: tokens in a batch.
        seed: of the order.
        epochs: passes over the rows, a part of one counts by its updates; or
        steps: updates.
    """

    def __init__(
        self,
        lengths: np.ndarray,
        batch_tokens: int,
        seed: int,
        *,
        epochs: float | None = None,
        steps: int | None = None,
    ) -> None:
        self.lengths, self.batch_tokens, self.seed = lengths, batch_tokens, seed
        self._plan: tuple[int, list[np.ndarray]] = (-1, [])
        self.mean_rows = len(lengths) / len(self._epoch(0))  # in a batch
        self.ends: list[int] = []  # updates done at the end of each epoch
        done = 0
        while (done < steps) if steps is not None else (len(self.ends) < math.ceil(epochs or 0)):
            size = len(self._epoch(len(self.ends)))
            if steps is not None:
                size = min(size, steps - done)
            elif epochs is not None and epochs < len(self.ends) + 1:
                size = max(1, math.ceil(size * (epochs - len(self.ends))))
            done += size
            self.ends.append(done)

    @property
    def total(self) -> int:
        """Updates in the whole stage."""
        return self.ends[-1]

    def rows(self, step: int) -> np.ndarray:
        """Rows of the batch of a step, counted from 0."""
        epoch = int(np.searchsorted(self.ends, step, side="right"))
        first = self.ends[epoch - 1] if epoch else 0
        return self._epoch(epoch)[step - first]

    def num_tokens(self, rows: np.ndarray) -> int:
        """Tokens in the given rows, cached or not."""
        return int(self.lengths[rows].sum())

    def ends_epoch(self, step: int) -> bool:
        """Whether a step, counted from 0, is the last of its epoch."""
        return step + 1 in self.ends

    def _epoch(self, epoch: int) -> list[np.ndarray]:
        if self._plan[0] != epoch:
            seed = derive_seed("order", self.seed, epoch)
            self._plan = epoch, plan_epoch(self.lengths, self.batch_tokens, seed)
        return self._plan[1]
