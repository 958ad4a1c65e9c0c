"""Measures against published values, numbers by hand, and the same thing done otherwise."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import multivariate_normal, norm
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from headstart.evaluation import transferability as measures

IRIS = load_iris(return_X_y=True)


def clouds(rows: int, width: int, classes: int, apart: float, seed: int = 0):
    """Gaussian features with the classes so far apart, about a mean that is not zero."""
    random = np.random.default_rng(seed)
    labels = np.arange(rows) % classes
    centres = random.normal(size=(classes, width)) * apart
    mixing = random.normal(size=(width, width))
    return (random.normal(size=(rows, width)) + centres[labels]) @ mixing + 3, labels


# What the authors of the paper on averaging layers publish in their own tests of Iris
# (github.com/flairNLP/transformer-ranker, tests/estimators).


def test_log_me_of_iris_is_the_published_one():
    assert measures.log_me(*IRIS) == pytest.approx(-0.16006022033609904, abs=1e-6)


def test_h_score_of_iris_is_the_published_one():
    # They divide the covariance of means by N - 1 and that of features by N; here both are by N.
    published = 1.177842480406727 * 149 / 150
    assert measures.h_score(*IRIS) == pytest.approx(published, abs=1e-7)


@pytest.mark.parametrize(("count", "right"), [(1, 144), (3, 144), (5, 145), (13, 145)])
def test_neighbours_of_iris_are_right_as_often_as_published(count, right):
    assert (measures.neighbours(*IRIS, count) == IRIS[1]).sum() == right


# LogME: against the density it maximises, the integral it solves, and the paper's own iteration.


def evidence_of_density(features, target, alpha, beta):
    """Log density of y ~ N(0, 1 / beta + F F' / alpha): the weights integrated out by algebra."""
    covariance = np.eye(len(target)) / beta + features @ features.T / alpha
    return multivariate_normal(cov=covariance).logpdf(target) / len(target)


@pytest.mark.parametrize(("rows", "width"), [(29, 5), (13, 23)])
def test_log_me_is_the_maximum_of_the_density(rows, width):
    features, labels = clouds(rows, width, 3, 0.7)
    found = []
    for label in range(3):
        target = (labels == label).astype(float)

        def cost(at, target=target):
            return -evidence_of_density(features, target, *np.exp(at))

        starts = [(0, 0), (2, 2), (-3, 3), (5, 1)]
        found.append(max(-minimize(cost, s, method="Nelder-Mead", options={"fatol": 1e-10}).fun
                         for s in starts))  # fmt: skip
    assert measures.log_me(features, labels) == pytest.approx(np.mean(found), abs=1e-6)


def test_the_evidence_is_the_integral_over_all_weights():
    features, labels = np.array([[0.5], [1.0], [-2.0], [1.5], [-0.5]]), np.array([1, 1, 0, 1, 0])
    weights, step = np.linspace(-20, 20, 20_001, retstep=True)
    found = []
    for label in (0, 1):
        target = (labels == label).astype(float)

        def cost(at, target=target):
            alpha, beta = np.exp(at)

            rows = norm.pdf(target, weights[:, None] * features[:, 0], beta**-0.5).prod(1)
            return -math.log((rows * norm.pdf(weights, 0, alpha**-0.5)).sum() * step) / 5

        found.append(-minimize(cost, (1.0, 1.0), method="Nelder-Mead").fun)
    assert measures.log_me(features, labels) == pytest.approx(np.mean(found), abs=1e-5)


def test_log_me_is_never_below_the_papers_fixed_point():
    features, labels = clouds(101, 17, 3, 0.5)
    square, found = features.T @ features, []
    for label in range(3):
        target, alpha, beta = (labels == label).astype(float), 1.0, 1.0
        for _ in range(200):
            precision = alpha * np.eye(17) + beta * square
            mean = beta * np.linalg.solve(precision, features.T @ target)
            gamma = 17 - alpha * np.trace(np.linalg.inv(precision))
            alpha = gamma / (mean @ mean)
            beta = (101 - gamma) / ((target - features @ mean) ** 2).sum()
        found.append(evidence_of_density(features, target, alpha, beta))
    ours = measures.log_me(features, labels)
    assert ours == pytest.approx(np.mean(found), abs=1e-6)
    assert ours >= np.mean(found) - 1e-9


def test_features_that_tell_the_classes_without_fault_have_a_finite_evidence():
    features = np.eye(3)[np.arange(37) % 3]
    perfect = measures.log_me(features, np.arange(37) % 3)
    noisy = measures.log_me(features, np.random.default_rng(0).permutation(np.arange(37) % 3))
    assert math.isfinite(perfect) and perfect > noisy + 5
    assert math.isfinite(measures.log_me(np.zeros((11, 5)), np.arange(11) % 2))


# H-score: by hand, and by the traces that its paper writes down.


def test_h_score_by_hand():
    # One feature: variance 5/4, of which the classes' means 1/2 and 5/2 make 1.
    features, labels = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1])
    assert measures.h_score(features, labels) == pytest.approx(1 / 1.25)
    assert measures.h_score(np.array([[0.0], [0.0], [7.0], [7.0]]), labels) == pytest.approx(1)
    assert measures.h_score(np.ones((4, 3)), labels) == 0


