"""Classifier: scikit-learn's conventions over texts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils.estimator_checks import check_estimator

from headstart import Classifier
from headstart.training.progress import Silent
from headstart.verdict import arms
from tests.conftest import FILLER, PRODUCT, reviews

ROWS = reviews(263, 5, PRODUCT)
TEXTS, LABELS = [t for t, _ in ROWS], [y for _, y in ROWS]


@pytest.fixture
def classifier(tiny_bert):
    return Classifier(backbone=str(tiny_bert), pooling="mean", epochs=20, learning_rate=3e-3)


def test_fit_predict_score(classifier):
    assert classifier.fit(TEXTS, LABELS) is classifier
    unseen = reviews(61, 9, PRODUCT)
    texts, labels = [t for t, _ in unseen], [y for _, y in unseen]
    assert classifier.score(texts, labels) >= 0.9
    probabilities = classifier.predict_proba(texts)
    assert probabilities.shape == (61, 2)
    best = classifier.classes_[probabilities.argmax(1)]
    assert (best == classifier.predict(texts)).all()


@pytest.mark.parametrize("kind", [int, str, bool, np.float64])
def test_classes_come_back_in_the_type_they_came_in(classifier, kind):
    labels = np.array([kind(y == "positive") for y in LABELS])
    predicted = classifier.set_params(epochs=1).fit(TEXTS, labels).predict(TEXTS)
    assert predicted.dtype == labels.dtype
    assert set(predicted) <= set(labels)


@pytest.mark.parametrize("kind", [list, np.array, pd.Series, tuple])
def test_texts_in_any_sequence(classifier, kind):
    fitted = classifier.set_params(epochs=1).fit(kind(TEXTS), LABELS)
    assert len(fitted.predict(kind(TEXTS[:7]))) == 7


def test_cross_validation_trains_the_source_once(classifier, monkeypatch):
    source = arms.SOURCE.model_copy(
        update={"learning_rate": 3e-3, "batch_tokens": 64, "epochs": 12.0}
    )
    monkeypatch.setattr(arms, "SOURCE", source)
    monkeypatch.setattr("headstart.estimator.SOURCE", source)
    trained = []
    real = Silent.bar
    monkeypatch.setattr(Silent, "bar", lambda *a, **k: trained.append(a[1]) or real(*a, **k))
    classifier.set_params(source=reviews(331, 3, FILLER), epochs=4)
    scores = cross_val_score(classifier, TEXTS, LABELS, cv=3)
    assert len(scores) == 3 and min(scores) > 0.8
    assert trained.count("source") == 1
    assert trained.count("tune") == 3


def test_in_a_pipeline(classifier):
    lower = FunctionTransformer(lambda texts: [t.lower() for t in texts])
    pipeline = Pipeline([("lower", lower), ("classify", classifier)])
    pipeline.fit([t.upper() for t in TEXTS], LABELS)
    assert pipeline.score([t.upper() for t in TEXTS], LABELS) > 0.9


def test_balanced_class_weights(classifier):
    few = [i for i, y in enumerate(LABELS) if y == "negative" or i % 20 == 0]
    texts, labels = [TEXTS[i] for i in few], [LABELS[i] for i in few]
    fitted = classifier.set_params(class_weights="balanced").fit(texts, labels)
    assert set(fitted.predict(texts)) == {"negative", "positive"}


@pytest.mark.filterwarnings("ignore:Can't test estimator")
def test_scikit_learns_own_checks(classifier):
    check_estimator(classifier)


def test_clone_keeps_the_parameters(classifier):
    assert clone(classifier).get_params() == classifier.get_params()


def test_what_it_refuses(classifier):
    with pytest.raises(NotFittedError):
        clone(classifier).predict(TEXTS)
    with pytest.raises(ValueError, match="got a single text"):
        classifier.fit("one text", ["a"])
    with pytest.raises(ValueError, match="it holds a int"):
        classifier.fit([1, 2], ["a", "b"])
    with pytest.raises(ValueError, match="y must hold 263 labels"):
        classifier.fit(TEXTS, LABELS[:-1])
    with pytest.raises(ValueError, match="2 or more classes; it holds only 'x'"):
        classifier.fit(TEXTS, ["x"] * len(TEXTS))
    with pytest.raises(ValueError, match="Unknown label type"):
        classifier.fit(TEXTS, np.linspace(0, 1, len(TEXTS)))


def test_an_empty_text_gets_an_answer(classifier):
    classifier.set_params(epochs=1).fit([*TEXTS, ""], [*LABELS, "negative"])
    assert classifier.predict([""])[0] in {"negative", "positive"}
