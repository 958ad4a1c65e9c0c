"""Small tokenizers in every published layout, trained on a few odd lines."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from tokenizers import ByteLevelBPETokenizer, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.trainers import BpeTrainer

LINES = [
    "A plain sentence, with commas; and more!",
    "naïve café Ångström ÉCOLE fine Straße",
    "don't won't quoted curly dash",
    "the cat sat on the mat and the dog ran to the house",
    "1,234.56 $5 50% 1/2",
    "这个产品很好我喜欢",
    "カタカナとひらがな",
    "hello world hello there general",
    "translate English to German: the house is wonderful",
    "http://example.com/a?b=c&d",
    "supercalifragilisticexpialidocious",
    "words of two spaces three and lines",
] * 3

TEXTS = [
    "",
    " ",
    "\n\t\r\u00a0\u2003",
    "A plain sentence, with commas; and more!",
    "naïve café Ångström ÉCOLE Straße İstanbul",
    "ﬁne ½ x² ＦＵＬＬ",
    "e\u0301 versus \u00e9, and o\u0308",
    "👍🏽 family 👩‍👩‍👧‍👦 flag 🇨🇦 text",
    "这个产品很好,我喜欢。カタカナとひらがな 한국어",
    "zero\u200bwidth\u200djoin\ufeffmark\u00adhyphen",
    "control\x00\x01\x07\x1b\x7f\x85 characters\ufffd",
    "العربية עברית हिन्दी ไทย",
    "a" * 101 + " " + "supercalifragilisticexpialidocious" * 7,
    "word " * 499,
    "1,234.56 $5 50% x ∑ √ ≈",
    "don't won't 'quoted' “curly” — dash … dots",
    "\U0001d54f\U0001f9ff\U000e0041",
    "  two  spaces,   three \n\n\tand lines\r\n ",
    " leading",
    "trailing ",
    "a\nb\tc",
    "▁under▁score",
    "a<0x0A>b",
]
MARKED = [
    "[CLS] [SEP] [MASK] [PAD] [UNK] [cls]",
    "<s> <mask> </s><pad> <unk><mask><MASK> ▁ Ġ",
    "a <extra_id_0> b<extra_id_99>.",
    "hi</s> there",
    "hello <|endoftext|> world<|im_start|>x",
    ">>de<< hello world",
    ">>xx<< hello",
    "say >>de<< hello",
    " >>de<< hello",
]
"""Texts that hold special tokens of some family."""
FIRSTS = ["the cat sat on the mat", "", "hello", "word " * 9, "a", "the dog ran " * 5, "a b"]
SECONDS = ["hello world", "hello", "", "the dog " * 9, "the dog ran " * 5, "a", "c d e"]

DEBERTA = {
    "pad_id": 0,
    "bos_id": 1,
    "eos_id": 2,
    "unk_id": 3,
    "pad_piece": "[PAD]",
    "bos_piece": "[CLS]",
    "eos_piece": "[SEP]",
    "unk_piece": "[UNK]",
}
LLAMA = {
    "model_type": "bpe",
    "vocab_size": 461,
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "split_digits": True,
    "allow_whitespace_only_pieces": True,
}
T5 = {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
ROUND = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def mark(text: str, **flags: bool) -> dict[str, Any]:
    """A token as the JSON files write it."""
    usual = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False}
    return {"content": text, **usual, **flags}


MASK = {"mask_token": mark("<mask>", lstrip=True)}


def describe(
    folder: Path, model_type: str | None, settings: Any = None, special: Any = None
) -> Path:
    files = {
        "config.json": None if model_type is None else {"model_type": model_type},
        "tokenizer_config.json": settings,
        "special_tokens_map.json": special,
    }
    for name, values in files.items():
        if values is not None:
            (folder / name).write_text(json.dumps(values), encoding="utf-8")
    return folder


def train_pieces(file: Path, **options: Any) -> None:
    """A SentencePiece model, of 223 pieces where nothing else is said."""
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    written = io.BytesIO()
    usual = {"vocab_size": 223, "hard_vocab_limit": False, "minloglevel": 2}
    trainer.train(sentence_iterator=iter(LINES), model_writer=written, **(usual | options))
    file.write_bytes(written.getvalue())


def pieces(file: str, kind: str, **options: Any) -> Callable[..., Callable[[Path], Path]]:
    """A layout of one SentencePiece file."""

    def with_files(settings: Any = None, special: Any = None) -> Callable[[Path], Path]:
        def make(folder: Path) -> Path:
            train_pieces(folder / file, **options)
            return describe(folder, kind, settings, special)

        return make

    return with_files


def merges(
    model_type: str, start: Iterable[str], settings: Any = None, special: Any = None
) -> Callable[[Path], Path]:
    """A layout of vocab.json and merges.txt."""

    def make(folder: Path) -> Path:
        trained = ByteLevelBPETokenizer()
        trained.train_from_iterator(LINES, 503, 2, special_tokens=list(start))
        trained.save_model(str(folder))
        return describe(folder, model_type, settings, special)

    return make


def qwen(folder: Path) -> Path:
    merges("qwen2", ())(folder)
    size = len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))
    texts = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
    added = {str(size + i): mark(text, special=True) for i, text in enumerate(texts)}
    settings = {
        "tokenizer_class": "Qwen2Tokenizer",
        "added_tokens_decoder": added,
        "additional_special_tokens": list(texts[1:]),
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "bos_token": None,
        "unk_token": None,
    }
    return describe(folder, "qwen2", settings)


def clip(folder: Path) -> Path:
    trained = Tokenizer(BPE(unk_token="<|endoftext|>", end_of_word_suffix="</w>"))
    trained.normalizer = normalizers.Lowercase()
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+")
    split = pre_tokenizers.Split(words, behavior="removed", invert=True)
    trained.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(False)])
    trainer = BpeTrainer(
        vocab_size=701,
        special_tokens=["<|startoftext|>", "<|endoftext|>"],
        end_of_word_suffix="</w>",
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(LINES, trainer)
    trained.model.save(str(folder))
    return describe(folder, "clip", {"tokenizer_class": "CLIPTokenizer"})


def marian(folder: Path) -> Path:
    """Its vocabulary is in no model's order and lacks five pieces."""
    processor = pytest.importorskip("sentencepiece").SentencePieceProcessor
    train_pieces(folder / "source.spm")
    train_pieces(folder / "target.spm", vocab_size=197, character_coverage=0.98)
    words = ["</s>", "<unk>"]
    for side in ("target", "source"):
        model = processor(str(folder / f"{side}.spm"))
        words += [model.id_to_piece(i) for i in range(3, len(model))][2 if words[2:] else 3 :]
    words = list(dict.fromkeys([*words, ">>de<<", ">>fr<<", "<pad>"]))
    numbers = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    return describe(folder, "marian", {"source_lang": "en", "target_lang": "de"})


