"""Columns found, labels named, rows left out, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from headstart.data import mapped
from headstart.data.examples import Examples, check_labels, examples
from headstart.data.table import Table, read
from headstart.errors import DataError


@pytest.fixture(autouse=True, params=["in memory", "in files"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a table, it is read as a small one, or as one too large for memory."""
    if request.param == "in files":
        monkeypatch.setattr(mapped, "LARGE", -1)


def table(text: str, folder: Path, name: str = "shop.csv") -> Table:
    file = folder / name
    file.write_text(text, encoding="utf-8")
    return read(file)


def refused(source: object, **options: object) -> str:
    with pytest.raises(DataError) as caught:
        examples(source if isinstance(source, Table) else read(source), **options)
    return str(caught.value)


def labelled(*labels: str, name: str = "shop") -> Examples:
    return Examples(name, [f"text {i}" for i in range(len(labels))], list(labels),
                    np.arange(len(labels)))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "label"),
    [("text", "label"), ("reviewText", "stars"), ("Sentence", "Category"), ("body", "rating"),
     ("review", "whatever"), ("anything", "sentiment"), (" content", "label ")],
)  # fmt: skip
def test_columns_are_guessed_by_name_and_by_what_remains(text: str, label: str) -> None:
    frame = pd.DataFrame({label: ["good", "bad"], text: ["Fine cup.", "Leaks."]})
    rows = examples(read(frame))
    assert rows.texts == ["Fine cup.", "Leaks."]
    assert rows.labels == ["good", "bad"]


def test_the_only_column_with_words_is_the_text(tmp_path: Path) -> None:
    rows = examples(
        table("id,when,quote,label\n7,2024-05-01,So so.,a\n9,2024-05-02,Ok.,b\n", tmp_path)
    )
    assert rows.texts == ["So so.", "Ok."]


def test_unclear_columns_are_asked_for_both_at_once(tmp_path: Path) -> None:
    said = refused(table("one,two,three\nred,green,blue\nx,y,z\n", tmp_path))
    assert "which is the text column" in said and "--text COLUMN" in said
    assert "which is the label column" in said and "--label COLUMN" in said
    assert "one (such as 'red'), two (such as 'green'), three (such as 'blue')" in said


def test_two_label_columns_are_asked_for(tmp_path: Path) -> None:
    said = refused(table("text,label,stars\nFine.,a,1\nBad.,b,2\n", tmp_path))
    assert "Any of 'label', 'stars' could be it" in said


def test_misspelt_columns_are_both_told_with_the_nearest(tmp_path: Path) -> None:
    made = table("review,stars\nFine.,a\nBad.,b\n", tmp_path)
    said = refused(made, text="reveiw", label="star")
    assert "no column 'reveiw' (--text). Did you mean 'review'?" in said
    assert "no column 'star' (--label). Did you mean 'stars'?" in said


def test_one_column_cannot_be_both(tmp_path: Path) -> None:
    made = table("text,label\nFine.,a\nBad.,b\n", tmp_path)
    assert "both text and label" in refused(made, text="label", label="label")


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ([1, 5, 1], ["1", "5", "1"]),
        ([1.0, 5.0, 1.0], ["1", "5", "1"]),
        ([0.5, 1.0, 1.5], ["0.5", "1", "1.5"]),
        ([True, False, True], ["true", "false", "true"]),
        (["1.0", " 5 ", "-3.00"], ["1", "5", "-3"]),
        (["1.50", "v1.0", "10"], ["1.50", "v1.0", "10"]),
        (pd.Categorical(["b", "a", "b"]), ["b", "a", "b"]),
        (pd.array([1, 2, 1], dtype="Int64"), ["1", "2", "1"]),
    ],
)
def test_labels_are_names(given: object, names: list[str]) -> None:
    rows = examples(read(pd.DataFrame({"text": ["Aa", "Bb", "Cc"], "label": given})))
    assert rows.labels == names
    assert rows.classes == tuple(sorted(set(names)))


def test_large_and_dictionary_strings_are_read() -> None:
    columns = pa.table({
        "text": pa.array(["Aa", "Bb"], pa.large_string()),
        "label": pa.array(["x", "y"]).dictionary_encode(),
    })  # fmt: skip
    assert examples(read(columns)).labels == ["x", "y"]