@pytest.mark.parametrize(("rows", "width"), [(41, 7), (19, 31)])
def test_h_score_is_the_trace_of_the_shrunken_covariances(rows, width):
    features, labels = clouds(rows, width, 3, 0.5)
    centred = features - features.mean(0)
    spread = sum(np.outer(x, x) for x in centred) / rows
    variance = np.trace(spread) / width
    # Ledoit and Wolf 2004, lemma 3.2 to 3.4, in norms that are divided by the width.
    far = ((spread - variance * np.eye(width)) ** 2).sum() / width
    noise = sum(((np.outer(x, x) - spread) ** 2).sum() for x in centred) / width / rows**2
    share = min(noise, far) / far
    shrunken = (1 - share) * spread + share * variance * np.eye(width)
    means = np.array([centred[labels == label].mean(0) for label in labels])
    between = means.T @ means / rows
    expected = np.trace(np.linalg.inv(shrunken) @ ((1 - share) * between))
    assert measures.h_score(features, labels) == pytest.approx(expected, rel=1e-9)


def test_h_score_is_below_the_number_of_classes_and_knows_no_direction():
    features, labels = clouds(211, 11, 5, 9.0)
    score = measures.h_score(features, labels)
    assert 3 < score < 4
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(11, 11)))[0]
    assert measures.h_score(7 * features @ turn - 5, labels) == pytest.approx(score)


def test_what_rounding_leaves_of_equal_features_is_not_read():
    labels = np.arange(83) % 2
    equal = np.tile(np.linspace(0.1, 0.9, 19), (83, 1))
    noisy = equal + 1e-8 * labels[:, None]
    entropy = -sum(p * math.log(p) for p in (41 / 83, 42 / 83))
    for features in (equal, noisy):
        assert measures.h_score(features, labels) == 0
        assert measures.nleep(features, labels) == pytest.approx(-entropy)


# LEEP: from counts, and by hand.


def test_leep_of_sure_answers_is_made_of_counts():
    answers, labels = np.array([0, 0, 0, 1, 1, 1, 1]), np.array([0, 0, 1, 1, 1, 1, 0])
    expected = (2 * math.log(2 / 3) + math.log(1 / 3) + 3 * math.log(3 / 4) + math.log(1 / 4)) / 7
    assert measures.leep(np.eye(2)[answers], labels) == pytest.approx(expected)


def test_leep_by_hand():
    # P(y, z) is 3/8 where they agree and 1/8 where not, P(z) 1/2, so P(y | z) is 3/4 and 1/4.
    said = np.array([[0.75, 0.25], [0.25, 0.75]])
    assert measures.leep(said, np.array([0, 1])) == pytest.approx(math.log(10 / 16))


def test_leep_is_the_formula_row_by_row():
    random = np.random.default_rng(5)
    said, labels = random.dirichlet(np.ones(7), size=53), random.integers(0, 3, 53)
    total = 0.0
    for row in range(53):
        likely = 0.0
        for z in range(7):
            mass = sum(said[other, z] for other in range(53))
            same = sum(said[other, z] for other in range(53) if labels[other] == labels[row])
            likely += said[row, z] * same / mass
        total += math.log(likely) / 53
    assert measures.leep(said, labels) == pytest.approx(total)
    assert measures.leep(said[:, ::-1], labels + 11) == pytest.approx(total)  # names do not matter


def test_leep_lies_between_knowing_nothing_and_all():
    labels = np.array([0] * 13 + [1] * 29)
    entropy = -(13 * math.log(13 / 42) + 29 * math.log(29 / 42)) / 42
    assert measures.leep(np.ones((42, 1)), labels) == pytest.approx(-entropy)
    assert measures.leep(np.eye(3)[labels], labels) == pytest.approx(0, abs=1e-12)


# NLEEP


def test_nleep_is_near_nothing_for_clouds_apart_and_near_the_entropy_for_noise():
    features, labels = clouds(97, 5, 2, 40.0)
    assert measures.nleep(features, labels) == pytest.approx(0, abs=1e-6)
    noise = np.random.default_rng(1).normal(size=(997, 5))
    chance = measures.nleep(noise, np.arange(997) % 2)
    assert -math.log(2) <= chance < -0.6
    assert measures.nleep(np.ones((23, 3)), np.arange(23) % 2) == pytest.approx(
        measures.leep(np.ones((23, 1)), np.arange(23) % 2)
    )


