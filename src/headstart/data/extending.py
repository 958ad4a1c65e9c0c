"""The most useful new tokens of texts for a vocabulary that was learned from others.

A token is as useful as the tokens that it saves: how often its word stands in the texts, times how
many tokens that word is now, less one.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import pairwise
from typing import Any

import tokenizers

from headstart.data.mapped import at_once
from headstart.data.texts import BLOCK
from headstart.errors import CheckpointError, DataError

MOST_TEXTS = 200_000
"""Texts that are looked at, evenly taken; more say little new."""

LONGEST = 50
"""Characters of a new token at most."""

LEAST = 2
"""Times that a new token must stand in the texts."""

SURER = 1.0
"""Nats by which a new token of a Unigram is likelier than what it stands for, at least."""


@dataclass(frozen=True)
class Extended:
    """A vocabulary with new tokens.

    Attributes:
        content: of tokenizer.json.
        first: id of the first new token; the others follow.
        tokens: the N new tokens.
        stand_for: for each of them the old ids that its text was.
    """

    content: str
    first: int
    tokens: tuple[str, ...]
    stand_for: tuple[tuple[int, ...], ...]


def extend(built: tokenizers.Tokenizer, texts: Sequence[str], count: int) -> Extended:
    """Find the most useful new tokens.

    Args:
        built: a WordPiece, BPE or Unigram; left as it is.
        texts: what the tokens are for; they are taken by slices.
        count: how many to add.

    Raises:
        CheckpointError: it is of another kind.
        DataError: the texts have no more so many words that are worth a token.
    """
    content = json.loads(built.to_str())
    kind = content["model"]["type"]
    finders = {"WordPiece": _word_pieces, "BPE": _merges, "Unigram": _pieces}
    if kind not in finders:
        raise CheckpointError(
            f"vocabulary.extend: a {kind} vocabulary cannot be extended, only {', '.join(finders)}."
        )
    first = max(built.get_vocab().values()) + 1
    known = built.get_vocab()
    words = words_of(built, texts)
    found = finders[kind](built, content["model"], words, count, first)
    if len(found) < count:
        raise DataError(
            f"vocabulary.extend: the texts hold {len(found):,} new tokens that stand in them "
            f"{LEAST} times or more; asked for {count:,}. Ask for that many or fewer."
        )
    ids = tuple(tuple(known[piece] for piece in pieces) for _, pieces in found)
    text = json.dumps(content, ensure_ascii=False)
    return Extended(text, first, tuple(token for token, _ in found), ids)


def words_of(built: tokenizers.Tokenizer, texts: Sequence[str]) -> Counter[str]:
    """How often each word stands in the texts, as the tokenizer takes them apart."""
    words: Counter[str] = Counter()
    step = max(1, len(texts) // MOST_TEXTS)
    size = at_once(texts, BLOCK)
    for start in range(0, len(texts), size * step):
        for text in texts[start : start + size]:
            words.update(_split(built, text))
    return words


def _split(built: tokenizers.Tokenizer, text: str) -> list[str]:
    plain = built.normalizer.normalize_str(text) if built.normalizer is not None else text
    if built.pre_tokenizer is not None:
        return [word for word, _ in built.pre_tokenizer.pre_tokenize_str(plain)]
    return re.findall("▁*[^▁]+", plain)


Found = list[tuple[str, list[str]]]
"""New tokens, and the old ones that each stands for."""


def _ranked(built: tokenizers.Tokenizer, words: Counter[str], unknown: str | None) -> Any:
    """(tokens saved, word, its old tokens), the most useful first."""
    known = built.get_vocab()
    ranked = []
    for word, times in words.items():
        if word in known or times < LEAST or len(word) > LONGEST:
            continue
        pieces = [token.value for token in built.model.tokenize(word)]
        saved = max(1, len(pieces) - 1) if unknown in pieces else len(pieces) - 1
        if saved > 0:
            ranked.append((times * saved, word, pieces))
    return sorted(ranked, key=lambda item: (-item[0], item[1]))


def _word_pieces(
    built: tokenizers.Tokenizer, model: dict[str, Any], words: Counter[str], count: int, first: int
) -> Found:
    chosen = _ranked(built, words, model["unk_token"])[:count]
    for number, (_, word, _) in enumerate(chosen, first):
        model["vocab"][word] = number
    return [(word, pieces) for _, word, pieces in chosen]


def _pieces(
    built: tokenizers.Tokenizer, model: dict[str, Any], words: Counter[str], count: int, first: int
) -> Found:
    """A new token is as likely as its word is frequent, and likelier than what it stands for."""
    vocabulary = model["vocab"]
    unknown = vocabulary[model["unk_id"]][0] if model["unk_id"] is not None else None
    scores: dict[str, float] = dict(vocabulary)
    names = {number: text for text, number in built.get_vocab().items()}
    while len(vocabulary) < first:  # tokens that were added behind it keep their ids
        vocabulary.append([names[len(vocabulary)], 0.0])
    lowest, total = min(scores.values()) - SURER, words.total()
    chosen = _ranked(built, words, unknown)[:count]
    for _, word, pieces in chosen:
        before = sum(scores.get(piece, lowest) for piece in pieces)
        vocabulary.append([word, max(math.log(words[word] / total), before + SURER)])
    return [(word, [p if p in scores else str(unknown) for p in pieces])
            for _, word, pieces in chosen]  # fmt: skip


def _merges(
    built: tokenizers.Tokenizer, model: dict[str, Any], words: Counter[str], count: int, first: int
) -> Found:
    """Byte-pair encoding goes on where it stopped: the most frequent pair becomes a token."""
    known = set(built.get_vocab())
    parts = {w: [t.value for t in built.model.tokenize(w)] for w in words if len(w) <= LONGEST}
    pairs: Counter[tuple[str, str]] = Counter()
    where: dict[tuple[str, str], set[str]] = defaultdict(set)
    for word, tokens in parts.items():
        for pair in pairwise(tokens):
            pairs[pair] += words[word]
            where[pair].add(word)
    found: Found = []
    stands: dict[str, list[str]] = {}
    as_text = bool(model["merges"]) and isinstance(model["merges"][0], str)
    heap = [(-times, pair) for pair, times in pairs.items()]
    heapify(heap)
    while len(found) < count and heap:
        times, best = heappop(heap)
        token = "".join(best)
        if -times != pairs[best] or -times < LEAST or token in known:
            continue  # counted anew since, or a token already
        known.add(token)
        stands[token] = [piece for side in best for piece in stands.get(side, [side])]
        found.append((token, stands[token]))
        model["vocab"][token] = first + len(found) - 1
        model["merges"].append(" ".join(best) if as_text else list(best))
        touched: set[tuple[str, str]] = set()
        for word in sorted(where.pop(best)):
            touched |= _merge(word, parts, best, words[word], pairs, where)
        for pair in touched - {best}:
            heappush(heap, (-pairs[pair], pair))
        del pairs[best]
    return found


def _merge(
    word: str,
    parts: dict[str, list[str]],
    pair: tuple[str, str],
    times: int,
    pairs: Counter[tuple[str, str]],
    where: dict[tuple[str, str], set[str]],
) -> set[tuple[str, str]]:
    """Put the pair together in a word, and count its neighbours anew; returns these."""
    before = parts[word]
    after: list[str] = []
    for token in before:
        whole = bool(after) and (after[-1], token) == pair
        after[-1:] = ["".join(pair)] if whole else [*after[-1:], token]
    parts[word] = after
    old, new = (list(pairwise(tokens)) for tokens in (before, after))
    for one in old:
        pairs[one] -= times
    for one in new:
        pairs[one] += times
        where[one].add(word)
    return {*old, *new}