def test_a_map_renames_and_tells_what_it_leaves_out(tmp_path: Path) -> None:
    stars = [1, 3, 5, 4, 3, 2, 3]
    body = "".join(f"Review {i}.,{star}\n" for i, star in enumerate(stars))
    rows = examples(
        table(f"review,stars\n{body}", tmp_path),
        mapping={"1": "negative", "2": "negative", "4": "positive", "5": "positive"},
    )
    assert rows.labels == ["negative", "positive", "positive", "negative"]
    assert rows.texts == ["Review 0.", "Review 2.", "Review 3.", "Review 5."]
    assert rows.rows.tolist() == [2, 4, 5, 7]
    (finding,) = rows.findings
    assert finding.count == 3 and finding.rows == (3, 6, 8)
    assert "'3' (3)" in finding.message


def test_a_map_that_fits_nothing_shows_the_labels(tmp_path: Path) -> None:
    made = table("text,label\nFine.,good\nBad.,poor\n", tmp_path)
    said = refused(made, mapping={"1": "negative", "5": "positive"})
    assert "fits none" in said and "'good', 'poor'" in said


def test_missing_labels_name_the_rows(tmp_path: Path) -> None:
    body = "".join(f"Review {i}.,{'' if i % 2 else 'a'}\n" for i in range(13))
    said = refused(table(f"text,label\n{body}", tmp_path))
    assert "6 labels missing (rows 3, 5, 7, 9, 11 and 1 more)" in said


def test_nan_in_a_frame_is_a_missing_label() -> None:
    frame = pd.DataFrame({"text": ["Aa", "Bb", "Cc"], "label": [1.0, float("nan"), 2.0]})
    assert "1 label missing (row 1)" in refused(frame)


def test_rows_without_text_are_left_out_and_reported(tmp_path: Path) -> None:
    made = table('text,label\nFine.,a\n,b\n"  ",a\nBad.,b\n', tmp_path)
    rows = examples(made)
    assert rows.texts == ["Fine.", "Bad."] and rows.rows.tolist() == [2, 5]
    (finding,) = rows.findings
    assert finding.count == 2 and finding.rows == (3, 4) and "rows 3, 4" in finding.message
    assert examples(made, keep_empty=True).texts == ["Fine.", "", "  ", "Bad."]


def test_texts_that_are_all_empty_are_refused() -> None:
    assert "3 rows, none with a text" in refused([("", "a"), (" ", "b"), (None, "a")])


def test_a_text_of_ten_megabytes_is_refused_with_its_row(tmp_path: Path) -> None:
    made = table(f"text,label\nFine.,a\n{'word ' * 2_000_003},b\nBad.,b\n", tmp_path)
    said = refused(made)
    assert f"{made.name}, row 3" in said and "10,000,015 characters" in said
    assert len(said) < 1_000


def test_missing_labels_and_long_texts_are_told_together() -> None:
    said = refused([("a" * 1_000_001, "x"), ("Fine.", None), ("Bad.", "y")])
    assert "1,000,001 characters" in said and "1 label missing (row 1)" in said


def test_one_class_is_refused() -> None:
    assert "all 2 labels are 'a'" in refused([("Fine.", "a"), ("Bad.", "a")])


def test_thousands_of_classes_are_probably_ids() -> None:
    said = refused([(f"Text {i}.", f"id{i % 5_003}") for i in range(20_011)])
    assert "5,003 classes in 20,011 rows" in said and "probably an id" in said


def test_as_many_classes_as_rows_are_probably_ids() -> None:
    assert "47 classes in 47 rows" in refused([(f"Text {i}.", i) for i in range(47)])


def test_texts_as_labels_are_shown_cut() -> None:
    said = refused([(f"Text {i}.", f"{i} " + "long " * 1_000) for i in range(31)])
    assert "31 classes in 31 rows" in said and len(said) < 700


def test_objects_are_no_labels() -> None:
    rows = [{"text": f"Text {i}.", "target": {"from": i}, "label": i % 2 == 0} for i in range(3)]
    assert examples(read(rows)).labels == ["true", "false", "true"]


def test_many_real_classes_are_fine() -> None:
    rows = examples(read([(f"Text {i}.", i % 101) for i in range(1_009)]))
    assert len(rows.classes) == 101


def test_without_labels_none_are_looked_for() -> None:
    rows = examples(read(["One.", "Two."]), require_label=False)
    assert rows.labels is None and rows.classes == () and rows.texts == ["One.", "Two."]
    frame = pd.DataFrame({"stars": ["a", "b"], "thoughts": ["One.", "Two."]})
    assert examples(read(frame), require_label=False).texts == ["One.", "Two."]


