"""One source or several, by name, and the arms that they make."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from headstart.errors import RecipeError
from headstart.verdict.arms import expanded, parse_arms
from headstart.verdict.plan import Asked, plan
from headstart.verdict.sources import named_sources


def test_one_source_is_called_source():
    rows = [("a b", "x"), ("c d", "y")]
    assert named_sources(rows) == {"source": rows}
    assert named_sources("films.csv") == {"source": "films.csv"}
    assert named_sources(["films.csv"]) == {"source": "films.csv"}


def test_several_are_called_by_their_stems():
    paths = ["a/films.csv", Path("b/films.csv"), "c/old books.csv", "d/target.csv", "all.csv"]
    assert list(named_sources(paths)) == ["films", "films-2", "old-books", "target-2", "all-2"]
    frames = [pd.DataFrame({"text": ["a"]}), pd.DataFrame({"text": ["b"]})]
    assert list(named_sources(frames)) == ["source1", "source2"]
    with pytest.raises(RecipeError, match=r"'a\.csv' is given twice"):
        named_sources(["a.csv", "b.csv", "a.csv"])


def test_arms_of_several_sources():
    found = parse_arms("target,source+target,joint", ("films", "books"))
    assert found == ("target", "films+target", "books+target", "all+target", "joint:films",
                     "joint:books", "joint:all")  # fmt: skip
    assert parse_arms("books+target", ("films", "books")) == ("books+target",)
    assert expanded(("films", "books"))["all+target"] == ("source+target", ("films", "books"))
    with pytest.raises(RecipeError, match=r"'boks\+target'. Did you mean 'books\+target'"):
        parse_arms("boks+target", ("films", "books"))


def asked(**values) -> Asked:
    common = {"arms": None, "labels": None, "seeds": None, "folds": None, "tests": False}
    return Asked(**(common | values))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seeds": 0}, "seeds: must be 1 or more; got 0"),
        ({"folds": 1}, "folds: must be 2 or more, or 0 for none; got 1"),
        ({"folds": 3, "tests": True}, "Leave out folds or test"),
        ({"folds": 3, "labels": 8}, "cannot go with labels"),
        ({"arms": "tfidf"}, "leaves no model to keep"),
        ({"arms": "target", "curve": "frozen"}, r"Add source\+target to arms"),
        ({"arms": "target", "unlabelled": True}, r"read by adapt\+target"),
    ],
)
def test_what_cannot_be_planned(values, message):
    with pytest.raises(RecipeError, match=message):
        plan(asked(**values), "s.csv", {"target": "t.csv", "test": None, "unlabelled": None})


def test_only_what_is_read_is_asked_for():
    others = {"target": "t.csv", "test": "e.csv", "unlabelled": "u.csv"}
    given, _ = plan(asked(arms="target", tests=True), "s.csv", others)
    assert given == {"target": "t.csv", "test": "e.csv"}
    given, found = plan(asked(arms="adapt+source+target", unlabelled=True), "s.csv", others)
    assert set(given) == {"source", "texts", "target", "test", "unlabelled"}
    assert given["texts"] == "t.csv"
    assert found.answering == (), "a new head is trained, so the classes may differ"
    assert plan(asked(arms="joint"), "s.csv", others)[1].answering == ("source",)
