"""Every kind of input becomes the same table, with rows numbered as their user counts."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from headstart.data import delimited, mapped
from headstart.data.examples import examples
from headstart.data.table import Table, read
from headstart.errors import DataError


@pytest.fixture(autouse=True, params=["in memory", "in files"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a table, it is read as a small one, or as one too large for memory."""
    if request.param == "in files":
        monkeypatch.setattr(mapped, "LARGE", -1)


ROWS = [
    ("Good, very good.", "positive"),
    ('He said "no".', "negative"),
    ("Two\nlines", "positive"),
    ("Zażółć 你好 🙂", "negative"),
    ("fine", "positive"),
]
FRAME = pd.DataFrame(ROWS, columns=["text", "label"])


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def pairs(table: Table) -> list[tuple[object, object]]:
    columns = table.columns.to_pydict()
    return list(zip(columns["text"], columns["label"], strict=True))


def file_of(folder: Path, ending: str) -> Path:
    path = folder / f"shop{ending}"
    if ending in (".csv", ".CSV"):
        FRAME.to_csv(path, index=False)
    elif ending == ".tsv":
        FRAME.to_csv(path, index=False, sep="\t")
    elif ending in (".jsonl", ".ndjson"):
        FRAME.to_json(path, orient="records", lines=True)
    elif ending == ".json":
        FRAME.to_json(path, orient="records")
    else:
        FRAME.to_parquet(path)
    return path


@pytest.mark.parametrize(
    "ending", [".csv", ".CSV", ".tsv", ".jsonl", ".ndjson", ".json", ".parquet"]
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, ending):
    table = read(file_of(tmp_path, ending))
    assert pairs(table) == ROWS
    assert len(table) == 5
    assert table.findings == ()


@pytest.mark.parametrize(
    "source",
    [
        FRAME,
        FRAME.set_index(pd.Index([7, 5, 3, 2, 1])),
        pa.Table.from_pandas(FRAME),
        ROWS,
        [list(row) for row in ROWS],
        tuple(ROWS),
        [{"text": text, "label": label} for text, label in ROWS],
        {"train": ROWS},
        {"train": FRAME, "test": [("x", "y")]},
    ],
)
def test_every_kind_of_object_gives_the_same_rows(source):
    assert pairs(read(source, name="shop")) == ROWS


def test_a_table_is_itself():
    table = read(ROWS)
    assert read(table) is table


# Where a row stands.


@pytest.mark.parametrize(
    ("ending", "place"),
    [
        (".csv", "row 4"),  # the header is row 1, and a row of two lines is one row
        (".tsv", "row 4"),
        (".jsonl", "line 3"),
        (".json", "item 3"),
        (".parquet", "row 3"),
    ],
)
def test_a_row_is_numbered_as_its_user_counts(tmp_path, ending, place):
    path = file_of(tmp_path, ending)
    assert read(path).place(2) == f"{path}, {place}"


def test_rows_in_memory_are_numbered_from_0_as_iloc_does():
    assert read(FRAME, name="shop").place(2) == "shop, row 2"


def test_blank_lines_of_a_csv_are_counted_and_left_out(tmp_path):
    path = write(tmp_path / "a.csv", 'text,label\n\none,a\n\n"two\n\nlines",b\n   \nthree,a\n\n\n')
    table = read(path)
    assert table.columns["text"].to_pylist() == ["one", "two\n\nlines", "three"]
    assert [table.number(row) for row in range(3)] == [3, 5, 7]


def test_blank_lines_of_json_lines_are_counted_and_left_out(tmp_path):
    path = write(tmp_path / "a.jsonl", '\n{"text": "one"}\n\n  \n{"text": "two"}\n\n')
    table = read(path)
    assert table.columns["text"].to_pylist() == ["one", "two"]
    assert [table.number(row) for row in range(2)] == [2, 5]


def test_numbers_follow_the_rows_into_examples_and_their_parts(tmp_path):
    path = write(tmp_path / "a.csv", "text,label\none,a\n\ntwo,b\n,a\nthree,b\n")
    rows = examples(read(path))
    assert rows.rows.tolist() == [2, 4, 6]
    assert rows.take([2, 0]).rows.tolist() == [6, 2]
    (finding,) = rows.findings
    assert finding.rows == (5,)


