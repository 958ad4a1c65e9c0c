"""What is missing or damaged is said, with the remedy; model files are read as they are."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.data.layouts import DEBERTA, LLAMA, MAKERS, T5, describe, train_pieces
from tokenizers import Tokenizer as Raw
from tokenizers import processors
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from headstart.data.text import Tokenizer, check_vocabulary
from headstart.data.tokenizing.frame import shares
from headstart.data.tokenizing.layouts import LAYOUTS
from headstart.data.tokenizing.piece_model import read_piece_model
from headstart.errors import CheckpointError
from headstart.models.resolve import DESCRIPTION_FILES
from headstart.models.save import TOKENIZER_FILES

Layout = Callable[[str], Path]


@pytest.mark.parametrize("options", [{}, T5, DEBERTA, LLAMA, {"add_dummy_prefix": False}])
def test_a_piece_model_is_read_as_its_own_library_reads_it(
    tmp_path: Path, options: dict[str, object]
) -> None:
    protocol = pytest.importorskip("sentencepiece.sentencepiece_model_pb2")
    train_pieces(tmp_path / "model", **options)
    want = protocol.ModelProto()
    want.ParseFromString((tmp_path / "model").read_bytes())
    got = read_piece_model(tmp_path / "model")
    assert [(p.text, p.score, p.type) for p in got.pieces] == [
        (p.piece, p.score, p.type) for p in want.pieces
    ]
    trainer, normalizer = want.trainer_spec, want.normalizer_spec
    assert (got.type, got.unknown_id, got.byte_fallback) == (
        trainer.model_type,
        trainer.unk_id,
        trainer.byte_fallback,
    )
    assert got.charsmap == normalizer.precompiled_charsmap
    assert got.dummy_prefix == normalizer.add_dummy_prefix
    assert got.single_spaces == normalizer.remove_extra_whitespaces


def test_a_damaged_piece_model_is_refused(layout: Layout, tmp_path: Path) -> None:
    whole = (layout("t5") / "spiece.model").read_bytes()
    chance = random.Random(11)
    describe(tmp_path, "t5")
    for content in (b"", b"\x00" * 31, whole[:-3], whole[: len(whole) // 2 + 1], b"not a model"):
        (tmp_path / "spiece.model").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"tokenizer is damaged.*Fetch it again"):
            Tokenizer.open(tmp_path)
    for _ in range(53):  # any bytes are read or refused, and nothing else happens
        (tmp_path / "noise").write_bytes(chance.randbytes(101))
        with pytest.raises(ValueError):
            read_piece_model(tmp_path / "noise")


def test_a_model_of_words_is_refused(tmp_path: Path) -> None:
    train_pieces(tmp_path / "spm.model", model_type="word", vocab_size=23, **DEBERTA)
    describe(tmp_path, "deberta-v2")
    with pytest.raises(CheckpointError, match=r"type 3, not unigram or BPE"):
        Tokenizer.open(tmp_path)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_every_file_that_is_missed_is_named(layout: Layout, name: str, tmp_path: Path) -> None:
    source = layout(name)
    files = [f for f in sorted(source.iterdir()) if f.name in TOKENIZER_FILES]
    files = [file for file in files if file.suffix != ".json" or file.name == "vocab.json"]
    for lost in files:
        folder = tmp_path / lost.name
        shutil.copytree(source, folder)
        (folder / lost.name).unlink()
        with pytest.raises(CheckpointError) as caught:
            Tokenizer.open(folder)
        message = str(caught.value)
        assert str(folder) in message and f"{lost.name}. " in message.split("missing: ")[1]
        kept = {file.name for file in files} - {lost.name}
        assert not any(other in message.split("missing: ")[1] for other in kept)
        model_type = json.loads((source / "config.json").read_text())["model_type"]
        assert f"model_type {model_type!r}" in message
        assert ("save_pretrained" in message) != (name == "marian")


def test_an_unknown_family_needs_a_whole_file(tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text("{}")
    describe(tmp_path, "modernbert")
    with pytest.raises(CheckpointError) as caught:
        Tokenizer.open(tmp_path)
    message = str(caught.value)
    assert "reads model_type 'modernbert' from nothing else" in message
    assert "tokenizer.json" in message and "save_pretrained" in message
    describe(tmp_path, "roberta", {"tokenizer_class": "BertweetTokenizer"})
    with pytest.raises(CheckpointError, match="tokenizer_class 'BertweetTokenizer'"):
        Tokenizer.open(tmp_path)


def test_the_stated_class_goes_before_the_model_type(layout: Layout, tmp_path: Path) -> None:
    """As of the DeBERTas that have a vocab.txt."""
    (tmp_path / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\n")
    describe(tmp_path, "deberta-v2", {"tokenizer_class": "BertTokenizerFast"})
    assert Tokenizer.open(tmp_path).encode(["Hello"], 7).values.tolist() == [2, 5, 3]


@pytest.mark.parametrize(
    ("name", "file", "content"),
    [
        ("roberta", "vocab.json", "{"),
        ("roberta", "vocab.json", "[]"),
        ("roberta", "merges.txt", "one two three four\n"),
        ("roberta", "merges.txt", "qqq zzz\n"),
        ("roberta", "vocab.json", '{"a": 0}'),
        ("marian", "vocab.json", '{"</s>": "0"}'),
        ("marian", "vocab.json", '{"</s>": 0}'),
        ("t5", "tokenizer_config.json", "["),
        ("t5", "tokenizer_config.json", '{"eos_token": 3}'),
        ("t5", "tokenizer_config.json", '{"added_tokens_decoder": {"x": {}}}'),
        ("t5", "tokenizer_config.json", '{"extra_ids": "many"}'),
        ("t5", "tokenizer.json", '{"model": {}}'),
        ("t5", "tokenizer.json", '{"version": "9.0", "model": {"type": "None"}}'),
    ],
)
def test_a_damaged_file_is_refused(
    layout: Layout, tmp_path: Path, name: str, file: str, content: str
) -> None:
    folder = tmp_path / name
    shutil.copytree(layout(name), folder)
    (folder / file).write_text(content)
    with pytest.raises(CheckpointError, match=str(folder)):
        Tokenizer.open(folder)


def test_an_end_that_is_no_token_is_refused(layout: Layout, tmp_path: Path) -> None:
    folder = tmp_path / "roberta"
    shutil.copytree(layout("roberta"), folder)
    (folder / "special_tokens_map.json").unlink()
    describe(folder, "roberta", {"sep_token": None})
    with pytest.raises(CheckpointError, match=r"no sep_token, and every text needs one"):
        Tokenizer.open(folder)


def test_marian_tokens_that_have_no_id_are_refused(layout: Layout, tmp_path: Path) -> None:
    folder = tmp_path / "marian"
    shutil.copytree(layout("marian"), folder)
    describe(folder, "marian", {"additional_special_tokens": ["<new>", "</s>"]})
    with pytest.raises(CheckpointError, match=r"vocab.json lacks: \['<new>'\]"):
        Tokenizer.open(folder)


def test_more_tokens_than_rows_of_the_embedding_are_refused(layout: Layout) -> None:
    tokenizer = Tokenizer.open(layout("gpt2-padded"))
    size = tokenizer.vocab_size
    check_vocabulary(tokenizer, size, "here")
    check_vocabulary(tokenizer, size + 28, "here")  # padded to a round number, as T5's is
    with pytest.raises(CheckpointError) as caught:
        check_vocabulary(tokenizer, size - 1, "here")
    message = str(caught.value)
    assert message.startswith(f"here: 1 of the tokenizer's {size} tokens have no row")
    assert f"which has {size - 1}: '[PAD]' ({size - 1})." in message
    assert f"resize_token_embeddings({size})" in message
    with pytest.raises(CheckpointError, match=r"7 of .*, \.\.\.\. Take"):
        check_vocabulary(tokenizer, size - 7, "here")


def test_all_files_of_all_layouts_are_fetched_and_handed_on() -> None:
    files = {file for known in LAYOUTS.values() for file in known.files} | {"target_vocab.json"}
    assert files <= set(TOKENIZER_FILES)
    assert files | {"generation_config.json", "tokenizer_config.json"} <= set(DESCRIPTION_FILES)


def test_the_room_of_a_pair_is_shared_as_the_library_shares_it() -> None:
    raw = Raw(WordLevel({"a": 0, "b": 1}, unk_token="a"))
    raw.pre_tokenizer = Whitespace()
    for room in range(1, 12):
        raw.enable_truncation(room)
        for first in range(14):
            for second in range(14):
                ids = raw.encode("a " * first, "b " * second).ids
                assert shares(first, second, room) == (ids.count(0), ids.count(1))


def test_segments_and_special_tokens_of_a_pair_by_hand(tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "dog", "ran"]
    raw = Raw(WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
    raw.pre_tokenizer = Whitespace()
    raw.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    raw.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.open(tmp_path)
    first, second = ["cat dog", "", "cat cat cat cat"], ["ran", "dog", "dog dog"]
    tokens = tokenizer.encode_pairs(first, second, 7)
    assert tokens.values.tolist() == [2, 4, 5, 3, 6, 3, 2, 3, 5, 3, 2, 4, 4, 3, 5, 5, 3]
    assert tokens.segments.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 1, 1, 1]
    assert tokens.offsets.tolist() == [0, 6, 10, 17]
    assert tokens.full_lengths.tolist() == [6, 4, 9] and tokens.cut_tokens == 2
    bare = tokenizer.encode_pairs(first, second, 3, add_special=False)
    assert bare.values.tolist() == [4, 5, 6, 5, 4, 4, 5]
    assert bare.segments.tolist() == [0, 0, 1, 1, 0, 0, 1]
    assert tokenizer.encode(first, 7).segments is None
