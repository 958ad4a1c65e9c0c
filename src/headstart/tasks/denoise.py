"""A whole text, told from what damage left of it (BART: Lewis et al. 2020, section 2.2).

Shapes: L tokens of a text, V words in the vocabulary.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from headstart.data.batches import Batch
from headstart.tasks.answered import answer_loss, ask


@dataclass(frozen=True)
class Denoise:
    """Text infilling, behind a permutation of sentences where that is asked for.

    Attributes:
        start: token that every target begins with, before its first word.
        before: tokens in front of every text.
        after: tokens behind every text.
        mask: the token that a span becomes.
        share: of a text's tokens that spans hide, rounded.
        mean_span: mean of the Poisson distribution of a span's length in tokens.
        ends: (V,) bool, which tokens end a sentence; None leaves sentences in their order.
    """

    start: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    mask: int
    share: float = 0.3
    mean_span: float = 3.0
    ends: np.ndarray | None = None

    def prepare(self, batch: Batch, random: np.random.Generator) -> Batch:
        """The damaged texts as `inputs`, the whole ones as `target`; see `ask`."""
        sources, targets = [], []
        for row in batch.inputs.split():
            whole = row.numpy()
            text = whole[len(self.before) : len(whole) - len(self.after)]
            if self.ends is not None:
                text = permuted(text, self.ends[text], random)
            damaged = infilled(text, self.mask, self.share, self.mean_span, random)
            sources.append(np.concatenate([self.before, damaged, self.after]))
            targets.append(whole)
        return ask(batch, sources, targets, self.start)

    def loss(self, network: nn.Module, batch: Batch) -> Tensor:
        """Mean cross-entropy of the whole texts' tokens, a scalar in nats."""
        return answer_loss(network, batch)


def infilled(
    text: np.ndarray, mask: int, share: float, mean_span: float, random: np.random.Generator
) -> np.ndarray:
    """A text whose spans each became one mask; an empty span puts one in between.

    Lengths are drawn until exactly the share is hidden, one token at least; the last one is cut.
    All orders of spans and kept tokens are alike likely.

    Args:
        text: (L,) token ids; of an empty one nothing is hidden.
        mask: stands for a span.
        share: of the tokens.
        mean_span: mean length of a span.
        random: all that is drawn from.
    """
    if not len(text):
        return text
    count = max(1, round(share * len(text)))
    lengths: list[int] = []
    left = count
    while left:
        lengths.append(min(int(random.poisson(mean_span)), left))
        left -= lengths[-1]
    num_items = len(text) - count + len(lengths)  # kept tokens and spans, in some order
    is_span = np.zeros(num_items, dtype=bool)
    is_span[random.choice(num_items, len(lengths), replace=False)] = True
    sizes = np.ones(num_items, dtype=np.int64)
    sizes[is_span] = random.permutation(lengths)
    starts = np.cumsum(sizes) - sizes
    damaged = text[np.minimum(starts, len(text) - 1)]  # an empty span may stand at the very end
    damaged[is_span] = mask
    return damaged


def permuted(text: np.ndarray, ends: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A text (L,) with its sentences in another order; `ends` (L,) bool says where each ends."""
    sentences = np.split(text, np.flatnonzero(ends[:-1]) + 1)
    return np.concatenate([sentences[place] for place in random.permutation(len(sentences))])