# Comma-separated files as programs write them.


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbftext,label\ngood,1\nbad,0\n",
        b"text,label\r\ngood,1\r\nbad,0\r\n",
        b"text,label\rgood,1\rbad,0\r",
        b"text,label\ngood,1\nbad,0",
        b" text , label \ngood,1\nbad,0\n",
        b'"text","label"\n"good","1"\n"bad","0"\n',
        b"\n\ntext,label\ngood,1\nbad,0\n",
        b"text;label\ngood;1\nbad;0\n",
        b"\xef\xbb\xbftext;label\r\ngood;1\r\nbad;0\r\n",
        b"text\tlabel\ngood\t1\nbad\t0\n",
        b"text|label\ngood|1\nbad|0\n",
        b'"text";"label"\n"good";1\n"bad";0\n',
    ],
)
def test_csv_dialects(tmp_path, content):
    table = read(write(tmp_path / "a.csv", content))
    assert pairs(table) == [("good", "1"), ("bad", "0")]


def test_a_header_with_a_comma_is_separated_by_commas_whatever_else_it_holds(tmp_path):
    table = read(write(tmp_path / "a.csv", "text,a;b,label\nx;y,1,p\nz,2,n\n"))
    assert table.columns.column_names == ["text", "a;b", "label"]
    assert table.columns["text"].to_pylist() == ["x;y", "z"]


def test_one_column_without_any_separator(tmp_path):
    table = read(write(tmp_path / "a.csv", 'text\nFine.\n"Good, very good."\n'))
    assert table.columns.to_pydict() == {"text": ["Fine.", "Good, very good."]}


def test_cells_stay_text_and_empty_ones_are_missing(tmp_path):
    table = read(write(tmp_path / "a.csv", 'text,label,zip\nNA,1,007\nnull,,\n"",0,1e3\n'))
    assert table.columns.to_pydict() == {
        "text": ["NA", "null", None],
        "label": ["1", None, "0"],
        "zip": ["007", None, "1e3"],
    }


def test_the_index_that_pandas_writes_gets_a_name(tmp_path):
    FRAME.to_csv(tmp_path / "a.csv")
    table = read(tmp_path / "a.csv")
    assert table.columns.column_names == ["unnamed 1", "text", "label"]
    assert examples(table).texts == [text for text, _ in ROWS]


def test_trailing_commas_in_every_row(tmp_path):
    table = read(write(tmp_path / "a.csv", "text,label,,\ngood,1,,\nbad,0,,\n"))
    assert table.columns.column_names == ["text", "label", "unnamed 3", "unnamed 4"]
    assert examples(table).labels == ["1", "0"]


def test_odd_characters_do_not_end_a_row(tmp_path):
    odd = "a\u2028b\x0bc\x0cd\x85e\ufefff"
    table = read(write(tmp_path / "a.csv", f"text,label\n{odd},1\nbad,0\n"))
    assert table.columns["text"].to_pylist() == [odd, "bad"]


def test_a_quote_within_a_bare_field_is_a_quote(tmp_path):
    table = read(write(tmp_path / "a.csv", 'text,label\nA 6" pan,1\nbad,0\n'))
    assert table.columns["text"].to_pylist() == ['A 6" pan', "bad"]


def test_long_fields_are_whole(tmp_path):
    long = "word " * 60_011
    table = read(write(tmp_path / "a.csv", f'text,label\n"{long}",1\nbad,0\n'))
    assert table.columns["text"].to_pylist() == [long, "bad"]


def test_tsv_with_literal_quotes_is_read_as_it_stands(tmp_path):
    lines = ["label\ttext", '1\t"Great" he said', '0\t"Bad', '1\tfine"', '0\t6" wide']
    table = read(write(tmp_path / "a.tsv", "\n".join(lines) + "\n"))
    assert table.columns["text"].to_pylist() == ['"Great" he said', '"Bad', 'fine"', '6" wide']
    (finding,) = table.findings
    assert finding.count == 4


