"""In every published layout, ids and texts equal those of the model's own tokenizer."""

from __future__ import annotations

import json
import shutil
import unicodedata
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.data.layouts import FIRSTS, MAKERS, MARKED, SECONDS, TEXTS, describe
from tokenizers import BertWordPieceTokenizer

from headstart.data.text import Tokenizer, Tokens

Layout = Callable[[str], Path]
EVERYTHING = [*TEXTS, *MARKED]
LONG = 100_003
FOLLOWS_VERSION_4 = {"deberta", "deberta-lower", "llama-legacy", "llama-bare", "mistral"}
"""Layouts that transformers 5 reads otherwise than SentencePiece and transformers 4."""
AGREED = sorted(set(MAKERS) - FOLLOWS_VERSION_4)
PAIRED = sorted(set(AGREED) - {"marian", "gpt2-bos"})
NAMES = ("bos", "eos", "pad", "unk", "mask", "cls", "sep")


def rows(tokens: Tokens, values: np.ndarray | None = None) -> list[list[int]]:
    values = tokens.values if values is None else values
    return [values[start:end].tolist() for start, end in pairwise(tokens.offsets)]


def theirs(folder: Path) -> Any:
    pytest.importorskip("sentencepiece")
    return pytest.importorskip("transformers").AutoTokenizer.from_pretrained(str(folder))


def assert_equal(got: list[Any], want: list[Any], texts: list[Any]) -> None:
    for mine, other, text in zip(got, want, texts, strict=True):
        assert mine == other, f"{text!r:.60}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", AGREED)
@pytest.mark.parametrize("max_length", [7, LONG])
def test_ids_equal_transformers(layout: Layout, name: str, max_length: int) -> None:
    reference, ours = theirs(layout(name)), Tokenizer.open(layout(name))
    want = reference(EVERYTHING, truncation=True, max_length=max_length)["input_ids"]
    filled = [ids or [ours.bos_id if ours.bos_id is not None else ours.eos_id] for ids in want]
    tokens = ours.encode(EVERYTHING, max_length)
    assert_equal(rows(tokens), filled, EVERYTHING)
    whole = [max(1, len(ids)) for ids in reference(EVERYTHING)["input_ids"]]
    assert tokens.full_lengths.tolist() == whole


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", AGREED)
def test_ids_without_special_tokens_equal_transformers(layout: Layout, name: str) -> None:
    reference, ours = theirs(layout(name)), Tokenizer.open(layout(name))
    want = reference(EVERYTHING, add_special_tokens=False)["input_ids"]
    got = rows(ours.encode(EVERYTHING, LONG, add_special=False))
    filler = [ours.bos_id if ours.bos_id is not None else ours.eos_id]
    assert_equal(got, [ids or filler for ids in want], EVERYTHING)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", AGREED)
@pytest.mark.parametrize("skip", [True, False])
def test_texts_equal_transformers(layout: Layout, name: str, skip: bool) -> None:
    reference, ours = theirs(layout(name)), Tokenizer.open(layout(name))
    ids = reference(EVERYTHING)["input_ids"]
    want = [reference.decode(row, skip_special_tokens=skip) for row in ids]
    assert_equal(ours.decode_batch(ids, skip), want, EVERYTHING)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", PAIRED)
@pytest.mark.parametrize("max_length", [5, 11, 12, LONG])
def test_pairs_equal_transformers(layout: Layout, name: str, max_length: int) -> None:
    reference, ours = theirs(layout(name)), Tokenizer.open(layout(name))
    settings = {"truncation": True, "max_length": max_length, "return_token_type_ids": True}
    want = reference(FIRSTS, SECONDS, **settings)
    got = ours.encode_pairs(FIRSTS, SECONDS, max_length)
    assert got.segments is not None and got.segments.dtype == np.int32
    pairs = list(zip(FIRSTS, SECONDS, strict=True))
    assert_equal(rows(got), want["input_ids"], pairs)
    assert_equal(rows(got, got.segments), want["token_type_ids"], pairs)
    assert got.full_lengths.tolist() == [len(i) for i in reference(FIRSTS, SECONDS)["input_ids"]]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", AGREED)
def test_special_tokens_equal_transformers(layout: Layout, name: str) -> None:
    reference, ours = theirs(layout(name)), Tokenizer.open(layout(name))
    for special in NAMES:
        want = getattr(reference, f"{special}_token_id")
        assert getattr(ours, f"{special}_id") == want, special
    assert ours.vocab_size == len(reference)
    assert ours.vocabulary == reference.get_vocab()


