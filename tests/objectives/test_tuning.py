"""Objectives that add something to the loss: each against its formula, computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.training.test_trainable import SIZES
from torch import nn
from torch.nn import functional as F

from headstart.data.batches import Batch, RaggedStore, take
from headstart.models.bert import Bert, BertConfig
from headstart.models.network import Mean, Network
from headstart.models.opened import Opened, Seen
from headstart.nn.ragged import Layout, Ragged
from headstart.objectives.beside import Beside
from headstart.objectives.distill import (
    Distill,
    DistillInside,
    Weights,
    hidden_distance,
    looked_apart,
    relations,
    softened,
)
from headstart.objectives.mixout import Mixout, linear_weights, mask
from headstart.objectives.noise import NoisedAnswers, WorstNoise, symmetric_divergence
from headstart.objectives.sharpness import Sharpness
from headstart.objectives.supervised import Supervised
from headstart.objectives.unlabelled import (
    Consistency,
    SelfTraining,
    TokenNoise,
    pseudo_labels,
)
from headstart.tasks.classify import Classify

TASK = Classify(("a", "b", "c"))


def network(seed: int = 3) -> Network:
    torch.manual_seed(seed)
    made = Network(Bert(BertConfig.from_hf(SIZES)), Mean(), TASK.head(14), 0.0).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made


def batch(count: int = 7, seed: int = 5) -> Batch:
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 11, size=count)
    values = random.integers(0, 31, size=int(lengths.sum())).astype(np.int32)
    store = RaggedStore(values, np.concatenate([[0], np.cumsum(lengths)]))
    return take(store, np.arange(count), random.integers(0, 3, size=count))


def gradients(net: nn.Module) -> dict[str, torch.Tensor]:
    found = {n: p.grad.clone() for n, p in net.named_parameters() if p.grad is not None}
    net.zero_grad()
    return found


def close(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, gradient in a.items():
        torch.testing.assert_close(gradient, b[name], atol=1e-6, rtol=1e-5, msg=name)


class Bowl:
    """x^T A x / 2 of a module's only parameter: its gradient is A x."""

    def __init__(self, matrix: torch.Tensor) -> None:
        self.matrix = matrix

    def backward(self, net: nn.Module, given: object) -> dict[str, float]:
        (x,) = net.parameters()
        loss = x @ self.matrix @ x / 2
        loss.backward()
        return {"loss": float(loss.detach())}


class Point(nn.Module):
    def __init__(self, values: list[float]) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.tensor(values))


def test_sharpness_takes_the_gradient_at_the_worst_place_nearby():
    matrix = torch.tensor([[2.0, 0.0], [0.0, 5.0]])
    point = Point([3.0, 1.6])  # gradient (6, 8), of length 10
    measured = Sharpness(Bowl(matrix), 0.5).backward(point, None)
    assert measured["loss"] == pytest.approx(3.0**2 + 2.5 * 1.6**2)
    # At (3 + 0.5 * 0.6, 1.6 + 0.5 * 0.8) = (3.3, 2.0) it is (6.6, 10).
    torch.testing.assert_close(point.x.grad, torch.tensor([6.6, 10.0]))
    assert torch.equal(point.x.detach(), torch.tensor([3.0, 1.6])), "back where it was"


def test_sharpness_adds_to_what_an_earlier_piece_left_and_nothing_is_steep_in_a_valley():
    point = Point([0.0, 0.0])
    point.x.grad = torch.tensor([7.0, 11.0])
    Sharpness(Bowl(torch.eye(2)), 0.5).backward(point, None)
    assert torch.equal(point.x.grad, torch.tensor([7.0, 11.0]))


def test_sharpness_with_rows_of_a_table_is_that_of_the_dense_table():
    found = []
    for sparse in (False, True):
        net = network()
        net.backbone.embeddings.token.sparse = sparse
        Sharpness(Supervised(TASK, torch.Tensor.backward), 0.3).backward(net, batch())
        grads = {n: p.grad for n, p in net.named_parameters() if p.grad is not None}
        found.append({n: g.to_dense() if g.is_sparse else g for n, g in grads.items()})
    close(*found)


