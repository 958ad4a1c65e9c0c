"""Bad files: one clear message that says where, what was found and what to do; no traceback."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import pandas as pd
import pytest

from headstart.data import encoding, mapped
from headstart.data.examples import examples
from headstart.data.table import read
from headstart.errors import DataError


@pytest.fixture(autouse=True, params=["in memory", "in files"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a table, it is read as a small one, or as one too large for memory."""
    if request.param == "in files":
        monkeypatch.setattr(mapped, "LARGE", -1)


NAMES = ["text", "label"]


def faults(path: Path) -> list[str]:
    """What is wrong with a file; each fault begins with its path."""
    with pytest.raises(DataError) as caught:
        read(path)
    listed = list(caught.value.faults)
    assert all(fault.startswith((str(path), "... and ")) for fault in listed)
    return [fault.removeprefix(str(path)) for fault in listed]


def fault(folder: Path, name: str, content: str | bytes) -> str:
    """The one thing wrong with a file of this content."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    (found,) = faults(path)
    return found


# Not there, or not a table.


def test_a_missing_file_names_the_nearest(tmp_path):
    (tmp_path / "reviews.csv").write_text("text,label\n")
    assert faults(tmp_path / "review.csv") == [
        ": there is no such file. Did you mean 'reviews.csv'?"
    ]
    assert faults(tmp_path / "quite_other.parquet") == [": there is no such file."]


def test_a_missing_folder_is_named(tmp_path):
    path = tmp_path / "none" / "a.csv"
    assert faults(path) == [f": there is no such file, nor a folder {tmp_path / 'none'}."]


def test_a_path_that_no_file_can_have(tmp_path):
    assert "too long" in faults(tmp_path / ("x" * 300 + ".csv"))[0]


def test_a_file_that_may_not_be_opened(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    assert faults(path) == [": cannot be opened: Permission denied."]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.doc", "files ending in '.doc' are not read"),
        ("a", "files without an ending are not read"),
        ("a.gz", "files ending in '.gz' are not read"),
        ("a.zip", "unzip a.zip"),
        ("a.xlsx", "Save it as csv"),
        ("a.pkl", "frame.to_parquet('a.parquet')"),
    ],
)
def test_an_unknown_ending_lists_the_known(tmp_path, name, said):
    found = fault(tmp_path, name, "text,label\n")
    assert said in found
    assert ".csv, .tsv, .jsonl, .ndjson, .json, .parquet, .txt, .review" in found


def test_a_folder_of_unknown_layout(tmp_path):
    assert "is no layout that is known; it holds nothing. Known: an aclImdb" in faults(tmp_path)[0]
    for number in range(7):
        (tmp_path / f"{number}.csv").write_text("")
    assert "it holds 0.csv, 1.csv, 2.csv, 3.csv, 4.csv, and 2 more. Known" in faults(tmp_path)[0]


def test_a_folder_around_or_within_a_layout_says_which(tmp_path):
    folder = tmp_path / "aclImdb"
    (folder / "train" / "pos").mkdir(parents=True)
    assert faults(tmp_path)[0].endswith(f"{folder} is one: did you mean that?")
    assert faults(folder / "train")[0].endswith(f"{folder} is one: did you mean that?")


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_an_empty_file(tmp_path, ending):
    assert fault(tmp_path, f"a.{ending}", "") == ": is empty."


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", "text,label\n", ": holds a header (text, label) and no rows."),
        ("a.csv", "\ufefftext;label\r\n\r\n", ": holds a header (text, label) and no rows."),
        ("a.csv", "\n  \n\n", ": holds blank lines only."),
        ("a.csv", "\ufeff", ": holds blank lines only."),
        ("a.jsonl", "\n \n", ": holds no rows."),
        ("a.json", "[]", ": holds no rows."),
    ],
)
def test_a_file_without_rows(tmp_path, name, content, said):
    assert fault(tmp_path, name, content) == said


def test_a_parquet_file_without_rows(tmp_path):
    pd.DataFrame({"text": pd.Series([], dtype=str)}).to_parquet(tmp_path / "a.parquet")
    assert faults(tmp_path / "a.parquet") == [": holds no rows."]


# Rows and quotes.


def test_broken_rows_are_all_named_with_their_numbers(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\nfine,1\nGood, very,1\n"a\nb",1\n\nalone\nok,0\n')
    assert faults(path) == [
        ", row 3: has 3 fields where the header has 2: 'Good, very,1'. A field that holds a comma "
        "must stand in double quotes, and a quote in it be doubled.",
        ", row 6: has 1 fields where the header has 2: 'alone'. Fill in what is missing; an empty "
        "field needs its comma too.",
    ]


def test_many_broken_rows_are_capped(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,label\n" + "a,b,c\n" * 1013)
    found = faults(path)
    assert [line.split(":")[0] for line in found[:5]] == [f", row {n}" for n in range(2, 7)]
    assert found[5:] == ["... and 1,008 more broken rows."]


def test_a_broken_row_is_shown_in_part(tmp_path):
    found = fault(tmp_path, "a.csv", "text,label\n" + "x" * 5000 + ",1,2\n")
    assert len(found) < 400


def test_a_separator_is_named(tmp_path):
    assert "holds a semicolon must" in fault(tmp_path, "a.csv", "text;label\na;b;c\n")
    assert "holds a tab must" in fault(tmp_path, "a.tsv", "text\tlabel\na\tb\tc\n")


@pytest.mark.parametrize(
    ("content", "row", "line"),
    [
        ('text,label\nfine,1\n"open,1\nmore,0\nlast,1\n', 3, 3),
        ('text,label\n"a\nb",1\n\n"open,1\nlast,1\n', 4, 5),
        ('text,label\n"He said "no" twice",1\n', 2, 2),
        ('text,label\n"a"b,1\n', 2, 2),
        ('text,label\nfine,1\n"open', 3, 3),
        ('"text,label\nfine,1\n', 1, 1),
    ],
)
def test_a_quote_that_is_not_closed(tmp_path, content, row, line):
    found = fault(tmp_path, "a.csv", content)
    assert found.startswith(f", row {row} (line {line}): a double quote is opened there and n")
    assert "double the quotes that belong to the text" in found


def test_an_unclosed_quote_before_much_text(tmp_path):
    found = fault(tmp_path, "a.csv", 'text,label\n"open,1\n' + "many words here,0\n" * 99_991)
    assert found.startswith(", row 2 (line 2): a double quote is opened there and never closed")
    assert len(found) < 400


def test_broken_rows_and_a_quote_are_told_together(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text('text,label\na,b,c\n"open,1\n')
    assert [found.split(":")[0] for found in faults(path)] == [", row 2", ", row 3 (line 3)"]


def test_columns_named_twice(tmp_path):
    found = fault(tmp_path, "a.csv", "\n\ntext, label,label ,text\na,b,c,d\n")
    assert found.startswith(", row 3: the header names 'label', 'text' more than once.")


# Bytes.


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json"])
@pytest.mark.parametrize("before", [0, 1, 10, encoding.BLOCK - 30, encoding.BLOCK, 2_500_001])
def test_the_byte_of_a_wrong_encoding_is_exact(tmp_path, ending, before):
    start = b"text\tlabel\n" + b"a" * before + b"\n"
    found = fault(tmp_path, f"a.{ending}", start + "Schön, größer\tja\n".encode("latin-1"))
    assert found.startswith(
        f", line 3: is not UTF-8 (byte {len(start) + 3:,}); it looks like cp1252."
    )
    assert f"iconv -f cp1252 -t utf-8 a.{ending} > utf8-a.{ending}" in found


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_character_across_the_border_of_two_blocks(tmp_path, cut):
    """Whole it is fine, and broken it is found where it begins."""
    start = b"text,label\n" + b"a" * (encoding.BLOCK - 11 - cut)
    path = tmp_path / "a.csv"
    path.write_bytes(start + "🙂,x\n".encode())
    assert len(read(path)) == 1
    found = fault(tmp_path, "a.csv", start + "🙂".encode()[:3] + b",x\n")
    assert found.startswith(f", line 2: is not UTF-8 (byte {len(start):,})")


def test_a_file_cut_within_a_character(tmp_path):
    found = fault(tmp_path, "a.csv", b"text,label\nfine,1\nol\xc3")
    assert found.startswith(", line 3: is not UTF-8 (byte 20)")


LATIN = "text,label\n" + "Das ist schön und größer als “gut”, naïve façade,1\n" * 3
RUSSIAN = "text,label\nОчень хороший телефон за свою цену,да\n"
CHINESE = "text,label\n这个手机非常好，电池也很耐用，推荐购买。,好\n"
JAPANESE = "text,label\nこの電話はとても良いです。おすすめします。,良い\n"
KOREAN = "text,label\n이 전화기는 정말 좋습니다 추천합니다,좋음\n"


@pytest.mark.parametrize(
    ("content", "coded", "guess"),
    [
        (LATIN, "cp1252", "cp1252"),
        (RUSSIAN, "cp1251", "cp1251"),
        (CHINESE, "gb18030", "gb18030"),
        (JAPANESE, "shift_jis", "shift_jis"),
        (KOREAN, "euc-kr", "euc-kr"),
        ("text,label\nна\x81", "cp1251", None),
        ("text,label\nfine,1\n", "utf-16", "utf-16"),
        ("text,label\nfine,1\n", "utf-16-le", "utf-16-le"),
        ("text,label\nfine,1\n", "utf-16-be", "utf-16-be"),
        ("text,label\nfine,1\n", "utf-32", "utf-32"),
    ],
)
def test_encodings_are_guessed(tmp_path, content, coded, guess):
    try:
        raw = content.encode(coded)
    except UnicodeEncodeError:
        raw, guess = b"text,label\ncaf\xe9,\x81\n", "latin-1"
    assert f"it looks like {guess}. Convert it: iconv -f {guess} " in fault(tmp_path, "a.csv", raw)


@pytest.mark.parametrize("before", [0, 17, encoding.BLOCK + 5])
def test_a_nul_byte_is_found_where_it_is(tmp_path, before):
    start = b"text,label\n" + b"a" * before + b",1\nb"
    found = fault(tmp_path, "a.csv", start + b"\0,0\n")
    assert found.startswith(f", line 3: holds a NUL byte (byte {len(start):,})")
    assert "tr -d '\\000' < a.csv > clean-a.csv" in found


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"PK\x03\x04rest", "a zip archive or an Excel workbook"),
        (b"\x1f\x8b\x08rest", "compressed with gzip"),
        (b"PAR1rest", "a parquet file"),
        (b"%PDF-1.7", "a PDF"),
    ],
)
def test_other_files_called_csv(tmp_path, content, said):
    assert fault(tmp_path, "a.csv", content).startswith(f": is {said}, not a text file.")


# JSON.


def test_broken_json_lines_are_all_named_and_capped(tmp_path):
    path = tmp_path / "a.jsonl"
    good, broken = '{"text": "a"}\n', '{"text": "a\n'
    path.write_text(good + broken + "\n" + "[1]\n" + broken * 7 + good)
    found = faults(path)
    assert found[0].startswith(", line 2: is not JSON: Invalid control character")
    assert found[1] == ", line 4: is no object: '[1]'."
    assert [line.split(":")[0] for line in found[2:5]] == [", line 5", ", line 6", ", line 7"]
    assert found[5] == "... and 4 more broken lines."


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.json", '[{"text": "a"},\n{"text": }]', "Expecting value at line 2, column 10"),
        ("a.json", '[{"text": "a"}, 7, "x"]', "item 2: is no object but '7'"),
        ("a.json", "[" * 100_000, "is nested too deeply"),
        ("a.jsonl", '{"a":' * 100_000, "is nested too deeply"),
        ("a.jsonl", '{"id": ' + "9" * 5000 + "}", "holds a value that cannot be read"),
        ("a.json", '{"text": {"0": "a", "1": "b"}, "label": {"0": 1, "1": 0}}', "orient='records'"),
        ("a.json", '{"text": ["a", "b"], "label": [1, 0]}', "orient='records'"),
        ("a.json", '{\n  "text": "a",\n  "label": "b"\n}\n', "one object (keys: text, label)"),
        ("a.json", '{"version": 1,\n"data": []}', "holds one object (keys: version, data)"),
        ("a.jsonl", "{}\n{}\n", "its rows have no columns"),
        ("a.jsonl", '"just text"\n', "line 1: is no object"),
        ("a.jsonl", "null\n", "line 1: is no object"),
        ("a.jsonl", '{"text": "fine"}\n{"text": "half \\ud83d"}\n', "line 2: holds half a char"),
    ],
)  # fmt: skip
def test_bad_json(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_text(content)
    assert said in faults(path)[0]


# Parquet.


def parquet(folder: Path) -> bytes:
    path = folder / "whole.parquet"
    pd.DataFrame({"text": ["a b c"] * 211, "label": ["x", *["y"] * 210]}).to_parquet(path)
    return path.read_bytes()


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99])
def test_a_truncated_parquet_file(tmp_path, share):
    whole = parquet(tmp_path)
    found = fault(tmp_path, "a.parquet", whole[: int(len(whole) * share)])
    assert found.startswith(": is damaged or no parquet file: ")
    assert found.endswith(". Fetch or write it again.")


def test_a_csv_called_parquet(tmp_path):
    assert "no parquet file" in fault(tmp_path, "a.parquet", "text,label\na,b\n" * 10)


# Whatever comes: a table or a DataError.


def survives(path: Path) -> None:
    try:
        table = read(path)
        table.columns.to_pydict()
        examples(table)
    except DataError as error:
        assert all(0 < len(line) < 2000 for line in error.faults)


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json"])
def test_random_text_gives_a_table_or_a_message(tmp_path, ending):
    chance = random.Random(ending)
    pieces = ["text", "label", ",", "\t", ";", "\n", "\r\n", "\r", '"', '""', " ", "é", "🙂",
              "\ufeff", "{", "}", "[", "]", ":", '{"text": "a", "label": 1}', "null", "1e999", "0",
              "\\", "sep=;", "NaN", "\u2028", "\x1a", "'"]  # fmt: skip
    path = tmp_path / f"a.{ending}"
    for _ in range(401):
        path.write_bytes("".join(chance.choices(pieces, k=chance.randint(1, 40))).encode())
        survives(path)


@pytest.mark.parametrize("ending", ["csv", "jsonl", "json", "parquet"])
def test_flipped_bytes_give_a_table_or_a_message(tmp_path, ending):
    chance = random.Random(ending)
    rows = [{"text": f"good {n}", "label": "y" if n % 2 else "x"} for n in range(31)]
    whole = {
        "csv": pd.DataFrame(rows).to_csv(index=False).encode(),
        "jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "json": json.dumps(rows).encode(),
        "parquet": parquet(tmp_path),
    }[ending]
    path = tmp_path / f"a.{ending}"
    for _ in range(211):
        broken = bytearray(whole)
        for _ in range(chance.randint(1, 5)):
            broken[chance.randrange(len(broken))] = chance.randrange(256)
        path.write_bytes(broken)
        survives(path)


# Packed files.


def test_a_truncated_gzip_file(tmp_path):
    whole = gzip.compress(
        b"text,label\n" + random.Random(7).randbytes(999).hex().encode() + b",1\n"
    )
    for length in (1, 5, 20, len(whole) // 2, len(whole) - 3):
        assert "cannot be unpacked" in fault(tmp_path, "a.csv.gz", whole[:length])


def test_a_csv_called_gz(tmp_path):
    assert "cannot be unpacked" in fault(tmp_path, "a.csv.gz", "text,label\nfine,1\n")


def test_a_wrong_encoding_in_a_gzip_file(tmp_path):
    start = b"text,label\n" + b"a" * encoding.BLOCK
    found = fault(tmp_path, "a.csv.gz", gzip.compress(start + "Schön,1\n".encode("latin-1")))
    assert f"line 2: is not UTF-8 (byte {len(start) + 3:,})" in found


def test_gzip_of_nothing(tmp_path):
    assert fault(tmp_path, "a.csv.gz", gzip.compress(b"")) == ": is empty."