def test_take_keeps_texts_labels_and_rows_together() -> None:
    taken = labelled("a", "b", "c", "a", "b").take(np.array([4, 0, 2]))
    assert taken.texts == ["text 4", "text 0", "text 2"]
    assert taken.labels == ["b", "a", "c"]
    assert taken.rows.tolist() == [4, 0, 2] and len(taken) == 3


def test_the_digest_knows_every_border() -> None:
    def digest(texts: list[str], labels: list[str] | None) -> str:
        return Examples("x", texts, labels, np.arange(len(texts))).digest

    same = digest(["ab", "c"], ["x", "y"])
    assert same == digest(["ab", "c"], ["x", "y"])
    others = [(["a", "bc"], ["x", "y"]), (["ab", "c"], ["y", "x"]), (["c", "ab"], ["x", "y"]),
              (["ab", "c"], None), (["ab", "c", "x"], ["y"])]  # fmt: skip
    assert len({same, *(digest(*other) for other in others)}) == 6


def test_equal_classes_pass() -> None:
    check_labels(labelled("a", "b"), labelled("b", "a", "b"))


def test_stars_and_words_get_a_map_to_write() -> None:
    source, target = labelled("negative", "positive"), labelled("5", "1", "2", "3", "4")
    with pytest.raises(DataError) as caught:
        check_labels(source, target)
    said = str(caught.value)
    assert "share no class" in said
    assert "--target-map 1=negative,2=negative,4=positive,5=positive" in said
    with pytest.raises(DataError, match="--source-map 1=negative,2=negative,4=positive,5=positive"):
        check_labels(target, source)


def test_numbers_are_ordered_by_size() -> None:
    with pytest.raises(DataError, match="--target-map 1=bad,2=bad,9=good,10=good"):
        check_labels(labelled("bad", "good"), labelled("10", "9", "2", "1"))


def test_classes_of_one_side_alone_are_named() -> None:
    with pytest.raises(DataError) as caught:
        check_labels(labelled("a", "b", "x"), labelled("a", "b", "y", "z", name="T"))
    said = str(caught.value)
    assert "the source (shop) has classes that the target lacks: 'x'" in said
    assert "the target (T) has classes that the source lacks: 'y', 'z'" in said


def test_lists_and_objects_are_no_texts() -> None:
    rows = read([{"text": ["Fine", "cup"], "label": "a"}, {"text": ["Bad"], "label": "b"}])
    assert "column 'text': holds list<" in refused(rows, text="text")
    tagged = read([{"text": "Fine", "tags": ["a"]}, {"text": "Bad", "tags": ["b"]}], name="shop")
    assert "shop, column 'tags': holds list<" in refused(tagged, label="tags")


def test_bytes_are_read_as_utf8() -> None:
    columns = pa.table({"text": ["größer".encode(), b"b"], "label": [b"x", b"y"]})
    rows = examples(read(columns))
    assert rows.texts == ["größer", "b"] and rows.labels == ["x", "y"]
    broken = pa.table({"text": ["größer".encode("latin-1"), b"b"], "label": [b"x", b"y"]})
    assert "column 'text': holds bytes that are not UTF-8" in refused(broken)


def test_views_of_strings_are_text() -> None:
    views = pa.array(["Fine cup.", "Leaks."]).cast(pa.string_view())
    columns = pa.table({"quote": views, "n": [1, 2], "label": ["x", "y"]})
    assert examples(read(columns)).texts == ["Fine cup.", "Leaks."]


def test_a_map_is_written_as_labels_are_called() -> None:
    rows = examples(read([("Fine.", 5.0), ("Bad.", 1.0)]), mapping={"5.0": "good", " 1 ": "bad"})
    assert rows.labels == ["good", "bad"]


def test_a_file_without_header_is_suspected(tmp_path: Path) -> None:
    body = "neutral,Sales are expected to stay as they were in the year before.\n"
    said = refused(table(body + "positive,Sales grew.\n", tmp_path))
    assert "Row 1 was read as the names; if it is data, put a row such as text,label above" in said


def test_many_long_texts_are_capped() -> None:
    rows = read([("a" * 1_000_001, "x")] * 7 + [("b", "y")])
    with pytest.raises(DataError) as caught:
        examples(rows)
    assert len(caught.value.faults) == 6 and caught.value.faults[5] == "... and 2 more such texts."
