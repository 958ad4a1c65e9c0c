"""Numbers for texts: the loss by hand, scores against scipy's, and back into the labels' unit."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, spearmanr

from headstart.tasks.regress import Regress, scores

LABELS = ["1", "2.5", "4", "-3", "11"]


def test_labels_are_standardised_and_come_back():
    task = Regress.of(LABELS)
    coded = task.encode(LABELS)
    assert coded.dtype == np.float32
    assert coded.mean() == pytest.approx(0, abs=1e-6)
    assert coded.std() == pytest.approx(1, abs=1e-6)
    back = task.numbers(torch.from_numpy(coded)[:, None])
    np.testing.assert_allclose(back, [1, 2.5, 4, -3, 11], atol=1e-5)
    assert task.decode(torch.from_numpy(coded)[:, None]) == ["1", "2.5", "4", "-3", "11"]


def test_the_loss_is_the_mean_squared_error():
    batch = SimpleNamespace(inputs=torch.tensor([[1.0], [3.0]]), segments=None,
                            target=torch.tensor([0.0, 1.0]))  # fmt: skip
    found = Regress(0, 1).loss(lambda inputs, segments: inputs, batch)
    assert float(found) == pytest.approx((1 + 4) / 2)


def test_scores_are_scipys():
    random = np.random.default_rng(3)
    truth = random.normal(size=31)
    found = truth + random.normal(size=31)
    got = scores(found, truth)
    assert got["pearson"] == pytest.approx(pearsonr(found, truth).statistic)
    assert got["spearman"] == pytest.approx(spearmanr(found, truth).statistic)
    assert got["rmse"] == pytest.approx(np.sqrt(((found - truth) ** 2).mean()))
    assert got["explained"] == pytest.approx(1 - got["rmse"] ** 2 / truth.var())


def test_the_unit_does_not_change_correlations():
    task = Regress(7.0, 3.0)
    logits, target = torch.tensor([[0.5], [-1.0], [2.0]]), np.array([0.1, -0.5, 1.0])
    measured = task.metrics(logits, target)
    plain = scores(logits[:, 0].numpy(), target)
    assert measured["pearson"] == pytest.approx(plain["pearson"])
    assert measured["rmse"] == pytest.approx(3 * plain["rmse"])
    assert next(iter(measured)) == "pearson"


def test_whoever_says_the_same_of_all_explains_nothing():
    assert scores(np.full(3, 2.0), np.array([1.0, 2, 3])) == pytest.approx(
        {"pearson": 0.0, "spearman": 0.0, "explained": 0.0, "rmse": np.sqrt(2 / 3)}
    )