@pytest.mark.filterwarnings("ignore")
def test_marian_writes_the_other_language_with_the_other_model(layout: Layout) -> None:
    reference, ours = theirs(layout("marian")), Tokenizer.open(layout("marian"), side="target")
    want = reference(text_target=EVERYTHING)["input_ids"]
    assert_equal(rows(ours.encode(EVERYTHING, LONG)), want, EVERYTHING)
    assert ours.digest != Tokenizer.open(layout("marian")).digest


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["deberta", "deberta-lower"])
def test_deberta_equals_transformers_where_nothing_is_normalised(layout: Layout, name: str) -> None:
    plain = [
        text
        for text in EVERYTHING
        if unicodedata.normalize("NFKC", text) == text and text.isprintable() and "▁" not in text
    ]
    assert len(plain) > 13
    reference, ours = theirs(layout(name)), Tokenizer.open(layout(name))
    want = reference(plain)["input_ids"]
    assert_equal(rows(ours.encode(plain, LONG)), want, plain)
    assert_equal(ours.decode_batch(want), [reference.decode(i, True) for i in want], plain)
    pairs = reference(FIRSTS, SECONDS, truncation=True, max_length=11)
    got = ours.encode_pairs(FIRSTS, SECONDS, 11)
    assert rows(got) == pairs["input_ids"]
    assert rows(got, got.segments) == pairs["token_type_ids"]
    assert [getattr(ours, f"{n}_id") for n in NAMES] == [
        getattr(reference, f"{n}_token_id") for n in NAMES
    ]
    assert ours.mask_id == ours.vocab_size - 1


@pytest.mark.parametrize("name", ["deberta", "llama-legacy", "llama-bare", "mistral"])
def test_ids_equal_sentencepiece(layout: Layout, name: str) -> None:
    """With these tokens the networks were trained, white space and rare characters included.

    What DeBERTa's rules make a space at the end of a text stays one, as in transformers 4.
    """
    processor = pytest.importorskip("sentencepiece").SentencePieceProcessor
    file = next(layout(name).glob("*.model"))
    reference, ours = processor(str(file)), Tokenizer.open(layout(name))
    start, ends = ([ours.cls_id], [ours.sep_id]) if name == "deberta" else ([ours.bos_id], [])
    texts = [text for text in TEXTS if text and not text.endswith("\ufffd")]
    want = [[*start, *reference.encode(text), *ends] for text in texts]
    assert_equal(rows(ours.encode(texts, LONG)), want, texts)


def test_bytes_come_back_as_the_text(layout: Layout) -> None:
    """Nothing is unknown to a byte-level BPE, and nothing of a text is lost."""
    for name in ("gpt2", "roberta", "bart", "llama", "llama-legacy"):
        ours = Tokenizer.open(layout(name))
        texts = [text for text in TEXTS if text and text[0] != " " and "▁" not in text]
        assert_equal(ours.decode_batch(rows(ours.encode(texts, LONG))), texts, texts)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(set(AGREED) - {"marian"}))
def test_what_transformers_saves_of_it_gives_the_same(
    layout: Layout, name: str, tmp_path: Path
) -> None:
    """A tokenizer.json instead of the family's own files."""
    reference, before = theirs(layout(name)), Tokenizer.open(layout(name))
    reference.save_pretrained(tmp_path)
    shutil.copyfile(layout(name) / "config.json", tmp_path / "config.json")
    assert (tmp_path / "tokenizer.json").exists()
    after = Tokenizer.open(tmp_path)
    want = before.encode(EVERYTHING, 11)
    assert_equal(rows(after.encode(EVERYTHING, 11)), rows(want), EVERYTHING)
    texts = after.decode_batch(rows(want))
    assert_equal(texts, before.decode_batch(rows(want)), EVERYTHING)
    for special in NAMES:
        assert getattr(after, f"{special}_id") == getattr(before, f"{special}_id"), special


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("lower", [True, False])
@pytest.mark.parametrize(
    "stated", [{"do_lower_case": True}, {"do_lower_case": False}, {"strip_accents": False}]
)
def test_letters_are_treated_as_the_settings_say(
    tmp_path: Path, lower: bool, stated: dict[str, bool]
) -> None:
    """tokenizer_config.json goes before tokenizer.json."""
    letters = list("abcdeABCDEé")
    words = [
        *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
        *letters,
        *(f"##{c}" for c in letters),
    ]
    (tmp_path / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    built = BertWordPieceTokenizer(str(tmp_path / "vocab.txt"), lowercase=lower)
    built.save(str(tmp_path / "tokenizer.json"))
    describe(tmp_path, "bert", stated)
    texts = ["Abc bEa é É", "abc", "éa ÉA"]
    want = theirs(tmp_path)(texts)["input_ids"]
    assert rows(Tokenizer.open(tmp_path).encode(texts, LONG)) == want


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["roberta", "gpt2"])
def test_the_space_before_a_text_is_as_the_settings_say(
    layout: Layout, name: str, tmp_path: Path
) -> None:
    theirs(layout(name)).save_pretrained(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    settings = json.loads(file.read_text()) | {"add_prefix_space": True}
    describe(tmp_path, name, settings)
    want = theirs(tmp_path)(EVERYTHING[3:])["input_ids"]
    assert_equal(rows(Tokenizer.open(tmp_path).encode(EVERYTHING[3:], LONG)), want, EVERYTHING[3:])


def test_sentinels_count_down_to_the_end_of_the_vocabulary(layout: Layout) -> None:
    ours = Tokenizer.open(layout("t5"))
    last = ours.vocab_size - 1
    assert [ours.token_id(f"<extra_id_{i}>") for i in (0, 1, 99)] == [last, last - 1, last - 99]
    assert Tokenizer.open(layout("t5-7")).vocab_size == ours.vocab_size - 93
    assert ours.token_id("<extra_id_100>") is None