def test_both_passes_of_sharpness_drop_out_the_same():
    net = network().train()
    net.dropout.p = 0.5
    seen = []
    net.dropout.register_forward_hook(lambda *given: seen.append(given[2] != 0))
    Sharpness(Supervised(TASK, torch.Tensor.backward), 1e-6).backward(net, batch())
    assert torch.equal(*seen)


def test_the_mixed_weights_are_the_weights_on_average():
    torch.manual_seed(0)
    masks = torch.stack([mask(torch.empty(11, 13), 0.7) for _ in range(4000)])
    assert sorted(masks.unique().tolist()) == pytest.approx([0.0, 1 / 0.3])
    start, weights = torch.randn(11, 13), torch.randn(11, 13)
    mixed = start + masks * (weights - start)
    error = math.sqrt(0.7 / 0.3 / 4000) * float((weights - start).abs().max())
    assert float((mixed.mean(0) - weights).abs().max()) < 5 * error


def test_mixout_of_nothing_is_the_plain_gradient_and_weights_come_back():
    net, given = network(), batch()
    plain = Supervised(TASK, torch.Tensor.backward)
    plain.backward(net, given)
    expected = gradients(net)
    mixout = Mixout(plain, linear_weights(net.backbone), 0.0)
    mixout.backward(net, given)
    close(gradients(net), expected)
    before = {n: p.clone() for n, p in net.named_parameters()}
    Mixout(plain, linear_weights(net.backbone), 0.6).backward(net, given)
    assert all(torch.equal(p, before[n]) for n, p in net.named_parameters())


def test_the_gradient_of_mixout_is_that_through_the_mixed_weights():
    point = Point([3.0, -2.0])
    mixout = Mixout(Bowl(torch.eye(2)), point.parameters(), 0.5)
    with torch.no_grad():
        point.x.add_(torch.tensor([1.0, 1.0]))  # now (4, -1), from (3, -2)
    for seed in range(7):
        torch.manual_seed(seed)
        kept = mask(point.x, 0.5)  # 0 or 2
        torch.manual_seed(seed)
        point.x.grad = None
        mixout.backward(point, None)
        mixed = torch.tensor([3.0, -2.0]) + kept
        torch.testing.assert_close(point.x.grad, mixed * kept)


def test_symmetric_divergence_by_hand():
    p, q = torch.tensor([0.5, 0.5]), torch.tensor([0.8, 0.2])
    both = sum(float((x * (x / y).log()).sum()) for x, y in ((p, q), (q, p)))
    found = symmetric_divergence(p.log()[None] + 7, q.log()[None] - 3)
    assert float(found) == pytest.approx(both)
    assert both == pytest.approx(0.3 * math.log(0.8 / 0.2), rel=1e-5)


@pytest.mark.parametrize("weight", [0.0, 1.5])
def test_noised_answers_add_the_divergence_to_the_loss(weight):
    net, given = network(), batch()
    opened = Opened(net)
    objective = NoisedAnswers(TASK, torch.Tensor.backward, 14, weight=weight, size=0.3)
    torch.manual_seed(11)
    measured = objective.backward(opened, given)
    found = gradients(net)
    torch.manual_seed(11)
    noise = (torch.rand(given.num_tokens, 14) * 2 - 1) * 0.3
    logits = net(given.inputs)
    embedded = net.backbone.embed(given.inputs)
    noised = net.suffix(embedded.replace(embedded.values + noise), 1)
    change = symmetric_divergence(logits, noised)
    assert measured["change by noise"] == pytest.approx(float(change.detach()), rel=1e-4)
    assert float(change.detach()) > 0
    (F.cross_entropy(logits, given.target) + weight * change).backward()
    close(found, gradients(net))


