"""What is done to the scores of next words before one is chosen.

Shapes: R rows, V words in the vocabulary, L tokens of the longest row so far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from headstart.generation.options import Options

NONE = -1
"""Stands in the gap in front of a shorter row's tokens."""


@dataclass(frozen=True)
class SoFar:
    """What R rows hold already.

    Attributes:
        step: new tokens in each row.
        limits: (R,) int64, new tokens that each may have at most.
        history: (R, L) int64, tokens of each row with its prompt, rows ending together.
    """

    step: int
    limits: Tensor
    history: Tensor


Rule = Callable[[Tensor, SoFar], Tensor]
"""Scores (R, V) to scores (R, V), which may be the same tensor."""


def rules(options: Options) -> list[Rule]:
    """What the options ask for, in the order in which transformers does it."""
    found: list[Rule] = []
    if options.repetition_penalty != 1.0:
        found.append(partial(penalize_repetition, penalty=options.repetition_penalty))
    if options.no_repeat_ngram_size:
        found.append(partial(ban_repeated_ngrams, size=options.no_repeat_ngram_size))
    forbidden = [token for token in options.forbidden if token not in options.eos]
    if forbidden:
        found.append(partial(ban, tokens=forbidden))
    if options.min_new_tokens and options.eos:
        found.append(partial(ban_early, tokens=list(options.eos), least=options.min_new_tokens))
    if options.first is not None:
        found.append(partial(force_first, token=options.first))
    if options.last:
        found.append(partial(force_last, tokens=list(options.last)))
    if options.sample:
        found += _narrowing(options)
    if options.renormalize:
        found.append(normalize)
    return found


def ruled(scores: Tensor, so_far: SoFar, apply: list[Rule]) -> Tensor:
    """Scores (R, V) float32 after all rules, one after the other."""
    scores = scores.float()
    for rule in apply:
        scores = rule(scores, so_far)
    return scores


def _narrowing(options: Options) -> list[Rule]:
    found: list[Rule] = []
    if options.temperature != 1.0:
        found.append(partial(heat, temperature=options.temperature))
    if options.top_k is not None:
        found.append(partial(keep_top_k, num_words=options.top_k))
    if options.top_p is not None and options.top_p < 1.0:
        found.append(partial(keep_top_p, probability=options.top_p))
    if options.min_p is not None:
        found.append(partial(keep_min_p, share=options.min_p))
    return found


def penalize_repetition(scores: Tensor, so_far: SoFar, *, penalty: float) -> Tensor:
    """Words of a row become less likely in it (Keskar et al. 2019, section 4.1)."""
    held = _marked(so_far.history, scores)
    return torch.where(held, torch.where(scores < 0, scores * penalty, scores / penalty), scores)


def ban_repeated_ngrams(scores: Tensor, so_far: SoFar, *, size: int) -> Tensor:
    """No run of `size` tokens comes twice in a row (Paulus et al. 2017, section 2.5)."""
    history = so_far.history
    if history.shape[1] < size:
        return scores
    windows = history.unfold(1, size, 1)
    end = history[:, history.shape[1] - size + 1 :]
    seen = (windows[..., :-1] == end[:, None]).all(-1) & (end != NONE).all(-1)[:, None]
    banned = _marked(torch.where(seen, windows[..., -1], NONE), scores)
    return scores.masked_fill(banned, -math.inf)


def ban(scores: Tensor, so_far: SoFar, *, tokens: list[int]) -> Tensor:
    """Some tokens are never chosen."""
    scores = scores.clone()
    scores[:, tokens] = -math.inf
    return scores


def ban_early(scores: Tensor, so_far: SoFar, *, tokens: list[int], least: int) -> Tensor:
    """Some tokens are not chosen before a row has `least` new ones."""
    return ban(scores, so_far, tokens=tokens) if so_far.step < least else scores


def force_first(scores: Tensor, so_far: SoFar, *, token: int) -> Tensor:
    """Every row begins with one token."""
    return scores if so_far.step else _only(scores, [token])


def force_last(scores: Tensor, so_far: SoFar, *, tokens: list[int]) -> Tensor:
    """A row that may be no longer ends with one of the tokens."""
    ends = so_far.limits == so_far.step + 1
    return torch.where(ends[:, None], _only(scores, tokens), scores)


def heat(scores: Tensor, so_far: SoFar, *, temperature: float) -> Tensor:
    """Differences shrink above 1 and grow below."""
    return scores / temperature


def keep_top_k(scores: Tensor, so_far: SoFar, *, num_words: int) -> Tensor:
    """Only words as good as the k-th best."""
    least = scores.topk(min(num_words, scores.shape[1])).values[:, -1:]
    return scores.masked_fill(scores < least, -math.inf)


def keep_top_p(scores: Tensor, so_far: SoFar, *, probability: float) -> Tensor:
    """Only the best words that have a probability together; the best one always stays."""
    ordered, places = scores.sort()
    banned = ordered.softmax(-1).cumsum(-1) <= 1 - probability
    banned[:, -1] = False
    return scores.masked_fill(banned.scatter(1, places, banned), -math.inf)


def keep_min_p(scores: Tensor, so_far: SoFar, *, share: float) -> Tensor:
    """Only words at least this share as likely as the best."""
    probabilities = scores.softmax(-1)
    best = probabilities.amax(-1, keepdim=True)
    return scores.masked_fill(probabilities < share * best, -math.inf)


def normalize(scores: Tensor, so_far: SoFar) -> Tensor:
    """Log probabilities that sum to 1 once more."""
    return scores.log_softmax(-1)


def _only(scores: Tensor, tokens: list[int]) -> Tensor:
    alone = torch.full_like(scores, -math.inf)
    alone[:, tokens] = 0
    return alone


def _marked(tokens: Tensor, scores: Tensor) -> Tensor:
    """(R, V) bool: which words are among the tokens (R, L) of a row."""
    marks = scores.new_zeros(len(scores), scores.shape[1] + 1, dtype=torch.bool)
    return marks.scatter_(1, tokens.where(tokens != NONE, scores.shape[1]), True)[:, :-1]
