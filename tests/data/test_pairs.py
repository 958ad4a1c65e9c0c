"""Pairs of texts: out of a table, through the tokenizer, in batches with their segments."""

import pickle

import numpy as np
import pandas as pd
import pytest

from headstart.data.batches import RaggedStore, StorePart, take
from headstart.data.examples import examples
from headstart.data.numbers import numbers
from headstart.data.pair import Pair, are_pairs, as_texts, encode
from headstart.data.pairs import pair_examples, read_examples
from headstart.data.table import read
from headstart.data.text import Tokenizer
from headstart.errors import DataError


def table(**more):
    columns = {"one": ["film plot", "the", " ", "a"], "two": ["actor", "story was", "plot", ""],
               "label": ["yes", "no", "yes", "no"]}  # fmt: skip
    return read(pd.DataFrame(columns | more), name="pairs.csv")


def test_two_columns_become_pairs_and_rows_without_either_text_are_left_out():
    found = pair_examples(table(), text=("one", "two"))
    assert [(p.first, p.second) for p in found.texts] == [
        ("film plot", "actor"),
        ("the", "story was"),
    ]
    assert found.labels == ["yes", "no"]
    assert [f.kind for f in found.findings] == ["empty texts", "empty texts"]
    assert read_examples(table(), text=["one", "two"]).digest == found.digest
    kept = pair_examples(table(), text=("one", "two"), keep_empty=True)
    assert len(kept) == 4


def test_the_digest_is_of_both_texts():
    swapped = pair_examples(table(), text=("two", "one"))
    first = pair_examples(table(), text=("one", "two"))
    assert swapped.take([0]).texts_digest != first.take([0]).texts_digest
    assert first.take([1, 0]).texts[1] == Pair("film plot", "actor")


def test_a_column_that_is_not_there_is_told():
    with pytest.raises(DataError, match=r"no column 'twoo' .*'two'"):
        pair_examples(table(), text=("one", "twoo"))
    with pytest.raises(DataError, match="two columns"):
        pair_examples(table(), text=("one", "one"))


def test_pairs_are_tokenised_as_the_family_numbers_them(tiny_bert):
    tokenizer = Tokenizer.open(tiny_bert)
    texts = as_texts([("film plot", "actor"), ("the", "story was")])
    assert are_pairs(texts)
    tokens = encode(tokenizer, texts, 17)
    want = tokenizer.encode_pairs(["film plot", "the"], ["actor", "story was"], 17)
    assert np.array_equal(tokens.values, want.values)
    store = RaggedStore(tokens.values, tokens.offsets, tokens.segments)
    batch = take(store, np.array([1, 0]))
    # [CLS] the [SEP] story was [SEP], then [CLS] film plot [SEP] actor [SEP]
    assert batch.segments.tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1]
    part = take(StorePart(store, np.array([1])), np.array([0]))
    assert part.segments.tolist() == [0, 0, 0, 1, 1, 1]
    assert part.target is None


def test_single_texts_have_no_segments(tiny_bert):
    tokens = encode(Tokenizer.open(tiny_bert), ["film"], 17)
    assert take(RaggedStore(tokens.values, tokens.offsets), np.array([0])).segments is None


def test_pairs_and_single_texts_do_not_go_together():
    with pytest.raises(DataError, match="text 1"):
        as_texts([("a", "b"), "c"])


def test_a_pair_survives_pickling():
    pair = pickle.loads(pickle.dumps(Pair("a", "b")))
    assert (pair.first, pair.second, str(pair)) == ("a", "b", "a \u2016 b")


def test_labels_that_are_no_numbers_are_told_by_row():
    frame = pd.DataFrame({"text": ["a", "b", "c", "d"], "label": ["1.5", "two", "3", "nan"]})
    with pytest.raises(DataError) as caught:
        examples(read(frame, name="x.csv"), kinds=("numbers",))
    (fault,) = caught.value.faults
    assert "2 labels of no number" in fault
    assert "'two', 'nan'" in fault


def test_numbers_need_not_be_few():
    many = pd.DataFrame({"text": [f"t{i}" for i in range(1511)], "label": np.arange(1511) / 7})
    found = examples(read(many, name="x"), kinds=("numbers",))
    np.testing.assert_allclose(numbers(found.labels), np.arange(1511) / 7)
    with pytest.raises(DataError, match="1,511 classes"):
        examples(read(many, name="x"))


def test_numbers_all_alike_are_refused():
    frame = pd.DataFrame({"text": ["a", "b"], "label": ["2", "2.0"]})
    with pytest.raises(DataError, match="all 2 labels are 2"):
        examples(read(frame, name="x"), kinds=("numbers",))
