"""Spans that are left out, told one after the other (T5: Raffel et al. 2020, section 3.1.4).

Shapes: L tokens of a text, S sentinels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from headstart.data.batches import Batch
from headstart.tasks.answered import answer_loss, ask


@dataclass(frozen=True)
class SpanCorruption:
    """Each span that is left out leaves a sentinel, and the target tells after each what it hid.

    Attributes:
        start: token that every target begins with, before its first word.
        end: tokens that end every text and every target.
        sentinels: (S,) tokens, the first span's first.
        share: of a text's tokens that are left out, rounded.
        mean_span: mean length of a span in tokens.
    """

    start: int
    end: tuple[int, ...]
    sentinels: np.ndarray
    share: float = 0.15
    mean_span: float = 3.0

    def prepare(self, batch: Batch, random: np.random.Generator) -> Batch:
        """The texts with sentinels as `inputs`, what they hide as `target`; see `ask`."""
        sources, targets = [], []
        end = np.array(self.end, dtype=np.int64)
        for row in batch.inputs.split():
            text = row.numpy()[: len(row) - len(end)]
            hidden = random_spans(len(text), self.share, self.mean_span, random)
            sources.append(np.concatenate([self._marked(text, hidden), end]))
            targets.append(np.concatenate([self._marked(text, ~hidden), end]))
        return ask(batch, sources, targets, self.start)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy of the target's tokens, a scalar in nats."""
        return answer_loss(network, batch)

    def _marked(self, text: np.ndarray, away: np.ndarray) -> np.ndarray:
        """A text (L,) with one sentinel for each run of what is away, (L,) bool."""
        first = away & ~np.concatenate([[False], away[:-1]])
        marked = np.where(first, self.sentinels[np.cumsum(first) - 1], text)
        return marked[first | ~away]


def random_spans(
    length: int, share: float, mean_span: float, random: np.random.Generator
) -> np.ndarray:
    """Which tokens of a text are left out, (L,) bool: T5's random segmentation.

    Exactly the share is, rounded, one at least and all but one at most; in as many spans as their
    mean length asks for. What is kept and what is left out are both cut at random into so many
    pieces, none empty, that take turns; what is kept comes first.

    Args:
        length: L; of fewer than 2 tokens none is left out.
        share: of the tokens.
        mean_span: mean length of a span.
        random: all that is drawn from.
    """
    if length < 2:
        return np.zeros(length, dtype=bool)
    count = min(max(round(length * share), 1), length - 1)
    num_spans = num_spans_of(count, length, mean_span)
    kept, away = (_pieces(total, num_spans, random) for total in (length - count, count))
    lengths = np.stack([kept, away], axis=1).ravel()
    return np.repeat(np.tile([False, True], num_spans), lengths)


def num_spans_of(count: int, length: int, mean_span: float) -> int:
    """In how many spans so many tokens of a text are left out; each follows a kept token."""
    return min(max(round(count / mean_span), 1), count, length - count)


def _pieces(total: int, parts: int, random: np.random.Generator) -> np.ndarray:
    """(parts,) lengths of 1 and more that add up to the total, all ways alike likely."""
    cuts = np.sort(random.choice(total - 1, parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]]))
