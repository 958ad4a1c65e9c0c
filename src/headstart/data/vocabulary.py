"""Vocabularies learned from texts, by the library tokenizers, saved as transformers opens them.

The same texts give the same vocabulary: of WordPiece the library's own order would change from run
to run, so the alphabet is settled first; of Unigram it is the scores that would, so only its tokens
are taken and scored anew.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import (
    AddedToken,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from headstart.data.mapped import at_once
from headstart.data.texts import BLOCK
from headstart.errors import DataError

ALPHABET = 1_000
"""Characters that a WordPiece knows, as BERT's was made; rarer ones are unknown."""

CONTINUES = "##"
LONGEST_WORD = 100
"""Characters of a word that a WordPiece looks into, as BERT's."""

LEAST = 2
"""Times that two tokens stand side by side before they may become one."""

FEWEST, PASSES, DIGITS = -10.0, 4, 6
"""Score that all tokens of a Unigram start with, so that a text becomes the fewest; passes over the
texts, each of which scores tokens by how often the last one took them; decimals of a score."""

SENTINELS = 100
"""Places that T5 hides spans behind, as it was published."""

NAMED: dict[str, dict[str, str]] = {
    "bert": {"pad": "[PAD]", "unk": "[UNK]", "cls": "[CLS]", "sep": "[SEP]", "mask": "[MASK]"},
    "roberta": {"bos": "<s>", "pad": "<pad>", "eos": "</s>", "unk": "<unk>", "cls": "<s>",
                "sep": "</s>", "mask": "<mask>"},
    "gpt2": {"bos": "<|endoftext|>", "eos": "<|endoftext|>", "unk": "<|endoftext|>"},
    "t5": {"pad": "<pad>", "eos": "</s>", "unk": "<unk>"},
}  # fmt: skip
"""Special tokens of a family by name, in the order of their ids."""


def train_vocabulary(
    texts: Sequence[str], *, family: str, kind: str, size: int, lowercase: bool
) -> tokenizers.Tokenizer:
    """Learn a vocabulary.

    Args:
        texts: what it is learned from; they are taken by slices.
        family: a key of `NAMED`: whose special tokens there are, and where.
        kind: "byte-bpe", "wordpiece" or "unigram".
        size: tokens, special ones included; texts of few words give fewer.
        lowercase: whether capital letters count as small ones; of "wordpiece" alone.

    Raises:
        DataError: the size leaves no room for the alphabet.
    """
    named = NAMED[family]
    special = list(dict.fromkeys(named.values()))
    extra = [f"<extra_id_{i}>" for i in reversed(range(SENTINELS))] if family == "t5" else []
    make = {"byte-bpe": _byte_bpe, "wordpiece": _word_piece, "unigram": _unigram}[kind]
    built = make(texts, special, size - len(extra), named.get("unk", special[0]), lowercase)
    built.add_special_tokens([_added(text, named) for text in (*special, *extra)])
    _frame(built, family)
    return built


def _added(text: str, named: Mapping[str, str]) -> AddedToken:
    """A special token; a mask takes the space before it, as RoBERTa's does."""
    eats = text == named.get("mask") and text == "<mask>"
    return AddedToken(text, special=True, normalized=False, lstrip=eats)


def _slices(texts: Sequence[str]) -> Iterator[list[str]]:
    step = at_once(texts, BLOCK)
    for start in range(0, len(texts), step):
        yield list(texts[start : start + step])


def _byte_bpe(
    texts: Sequence[str], special: list[str], size: int, unknown: str, lowercase: bool
) -> tokenizers.Tokenizer:
    built = tokenizers.Tokenizer(models.BPE())
    built.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    built.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    _check_room("byte-bpe", size, len(special) + len(alphabet))
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=LEAST,
        special_tokens=special,
        initial_alphabet=alphabet,
        show_progress=False,
    )
    built.train_from_iterator(_slices(texts), trainer)
    return built


def _word_piece(
    texts: Sequence[str], special: list[str], size: int, unknown: str, lowercase: bool
) -> tokenizers.Tokenizer:
    normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    characters: Counter[str] = Counter()
    for some in _slices(texts):
        for text in some:
            characters.update(normalizer.normalize_str(text))
    seen = sorted((c for c in characters if not c.isspace()), key=lambda c: (-characters[c], c))
    alphabet = sorted(seen[:ALPHABET])
    # As special tokens, letters inside words have their places before the library counts any.
    first = [*special, *alphabet, *(CONTINUES + c for c in alphabet)]
    _check_room("wordpiece", size, len(first))
    learned = tokenizers.Tokenizer(models.WordPiece(unk_token=unknown))
    learned.normalizer = normalizer
    learned.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        min_frequency=LEAST,
        special_tokens=first,
        limit_alphabet=1,
        continuing_subword_prefix=CONTINUES,
        show_progress=False,
    )
    learned.train_from_iterator(_slices(texts), trainer)
    vocabulary = learned.get_vocab()
    built = tokenizers.Tokenizer(
        models.WordPiece(vocabulary, unk_token=unknown, max_input_chars_per_word=LONGEST_WORD)
    )
    built.normalizer, built.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    built.decoder = decoders.WordPiece(prefix=CONTINUES)
    return built


