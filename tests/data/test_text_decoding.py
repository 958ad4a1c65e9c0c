"""Texts that come token by token, ids by name, and what ends a text."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.layouts import MAKERS, MARKED, TEXTS, describe, mark
from tokenizers import Tokenizer as Raw
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordLevel, WordPiece
from tokenizers.pre_tokenizers import Whitespace

from headstart.data.text import Tokenizer
from headstart.errors import CheckpointError, DataError

Layout = Callable[[str], Path]


def save_words(folder: Path, words: list[str], unknown: str | None = "[UNK]") -> Path:
    """A tokenizer.json that knows whole words and adds nothing."""
    ids = {word: number for number, word in enumerate(words)}
    raw = Raw(WordLevel(ids, unk_token=unknown) if unknown else WordLevel(ids))
    raw.pre_tokenizer = Whitespace()
    raw.save(str(folder / "tokenizer.json"))
    return folder


def ids_of(tokenizer: Tokenizer, text: str) -> list[int]:
    return tokenizer.encode([text], 100_003).values.tolist()


@pytest.mark.parametrize("name", sorted(MAKERS))
@pytest.mark.parametrize("skip", [True, False])
def test_a_stream_gives_in_pieces_what_decoding_gives_at_once(
    layout: Layout, name: str, skip: bool
) -> None:
    tokenizer = Tokenizer.open(layout(name))
    for text in [*TEXTS, *MARKED]:
        ids = ids_of(tokenizer, text)[:211]
        stream, so_far = tokenizer.stream(skip), ""
        for end, number in enumerate(ids, 1):
            so_far += stream.push(number)
            assert tokenizer.decode(ids[:end], skip).startswith(so_far)
        assert so_far + stream.finish() == tokenizer.decode(ids, skip)


@pytest.mark.parametrize("name", sorted(MAKERS))
@pytest.mark.parametrize("skip", [True, False])
def test_a_stream_of_any_tokens_is_their_text(layout: Layout, name: str, skip: bool) -> None:
    """A model may write what no text becomes: half characters, bytes, tokens in any order."""
    tokenizer, chance = Tokenizer.open(layout(name)), random.Random(7)
    for _ in range(101):
        ids = [chance.randrange(tokenizer.vocab_size) for _ in range(chance.randint(0, 23))]
        stream = tokenizer.stream(skip)
        got = "".join([stream.push(number) for number in ids])
        assert got + stream.finish() == tokenizer.decode(ids, skip), ids


def test_half_a_character_is_held_back(layout: Layout) -> None:
    tokenizer = Tokenizer.open(layout("gpt2"))
    ids = ids_of(tokenizer, "a 한 b")
    stream = tokenizer.stream()
    assert [stream.push(number) for number in ids] == ["a", " ", "", "", "한", " ", "b"]
    assert stream.push(ids[2]) == "" and stream.finish() == "\ufffd"
    assert stream.finish() == ""


def test_bytes_in_a_row_are_held_back_until_another_token(layout: Layout) -> None:
    """Together with a further byte they may be no characters at all."""
    tokenizer = Tokenizer.open(layout("llama"))
    first, second = (tokenizer.vocabulary[f"<0x{byte:02X}>"] for byte in (0xC3, 0xA9))
    word = ids_of(tokenizer, "cat")[1:]
    stream = tokenizer.stream()
    assert [stream.push(number) for number in (first, second)] == ["", ""]
    assert stream.push(word[0]).startswith("é")
    assert tokenizer.decode([first, second, first]) == "\ufffd" * 3


def test_spaces_are_taken_away_where_the_settings_say_so(tmp_path: Path) -> None:
    words = ["[UNK]", "i", "don", "'", "t", "n't", "do", ",", ".", "##s", "'s", "no", "it"]
    raw = Raw(WordPiece({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.decoder = WordPieceDecoder(cleanup=False)
    raw.save(str(tmp_path / "tokenizer.json"))
    ids = [words.index(w) for w in ("i", "do", "n't", ",", "it", "'s", "no", "'", "t", "##s", ".")]
    describe(tmp_path, "bert", {"clean_up_tokenization_spaces": False})
    assert Tokenizer.open(tmp_path).decode(ids) == "i do n't , it 's no ' ts ."
    describe(tmp_path, "bert", {"clean_up_tokenization_spaces": True})
    tokenizer = Tokenizer.open(tmp_path)
    assert tokenizer.decode(ids) == "i don't, it's no'ts."
    stream, so_far = tokenizer.stream(), ""
    for number in ids:
        so_far += stream.push(number)
        assert "i don't, it's no'ts.".startswith(so_far)
    assert so_far + stream.finish() == "i don't, it's no'ts."


def test_decoding_leaves_out_what_is_no_token(layout: Layout) -> None:
    tokenizer = Tokenizer.open(layout("gpt2"))
    ids = ids_of(tokenizer, "hello")
    assert tokenizer.decode([-100, *ids, 99_991, -1]) == "hello"
    assert tokenizer.decode_batch([ids, [], ids]) == ["hello", "", "hello"]


@pytest.mark.parametrize("name", ["gpt2", "qwen2", "gpt2-padded"])
def test_an_empty_text_is_one_token(layout: Layout, name: str) -> None:
    tokenizer = Tokenizer.open(layout(name))
    filler = tokenizer.bos_id if name != "qwen2" else tokenizer.eos_id
    tokens = tokenizer.encode(["", "hello", ""], 5)
    assert tokens.lengths.tolist()[::2] == [1, 1] and tokens.cut_rows == 0
    assert tokens.full_lengths.tolist() == tokens.lengths.tolist()
    assert tokens.values[0] == tokens.values[-1] == filler
    pairs = tokenizer.encode_pairs([""], [""], 5)
    assert pairs.values.tolist() == [filler] and pairs.segments.tolist() == [0]


def test_an_empty_text_without_any_special_token_is_an_error_with_its_row(tmp_path: Path) -> None:
    tokenizer = Tokenizer.open(save_words(tmp_path, ["a", "b"], None))
    assert tokenizer.encode(["a", "b a"], 3).lengths.tolist() == [1, 2]
    with pytest.raises(DataError, match=r"text 1 \(from 0\): is empty.*eos_token"):
        tokenizer.encode(["a", "", "b"], 3)


def test_without_special_tokens_all_room_is_the_texts(layout: Layout) -> None:
    tokenizer = Tokenizer.open(layout("llama"))
    whole = tokenizer.encode(["hello there general"], 100, add_special=False)
    assert whole.values[0] != tokenizer.bos_id
    assert (
        tokenizer.encode(["hello there general"], 100).values.tolist()[1:] == whole.values.tolist()
    )
    cut = tokenizer.encode(["hello there general"], 2, add_special=False)
    assert cut.values.tolist() == whole.values.tolist()[:2]
    assert cut.full_lengths.tolist() == [len(whole.values)]


def test_the_files_are_asked_in_transformers_order(tmp_path: Path) -> None:
    words = ["[UNK]", "a", "b", "c", "d", "[MASK]"]
    save_words(tmp_path, words)
    describe(tmp_path, None, {"eos_token": "a", "pad_token": None}, {"eos_token": "b"})
    tokenizer = Tokenizer.open(tmp_path)
    assert (tokenizer.eos_id, tokenizer.eos_ids, tokenizer.pad_id) == (2, (2,), None)
    assert (tokenizer.bos_id, tokenizer.mask_id) == (None, None)

    added = {"1": mark("a", special=True)}
    describe(tmp_path, None, {"eos_token": "a", "added_tokens_decoder": added}, {"eos_token": "b"})
    assert Tokenizer.open(tmp_path).eos_id == 1  # then special_tokens_map.json is of no meaning

    config = {"model_type": "bert", "bos_token_id": 3, "eos_token_id": 2}
    (tmp_path / "config.json").write_text(json.dumps(config))
    tokenizer = Tokenizer.open(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.eos_ids) == (3, 1, (2,))
    assert tokenizer.mask_id == 5  # usual for the class

    stops = {"eos_token_id": [4, 2], "bos_token_id": 4}
    (tmp_path / "generation_config.json").write_text(json.dumps(stops))
    tokenizer = Tokenizer.open(tmp_path)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.eos_ids) == (4, 1, (4, 2))


def test_tokens_that_the_settings_add_come_after_the_vocabulary(tmp_path: Path) -> None:
    save_words(tmp_path, ["[UNK]", "a", "b"])
    describe(tmp_path, None, {"pad_token": "<pad>"}, {"additional_special_tokens": ["<x>"]})
    (tmp_path / "added_tokens.json").write_text('{"<y>": 3}')
    tokenizer = Tokenizer.open(tmp_path)
    assert [tokenizer.token_id(text) for text in ("<y>", "<pad>", "<x>", "<z>")] == [3, 4, 5, None]
    tokens = tokenizer.encode(["a<x>b<y>"], 7)
    assert tokens.values.tolist() == [1, 5, 2, 3]
    raw = json.loads((tmp_path / "tokenizer.json").read_text())
    assert raw["added_tokens"] == []  # the file itself is left alone


def test_special_tokens_are_text_where_the_settings_say_so(tmp_path: Path) -> None:
    save_words(tmp_path, ["[UNK]", "a", "<", "x", ">", "<x>"])
    describe(tmp_path, None, {"additional_special_tokens": ["<x>"]})
    before = Tokenizer.open(tmp_path)
    assert before.encode(["a<x>"], 7).values.tolist() == [1, 5]
    describe(tmp_path, None, {"additional_special_tokens": ["<x>"], "split_special_tokens": True})
    after = Tokenizer.open(tmp_path)
    assert after.encode(["a<x>"], 7).values.tolist() == [1, 2, 3, 4]
    assert before.digest != after.digest


def test_an_added_token_with_another_id_is_refused(tmp_path: Path) -> None:
    save_words(tmp_path, ["[UNK]", "a", "b"])
    (tmp_path / "added_tokens.json").write_text('{"<y>": 7}')
    with pytest.raises(CheckpointError, match=r"'<y>' has id 7, but its vocabulary makes it 3"):
        Tokenizer.open(tmp_path)
