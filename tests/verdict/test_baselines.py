"""The baselines are scikit-learn's, in terms of the features as they are."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from headstart.verdict import baselines
from headstart.verdict.baselines import Linear, Terms, fit_from, fit_linear


def vectors(count: int, classes: int, seed: int = 3) -> tuple[np.ndarray, list[str]]:
    random = np.random.default_rng(seed)
    codes = np.arange(count) % classes
    centres = random.normal(size=(classes, 13)) * 3
    spread = np.linspace(0.1, 7, 13)
    found = (centres[codes] + random.normal(size=(count, 13)) * 2) * spread + 5
    return found.astype(np.float32), [f"class {code}" for code in codes]


@pytest.mark.parametrize("classes", [2, 3])
def test_weights_of_the_features_as_they_are(classes, monkeypatch):
    monkeypatch.setattr(baselines, "_strength", lambda *_: 0.1)
    features, labels = vectors(97, classes)
    linear = fit_linear(features, labels)
    theirs = LogisticRegression(C=0.1, max_iter=2000)
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    want = theirs.fit(scaled, labels).predict_proba(scaled)
    logits = linear.logits(features)
    got = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(got, want, atol=1e-4)


def test_without_a_bias_there_is_none():
    features, labels = vectors(97, 3)
    np.testing.assert_array_equal(fit_linear(features, labels, bias=False).bias, np.zeros(3))


def test_a_class_of_a_single_row_and_a_feature_that_never_varies():
    features, labels = vectors(31, 2)
    features[:, 4] = 7
    linear = fit_linear(features, [*labels[:-1], "rare"])
    assert linear.weight.shape == (3, 13) and np.isfinite(linear.weight).all()


def test_words_tell_classes_apart():
    texts = [f"it is {'fine' if n % 2 else 'broken'} number {n}" for n in range(41)]
    terms = Terms(texts, ["ab"[n % 2] for n in range(41)])
    assert terms.logits(["fine", "broken"]).argmax(1).tolist() == [1, 0]


@pytest.mark.parametrize("words", [("很好的手机", "坏掉的手机"), ("!!!", "???")])
def test_scripts_without_blanks_and_texts_without_words(words):
    texts = [words[n % 2] + "电话盒子屏幕"[n % 6] * (n % 3) for n in range(41)]
    if "!" in words[0]:
        texts = [words[n % 2] for n in range(41)]
    terms = Terms(texts, ["ab"[n % 2] for n in range(41)])
    assert terms.logits(list(words)).argmax(1).tolist() == [0, 1]


def test_what_begins_at_another_stays_there_or_leaves_by_evidence():
    features, labels = vectors(211, 2)
    good = fit_linear(features, labels)
    few, names = features[:5], labels[:5]
    kept = fit_from(good, few[:2], names[:2])
    np.testing.assert_array_equal(kept.weight, good.weight)  # one row of each class says nothing
    bad = Linear(-good.weight, -good.bias)
    mended = fit_from(bad, features, labels)
    codes = np.array([int(name[-1]) for name in labels])
    right = (mended.logits(features).argmax(1) == codes).mean()
    assert right > 0.9 > 0.2 > (bad.logits(features).argmax(1) == codes).mean()


def test_a_shift_from_zero_is_the_plain_regression():
    features, labels = vectors(97, 3)
    features = StandardScaler().fit_transform(features)
    codes = np.array([int(name[-1]) for name in labels])
    weight, bias = baselines._shift(features, np.zeros((97, 3)), codes, 0.5)
    theirs = LogisticRegression(C=0.5, max_iter=5000, tol=1e-8).fit(features, codes)
    logits, want = features @ weight.T + bias, theirs.decision_function(features)
    centred = logits - logits.mean(1, keepdims=True)
    np.testing.assert_allclose(centred, want - want.mean(1, keepdims=True), atol=2e-3)
