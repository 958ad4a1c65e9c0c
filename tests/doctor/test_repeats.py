"""Repeats, contradictions and leaks, counted by hand."""

from __future__ import annotations

from tests.doctor.conftest import made, one, subject

from headstart.doctor.repeats import contradictions, leaks, repeats


def test_repeats_are_of_text_and_label() -> None:
    rows = made(("Ok.", "a"), ("Fine.", "a"), (" Ok.\n", "a"), ("Ok.", "b"), ("Ok.", "a"))
    (finding,) = repeats(subject(rows))
    assert finding.rows == (4, 6) and finding.mendable
    assert finding.details == ("row 4: as row 2", "row 6: as row 2")
    (tested,) = repeats(subject(rows, "test"))
    assert not tested.mendable, "which rows judge is not ours to change"
    assert repeats(subject(made(("One.", "a"), ("one.", "a")))) == []


def test_contradictions_are_the_later_rows_with_both_labels() -> None:
    rows = made(("Ok.", "a"), ("Fine.", "a"), ("Ok. ", "b"), ("Fine.", "a"), ("Ok.", "a"))
    (finding,) = contradictions(subject(rows))
    assert finding.rows == (4, 6)
    assert finding.details[0] == "row 4: 'b', but row 2 is 'a': \"Ok.\""
    assert finding.details[1] == "row 6: 'a', but row 4 is 'b': \"Ok.\""
    assert "1 text with more than one label, in 3 rows" in finding.message
    assert contradictions(subject(made(("Fine.", "a"), ("Fine.", "a")))) == []


def test_leaks_name_both_rows() -> None:
    train = made(("Seen.", "a"), ("New.", "b"), ("seen.", "b"), ("Seen. ", "b"))
    test = made(("Other.", "a"), ("Seen.", "a"), ("Seen.", "a"), name="test.csv", first=11)
    source = made(("New.", "b"), name="films.csv", first=5)
    findings = leaks([subject(source, "source"), subject(train), subject(test, "test")])
    leak = one(findings, "duplicates of test rows")
    assert leak.data == "target" and leak.rows == (2, 5) and leak.severity == "harmful"
    assert leak.details[0] == 'row 2: as test row 12: "Seen."'
    assert leak.details[1] == "row 5: as test row 12 ('b' here, 'a' there): \"Seen.\""
    assert "2 of 3 (66.7 %) rows of test.csv" in leak.message
    shared = one(findings, "duplicates of target rows")
    assert shared.data == "source" and shared.rows == (5,) and shared.severity == "note"
