"""Texts of any length as rows: every token is kept, in memory and in files."""

import numpy as np
import pyarrow as pa
import pytest
from tests.conftest import FILLER, save_tokenizer

from headstart.data.corpus import Framed, Running, corpus, framed, running
from headstart.data.examples import Examples
from headstart.data.mapped import Window
from headstart.data.text import Tokenizer
from headstart.data.texts import Texts
from headstart.data.word_starts import word_starts

TEXTS = ["film plot actor", "scene", " ".join(FILLER * 3), "the was a and very camera film"]


@pytest.fixture
def tokenizer(tmp_path):
    save_tokenizer(tmp_path, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *FILLER])
    return Tokenizer.open(tmp_path)


def rows_of(found):
    store = found.store
    return [store.values[a:b].tolist() for a, b in zip(store.offsets[:-1], store.offsets[1:],
                                                       strict=True)]  # fmt: skip


def examples(texts):
    return Examples("texts", texts, None, np.arange(len(texts)))


def test_framed_rows_hold_every_token_once_and_are_even(tokenizer):
    found = corpus(tokenizer, examples(TEXTS), framed(tokenizer, 13))
    whole = tokenizer.encode(TEXTS, 1000, add_special=False)
    for text in range(len(TEXTS)):
        rows = [row for row, own in zip(rows_of(found), found.owners, strict=True) if own == text]
        assert all(row[0] == 2 and row[-1] == 3 and len(row) <= 13 for row in rows)
        body = [token for row in rows for token in row[1:-1]]
        assert body == whole.values[whole.offsets[text] : whole.offsets[text + 1]].tolist()
        assert max(map(len, rows)) - min(map(len, rows)) <= 1
    assert found.owners.tolist() == [0, 1, 2, 2, 2, 3]  # 33 tokens in rows of 11
    assert found.rows_of(np.array([2, 0])).tolist() == [0, 2, 3, 4]


def test_running_rows_ask_for_every_token_exactly_once():
    text = np.arange(10, 33, dtype=np.int32)
    rows = [row.tolist() for row in Running((1,), (2,), 7).rows(text)]
    assert rows[0] == [1, 10, 11, 12, 13, 14, 15] and rows[1][0] == 15
    assert [token for row in rows for token in row[1:]] == [*range(10, 33), 2]
    assert [row.tolist() for row in Running((), (), 7).rows(text[:1])] == [[10]]


def test_a_decoder_reads_where_texts_begin_and_end(tokenizer):
    assert running(tokenizer, 9) == Running((2,), (3,), 9)


def test_what_is_too_large_for_memory_is_kept_in_files_and_found_again(tokenizer, tmp_path):
    texts = Texts(pa.array(TEXTS), Window(None))
    in_memory = corpus(tokenizer, examples(TEXTS), framed(tokenizer, 13), cache=tmp_path)
    assert not (tmp_path / "tokens").exists()
    for _ in range(2):
        kept = corpus(tokenizer, examples(texts), framed(tokenizer, 13), cache=tmp_path)
        assert isinstance(kept.store.values, np.memmap)
        assert rows_of(kept) == rows_of(in_memory)
        assert kept.owners.tolist() == in_memory.owners.tolist()
    places = list((tmp_path / "tokens").iterdir())
    assert len(places) == 1
    (places[0] / "owners.int64").write_bytes(b"")  # damaged: made again
    again = corpus(tokenizer, examples(texts), framed(tokenizer, 13), cache=tmp_path)
    assert rows_of(again) == rows_of(in_memory)
    assert rows_of(corpus(tokenizer, examples(texts), Framed((2,), (3,), 7), cache=tmp_path)) != (
        rows_of(in_memory)
    )


def test_which_tokens_begin_a_word_by_the_mark_of_the_kind():
    class Bytes:
        kind, special_ids = "BPE", (0,)
        vocabulary = {"<s>": 0, "Ġthe": 1, "re": 2, "Ċ": 3, ".": 4}

    assert word_starts(Bytes()).tolist() == [True, True, False, True, False]

    class Pieces(Bytes):
        kind, vocabulary = "Unigram", {"<s>": 0, "▁the": 1, "re": 2}

    assert word_starts(Pieces()).tolist() == [True, True, False]

    class Words(Bytes):
        kind, vocabulary = "WordPiece", {"<s>": 0, "##re": 1, "re": 2}

    assert word_starts(Words()).tolist() == [True, False, True]

    class Letters(Bytes):
        vocabulary = {"<s>": 0, "a": 1}

    assert word_starts(Letters()) is None
