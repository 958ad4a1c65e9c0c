"""Each token knows which characters it was made of, in every published layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.layouts import MAKERS, TEXTS

from headstart.data.text import Tokenizer

PLAIN = "the cat sat on the mat and the dog ran to the house"


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_spans_cover_a_text_word_by_word(layout: Callable[[str], Path], name: str) -> None:
    tokenizer = Tokenizer.open(layout(name))
    spans = tokenizer.spans(PLAIN, 100_003)
    assert len(spans) == int(tokenizer.encode([PLAIN], 100_003).lengths[0])
    made = [(start, end) for start, end in spans if end > start]
    covered = {place for start, end in made for place in range(start, end)}
    assert covered >= {place for place, letter in enumerate(PLAIN) if letter != " "}
    assert [start for start, _ in made] == sorted(start for start, _ in made)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_there_is_a_span_for_every_token_of_odd_texts(
    layout: Callable[[str], Path], name: str
) -> None:
    tokenizer = Tokenizer.open(layout(name))
    for text in TEXTS:
        for max_length in (7, 100_003):
            spans = tokenizer.spans(text, max_length)
            assert len(spans) == int(tokenizer.encode([text], max_length).lengths[0]), text
            assert all(0 <= start <= end <= len(text) for start, end in spans), text


def test_a_language_code_is_a_token_of_its_own(layout: Callable[[str], Path]) -> None:
    tokenizer = Tokenizer.open(layout("marian"))
    text = ">>fr<< the cat"
    spans = tokenizer.spans(text, 31)
    assert text[slice(*spans[0])] == ">>fr<<"
    assert "".join(text[slice(*span)] for span in spans[1:]).split() == ["the", "cat"]


def test_special_tokens_stand_for_nothing(layout: Callable[[str], Path]) -> None:
    spans = Tokenizer.open(layout("deberta")).spans("the cat", 31)
    assert spans[0] == spans[-1] == (0, 0)
