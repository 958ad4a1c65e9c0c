"""Words marked for a report are those that the methods themselves score."""

from __future__ import annotations

import numpy as np
import pytest
from tests.explain.conftest import classifier

from headstart.data.pair import Pair
from headstart.explain import marked as module
from headstart.explain.attribution import attribute
from headstart.explain.marked import MOST_TEXTS, marked
from headstart.explain.subject import Subject

TEXTS = ["the plot was great, and dull", "dull dull plot", "   ", "great"]


@pytest.mark.parametrize(("most", "name"), [(60_000, "occlusion"), (3, "gradient-x-input")])
def test_scores_are_those_of_the_method(tiny_bert, monkeypatch, most, name):
    monkeypatch.setattr(module, "MOST_TOKENS", most)
    trained = classifier(tiny_bert)
    classes = [trained.task.labels[place % 2] for place in range(len(TEXTS))]
    found = marked(trained, TEXTS, classes)
    assert found["method"]["name"] == name and found["method"]["source"]
    assert [len(words) for words in found["words"]] == [7, 3, 0, 1]
    subject = Subject(trained, "model")
    for text, class_name, words in zip(TEXTS, classes, found["words"], strict=True):
        if words:
            want = attribute(subject, subject.read(text), name, subject.class_number(class_name))
            np.testing.assert_allclose([w["score"] for w in words], want.words, atol=6e-5)
    first = found["words"][0]
    assert [TEXTS[0][w["start"] : w["end"]] for w in first][:2] == ["the", "plot"]


def test_no_more_than_a_few_texts_are_marked(tiny_bert):
    trained = classifier(tiny_bert)
    found = marked(trained, ["great plot"] * 31, [trained.task.labels[0]] * 31)
    assert len(found["words"]) == MOST_TEXTS


def test_what_cannot_be_marked_is_left(tiny_bert):
    trained = classifier(tiny_bert)
    assert marked(trained, ["", " "], list(trained.task.labels[:2])) is None
    assert marked(trained, [Pair("a plot", "dull")], list(trained.task.labels[:1])) is None
    assert marked(trained, [], []) is None
