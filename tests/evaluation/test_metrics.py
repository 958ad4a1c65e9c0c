import numpy as np
import pytest

from headstart.evaluation.metrics import (
    accuracy,
    balanced_accuracy,
    brier_score,
    calibration_error,
    class_table,
    confusion,
    log_losses,
    macro_f1,
    negative_log_likelihood,
    squared_errors,
)

TRUTH = np.array([0, 0, 0, 1, 1, 2, 2])
PREDICTED = np.array([0, 0, 1, 1, 2, 2, 2])


def test_figures_by_hand():
    assert accuracy(PREDICTED, TRUTH) == pytest.approx(5 / 7)
    # F1: 2*2/(2+3), 2*1/(2+2), 2*2/(3+2)
    assert macro_f1(PREDICTED, TRUTH) == pytest.approx((4 / 5 + 1 / 2 + 4 / 5) / 3)
    assert balanced_accuracy(PREDICTED, TRUTH) == pytest.approx((2 / 3 + 1 / 2 + 1) / 3)
    assert balanced_accuracy(np.array([0, 3, 0]), np.array([0, 0, 2])) == pytest.approx(1 / 4)
    assert confusion(PREDICTED, TRUTH, 3).tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 2]]


def test_class_table_counts_classes_that_never_occur():
    table = class_table(PREDICTED, TRUTH, ["a", "b", "c", "d"])
    assert table[0] == pytest.approx(
        {"name": "a", "precision": 1.0, "recall": 2 / 3, "f1": 4 / 5, "support": 3}
    )
    assert table[3] == {"name": "d", "precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0}
    assert confusion(PREDICTED, TRUTH, 4).sum() == len(TRUTH)


def test_negative_log_likelihood_is_the_mean_log():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    expected = -(np.log(0.25) + np.log(0.8)) / 2
    assert negative_log_likelihood(probabilities, np.array([2, 1])) == pytest.approx(expected)
    assert np.isfinite(negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])))


def test_calibration_error_by_hand():
    # Confidence 0.9 four times, right three: |0.75 - 0.9|; confidence 0.6 once, right: |1 - 0.6|.
    probabilities = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]])
    truth = np.array([0, 0, 0, 1, 1])
    expected = (4 * 0.15 + 1 * 0.4) / 5
    assert calibration_error(probabilities, truth) == pytest.approx(expected, abs=1e-6)


def test_brier_score_and_log_losses_row_by_row():
    probabilities = np.array([[0.5, 0.25, 0.25], [0.1, 0.8, 0.1]])
    truth = np.array([2, 1])
    rows = [0.25 + 0.0625 + 0.5625, 0.01 + 0.04 + 0.01]
    assert squared_errors(probabilities, truth) == pytest.approx(rows)
    assert brier_score(probabilities, truth) == pytest.approx(sum(rows) / 2)
    assert brier_score(np.eye(3)[[1, 2]], truth) == 2.0  # sure and wrong each time
    losses = log_losses(probabilities, truth)
    assert losses.mean() == pytest.approx(negative_log_likelihood(probabilities, truth))