llama = pieces("tokenizer.model", "llama", **LLAMA)
mistral = pieces("tokenizer.model", "mistral", **LLAMA)
LLAMA_CLASS = {"tokenizer_class": "LlamaTokenizer", "add_bos_token": True}
MAKERS = {
    "t5": pieces("spiece.model", "t5", **T5)(),
    "t5-7": pieces("spiece.model", "t5", **T5)({"extra_ids": 7}),
    "mt5": pieces("spiece.model", "mt5", **T5, byte_fallback=True, vocab_size=419)(
        {"extra_ids": 0, "tokenizer_class": "T5Tokenizer"}
    ),
    "xlm-roberta": pieces("sentencepiece.bpe.model", "xlm-roberta")(None, MASK),
    "camembert": pieces("sentencepiece.bpe.model", "camembert")(),
    "deberta": pieces("spm.model", "deberta-v2", **DEBERTA)({"vocab_type": "spm"}),
    "deberta-lower": pieces("spm.model", "deberta-v2", **DEBERTA)({"do_lower_case": True}),
    "llama": llama(LLAMA_CLASS | {"legacy": False}),
    "llama-eos": llama(LLAMA_CLASS | {"legacy": False, "add_eos_token": True}),
    "llama-legacy": llama(LLAMA_CLASS | {"legacy": True}),
    "llama-bare": llama(),
    "mistral": mistral(LLAMA_CLASS),
    "roberta": merges("roberta", ROUND, None, MASK),
    "roberta-prefix": merges("roberta", ROUND, {"add_prefix_space": True}, MASK),
    "bart": merges("bart", ROUND, {"tokenizer_class": "BartTokenizer"}, MASK),
    "gpt2": merges("gpt2", ["<|endoftext|>"]),
    "gpt2-left": merges("gpt2", ["<|endoftext|>"], {"truncation_side": "left"}),
    "gpt2-bos": merges(
        "gpt2", ["<|endoftext|>"], {"add_bos_token": True, "tokenizer_class": "GPT2Tokenizer"}
    ),
    "gpt2-padded": merges(
        "gpt2", ["<|endoftext|>"], {"tokenizer_class": "GPT2TokenizerFast"}, {"pad_token": "[PAD]"}
    ),
    "qwen2": qwen,
    "clip": clip,
    "marian": marian,
}