def test_nleep_is_the_same_each_time_and_whatever_the_scale():
    features, labels = clouds(131, 7, 2, 0.5)
    first = measures.nleep(features, labels)
    assert measures.nleep(features, labels) == first
    assert measures.nleep(features * 1e-3 - 2, labels) == pytest.approx(first, abs=1e-6)


def test_nleep_needs_two_rows_for_a_gaussian():
    features, labels = clouds(19, 3, 2, 1.0)
    assert measures.nleep_rows(2) == 20
    with pytest.raises(ValueError, match="needs 20 rows; got 19"):
        measures.nleep(features, labels)


# Neighbours and probes


def test_neighbours_are_those_of_scikit_learn_with_each_row_left_out(monkeypatch):
    monkeypatch.setattr(measures, "BLOCK", 7)
    features, labels = clouds(61, 5, 3, 0.4)
    expected = []
    for row in range(61):
        rest = np.arange(61) != row
        model = KNeighborsClassifier(1).fit(features[rest], labels[rest])
        expected.append(model.predict(features[[row]])[0])
    assert measures.neighbours(features, labels, 1).tolist() == expected


def test_a_tie_goes_to_the_nearest_of_the_tied():
    # From 0: classes 5, 2, 2, 5 in this order of distance.
    features = np.array([[0.0], [1.0], [-2.0], [3.0], [-4.0]])
    answers = measures.neighbours(features, np.array([9, 5, 2, 2, 5]), 4)
    assert answers[0] == 5
    assert measures.neighbours(features[:2], np.array([3, 8])).tolist() == [8, 3]


def test_folds_spread_every_class_evenly():
    labels = np.array([0] * 23 + [1] * 11 + [2] * 3)
    parts = measures.folds(labels, 5, seed=1)
    for label, count in ((0, 23), (1, 11), (2, 3)):
        held = np.bincount(parts[labels == label], minlength=5)
        assert held.max() - held.min() <= 1 and held.sum() == count
    assert np.bincount(parts).tolist() == [8, 8, 7, 7, 7]
    assert measures.folds(labels[:3], 5).max() == 2
    assert not np.array_equal(parts, measures.folds(labels, 5, seed=2))


def test_cross_validation_never_sees_what_it_answers():
    features, labels = clouds(83, 7, 3, 0.6)
    parts, expected = measures.folds(labels), np.empty(83, int)
    for part in range(5):
        rest = parts != part
        scaler = StandardScaler().fit(features[rest])
        model = LogisticRegression(C=measures.PROBE_STRENGTH, max_iter=2000)
        model.fit(scaler.transform(features[rest]), labels[rest])
        expected[~rest] = model.predict(scaler.transform(features[~rest]))
    assert np.array_equal(measures.cross_validated(features, labels), expected)
    by_heart = np.random.default_rng(2).normal(size=(101, 307))
    chance = (measures.cross_validated(by_heart, np.arange(101) % 2) == np.arange(101) % 2).mean()
    assert chance < 0.65


def test_a_fold_without_one_of_two_classes_is_answered_with_the_other():
    features, labels = np.arange(8.0).reshape(4, 2), np.array([1, 0, 0, 0])
    assert measures.cross_validated(features, labels)[0] == 0


def test_similarity_by_hand():
    ours = np.array([[1.0, 0.0], [3.0, 0.0]])
    assert measures.similarity(ours, np.array([[0.0, 5.0]])) == 0
    assert measures.similarity(ours, np.array([[1.0, 2.0], [5.0, 6.0]])) == pytest.approx(0.6)
    assert measures.similarity(ours, 7 * ours) == pytest.approx(1)
    assert measures.similarity(ours, np.zeros((3, 2))) == 0


def test_the_embeddings_are_left_out_of_the_mean_of_blocks():
    vectors = np.arange(2 * 4 * 3, dtype=np.float32).reshape(2, 4, 3)
    expected = (vectors[:, 1] + vectors[:, 2] + vectors[:, 3]) / 3
    np.testing.assert_array_equal(measures.mean_of_blocks(vectors), expected)


@pytest.mark.parametrize("rows", [47, 499])
def test_every_measure_prefers_features_that_tell_more(rows):
    near, labels = clouds(rows, 89, 2, 0.05)
    far, _ = clouds(rows, 89, 2, 0.5)
    for measure in (measures.log_me, measures.h_score, measures.nleep):
        assert measure(far, labels) > measure(near, labels)
    for answer in (measures.neighbours, measures.cross_validated):
        assert (answer(far, labels) == labels).mean() > (answer(near, labels) == labels).mean()
