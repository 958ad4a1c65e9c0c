"""Words are what people see as words, and every token of a text belongs to one."""

from __future__ import annotations

import pytest

from headstart.data.text import Tokenizer
from headstart.errors import DataError
from headstart.explain.reading import read, split, words_of


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It's great!", ["It's", "great", "!"]),
        ("well-made, really...", ["well-made", ",", "really", "..."]),
        ("  two  spaces\n", ["two", "spaces"]),
        ("1,234.56 $5", ["1", ",", "234", ".", "56", "$", "5"]),
        ("naïve e\u0301te\u0301", ["naïve", "e\u0301te\u0301"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("好产品!", ["好", "产", "品", "!"]),
        ("ok 👍🏽 👩\u200d👩\u200d👧 ❤\ufe0f", ["ok", "👍🏽", "👩\u200d👩\u200d👧", "❤\ufe0f"]),
        ("snake_case don’t", ["snake_case", "don’t"]),
        ("a\u200bb\x00c", ["a", "b", "c"]),
        ("", []),
    ],
)
def test_a_text_falls_into_words(text, words):
    assert [text[start:end] for start, end in split(text)] == words


def test_tokens_of_a_word_are_its_own():
    words = words_of("unbelievable film", [(0, 0), (0, 2), (2, 12), (13, 17), (0, 0)])
    assert [(word.text, word.tokens) for word in words] == [
        ("unbelievable", (1, 2)), ("film", (3,)),
    ]  # fmt: skip


def test_units_under_one_token_are_one_word():
    words = words_of("这个产品", [(0, 2), (2, 3), (3, 4)])
    assert [(word.text, word.tokens) for word in words] == [
        ("这个", (0,)), ("产", (1,)), ("品", (2,)),
    ]  # fmt: skip
    chained = words_of("a.b.c d", [(0, 2), (1, 4), (4, 5), (6, 7)])
    assert [(word.text, word.tokens) for word in chained] == [
        ("a.b.", (0, 1)), ("c", (2,)), ("d", (3,)),
    ]  # fmt: skip


def test_words_that_no_token_was_made_of_are_left_out():
    assert [word.text for word in words_of("one two three", [(0, 3), (4, 7)])] == ["one", "two"]


def test_a_text_as_the_model_reads_it(tiny_bert):
    reading = read(Tokenizer.open(tiny_bert), "the plot was great", 31)
    assert reading.tokens == ("[CLS]", "the", "plot", "was", "great", "[SEP]")
    assert [word.tokens for word in reading.words] == [(1,), (2,), (3,), (4,)]
    assert reading.content == (1, 2, 3, 4)
    assert (reading.num_tokens, reading.unread) == (6, None)
    hidden = reading.without([1, 3], 99)
    assert [place for place, token in enumerate(hidden) if token == 99] == [2, 4]
    assert [place for place, token in enumerate(reading.emptied(99)) if token == 99] == [1, 2, 3, 4]


def test_what_was_cut_is_known(tiny_bert):
    text = "the plot was great and the film was fun"
    reading = read(Tokenizer.open(tiny_bert), text, 5)
    assert reading.num_tokens == 11 and len(reading.ids) == 5
    assert reading.unread is not None
    assert text[slice(*reading.unread)] == " great and the film was fun"


@pytest.mark.parametrize("text", ["", "  \n\t"])
def test_an_empty_text_is_refused(tiny_bert, text):
    with pytest.raises(DataError, match="text 3: is empty"):
        read(Tokenizer.open(tiny_bert), text, 31, "text 3")


def test_a_text_without_a_known_character_is_refused(tiny_bert):
    with pytest.raises(DataError, match="holds no character"):
        read(Tokenizer.open(tiny_bert), "\u200b", 31)