def test_worst_noise_changes_more_than_noise_and_stays_within_its_size():
    net, given = network(), batch()
    opened, common = Opened(net), {"weight": 1.0, "size": 0.1}
    plain = NoisedAnswers(TASK, torch.Tensor.backward, 14, **common)
    worst = WorstNoise(TASK, torch.Tensor.backward, 14, steps=3, step_size=0.1, **common)
    changes = []
    for objective in (plain, worst):
        torch.manual_seed(2)
        noise = objective.noise(opened, given, net(given.inputs))
        assert float(noise.abs().max()) <= 0.1 + 1e-8
        assert all(p.grad is None for p in net.parameters())
        changes.append(symmetric_divergence(
            net(given.inputs), opened.noised(given.inputs, None, noise)).item())  # fmt: skip
    assert changes[1] > 1.5 * changes[0]


def test_softened_divergence_by_hand():
    teacher, student = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 4.0]])
    p = math.exp(1) / (math.exp(1) + 1)  # of logits (1, 0)
    q = 1 / (1 + math.exp(2))  # of logits (0, 2)
    expected = 4 * (p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)))
    assert float(softened(teacher, student, 2.0)) == pytest.approx(expected, rel=1e-5)
    assert float(softened(student, student + 3, 2.0)) == pytest.approx(0, abs=1e-6)


def test_a_teacher_of_no_weight_changes_nothing():
    net, given = network(), batch()
    Supervised(TASK, torch.Tensor.backward).backward(net, given)
    expected = gradients(net)
    distill = Distill(TASK, torch.Tensor.backward, Weights(logits=0.0), torch.randn(7, 3))
    distill.backward(net, Beside((given,)))
    close(gradients(net), expected)


def test_distillation_is_the_loss_and_the_distance_on_both_kinds_of_rows():
    net, given, free = network(), batch(), batch(5, seed=8)
    known, of_free = torch.randn(7, 3), torch.randn(5, 3)
    weights = Weights(labels=0.5, logits=3.0, temperature=1.7)
    distill = Distill(TASK, torch.Tensor.backward, weights, known, of_free)
    distill.backward(net, Beside((given,), (free,)))
    found = gradients(net)
    logits = net(given.inputs)
    loss = 0.5 * F.cross_entropy(logits, given.target) + 3 * softened(known, logits, 1.7)
    (loss + 3 * softened(of_free, net(free.inputs), 1.7)).backward()
    close(found, gradients(net))


def test_what_happens_inside_is_compared_with_a_teacher_twice_as_deep():
    student, given = network(), batch()
    sizes = SIZES | {"num_hidden_layers": 10}
    torch.manual_seed(1)
    deep = Network(Bert(BertConfig.from_hf(sizes)), Mean(), TASK.head(14), 0.0).eval()
    own, theirs = Opened(student).see(given.inputs), Opened(deep).see(given.inputs)
    assert torch.allclose(own.logits, student(given.inputs), atol=1e-5)
    states = [s.values for s in deep.backbone.hidden_states(given.inputs)][1:]
    mine = [s.values for s in student.backbone.hidden_states(given.inputs)][1:]
    expected = sum(F.mse_loss(mine[k], states[2 * k + 1]) for k in range(5)) / 5
    torch.testing.assert_close(hidden_distance(theirs, own), expected, atol=1e-5, rtol=1e-4)
    layout = given.inputs.layout
    total, count = 0.0, 0
    for row, length in enumerate(layout.lengths.tolist()):
        p, q = (seen.attention[row, :, :length, :length] for seen in (theirs, own))
        total += (p * (p / q).log()).sum().item()
        count += 7 * length
    assert looked_apart(theirs.attention, own.attention, layout).item() == pytest.approx(
        total / count, rel=1e-4
    )
    weights = Weights(labels=0, logits=0, hidden=2.0, attention=3.0, relations=5.0)
    distill = DistillInside(Opened(deep), TASK, torch.Tensor.backward, weights, torch.zeros(7, 3))
    measured = distill.backward(Opened(student), Beside((given,)))
    apart = looked_apart(relations(theirs, 7), relations(own, 7), layout)
    expected = 2 * hidden_distance(theirs, own) + 5 * apart
    expected = expected + 3 * looked_apart(theirs.attention, own.attention, layout)
    assert measured["loss"] == pytest.approx(expected.item(), rel=1e-4)
    assert all(p.grad is None for p in deep.parameters())
    assert student.backbone.blocks[0].attention.query.weight.grad.abs().sum() > 0


