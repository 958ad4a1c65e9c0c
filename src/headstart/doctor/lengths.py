"""Texts as the planned backbone's tokens: how long, what padding would waste, what is unknown.

Shapes: N texts, T tokens of all texts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from headstart.data.findings import Finding
from headstart.data.text import Tokenizer
from headstart.data.tokens import Tokens
from headstart.doctor.subject import Subject, percent

BATCH = 32
"""Texts in the batches that padding is told of."""

UNKNOWN, MOSTLY_UNKNOWN = 0.01, 0.1
"""Shares of the tokens that the vocabulary lacks, to be warned of, and that spoil the figures."""


@dataclass(frozen=True)
class Lengths:
    """Tokens of the texts of a data set.

    Attributes:
        shortest: tokens of a text before anything is cut, special ones counted.
        median: likewise.
        p95: likewise.
        longest: likewise.
        cut: share of all tokens that cutting to `max_length` takes away.
        max_length: tokens of a text at most.
        padding: share of a batch of 32 texts in random order that would be padding. headstart
            packs tokens, and pads nearly nothing.
        unknown: share of the tokens that are not in the vocabulary.
        total: tokens of all texts, once cut.
    """

    shortest: int
    median: float
    p95: float
    longest: int
    cut: float
    max_length: int
    padding: float
    unknown: float
    total: int


def measure(tokens: Tokens, tokenizer: Tokenizer, max_length: int) -> Lengths:
    """Measure the tokens of N texts, one at least."""
    full, kept = tokens.full_lengths, tokens.lengths
    unknown = 0 if tokenizer.unk_id is None else int((tokens.values == tokenizer.unk_id).sum())
    return Lengths(
        shortest=int(full.min()),
        median=float(np.median(full)),
        p95=float(np.quantile(full, 0.95)),
        longest=int(full.max()),
        cut=float(tokens.cut_tokens / full.sum()),
        max_length=max_length,
        padding=padding(kept),
        unknown=unknown / len(tokens.values),
        total=int(kept.sum()),
    )


def padding(lengths: np.ndarray, batch: int = BATCH) -> float:
    """Share of the cells of batches in random order that hold no token.

    Args:
        lengths: (N,) tokens of each text.
        batch: texts in a batch; the last may hold fewer.
    """
    order = np.random.default_rng(0).permutation(len(lengths))
    cells = sum(
        int(lengths[order[start : start + batch]].max()) * len(order[start : start + batch])
        for start in range(0, len(order), batch)
    )
    return 1 - int(lengths.sum()) / cells


def unknown_tokens(subject: Subject, measured: Lengths, name: str) -> list[Finding]:
    """Texts that the backbone's vocabulary has no words for.

    Args:
        name: of the backbone.
    """
    if measured.unknown < UNKNOWN:
        return []
    return [Finding(
        kind="unknown tokens",
        message=f"{subject.name}: {percent(measured.unknown)} of its tokens are not in the "
        f"vocabulary of {name}, which reads them all as one and the same.",
        count=len(subject.rows), data=subject.key,
        severity="harmful" if measured.unknown >= MOSTLY_UNKNOWN else "warning",
        remedy="Take a backbone whose vocabulary fits the language of the texts, such as "
        "xlm-roberta-base.",
    )]  # fmt: skip
