"""Words, lengths and classes of two data sets, counted by hand."""

from __future__ import annotations

import pytest
from tests.doctor.conftest import made, one, subject

from headstart.doctor.examine import examine
from headstart.doctor.reading import read_texts
from headstart.doctor.shift import shifts


def test_what_is_measured() -> None:
    source = made(("the film was fun", "a"), ("the plot", "b"), ("fun", "a"))
    target = made(("the phone was fun", "a"), ("the phone", "b"), ("phone case", "b"))
    found = [subject(source, "source"), subject(target)]
    (shift,) = shifts(found, [read_texts(each) for each in found])
    assert (shift.data, shift.target) == ("source", "target")
    assert shift.known_words == pytest.approx(4 / 8)  # the, was, fun, the of 8 running words
    assert shift.unknown == ("phone", "case")
    assert shift.median_words == (2.0, 2.0)
    assert shift.prior_distance == pytest.approx(1 / 3)


def test_what_is_told() -> None:
    source = made(*((f"the film was long and dull {n} " * 5, "ab"[n % 7 > 0]) for n in range(211)))
    target = made(*((f"phone {n % 11} broke", "ab"[n % 2]) for n in range(199)), name="t.csv")
    findings = examine({"source": source, "target": target})
    assert one(findings, "few words in common").severity == "warning"
    assert "up to 35" in one(findings, "different lengths").message
    priors = one(findings, "different class shares")
    assert priors.severity == "note" and "85.3 % 'b'" in priors.message
    tested = examine({"target": target, "test": source})
    assert one(tested, "different class shares").severity == "warning"


def test_other_classes_have_no_distance() -> None:
    found = [subject(made(("x", "a"), ("y", "b")), "source"), subject(made(("x", "c"), ("y", "d")))]
    (shift,) = shifts(found, [read_texts(each) for each in found])
    assert shift.prior_distance is None and shift.prior_chance is None
