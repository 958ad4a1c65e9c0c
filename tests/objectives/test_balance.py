"""Gradients of several tasks made one: cases worked by hand, and what the papers prove."""

import numpy as np
import pytest
import torch

from headstart.objectives.balance import (
    History,
    LossRate,
    Nash,
    Projected,
    Sum,
    Uncertainty,
    bargain,
    conflicts,
)


def vectors(*rows):
    return [torch.tensor(row, dtype=torch.float32) for row in rows]


def combined(balance, *rows, seed=0):
    found, alphas = balance.combine(vectors(*rows), np.random.default_rng(seed))
    return found.tolist(), alphas.tolist()


def test_the_sum_is_the_sum():
    assert combined(Sum(), [1.0, 2.0], [3.0, -5.0]) == ([4.0, -3.0], [1.0, 1.0])


def test_two_gradients_against_each_other_lose_what_is_against():
    # g1 = (1, 0), g2 = (-1, 1), g1.g2 = -1: g1 + g2 / 2 = (1/2, 1/2), and g2 + g1 = (0, 1).
    found, alphas = combined(Projected(), [1.0, 0.0], [-1.0, 1.0])
    assert found == pytest.approx([0.5, 1.5])
    assert alphas == [1.0, 1.0]


def test_gradients_that_agree_are_summed_untouched():
    assert combined(Projected(), [1.0, 0.5], [0.25, 1.0])[0] == [1.25, 1.5]
    assert combined(Projected(), [1.0, 0.0], [0.0, 1.0])[0] == [1.0, 1.0]


def test_exactly_opposite_gradients_leave_nothing():
    assert combined(Projected(), [2.0, 1.0], [-4.0, -2.0])[0] == pytest.approx([0.0, 0.0])


def test_what_is_projected_is_never_against_the_other_of_two():
    random = torch.Generator().manual_seed(7)
    for _ in range(31):
        a, b = torch.randn(2, 13, generator=random)
        mine = Projected().combine([a, b], np.random.default_rng(0))[0]
        assert float(mine @ a) >= -1e-5
        assert float(mine @ b) >= -1e-5


def test_projection_uses_the_other_gradient_as_it_was():
    """Algorithm 1 of Yu et al.: g_j is not itself projected. By hand for three, whatever order."""
    a, b, c = np.array([1.0, 0, 0]), np.array([-1.0, 1, 0]), np.array([0.0, -1, 1])
    found = np.array(combined(Projected(), a.tolist(), b.tolist(), c.tolist(), seed=3)[0])

    def less(g, h):
        return g - min(0.0, g @ h) / (h @ h) * h

    ways = []
    for first_a in ((b, c), (c, b)):
        for first_b in ((a, c), (c, a)):
            for first_c in ((a, b), (b, a)):
                parts = [less(less(g, o[0]), o[1]) for g, o in
                         ((a, first_a), (b, first_b), (c, first_c))]  # fmt: skip
                ways.append(sum(parts))
    assert any(np.allclose(found, way, atol=1e-6) for way in ways)


@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_bargain_is_where_its_equation_holds(count):
    random = np.random.default_rng(count)
    for _ in range(13):
        gradients = random.normal(size=(count, 29)) * random.uniform(0.01, 10, size=(count, 1))
        products = gradients @ gradients.T
        alpha = bargain(products / np.trace(products))
        assert (alpha > 0).all()
        np.testing.assert_allclose(
            (products / np.trace(products) + 1e-6 * np.eye(count)) @ alpha, 1 / alpha, rtol=1e-4
        )


def test_nash_moves_every_task_alike_whatever_the_size_of_its_loss():
    """alpha_i g_i . (G alpha) = 1 for each: the relative gain is the same, and scaling a loss does
    not turn the direction (Navon et al. 2022, section 3.1)."""
    a, b = torch.randn(2, 17, generator=torch.Generator().manual_seed(5))
    first, alphas = Nash().combine([a, b], np.random.default_rng(0))
    gains = [float(alpha * (g @ first)) for alpha, g in zip(alphas, (a, b), strict=True)]
    assert gains[0] == pytest.approx(gains[1], rel=1e-4)
    second, _ = Nash().combine([a, 11 * b], np.random.default_rng(0))
    assert float(torch.cosine_similarity(first, second, dim=0)) == pytest.approx(1.0, abs=1e-4)


def test_gradients_at_right_angles_and_of_one_length_bargain_to_the_sum():
    found, alphas = combined(Nash(), [3.0, 0.0], [0.0, 3.0])
    assert found == pytest.approx([3.0, 3.0], rel=1e-4)
    assert alphas == pytest.approx([1.0, 1.0], rel=1e-4)


def test_nash_of_nothing_is_nothing():
    assert combined(Nash(), [0.0, 0.0], [0.0, 0.0]) == ([0.0, 0.0], [1.0, 1.0])


def test_uncertainty_is_a_softmax_of_inverse_losses():
    losses = {"a": 0.5, "b": 2.0}
    found = Uncertainty(temperature=2.0).weights(losses, History(3))
    powers = np.exp([1 / 0.5 / 2, 1 / 2 / 2])  # e^1, e^0.25
    assert found == pytest.approx(dict(zip("ab", powers / powers.sum(), strict=True)))
    assert sum(found.values()) == pytest.approx(1.0)


def test_loss_rates_weigh_what_falls_slowly_more():
    history = History(epoch_steps=2)
    balance = LossRate(temperature=2.0)
    for a, b in ((4.0, 4.0), (2.0, 4.0)):  # means of the first epoch: 3 and 4
        history.add({"a": a, "b": b})
        assert balance.weights({"a": 0, "b": 0}, history) == {"a": 1.0, "b": 1.0}
    for a, b in ((1.5, 4.0), (1.5, 4.0)):  # of the second: 1.5 and 4; rates 0.5 and 1
        history.add({"a": a, "b": b})
    powers = np.exp([0.25, 0.5])
    want = 2 * powers / powers.sum()
    assert balance.weights({"a": 0, "b": 0}, history) == pytest.approx(
        dict(zip("ab", want, strict=True))
    )


def test_a_history_goes_on_from_its_values():
    history, other = History(3), History(3)
    for step in range(7):
        history.add({"a": step / 7, **({"b": 1.0} if step % 2 else {})})
    other.load_state_dict(history.state_dict())
    for one in (history, other):
        one.add({"a": 0.3})
    assert history.state_dict() == other.state_dict()


def test_conflicts_count_pairs():
    assert conflicts(vectors([1.0, 0], [-1.0, 0.1], [0.0, 1.0])) == pytest.approx(1 / 3)
