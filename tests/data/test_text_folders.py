"""Plain text: a file of lines, a folder of files; and data sets joined without being read whole."""

import gzip

import numpy as np
import pyarrow as pa
import pytest

from headstart.data import mapped, text_files
from headstart.data.examples import Examples, examples, joined
from headstart.data.labels import Labels
from headstart.data.mapped import Window
from headstart.data.table import read
from headstart.data.texts import Texts
from headstart.errors import DataError


def test_a_file_of_text_holds_a_text_a_line(tmp_path):
    (tmp_path / "a.txt").write_text("one\n\n  two words \n \nthree", encoding="utf-8")
    table = read(tmp_path / "a.txt")
    rows = examples(table, require_label=False)
    assert rows.texts == ["one", "two words", "three"]
    assert rows.rows.tolist() == [1, 3, 5] and rows.labels is None
    assert table.place(1) == f"{tmp_path / 'a.txt'}, line 3"
    with gzip.open(tmp_path / "b.txt.gz", "wt", encoding="utf-8") as file:
        file.write("one\ntwo\n")
    assert examples(read(tmp_path / "b.txt.gz"), require_label=False).texts == ["one", "two"]


def test_a_folder_of_text_files_holds_a_text_a_file(tmp_path, monkeypatch):
    (tmp_path / "b.txt").write_text("line one\nline two\n")
    (tmp_path / "a.txt").write_text("first")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "notes.md").write_text("mine")
    table = read(tmp_path)
    rows = examples(table, require_label=False)
    assert rows.texts == ["first", "line one\nline two"]
    assert table.columns["file"].to_pylist() == ["a.txt", "b.txt"]
    assert "1 other file or folder" in rows.findings[0].message
    monkeypatch.setattr(text_files, "LONGEST", 10)
    assert examples(read(tmp_path), require_label=False).texts == ["first", "line one", "line two"]


def test_a_large_folder_is_kept_in_a_file_and_found_again(tmp_path, monkeypatch, own_cache):
    for number in range(7):
        (tmp_path / f"{number}.txt").write_text(f"text number {number}\n" * 5)
    monkeypatch.setattr(mapped, "LARGE", 100)
    for _ in range(2):
        rows = examples(read(tmp_path), require_label=False)
        assert isinstance(rows.texts, Texts) and len(rows) == 7
        assert rows.texts[3].startswith("text number 3\n")
    assert len(list((own_cache / "tables").iterdir())) == 1
    (tmp_path / "0.txt").write_text("another\n" * 5)
    assert examples(read(tmp_path), require_label=False).texts[0].startswith("another")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b" \n\n", "nothing but white space"), (b"caf\xe9\n", "is not UTF-8")],
)
def test_what_is_no_text_is_told(tmp_path, content, said):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(DataError, match=said):
        read(tmp_path / "a.txt")


def sets():
    column = pa.chunked_array([["a", "b"], ["c", None]])
    some = Texts(column, Window(None)).take(np.array([3, 0, 2]))
    return [
        Examples("one", some, Labels(["x", "y"], np.array([1, 0, 1])), np.array([4, 1, 3])),
        Examples("two", ["d", "e"], ["y", "z"], np.arange(2)),
        Examples("three", Texts(pa.array(["f"]).cast(pa.large_string()), Window(None)),
                 ["x"], np.arange(1)),
    ]  # fmt: skip


def test_joined_sets_equal_their_lists_and_stay_where_they_are():
    whole = joined(sets())
    assert isinstance(whole.texts, Texts)
    assert whole.texts == ["", "a", "c", "d", "e", "f"]
    assert whole.labels == ["y", "x", "y", "y", "z", "x"]
    assert whole.classes == ("x", "y", "z") and whole.rows.tolist() == [4, 1, 3, 0, 1, 0]
    lists = [Examples(s.name, list(s.texts), list(s.labels), s.rows) for s in sets()]
    assert whole.digest == joined(lists).digest
    assert joined(lists).texts == list(whole.texts)
    assert whole.take([5, 0]).texts == ["f", ""]
    unlabelled = [sets()[0], Examples("four", ["g"], None, np.arange(1))]
    assert joined(unlabelled).labels is None
