"""Word after word: the likeliest, or one drawn by its probability.

Shapes: B rows, R those still going on, T tokens of all prompts, V words in the vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from headstart.generation.continuation import begin
from headstart.generation.options import Options
from headstart.generation.rules import NONE, SoFar, ruled, rules
from headstart.models.language import LanguageModel, TextToText
from headstart.nn.ragged import Ragged

Ends = Callable[[Sequence[int]], bool]
"""Whether a row's new tokens end it: asked after each; for what tokens alone cannot tell."""


@torch.inference_mode()
def word_by_word(
    model: LanguageModel | TextToText,
    prompts: Ragged,
    options: Options,
    limits: Tensor,
    ends: Ends | None = None,
    numbers: Sequence[int] | None = None,
) -> Iterator[list[tuple[int, int]]]:
    """Let rows go on; each leaves when it has ended.

    Args:
        model: in eval mode.
        prompts: (T,) int64.
        options: with one beam.
        limits: (B,) int64 on the CPU, most new tokens of each row.
        ends: see `Ends`.
        numbers: B whole numbers from 0, of what each row draws, with the seed; default: its place.

    Yields:
        The place of each row that goes on and its next token, step after step.
    """
    going_on = begin(model, prompts, room=int(limits.max()), start=options.start)
    device = prompts.values.device
    rows, limits = list(range(len(limits))), limits.to(device)
    said: list[list[int]] = [[] for _ in rows]
    choose = _Draw(options.seed, numbers or rows) if options.sample else _likeliest
    apply, final = rules(options), torch.tensor(options.eos, dtype=torch.int64, device=device)
    history = aligned(going_on.opening)
    scores = going_on.scores
    for step in range(int(limits.max())):
        tokens = choose(ruled(scores, SoFar(step, limits, history), apply), rows)
        pairs = list(zip(rows, tokens.tolist(), strict=True))
        yield pairs
        for row, token in pairs:
            said[row].append(token)
        going = ~torch.isin(tokens, final) & (limits > step + 1)
        if ends is not None:
            going &= ~torch.tensor([ends(said[row]) for row in rows], device=device)
        if not going.any():
            return
        if apply:
            history = torch.cat([history, tokens[:, None]], 1)
        if not going.all():
            order = going_on.keep(going)
            rows = [rows[place] for place in order.tolist()]
            tokens, limits, history = tokens[order], limits[order], history[order]
        scores = going_on.step(tokens)


def aligned(prompts: Ragged) -> Tensor:
    """(B, L) int64: rows ending together, `NONE` in front of shorter ones."""
    padded = torch.full((len(prompts.lengths), prompts.layout.longest), NONE)
    for row, tokens in zip(padded, prompts.split(), strict=True):
        row[len(row) - len(tokens) :] = tokens
    return padded.to(prompts.values.device)


def _likeliest(scores: Tensor, rows: list[int]) -> Tensor:
    return scores.argmax(-1)


class _Draw:
    """Words by their probability. Each row has random numbers of its own, whoever is beside it."""

    def __init__(self, seed: int, numbers: Sequence[int]) -> None:
        self._numbers = [np.random.default_rng([seed, number]) for number in numbers]

    def __call__(self, scores: Tensor, rows: list[int]) -> Tensor:
        """(R,) int64 words drawn from scores (R, V)."""
        heights = torch.tensor([self._numbers[row].random() for row in rows], dtype=torch.float64)
        sums = scores.softmax(-1, dtype=torch.float64).cumsum(-1)
        total = sums[:, -1:]
        below = torch.nextafter(total, torch.zeros_like(total))  # never a word that cannot be
        marks = torch.minimum(heights.to(sums.device)[:, None] * total, below)
        return torch.searchsorted(sums, marks, right=True).squeeze(1)