def test_tsv_quotes_that_would_glue_rows_are_literal(tmp_path):
    """Rows 2 and 3 together happen to be one well-formed quoted field."""
    table = read(write(tmp_path / "a.tsv", 'text\tlabel\n"one\t1\ntwo"\t0\nthree\t1\n'))
    assert table.columns["text"].to_pylist() == ['"one', 'two"', "three"]


def test_tsv_with_whole_fields_quoted(tmp_path):
    table = read(write(tmp_path / "a.tsv", 'text\tlabel\n"a ""b"" c"\t1\n"two\nlines"\t0\n'))
    assert table.columns["text"].to_pylist() == ['a "b" c', "two\nlines"]
    assert table.findings == ()


@pytest.mark.parametrize("task", ["SST-2", "MRPC", "QNLI", "RTE", "WNLI"])
def test_real_tsv_files_have_a_row_for_each_line(task):
    path = Path(__file__).parents[3] / "shared" / "data" / "glue" / task / "dev.tsv"
    if not path.exists():
        pytest.skip("needs ../shared/data/glue")
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    assert len(read(path)) == sum(bool(line.strip()) for line in lines) - 1


# JSON.


def test_json_keys_may_come_and_go(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"text": "a"}\n{"label": 1, "text": "b"}\n{"text": null}\n')
    assert read(path).columns.to_pydict() == {"text": ["a", "b", None], "label": [None, 1, None]}


def test_json_values_of_mixed_kinds_become_text(tmp_path):
    rows = [{"text": "a", "label": 1}, {"text": 2.5, "label": "x"}, {"text": True, "label": None}]
    path = write(tmp_path / "a.json", json.dumps(rows, indent=2))
    assert pairs(read(path)) == [("a", "1"), ("2.5", "x"), ("True", None)]


def test_huge_whole_numbers_do_not_overflow(tmp_path):
    path = write(tmp_path / "a.jsonl", f'{{"text": "a", "id": {10**30}}}\n')
    assert read(path).columns["id"].to_pylist() == [str(10**30)]


# Frames.


def test_frame_labels_of_every_kind():
    frame = pd.DataFrame({
        "text": ["a", "b", "c", "d"],
        "whole": [0, 1, 1, 0],
        "nullable": pd.array([0, 1, 1, 0], dtype="Int64"),
        "float": [0.0, 1.0, 1.0, 0.0],
        "category": pd.Categorical(["bad", "good", "good", "bad"]),
        "numbered": pd.Categorical([0, 1, 1, 0]),
        "bool": [False, True, True, False],
        "string": pd.array(["n", "p", "p", "n"], dtype="string"),
        "object": np.array([0, "1", 1.0, 0], dtype=object),
    })  # fmt: skip
    found = {
        name: examples(read(frame), text="text", label=name).labels for name in frame.columns[1:]
    }
    assert found == {
        "whole": ["0", "1", "1", "0"],
        "nullable": ["0", "1", "1", "0"],
        "float": ["0", "1", "1", "0"],
        "category": ["bad", "good", "good", "bad"],
        "numbered": ["0", "1", "1", "0"],
        "bool": ["false", "true", "true", "false"],
        "string": ["n", "p", "p", "n"],
        "object": ["0", "1", "1", "0"],
    }


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
@pytest.mark.parametrize("kind", ["object", "string", "category"])
def test_missing_cells_of_a_frame_are_missing(missing, kind):
    frame = pd.DataFrame({"text": pd.Series(["a", missing, "c"], dtype=kind)})
    assert read(frame).columns["text"].to_pylist() == ["a", None, "c"]


@pytest.mark.parametrize("missing", [None, float("nan"), pd.NA])
def test_missing_values_of_mappings_are_missing(missing):
    rows = [{"text": "a", "label": "x"}, {"text": "b", "label": missing}]
    assert read(rows).columns["label"].to_pylist() == ["x", None]


def test_whole_numbers_with_a_gap_are_no_floats():
    frame = pd.DataFrame({"text": ["a", "b", "c"], "label": [1, None, 0]})
    with pytest.raises(DataError, match=r"1 label missing \(row 1\)"):
        examples(read(frame, name="shop"))