def test_relations_of_values_by_hand():
    values = torch.randn(3, 8)
    seen = Seen(torch.zeros(1, 3), [], torch.zeros(1, 2, 3, 3), Ragged(values, Layout([3])))
    for head, part in enumerate(values.split(4, 1)):
        expected = (part @ part.T / 2).softmax(-1)
        torch.testing.assert_close(relations(seen, 2)[0, head], expected)


def test_pseudo_labels_are_of_all_rows_or_of_the_sure():
    logits = torch.tensor([[2.0, 0.0, 0.0], [0.1, 0.0, 0.3], [0.0, 9.0, 0.0]])
    hard, kept = pseudo_labels(logits, 0.0, soft=False)
    assert hard.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]
    assert kept.tolist() == [0, 1, 2]
    soft, kept = pseudo_labels(logits, 0.7, soft=True)
    torch.testing.assert_close(soft, logits.softmax(-1))
    assert kept.tolist() == [0, 2]


def test_self_training_adds_the_weighted_loss_with_pseudo_labels():
    net, given, free = network(), batch(), batch(5, seed=8)
    targets = torch.rand(5, 3).softmax(-1)
    SelfTraining(TASK, torch.Tensor.backward, 0.4, targets).backward(net, Beside((given,), (free,)))
    found = gradients(net)
    own = -(targets * net(free.inputs).log_softmax(-1)).sum(-1).mean()
    (F.cross_entropy(net(given.inputs), given.target) + 0.4 * own).backward()
    close(found, gradients(net))


def test_consistency_by_hand():
    logits = torch.tensor([[1.0, 0.0, 0.0], [0.2, 0.0, 0.0], [0.0, 0.0, 3.0]])
    noised = torch.randn(3, 3).log_softmax(-1)
    objective = Consistency(TASK, torch.Tensor.backward, 1.0, temperature=0.5, threshold=0.5)
    # Probabilities 0.58, 0.38 and 0.91 of the best class: the second row is not sure enough.
    p = (2 * logits).softmax(-1)
    apart = (p * (p.log() - noised)).sum(-1)
    expected = (apart[0] + apart[2]) / 3
    torch.testing.assert_close(objective.divergence(logits, noised), expected)


def test_nothing_is_learned_from_the_answer_that_is_kept():
    net, free = network(), batch(5, seed=8)
    other = batch(5, seed=9)
    objective = Consistency(TASK, torch.Tensor.backward, 1.0, temperature=0.4, threshold=0.0)
    objective.loss(net, free, other).backward()
    found = gradients(net)
    p = (net(free.inputs) / 0.4).softmax(-1).detach()
    (p * (p.log() - net(other.inputs).log_softmax(-1))).sum(-1).mean().backward()
    close(found, gradients(net))


def test_token_noise_spares_special_tokens_and_draws_what_occurs():
    able = np.ones(31, dtype=bool)
    able[:5] = False
    random = np.random.default_rng(1)
    values = random.integers(0, 31, size=20_000)
    given = Batch(Ragged(torch.from_numpy(values), Layout([20_000])), torch.zeros(1))
    noise = TokenNoise(0.2, able, np.array([7, 7, 7, 11]))
    noised = noise(given, np.random.default_rng(2)).inputs.values.numpy()
    changed = noised != values
    assert not changed[values < 5].any()
    assert set(noised[changed]) == {7, 11}
    assert changed[values > 11].mean() == pytest.approx(0.2, abs=0.02)
    assert (noised[changed & (values > 11)] == 7).mean() == pytest.approx(0.75, abs=0.03)
    again = noise(given, np.random.default_rng(2)).inputs.values.numpy()
    assert np.array_equal(noised, again)
