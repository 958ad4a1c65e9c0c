"""Beam search: several beginnings of a text are followed at once, and the best text is kept.

Rows are independent of each other, and each leaves when none of its beams can do better. Which
beams count, and when to stop, is as in transformers, so that texts are equal.

Shapes: B rows, N beams of each, R = B * N, K candidates a row and step, V words in the vocabulary,
M most new tokens of a row.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from headstart.generation.continuation import Continuation, begin
from headstart.generation.options import Options
from headstart.generation.rules import Rule, SoFar, ruled, rules
from headstart.generation.search import Ends, aligned
from headstart.models.language import LanguageModel, TextToText
from headstart.nn.ragged import Ragged

FAR = -1e9
"""Log probability of what must not be chosen while anything else is there."""


@dataclass
class _Beams:
    """What rows hold between two steps.

    Attributes:
        rows: (B,) int64, their places among the prompts.
        limits: (B,) int64 most new tokens.
        tokens: (B, N, M) int64 of running beams, best first.
        scores: (B, N) their log probabilities.
        texts: (B, N, M) int64 of finished texts, best first.
        lengths: (B, N) int64 their tokens.
        values: (B, N) what finished texts are ordered by.
        finished: (B, N) bool, whether there is one.
        hopeful: (B,) bool, whether a running beam may still be better.
    """

    rows: Tensor
    limits: Tensor
    tokens: Tensor
    scores: Tensor
    texts: Tensor
    lengths: Tensor
    values: Tensor
    finished: Tensor
    hopeful: Tensor

    @classmethod
    def start(cls, limits: Tensor, num_beams: int) -> _Beams:
        """Before the first step: only the first beam counts, or all would be the same."""
        shape, device = (len(limits), num_beams), limits.device
        tokens = torch.zeros(*shape, int(limits.max()), dtype=torch.int64, device=device)
        scores = torch.zeros(shape, device=device)
        scores[:, 1:] = FAR
        return cls(
            rows=torch.arange(len(limits), device=device),
            limits=limits,
            tokens=tokens,
            scores=scores,
            texts=tokens.clone(),
            lengths=torch.zeros(shape, dtype=torch.int64, device=device),
            values=torch.full(shape, FAR, device=device),
            finished=torch.zeros(shape, dtype=torch.bool, device=device),
            hopeful=torch.ones(len(limits), dtype=torch.bool, device=device),
        )

    def keep(self, order: Tensor) -> None:
        """Go on with rows (B',) int64 alone."""
        for field in fields(self):
            setattr(self, field.name, getattr(self, field.name)[order])


@dataclass(frozen=True)
class _Candidates:
    """The K best next steps of each row, best first.

    Attributes:
        parents: (B, K) int64, beams that they go on from.
        scores: (B, K) log probabilities.
        tokens: (B, K, M) int64, with the new one.
        end: (B, K) bool, whether their text ends here.
    """

    parents: Tensor
    scores: Tensor
    tokens: Tensor
    end: Tensor


@torch.inference_mode()
def beam_search(
    model: LanguageModel | TextToText,
    prompts: Ragged,
    options: Options,
    limits: Tensor,
    ends: Ends | None = None,
) -> list[list[list[int]]]:
    """The best texts of each row (Vaswani et al. 2017, section 6.1; Wu et al. 2016, section 7).

    Args:
        model: in eval mode.
        prompts: (T,) int64.
        options: read for all but what draws words.
        limits: (B,) int64 on the CPU, most new tokens of each row.
        ends: see `Ends`.

    Returns:
        For each row its `num_return_sequences` best texts: their new tokens.
    """
    room, num_beams = int(limits.max()), options.num_beams
    going_on = begin(model, prompts, room=room, num_beams=num_beams, start=options.start)
    beams = _Beams.start(limits.to(prompts.values.device), num_beams)
    prefix = aligned(going_on.opening)
    scores = going_on.scores.repeat_interleave(num_beams, 0)
    best: list[list[list[int]]] = [[] for _ in limits]
    apply = rules(options)
    for step in range(room):
        totals = _totals(scores, beams, prefix, step, apply)
        found = _candidates(totals, beams, step, options, ends)
        parents = _choose(found, beams)
        _finish(found, beams, step, options)
        going = _going(found, beams, step, options)
        if not going.all():
            _gather(best, beams, ~going, options.num_return_sequences)
        if not going.any():
            break
        tokens = beams.tokens[..., step]
        if not going.all():
            order = going_on.keep(going)
            beams.keep(order)
            parents, tokens, prefix = parents[order], tokens[order], prefix[order]
        _reorder(going_on, parents)
        scores = going_on.step(tokens.flatten())
    return best


def _totals(scores: Tensor, beams: _Beams, prefix: Tensor, step: int, apply: list[Rule]) -> Tensor:
    """(B, N * V) log probabilities of each beam with each next word, from scores (R, V)."""
    num_rows, num_beams = beams.scores.shape
    scores = scores.float().log_softmax(-1)
    if apply:
        before = prefix[:, None].expand(-1, num_beams, -1)
        history = torch.cat([before, beams.tokens[..., :step]], 2).flatten(0, 1)
        so_far = SoFar(step, beams.limits.repeat_interleave(num_beams), history)
        scores = ruled(scores, so_far, apply)
    totals = scores.reshape(num_rows, num_beams, -1) + beams.scores[..., None]
    return totals.flatten(1)


def _candidates(
    totals: Tensor, beams: _Beams, step: int, options: Options, ends: Ends | None
) -> _Candidates:
    """As many as leave N that go on, whichever of them end."""
    num_beams = options.num_beams
    num_words = totals.shape[1] // num_beams
    scores, places = totals.topk(min(max(2, 1 + len(options.eos)) * num_beams, totals.shape[1]))
    parents, words = places // num_words, places % num_words
    tokens = _of_beams(beams.tokens, parents)
    tokens[..., step] = words
    end = torch.isin(words, torch.tensor(options.eos, dtype=torch.int64, device=words.device))
    end |= (beams.limits == step + 1)[:, None]
    if ends is not None:
        said = tokens[..., : step + 1].flatten(0, 1).tolist()
        end |= torch.tensor([ends(text) for text in said], device=end.device).view_as(end)
    return _Candidates(parents, scores, tokens, end)


def _choose(found: _Candidates, beams: _Beams) -> Tensor:
    """Let the N best candidates run that do not end; returns the beams (B, N) they go on from."""
    running = found.scores + found.end.float() * FAR
    chosen = running.topk(beams.scores.shape[1]).indices
    beams.tokens = _of_beams(found.tokens, chosen)
    beams.scores = running.gather(1, chosen)
    return found.parents.gather(1, chosen)


def _finish(found: _Candidates, beams: _Beams, step: int, options: Options) -> None:
    """Keep the best finished texts; only the N best candidates of a step may become one."""
    num_beams = options.num_beams
    new = found.end.clone()
    new[:, num_beams:] = False
    closed = ~beams.hopeful
    if options.early_stopping is True:
        closed = closed | beams.finished.all(1)
    values = found.scores / ((step + 1) ** options.length_penalty)
    values = values + closed[:, None].float() * FAR + (~new).float() * FAR
    values, best = torch.cat([beams.values, values], 1).topk(num_beams)
    lengths = torch.full_like(found.parents, step + 1)
    beams.values = values
    beams.texts = _of_beams(torch.cat([beams.texts, found.tokens], 1), best)
    beams.lengths = torch.cat([beams.lengths, lengths], 1).gather(1, best)
    beams.finished = torch.cat([beams.finished, new], 1).gather(1, best)


def _going(found: _Candidates, beams: _Beams, step: int, options: Options) -> Tensor:
    """(B,) bool: which rows may still find something better, and can go on."""
    if options.early_stopping == "never" and options.length_penalty > 0:
        lengths = beams.limits[:, None].double()
    else:
        lengths = torch.full_like(beams.limits[:, None], step + 1, dtype=torch.float64)
    possible = beams.scores[:, :1] / (lengths**options.length_penalty).float()
    worst = beams.values.amin(1, keepdim=True).where(beams.finished, FAR)
    beams.hopeful = beams.hopeful & (possible > worst).any(1)
    going = beams.hopeful & ~found.end.all(1)
    return going & ~beams.finished.all(1) if options.early_stopping is True else going


def _gather(best: list[list[list[int]]], beams: _Beams, leaving: Tensor, num_texts: int) -> None:
    """Write down what rows that leave, (B,) bool, have found."""
    for place in leaving.nonzero().flatten().tolist():
        pairs = zip(beams.texts[place].tolist(), beams.lengths[place].tolist(), strict=True)
        best[int(beams.rows[place])] = [text[:length] for text, length in pairs][:num_texts]


def _reorder(going_on: Continuation, parents: Tensor) -> None:
    """Let beams go on from others of their row, (B, N)."""
    num_beams = parents.shape[1]
    own = torch.arange(num_beams, device=parents.device)
    if (parents != own).any():
        firsts = torch.arange(len(parents), device=parents.device)[:, None] * num_beams
        going_on.reorder((parents + firsts).flatten())


def _of_beams(tokens: Tensor, chosen: Tensor) -> Tensor:
    """(B, N', M) of tokens (B, N, M), by places (B, N')."""
    return tokens.gather(1, chosen[..., None].expand(-1, -1, tokens.shape[2]))