def test_column_names_that_are_numbers():
    table = read(pd.DataFrame([["a", "x"], ["b", "y"]]))
    assert table.columns.column_names == ["0", "1"]


def test_series_and_arrays_of_texts():
    assert read(FRAME["text"]).columns["text"].to_pylist() == [text for text, _ in ROWS]
    assert read(np.array(["a", "b"])).columns["text"].to_pylist() == ["a", "b"]


def test_whatever_speaks_arrow_is_read():
    class Frame:
        def __arrow_c_stream__(self, requested_schema: object = None) -> object:
            return pa.Table.from_pandas(FRAME).__arrow_c_stream__(requested_schema)

    assert pairs(read(Frame())) == ROWS


def test_parquet_keeps_no_index_of_pandas_and_takes_dictionaries(tmp_path):
    frame = FRAME.astype({"label": "category"}).set_index(pd.Index([7, 5, 3, 2, 1]))
    frame.to_parquet(tmp_path / "a.parquet")
    table = read(tmp_path / "a.parquet")
    assert table.columns.column_names == ["text", "label"]
    assert examples(table).labels == [label for _, label in ROWS]


def test_parquet_in_a_folder_called_like_a_partition(tmp_path):
    (tmp_path / "kind=shop").mkdir()
    FRAME.to_parquet(tmp_path / "kind=shop" / "a.parquet")
    assert read(tmp_path / "kind=shop" / "a.parquet").columns.column_names == ["text", "label"]


def test_home_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file_of(tmp_path, ".csv")
    assert len(read("~/shop.csv")) == 5


# Splits.


def test_a_split_is_taken_by_name_and_joined_by_plus():
    splits = {"train": ROWS[:2], "test": ROWS[2:3], "more": FRAME[3:]}
    assert pairs(read(splits)) == ROWS[:2]
    assert pairs(read(splits, split="test")) == ROWS[2:3]
    joined = read(splits, name="shop", split="train+more")
    assert pairs(joined) == ROWS[:2] + ROWS[3:]


def test_the_only_split_is_taken_whatever_it_is_called():
    assert pairs(read({"all": ROWS})) == ROWS


def test_a_split_that_is_a_file_keeps_its_row_numbers(tmp_path):
    path = file_of(tmp_path, ".csv")
    assert read({"train": path}).place(0) == f"{path}, row 2"


def test_joined_splits_of_different_kinds_become_text():
    table = read({"a": [("x", 1)], "b": [("y", "2")]}, split="a+b")
    assert pairs(table) == [("x", "1"), ("y", "2")]


def test_unknown_splits_are_named_with_the_known():
    splits = {"train": ROWS, "test": ROWS}
    with pytest.raises(DataError) as caught:
        read(splits, name="shop", split="trian+dev")
    first, second = caught.value.faults
    assert first == (
        "shop, split: no split is called 'trian'. Did you mean 'train'? Known: test, train."
    )
    assert "'dev'" in second


def test_a_mapping_of_columns_is_told_from_one_of_splits():
    with pytest.raises(DataError, match=r"pandas\.DataFrame\(data\)"):
        read({"text": ["a", "b"], "label": [0, 1]})


@pytest.mark.parametrize("kind", ["frame", "csv", "list"])
def test_a_split_of_what_has_none_is_refused(tmp_path, kind):
    source = {"frame": FRAME, "csv": file_of(tmp_path, ".csv"), "list": ROWS}[kind]
    with pytest.raises(DataError, match="has no parts, so there is no split 'test'"):
        read(source, split="test")


# Hugging Face data sets.


@pytest.fixture(scope="module")
def hugging_face():
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import datasets
    return datasets


def labelled(datasets, rows):
    features = datasets.Features({
        "text": datasets.Value("string"),
        "label": datasets.ClassLabel(names=["bad", "good"]),
    })  # fmt: skip
    return datasets.Dataset.from_list(rows, features=features)


def test_class_numbers_of_a_data_set_become_their_names(hugging_face):
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": 0}, {"text": "c", "label": 1}]
    data = labelled(hugging_face, rows)
    assert pairs(read(data)) == [("a", "good"), ("b", "bad"), ("c", "good")]
    assert pairs(read(data.select([2, 1]))) == [("c", "good"), ("b", "bad")]
    assert pairs(read(data.with_format("torch").filter(lambda row: row["text"] != "b"))) == [
        ("a", "good"),
        ("c", "good"),
    ]


