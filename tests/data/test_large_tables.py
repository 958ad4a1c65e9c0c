"""What is too large for memory is read and tokenised once, kept in files, and the same rows."""

from __future__ import annotations

import gzip
import json
import mmap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest
from tests.conftest import reviews

from headstart.data import delimited, examples, files, json_rows, mapped, stored, text, texts
from headstart.data.cache import headstart_cache
from headstart.data.draw import draw
from headstart.data.examples import Examples
from headstart.data.findings import contradictions, remove_duplicates
from headstart.data.labels import Labels
from headstart.data.mapped import Window, map_array
from headstart.data.table import read
from headstart.data.text import Tokenizer
from headstart.data.texts import Texts
from headstart.data.tokenised import tokenised
from headstart.errors import DataError

NUM_ROWS = 101
ROWS = [
    (
        f"{body}\nrow {n} ü🙂" if n % 7 else body,
        None if n % 13 == 0 else n / 4,
        n % 2 == 0,
        ["x", n] if n % 5 else [],
        label,
    )
    for n, (body, label) in enumerate(reviews(NUM_ROWS, 3))
]
FRAME = pd.DataFrame(ROWS, columns=["review", "price", "bought", "tags", "label"])


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are held, read and tokenised a few at a time, each in other portions."""
    monkeypatch.setattr(delimited, "CHUNK", 17)
    monkeypatch.setattr(json_rows, "CHUNK", 17)
    monkeypatch.setattr(files, "ROWS", 17)
    monkeypatch.setattr(texts, "BLOCK", 11)
    monkeypatch.setattr(examples, "BLOCK", 13)
    monkeypatch.setattr(text, "CHUNK", 19)


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """From its call on, every table is too large for memory."""
    return lambda: monkeypatch.setattr(mapped, "LARGE", -1)


def write_csv(path: Path) -> None:
    FRAME.drop(columns="tags").to_csv(path, index=False)


def write_lines(path: Path) -> None:
    FRAME.assign(tags=[[str(t) for t in tags] for tags in FRAME["tags"]]).to_json(
        path, orient="records", lines=True
    )


def write_parquet(path: Path) -> None:
    frame = FRAME.drop(columns="tags").assign(shop=pd.Categorical(["a", "b", "c"] * 33 + ["d"] * 2))
    frame.to_parquet(path, row_group_size=29)


WRITERS = {
    "shop.csv": write_csv,
    "shop.tsv": lambda path: FRAME.drop(columns="tags").to_csv(path, index=False, sep="\t"),
    "shop.csv.gz": write_csv,
    "shop.jsonl": write_lines,
    "shop.json": lambda path: FRAME.drop(columns="tags").to_json(path, orient="records"),
    "shop.parquet": write_parquet,
}


def written(folder: Path, name: str) -> Path:
    WRITERS[name](folder / name)
    return folder / name


def entries(kind: str) -> list[Path]:
    folder = headstart_cache() / kind
    return sorted(folder.iterdir()) if folder.exists() else []


# Tables.


@pytest.mark.parametrize("name", WRITERS)
def test_a_large_file_gives_the_table_that_a_small_one_gives(tmp_path, large, name):
    path = written(tmp_path, name)
    small = read(path)
    assert entries("tables") == [], "small ones leave no files"
    large()
    first, again = read(path), read(path)
    assert len(entries("tables")) == 1
    for table in (first, again):
        assert table.columns.to_pydict() == small.columns.to_pydict()
        assert table.numbers.tolist() == small.numbers.tolist()
        assert (table.unit, table.findings, table.name) == (
            small.unit, small.findings, small.name
        )  # fmt: skip
        assert isinstance(table.numbers, np.memmap)
        plain = [f.type.value_type if pa.types.is_dictionary(f.type) else f.type
                 for f in small.columns.schema]  # fmt: skip
        assert table.columns.schema.types == plain


@pytest.mark.parametrize("name", WRITERS)
def test_a_large_table_gives_the_examples_that_a_small_one_gives(tmp_path, large, name):
    path = written(tmp_path, name)
    options = {"text": "review", "label": "label", "mapping": {"positive": "1", "negative": "0"}}
    small = examples.examples(read(path), **options)
    large()
    found = examples.examples(read(path), **options)
    assert isinstance(found.texts, Texts) and isinstance(small.texts, list)
    assert found.texts == small.texts and found.labels == small.labels
    assert found.rows.tolist() == small.rows.tolist()
    assert (found.digest, found.texts_digest) == (small.digest, small.texts_digest)
    assert found.classes == small.classes and found.findings == small.findings


def test_a_file_is_read_once_whatever_it_is_called(tmp_path, large, monkeypatch):
    large()
    path = written(tmp_path, "shop.csv")
    first = read(path)
    monkeypatch.setitem(stored.READERS, ".csv", lambda _: pytest.fail("read again"))
    other = path.rename(tmp_path / "other.csv")
    assert read(other).columns.equals(first.columns)
    assert read(other).place(3) == f"{other}, row 5"


def test_findings_name_the_file_as_it_is_called_now(tmp_path, large):
    large()
    path = tmp_path / "a.tsv"
    path.write_text('text\tlabel\n"Fine\ta\nBad "\tb\n')
    assert read(path).findings[0].count == 2
    other = path.rename(tmp_path / "b.tsv")
    assert read(other).findings[0].message.startswith(f"{other}: its double quotes do not")
    assert len(entries("tables")) == 1


def test_other_content_or_another_ending_is_another_table(tmp_path, large):
    large()
    path = written(tmp_path, "shop.csv")
    read(path)
    path.write_text(path.read_text() + "More.,1,True,positive\n")
    assert len(read(path)) == NUM_ROWS + 1
    path.rename(path.with_suffix(".tsv"))
    assert len(read(path.with_suffix(".tsv")).columns.column_names) == 1
    assert len(entries("tables")) == 3


def test_a_bad_file_leaves_nothing(tmp_path, large):
    large()
    path = written(tmp_path, "shop.csv")
    path.write_text(path.read_text() + "one field\n")
    with pytest.raises(DataError, match=r"row 103: has 1 fields where the header has 4"):
        read(path)
    assert entries("tables") == []


DAMAGE = {
    "cells cut": lambda place: cut(place / "cells.arrow"),
    "numbers cut": lambda place: cut(place / "numbers.int64"),
    "no cells": lambda place: (place / "cells.arrow").unlink(),
    "no description": lambda place: (place / "description.json").unlink(),
    "half a description": lambda place: (place / "description.json").write_text('{"rows":'),
    "another description": lambda place: (place / "description.json").write_text('{"rows": 3}'),
    "empty": lambda place: (place / "cells.arrow").write_bytes(b""),
}


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-8])


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_table_is_read_again(tmp_path, large, damage):
    large()
    path = written(tmp_path, "shop.jsonl")
    whole = read(path).columns.to_pydict()
    DAMAGE[damage](entries("tables")[0])
    assert read(path).columns.to_pydict() == whole


def test_kinds_of_a_json_column_are_told_over_the_whole_file(tmp_path, large):
    """What a column is may show late: the table is that of all rows seen at once."""
    columns = {
        "late": [None] * 90 + [7] * 11,
        "mixed": [1] * 50 + ["two"] * 51,
        "truth": [True] * 60 + [0] * 41,
        "point": [3] * 40 + [0.25] * 61,
        "big": [2**60 + 1] * 70 + [1] * 31,
        "huge": [1] * 50 + [2**63] * 51,
        "lists": [[]] * 50 + [[1.5]] * 51,
        "parts": [{"a": 1}] * 50 + [{"b": "x"}] * 51,
        "text": [f"Text {n}." for n in range(NUM_ROWS)],
    }
    rows = [{key: values[n] for key, values in columns.items()} for n in range(NUM_ROWS)]
    rows[100]["new"] = "only here"
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    small = read(path).columns
    large()
    found = read(path).columns
    assert found.column_names == small.column_names
    for name in small.column_names:
        ours, theirs = found[name].to_pylist(), small[name].to_pylist()
        assert ours == ([str(v) for v in theirs] if name == "huge" else theirs), name


def test_values_of_kinds_that_nothing_holds_are_refused(tmp_path, large):
    large()
    path = tmp_path / "a.jsonl"
    rows = [{"text": "a", "n": [2**60 + 1]}] * 17 + [{"text": "a", "n": [0.5]}] * 17
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"column 'n': holds values of kinds that do not go"):
        read(path)


def test_a_packed_table_is_not_mistaken_for_its_bytes(tmp_path, large):
    large()
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress(b"text,label\nFine.,a\nBad.,b\n"))
    assert read(path).columns["text"].to_pylist() == ["Fine.", "Bad."]


def test_a_large_frame_stays_where_it_is(large):
    large()
    found = examples.examples(read(FRAME), text="review", label="label")
    assert isinstance(found.texts, Texts) and found.texts == FRAME["review"].tolist()
    assert entries("tables") == []


# Texts and labels.


def column(pieces: int) -> pa.ChunkedArray:
    cells = [None if n % 11 == 5 else f"text {n}" for n in range(NUM_ROWS)]
    return pa.chunked_array(
        [pa.array(part.tolist(), pa.large_string()) for part in np.array_split(cells, pieces)]
    )


@pytest.mark.parametrize("pieces", [1, 7])
def test_texts_are_a_sequence_like_their_list(pieces):
    lazy = Texts(column(pieces), Window(None))
    whole = ["" if cell is None else cell for cell in column(1).to_pylist()]
    assert len(lazy) == NUM_ROWS and list(lazy) == whole and lazy == whole and whole == lazy
    for place in (0, 5, 58, 100, -1, -NUM_ROWS):
        assert lazy[place] == whole[place]
    for part in (slice(3, 60), slice(None), slice(90, 999), slice(None, None, -7), slice(5, 5)):
        assert lazy[part] == whole[part]
    for place in (NUM_ROWS, -NUM_ROWS - 1):
        with pytest.raises(IndexError):
            lazy[place]
    assert "text 7" in lazy and "text" not in lazy
    assert lazy != whole[1:] and lazy != [*whole[1:], "x"]


@pytest.mark.parametrize("pieces", [1, 7])
def test_taking_is_taking_of_the_list(pieces):
    whole = Texts(column(pieces), Window(None))
    places = np.random.default_rng(5).integers(0, NUM_ROWS, 67)
    taken = whole.take(places)
    assert taken == [whole[place] for place in places.tolist()]
    assert taken.take([3, 1, 3])[:] == [taken[3], taken[1], taken[3]]
    assert whole.take([])[:] == []
    assert taken.settled() == taken[:] and isinstance(taken.settled(), list)


def test_taken_texts_are_a_list_again_where_they_are_few(monkeypatch):
    whole = Texts(column(7), Window(None))
    monkeypatch.setattr(mapped, "LARGE", whole.num_bytes // 2)
    assert isinstance(whole.settled(), Texts)
    assert isinstance(whole.take(np.arange(90)).settled(), Texts)
    assert isinstance(whole.take(np.arange(30)).settled(), list)


def test_labels_are_a_sequence_like_their_list():
    names = ["b", "a", "b", "unused", "a"]
    codes = np.array([0, 1, 2, 4, 1, 0])
    labels = Labels(names, codes)
    assert labels.names == ("a", "b") and labels.codes.tolist() == [1, 0, 1, 0, 0, 1]
    assert labels == ["b", "a", "b", "a", "a", "b"] and labels == Labels.of(labels[:])
    assert (labels[1], labels[-1], labels[1:3]) == ("a", "b", ["a", "b"])
    assert labels.counts == {"a": 3, "b": 3} and len(labels) == 6
    taken = labels.take([1, 4])
    assert taken.names == ("a",) and taken == ["a", "a"] and taken != labels
    assert Labels.of([]).names == () and list(Labels.of([])) == []
    assert Labels.of(labels) is labels


def test_what_is_done_to_examples_is_the_same_wherever_they_are(tmp_path, large):
    path = written(tmp_path, "shop.csv")
    small = examples.examples(read(path), text="review", label="label")
    large()
    found = examples.examples(read(path), text="review", label="label")
    for count in (0, 1, 2, 37, NUM_ROWS):
        ours, theirs = draw(found.labels, count, 7), draw(small.labels[:], count, 7)
        assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]
    places = np.random.default_rng(3).integers(0, NUM_ROWS, 211)
    ours, theirs = found.take(places), small.take(places)
    assert isinstance(ours.texts, Texts) and isinstance(theirs.texts, list)
    assert ours.digest == theirs.digest and ours.rows.tolist() == theirs.rows.tolist()
    changed = Examples("x", theirs.texts, [*theirs.labels[1:], theirs.labels[0]], theirs.rows)
    lazy = Examples("x", ours.texts, Labels.of(changed.labels), ours.rows)
    assert contradictions(lazy) == contradictions(changed) != []
    test = small.take(np.arange(0, NUM_ROWS, 3))
    (ours, one), (theirs, other) = (remove_duplicates(rows, test) for rows in (found, small))
    assert ours.digest == theirs.digest and one == other and len(ours) < len(found)


# Tokens.


@pytest.fixture
def tokenizer(tiny_bert: Path) -> Tokenizer:
    return Tokenizer.open(tiny_bert)


def same(ours, theirs) -> bool:
    return all(
        np.array_equal(getattr(ours, name), getattr(theirs, name))
        for name in ("values", "offsets", "full_lengths", "lengths")
    )


def test_tokens_are_made_once_for_texts_tokenizer_and_length(
    tmp_path, large, tokenizer, monkeypatch
):
    small = examples.examples(read(written(tmp_path, "shop.csv")), text="review", label="label")
    whole = tokenised(tokenizer, small, 9)
    assert entries("tokens") == [] and same(whole, tokenizer.encode(small.texts, 9))
    large()
    found = examples.examples(read(tmp_path / "shop.csv"), text="review", label="label")
    done: list[int] = []
    first = tokenised(tokenizer, found, 9, progress=done.append)
    assert same(first, whole) and isinstance(first.values, np.memmap) and sum(done) == NUM_ROWS
    assert first.values.dtype == np.int32 and first.cut_tokens == whole.cut_tokens > 0
    assert same(tokenised(tokenizer, found, 7), tokenizer.encode(small.texts, 7))
    assert len(entries("tokens")) == 2
    monkeypatch.setattr(Tokenizer, "encode_pieces", lambda *_: pytest.fail("made again"))
    relabelled = Examples("other", found.texts, None, found.rows)
    for rows in (found, relabelled):
        assert same(tokenised(tokenizer, rows, 9), whole)


@pytest.mark.parametrize("damage", ["values.int32", "offsets.int64", "description.json"])
def test_damaged_tokens_are_made_again(tmp_path, large, tokenizer, damage):
    large()
    rows = examples.examples(read(written(tmp_path, "shop.csv")), text="review", label="label")
    whole = tokenised(tokenizer, rows, 9, cache=tmp_path)
    values = whole.values.copy()
    (place,) = (tmp_path / "tokens").iterdir()
    cut(place / damage)
    assert np.array_equal(tokenised(tokenizer, rows, 9, cache=tmp_path).values, values)


def test_a_fault_in_tokenising_names_the_text_and_leaves_nothing(large, tokenizer, monkeypatch):
    large()
    rows = examples.examples(read(FRAME), text="review", label="label")
    monkeypatch.setattr(tokenizer._backend, "frame", text.BARE)  # so that a text can be empty
    monkeypatch.setattr(tokenizer, "_filler", None)
    monkeypatch.setattr(
        tokenizer._backend, "bodies", lambda texts: [[] if "row 57 " in t else [1] for t in texts]
    )
    with pytest.raises(DataError, match=r"^text 57 \(from 0\): is empty"):
        tokenised(tokenizer, rows, 9)
    assert entries("tokens") == []


# Maps.


def test_a_map_is_given_back_and_still_reads_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(mapped, "RESIDENT", 1 << 20)
    values = np.arange(1 << 20, dtype=np.int32)
    (tmp_path / "v").write_bytes(values.tobytes())
    array = map_array(tmp_path / "v", np.int32, len(values))
    part, window = array[5:9], Window.of(array[7:])
    assert isinstance(window._source, mmap.mmap)
    kept = resident()
    assert int(array.sum(dtype=np.int64)) == int(values.sum(dtype=np.int64))
    assert resident() > kept + (3 << 20)
    window.read(array.nbytes)
    assert resident() < kept + (1 << 20)
    assert part.tolist() == [5, 6, 7, 8] and array[-1] == len(values) - 1


def resident() -> int:
    """Bytes of this process that are pages of files."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssFile"))


def test_a_small_map_and_memory_are_left_alone(tmp_path):
    (tmp_path / "v").write_bytes(bytes(80))
    array = map_array(tmp_path / "v", np.int64, 10)
    assert Window.of(array)._source is None and Window.of(np.arange(5))._source is None
    with pytest.raises(ValueError, match="holds 80 bytes, not 88"):
        map_array(tmp_path / "v", np.int64, 11)
    (tmp_path / "w").write_bytes(b"")
    assert len(map_array(tmp_path / "w", np.int64, 0)) == 0
