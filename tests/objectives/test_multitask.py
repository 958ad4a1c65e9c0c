"""Several tasks' gradients through a network: the sum by hand, heads and shared parts."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

from headstart.objectives.balance import History, Nash, Projected, Sum, Uncertainty
from headstart.objectives.multitask import MultiTask, Portion, Portions


class Net(nn.Module):
    """y = head_task * (shared . x)."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.shared = nn.Parameter(torch.randn(5))
        self.head = nn.ParameterDict({"a": torch.randn(1), "b": torch.randn(1)})

    def forward(self, task, x):
        return self.head[task] * (x @ self.shared)


class Squares:
    def loss(self, network, batch):
        return ((network(batch.inputs) - batch.target) ** 2).mean()


def piece(seed, rows, weight=1.0):
    random = torch.Generator().manual_seed(seed)
    return SimpleNamespace(inputs=torch.randn(rows, 5, generator=random),
                           target=torch.randn(rows, generator=random),
                           rows=torch.arange(rows), weight=weight)  # fmt: skip


PORTIONS = Portions((Portion("a", (piece(1, 7),)), Portion("b", (piece(2, 3),))))
WEIGHTS = {"a": 1.0, "b": 0.25}


def objective(net, balance, weights=WEIGHTS):
    tasks = {"a": Squares(), "b": Squares()}
    return MultiTask(tasks, weights, balance, [net.shared], torch.Tensor.backward, History(5))


def by_hand(net, task):
    """Loss and gradients of a task, from the formula."""
    batch = next(p for p in PORTIONS.portions if p.task == task).batches[0]
    with torch.no_grad():
        z, h = batch.inputs @ net.shared, net.head[task]
        off = h * z - batch.target
        return (
            float((off**2).mean()),
            2 * h * (off[:, None] * batch.inputs).mean(0),
            2 * (off * z).mean()[None],
        )


def test_the_gradient_of_the_sum_is_the_weighted_sum_of_gradients():
    net = Net()
    measured = objective(net, Sum()).backward(net, PORTIONS)
    (loss_a, g_a, h_a), (loss_b, g_b, h_b) = by_hand(net, "a"), by_hand(net, "b")
    torch.testing.assert_close(net.shared.grad, g_a + 0.25 * g_b)
    torch.testing.assert_close(net.head["a"].grad, h_a)
    torch.testing.assert_close(net.head["b"].grad, 0.25 * h_b)
    assert measured == pytest.approx(
        {"loss": loss_a + 0.25 * loss_b, "loss a": loss_a, "loss b": loss_b}
    )


def test_parts_of_a_batch_add_up_to_it():
    whole, net = piece(1, 7), Net()
    parts = tuple(
        SimpleNamespace(inputs=whole.inputs[i:j], target=whole.target[i:j],
                        rows=torch.arange(i, j), weight=(j - i) / 7)
        for i, j in ((0, 3), (3, 7))
    )  # fmt: skip
    objective(net, Sum()).backward(net, Portions((Portion("a", parts),)))
    torch.testing.assert_close(net.shared.grad, by_hand(net, "a")[1])


def test_projection_touches_what_is_shared_and_leaves_heads_alone():
    net = Net()
    measured = objective(net, Projected(), {"a": 1.0, "b": 1.0}).backward(net, PORTIONS)
    (_, g_a, h_a), (_, g_b, h_b) = by_hand(net, "a"), by_hand(net, "b")
    product = float(g_a @ g_b)
    want = g_a + g_b
    if product < 0:
        want = want - product / (g_b @ g_b) * g_b - product / (g_a @ g_a) * g_a
    torch.testing.assert_close(net.shared.grad, want)
    torch.testing.assert_close(net.head["a"].grad, h_a)
    torch.testing.assert_close(net.head["b"].grad, h_b)
    assert measured["conflicts"] == float(product < 0)


@pytest.mark.parametrize("balance", [Nash(), Uncertainty()])
def test_heads_move_by_the_weights_that_are_told(balance):
    net = Net()
    measured = objective(net, balance, {"a": 1.0, "b": 1.0}).backward(net, PORTIONS)
    (_, g_a, h_a), (_, g_b, h_b) = by_hand(net, "a"), by_hand(net, "b")
    a, b = measured["weight a"], measured["weight b"]
    assert a != b
    torch.testing.assert_close(net.shared.grad, a * g_a + b * g_b)
    torch.testing.assert_close(net.head["a"].grad, a * h_a)
    torch.testing.assert_close(net.head["b"].grad, b * h_b)


def test_a_task_alone_in_an_update_is_not_balanced():
    net = Net()
    measured = objective(net, Nash()).backward(net, Portions(PORTIONS.portions[:1]))
    torch.testing.assert_close(net.shared.grad, by_hand(net, "a")[1])
    assert net.head["b"].grad is None
    assert set(measured) == {"loss", "loss a"}