def test_unlabelled_rows_of_a_data_set_are_missing(hugging_face):
    data = labelled(hugging_face, [{"text": "a", "label": -1}, {"text": "b", "label": None}])
    assert read(data).columns["label"].to_pylist() == [None, None]


def test_a_dict_of_data_sets(hugging_face):
    part = labelled(hugging_face, [{"text": "a", "label": 1}])
    other = labelled(hugging_face, [{"text": "b", "label": 0}])
    data = hugging_face.DatasetDict({"train": part, "test": other})
    assert pairs(read(data)) == [("a", "good")]
    assert pairs(read(data, split="test")) == [("b", "bad")]
    assert pairs(read(data, split="train+test")) == [("a", "good"), ("b", "bad")]
    with pytest.raises(DataError, match="Known: test, train"):
        read(data, split="validation")


def test_a_streamed_data_set_is_refused(hugging_face):
    data = labelled(hugging_face, [{"text": "a", "label": 1}]).to_iterable_dataset()
    with pytest.raises(DataError, match="without streaming"):
        read(data)


def test_an_empty_data_set_is_refused(hugging_face):
    data = labelled(hugging_face, [{"text": "a", "label": 1}]).select([])
    with pytest.raises(DataError, match="has no rows"):
        read(data)


# What cannot be read.


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ([], "the list is empty"),
        (FRAME[:0], "has no rows"),
        (pd.DataFrame(), "has no columns"),
        (pa.table({"text": pa.array([], pa.string())}), "has no rows"),
        ({}, "no split is called 'train'"),
        (None, "a NoneType cannot be read"),
        (7, "a int cannot be read"),
        (iter(["a"]), "cannot be read"),
        ([1, 2], "a list of int cannot be read"),
        (["a", None], "a list of NoneType, str cannot be read"),
        ([("a", "b", "c")], "a list of tuple cannot be read"),
        ([{}], "its rows have no columns"),
        (
            pd.DataFrame([["a", "b"]], columns=["text", "text"]),
            r"columns \['text'\] more than once",
        ),
        (pd.DataFrame([["a", "b"]], columns=[0, "0"]), r"columns \['0'\] more than once"),
        (pa.table([["a"], ["b"]], names=["text", "text"]), r"columns \['text'\] more than once"),
        ([{1: "a", "1": "b"}], r"columns \['1'\] more than once"),
    ],
)
def test_what_cannot_be_read_says_why(source, said):
    with pytest.raises(DataError, match=said) as caught:
        read(source, name="shop")
    assert str(caught.value).startswith("shop")
    assert len(caught.value.faults) == 1


HALF = "cut emoji \ud83d"


@pytest.mark.parametrize(
    "source",
    [
        ["fine", HALF],
        [("fine", "a"), (HALF, "b")],
        [{"text": "fine"}, {"text": HALF}],
        pd.DataFrame({"text": pd.Series(["fine", HALF], dtype=object)}),
    ],
)
def test_half_characters_are_refused_by_row(source):
    with pytest.raises(DataError, match=r"^shop, row 1: holds half a character \(\\ud83d"):
        read(source, name="shop")


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 6, 7])
def test_a_file_is_read_in_pieces_that_are_joined(tmp_path, monkeypatch, rows):
    monkeypatch.setattr(delimited, "CHUNK", 3)
    body = [(f"text {n}", str(n % 2)) for n in range(rows)]
    path = write(tmp_path / "a.csv", "text,label\n" + "".join(f"{t},{n}\n" for t, n in body))
    assert pairs(read(path)) == body
    assert read(path).number(rows - 1) == rows + 1


# Packed files.


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".json"])
def test_gzip_files_are_unpacked_on_the_way(tmp_path, ending):
    whole = file_of(tmp_path, ending)
    packed = tmp_path / f"other{ending}.gz"
    packed.write_bytes(gzip.compress(whole.read_bytes()))
    assert pairs(read(packed)) == ROWS
    assert read(packed).number(2) == read(whole).number(2)
