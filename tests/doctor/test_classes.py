"""Classes: how even they are, how they are spelled, and whether they match."""

from __future__ import annotations

import pytest
from tests.doctor.conftest import made, one, subject

from headstart.data.examples import Examples
from headstart.doctor.classes import balance, schemes, spellings


def labelled(counts: dict[str, int], name: str = "shop.csv") -> Examples:
    return made(*((f"{label} {n}", label) for label, count in counts.items()
                  for n in range(count)), name=name)  # fmt: skip


def test_balance() -> None:
    assert balance(subject(labelled({"a": 11, "b": 23}))) == []
    findings = balance(subject(labelled({"a": 97, "b": 7, "c": 31})))
    few = one(findings, "small classes")
    assert few.rows == tuple(range(2 + 97, 2 + 97 + 7)) and "'b' (7)" in few.message
    uneven = one(findings, "uneven classes")
    assert uneven.severity == "warning" and "right 71.9 % of the time" in uneven.message
    (note,) = balance(subject(labelled({"a": 37, "b": 11})))
    assert note.severity == "note"


def test_spellings_in_one_data_set() -> None:
    rows = labelled({"positive": 5, "Positive": 2, "negative": 3})
    (finding,) = spellings(subject(rows))
    assert finding.rows == (7, 8) and finding.severity == "harmful"
    assert finding.remedy.endswith(
        "--target-map 'Positive=positive,negative=negative,positive=positive'"
    )
    assert spellings(subject(labelled({"a": 5, "b": 2}))) == []


@pytest.mark.parametrize(
    ("source", "target", "how", "remedy"),
    [
        ("Negative Positive", "negative positive", "differ in case alone",
         "--source-map Negative=negative,Positive=positive"),
        ("0 1", "negative positive", "two words for the same",
         "--source-map 0=negative,1=positive"),
        ("neg pos", "1 0", "two words for the same", "--source-map neg=0,pos=1"),
        ("1 2 4 5", "negative positive", "the source has '1', '2', '4', '5'",
         "--source-map 1=negative,2=negative,4=positive,5=positive"),
        ("cat dog", "dog fox", "the source has 'cat', 'dog'", "Rename them"),
    ],
)  # fmt: skip
def test_schemes(source: str, target: str, how: str, remedy: str) -> None:
    sides = [labelled(dict.fromkeys(names.split(), 9)) for names in (source, target)]
    (finding,) = schemes([subject(sides[0], "source"), subject(sides[1])])
    assert finding.kind == "label schemes" and finding.severity == "harmful"
    assert how in finding.message and remedy in finding.remedy


def test_schemes_that_match_and_test_classes() -> None:
    target, test = labelled({"a": 9, "b": 9}), labelled({"a": 5, "c": 2}, "test.csv")
    assert schemes([subject(target, "source"), subject(target)]) == []
    findings = schemes([subject(target), subject(test, "test")])
    assert one(findings, "unknown test classes").rows == (7, 8)
    assert "'b'" in one(findings, "untested classes").message
