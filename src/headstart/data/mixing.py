"""Which task an update is of, and which rows: a function of the seed and the step.

Shapes: K tasks.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from headstart.data.batches import derive_seed, plan_epoch

LAG = 8
"""Updates between a decision and the first that follows it. Batches are made ahead of their use, so
that one made sooner could have been made before the decision, or after."""

LAST_POWER = 0.2
"""What the power of annealed mixing ends at: 1 - 0.8, as Stickland & Murray 2019."""


def mixing_shares(
    by: str,
    sizes: Sequence[int],
    *,
    temperature: float = 1.0,
    given: Sequence[float] | None = None,
    progress: float = 0.0,
) -> np.ndarray:
    """How often each task comes, (K,) float64 that sum to 1.

    Args:
        by: "proportional", "temperature", "equal", "hand" or "annealed".
        sizes: (K,) batches in one pass over each task's rows.
        temperature: of "temperature".
        given: (K,) of "hand", up to a factor.
        progress: of "annealed": 0 in the first epoch, 1 in the last.
    """
    powers = {"proportional": 1.0, "temperature": 1 / temperature, "equal": 0.0,
              "annealed": 1 - (1 - LAST_POWER) * progress}  # fmt: skip
    counts = np.asarray(sizes if given is None else given, dtype=np.float64)
    weights = counts if by == "hand" else counts ** powers[by]
    return weights / weights.sum()


def quotas(shares: np.ndarray, total: int) -> np.ndarray:
    """(K,) whole numbers near the shares of a total that they sum to, each 1 at least where there
    are enough: what is left of the fractions goes to the largest ones (Hamilton's method).
    """
    least = 1 if total >= len(shares) else 0
    rest = np.maximum(shares * total - least, 0.0)
    exact = rest / max(rest.sum(), 1e-12) * (total - least * len(shares))
    whole = np.floor(exact + 1e-9).astype(np.int64)
    order = np.argsort(-(exact - whole), kind="stable")
    whole[order[: total - least * len(shares) - int(whole.sum())]] += 1
    return whole + least


class Stream:
    """Batches of a data set, pass after pass without end; any can be found without walking there.

    Args:
        lengths: (N,) tokens in each row.
        batch_tokens: tokens in a batch.
        seed: of the order.
    """

    def __init__(self, lengths: np.ndarray, batch_tokens: int, seed: int) -> None:
        self.lengths, self.batch_tokens, self.seed = lengths, batch_tokens, seed
        self._ends: list[int] = []
        self._plan: tuple[int, list[np.ndarray]] = (-1, [])
        self.size = len(self._pass(0))  # batches in the first pass
        self.mean_rows = len(lengths) / self.size

    def rows(self, number: int) -> np.ndarray:
        """Rows of a batch, counted from 0 over all passes."""
        while not self._ends or self._ends[-1] <= number:
            before = self._ends[-1] if self._ends else 0
            self._ends.append(before + len(self._pass(len(self._ends))))
        at = int(np.searchsorted(self._ends, number, side="right"))
        return self._pass(at)[number - (self._ends[at - 1] if at else 0)]

    def _pass(self, number: int) -> list[np.ndarray]:
        if self._plan[0] != number:
            seed = derive_seed("order", self.seed, number)
            self._plan = number, plan_epoch(self.lengths, self.batch_tokens, seed)
        return self._plan[1]


@dataclass(frozen=True)
class Rule:
    """How tasks are mixed, see `mixing_shares`.

    Attributes:
        by: the rule.
        temperature: of "temperature".
        given: of "hand".
        several: whether an update is of all tasks, each with its share of the tokens.
    """

    by: str = "proportional"
    temperature: float = 1.0
    given: tuple[float, ...] | None = None
    several: bool = False


class Mixture:
    """Which batch of which task each update of a stage sees.

    An epoch has as many updates as all tasks have batches in one pass. Of each epoch's updates
    every task gets its share exactly, in an order drawn from the seed; a task's own batches follow
    each other pass after pass.

    Args:
        lengths: of K tasks, by name, (N,) tokens in each row.
        rule: how they are mixed.
        batch_tokens: tokens in an update.
        seed: of the order.
        epochs: how many, a part of one counts by its updates; or
        steps: updates.
    """

    def __init__(
        self,
        lengths: Mapping[str, np.ndarray],
        rule: Rule,
        batch_tokens: int,
        seed: int,
        *,
        epochs: float | None = None,
        steps: int | None = None,
    ) -> None:
        self.rule, self.seed = rule, seed
        # Seeds are of names: a task that is trained alone sees its rows in the same order.
        whole = [
            Stream(part, batch_tokens, derive_seed(seed, name)) for name, part in lengths.items()
        ]
        self.sizes = [stream.size for stream in whole]
        self.epoch_steps = sum(self.sizes)
        self.total = steps or max(1, math.ceil(self.epoch_steps * (epochs or 0)))
        self.streams = whole
        if rule.several:
            tokens = np.maximum(1, np.round(self.shares(0) * batch_tokens)).astype(int).tolist()
            self.streams = [
                Stream(part, budget, derive_seed(seed, name))
                for (name, part), budget in zip(lengths.items(), tokens, strict=True)
            ]
        self.left: dict[int, int] = {}
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=np.int64))
        self._seen, self._counts = 0, [0] * len(lengths)

    @property
    def num_epochs(self) -> int:
        """Epochs that are begun."""
        return math.ceil(self.total / self.epoch_steps)

    def ends_epoch(self, step: int) -> bool:
        """Whether a step, counted from 0, is the last of its epoch."""
        return (step + 1) % self.epoch_steps == 0 or step + 1 == self.total

    def shares(self, epoch: int) -> np.ndarray:
        """(K,) how often each task comes in an epoch."""
        progress = epoch / max(1, self.num_epochs - 1) if self.rule.by == "annealed" else 0.0
        return mixing_shares(self.rule.by, self.sizes, temperature=self.rule.temperature,
                             given=self.rule.given, progress=progress)  # fmt: skip

    def leave(self, task: int, step: int) -> None:
        """Leave a task out: of all updates that come `LAG` after this one, and later."""
        assert len(self.left) + 1 < len(self.sizes), "one task stays"
        self.left = {**self.left, task: step + LAG}  # the thread that makes batches may be reading

    def asked(self, step: int) -> tuple[tuple[int, np.ndarray], ...]:
        """Each task of an update, counted from 0, and (B,) its rows.

        What tasks were left out before is known; a step is asked for once, or again later.
        """
        self._walk(step)
        return tuple((k, self.streams[k].rows(self._counts[k])) for k in self._tasks(step))

    def passes(self, steps: int) -> list[float]:
        """How often each task's rows were gone through in so many updates."""
        self._walk(steps)
        sizes = [stream.size for stream in self.streams]
        return [count / size for count, size in zip(self._counts, sizes, strict=True)]

    def _walk(self, step: int) -> None:
        """Count each task's batches before a step."""
        if step < self._seen:
            self._seen, self._counts = 0, [0] * len(self.sizes)
        while self._seen < step:
            for task in self._tasks(self._seen):
                self._counts[task] += 1
            self._seen += 1

    def _tasks(self, step: int) -> tuple[int, ...]:
        out = {task for task, first in self.left.items() if first <= step}
        if self.rule.several:
            return tuple(k for k in range(len(self.sizes)) if k not in out)
        epoch, place = divmod(step, self.epoch_steps)
        if self._order[0] != epoch:
            random = np.random.default_rng(derive_seed("mixture", self.seed, epoch))
            counts = quotas(self.shares(epoch), self.epoch_steps)
            self._order = epoch, random.permutation(np.repeat(np.arange(len(counts)), counts))
        task = int(self._order[1][place])
        return (task if task not in out else self._instead(step, out),)

    def _instead(self, step: int, out: set[int]) -> int:
        """One of the tasks that stay, as often as each of them comes."""
        stay = [k for k in range(len(self.sizes)) if k not in out]
        shares = self.shares(step // self.epoch_steps)[stay]
        random = np.random.default_rng(derive_seed("instead", self.seed, step))
        return stay[int(random.choice(len(stay), p=shares / shares.sum()))]
