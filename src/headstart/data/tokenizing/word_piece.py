"""vocab.txt: WordPiece of BERT and DistilBERT."""

from __future__ import annotations

import tokenizers
from tokenizers import normalizers
from tokenizers.implementations.bert_wordpiece import BertWordPieceTokenizer

from headstart.data.tokenizing.added import Named
from headstart.data.tokenizing.settings import Settings


def word_piece(named: Named) -> tokenizers.Tokenizer:
    """BERT's WordPiece with the settings of tokenizer_config.json, as transformers reads them."""
    settings = named.settings
    tokens = {name: named.text(name) for name in ("unk", "sep", "cls", "pad", "mask")}
    built = BertWordPieceTokenizer(
        str(settings.folder / "vocab.txt"),
        clean_text=True,
        handle_chinese_chars=settings.switch("tokenize_chinese_chars", True),
        strip_accents=settings.values.get("strip_accents"),
        lowercase=settings.switch("do_lower_case", True),
        **{f"{name}_token": token or "" for name, token in tokens.items()},
    )
    return tokenizers.Tokenizer.from_str(built.to_str())


def ends_of_bert(built: tokenizers.Tokenizer, named: Named) -> None:
    """[CLS] before a text and [SEP] after it, which the builder has set."""


def restate_word_piece(built: tokenizers.Tokenizer, settings: Settings) -> None:
    """What tokenizer_config.json says of letters goes before what tokenizer.json says of them."""
    switches = ("do_lower_case", "strip_accents", "tokenize_chinese_chars")
    stated = any(name in settings.values for name in switches)
    if stated and isinstance(built.normalizer, normalizers.BertNormalizer):
        built.normalizer = normalizers.BertNormalizer(
            clean_text=built.normalizer.clean_text,
            handle_chinese_chars=settings.switch("tokenize_chinese_chars", True),
            strip_accents=settings.values.get("strip_accents"),
            lowercase=settings.switch("do_lower_case", True),
        )