def _unigram(
    texts: Sequence[str], special: list[str], size: int, unknown: str, lowercase: bool
) -> tokenizers.Tokenizer:
    def shaped(model: models.Unigram) -> tokenizers.Tokenizer:
        built = tokenizers.Tokenizer(model)
        built.normalizer = normalizers.NFKC()
        built.pre_tokenizer = pre_tokenizers.Metaspace()
        built.decoder = decoders.Metaspace()
        return built

    learned = shaped(models.Unigram())
    trainer = trainers.UnigramTrainer(
        vocab_size=size,
        special_tokens=special,
        unk_token=unknown,
        show_progress=False,
    )
    learned.train_from_iterator(_slices(texts), trainer)
    pieces = sorted(piece for piece in learned.get_vocab() if piece not in special)
    scores = [FEWEST] * len(pieces)
    for _ in range(PASSES + 1):
        ordered = sorted(zip(pieces, scores, strict=True), key=lambda item: (-item[1], item[0]))
        pieces = [piece for piece, _ in ordered]
        both = [*((text, 0.0) for text in special), *ordered]
        built = shaped(models.Unigram(both, unk_id=special.index(unknown)))
        scores = _scores(built, texts, len(special))
    return built


def _scores(built: tokenizers.Tokenizer, texts: Sequence[str], first: int) -> list[float]:
    """Logarithm of each token's share of the texts, from an id on; of one that is not used, as if
    half a time."""
    counts = np.zeros(built.get_vocab_size(), dtype=np.int64)
    for some in _slices(texts):
        for encoding in built.encode_batch_fast(some, add_special_tokens=False):
            counts += np.bincount(encoding.ids, minlength=len(counts))
    shares = np.maximum(counts[first:], 0.5) / max(1, counts[first:].sum())
    return [round(float(score), DIGITS) for score in np.log(shares)]


def _check_room(kind: str, size: int, least: int) -> None:
    if size <= least:
        raise DataError(
            f"vocabulary.size: {size:,} tokens leave no room for words: the special tokens and the "
            f"letters of a {kind} of these texts are {least:,}. Ask for more, 2,000 and up."
        )


def _frame(built: tokenizers.Tokenizer, family: str) -> None:
    """What stands round a text in a family."""
    single, pair = {
        "bert": ("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1"),
        "roberta": ("<s> $A </s>", "<s> $A </s> </s> $B </s>"),
        "gpt2": ("$A", "$A $B:1"),
        "t5": ("$A </s>", "$A </s> $B </s>"),
    }[family]
    used = {part.partition(":")[0] for part in pair.split() if not part.startswith("$")}
    built.post_processor = processors.TemplateProcessing(
        single=single,
        pair=pair,
        special_tokens=[(text, built.token_to_id(text)) for text in sorted(used)],
    )


def save_vocabulary(
    built: tokenizers.Tokenizer, folder: Path, *, family: str, lowercase: bool
) -> None:
    """Write the files that `Tokenizer.open` and transformers open.

    Args:
        built: what `train_vocabulary` gave.
        folder: exists.
        family: whose special tokens it has.
        lowercase: as it was trained.
    """
    built.save(str(folder / "tokenizer.json"))
    settings: dict[str, object] = {"tokenizer_class": "PreTrainedTokenizerFast"}
    settings |= {f"{name}_token": text for name, text in NAMED[family].items()}
    if isinstance(built.normalizer, normalizers.BertNormalizer):
        settings |= {"do_lower_case": lowercase, "strip_accents": None}
    if isinstance(built.pre_tokenizer, pre_tokenizers.ByteLevel):
        settings |= {"add_prefix_space": False}
    text = json.dumps(settings, indent=2, ensure_ascii=False)
    (folder / "tokenizer_config.json").write_text(text + "\n", encoding="utf-8")


def num_tokens(built: tokenizers.Tokenizer, texts: Iterable[str]) -> int:
    """Tokens of some texts, special ones not counted."""
    encodings = built.encode_batch_fast(list(texts), add_special_tokens=False)
    return sum(len(encoding.ids) for encoding in encodings)
