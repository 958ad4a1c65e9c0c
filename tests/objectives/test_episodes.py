"""Learning from episodes: each way against its formula, on nets small enough to know by hand."""

import gc

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import functional_call, grad
from torch.nn import functional as F

from headstart.data.batches import Batch
from headstart.data.episodes import Episode
from headstart.models.bert import Bert, BertConfig
from headstart.models.functional import (
    BIAS,
    WEIGHT,
    Functional,
    GeneratedHead,
    LearnedHead,
    MeansHead,
    Vectors,
    layer_of,
)
from headstart.models.network import Mean, Network
from headstart.nn.ragged import Layout, Ragged
from headstart.objectives.anil import Anil, FirstOrderAnil
from headstart.objectives.maml import FirstOrderMaml, Maml
from headstart.objectives.protonet import ProtoNet
from headstart.objectives.reptile import Reptile

WIDTH, INNER, WAYS = 3, 5, 2
RATE = 0.375


class Body(nn.Module):
    """tanh of a linear map of rows of one token."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, INNER)

    def forward(self, inputs, segments=None):
        return torch.tanh(self.linear(inputs.values))


def batch(rows, seed, ways=WAYS):
    random = torch.Generator().manual_seed(seed)
    values = torch.randn(rows, WIDTH, generator=random, dtype=torch.float64)
    target = torch.arange(rows) % ways
    return Batch(Ragged(values, Layout([1] * rows)), torch.arange(rows), target)


def episode(seed=0, weight=1.0):
    return Episode(batch(4, seed), batch(6, seed + 100), WAYS, weight)


def made(kind, steps=3, head=None, learn_rates=False, inner=True):
    """An objective on a random body in float64, with the functional that it is asked about."""
    torch.manual_seed(7)
    body = Body().double()
    parameters = dict(body.named_parameters()) if inner else {}
    layers = sorted({layer_of(name) for name in [*parameters, WEIGHT]})
    start = nn.Linear(INNER, WAYS).double()
    head = head or LearnedHead(start, layers, RATE, learn_rates=learn_rates)
    head = head.double()
    return kind(parameters, head, steps, torch.Tensor.backward), Functional(body), body


def everything(objective, body):
    """All parameters by a name, the learned head's by what an episode calls them."""
    start = objective.head.start
    return dict(body.named_parameters()) | {WEIGHT: start.weight, BIAS: start.bias}


def query_loss(parameters, one, steps, body, rate=RATE, inside=None):
    """The loss on the query after the steps, by torch.func alone: an independent computation."""

    def loss(here, some):
        own = {n: t for n, t in here.items() if not n.startswith("head.")}
        vectors = functional_call(body, own, (some.inputs, None))
        return F.cross_entropy(F.linear(vectors, here[WEIGHT], here[BIAS]), some.target)

    here = dict(parameters)
    for _ in range(steps):
        gradients = grad(loss)(here, one.support)
        here = {n: t - rate * gradients[n] if inside is None or n in inside else t
                for n, t in here.items()}  # fmt: skip
    return loss(here, one.query)


def test_second_order_is_torch_func_and_finite_differences():
    objective, network, body = made(Maml)
    one = episode()
    found = objective.backward(network, one)
    parameters = {n: p.detach() for n, p in everything(objective, body).items()}
    assert found["loss"] == pytest.approx(float(query_loss(parameters, one, 3, body)))
    want = grad(query_loss)(parameters, one, 3, body)
    small = 1e-5
    for name, parameter in everything(objective, body).items():
        torch.testing.assert_close(parameter.grad, want[name], atol=1e-12, rtol=1e-9)
        flat = parameter.detach().flatten()
        for place in (0, len(flat) - 1):
            sides = []
            for sign in (1, -1):
                shifted = flat.clone()
                shifted[place] += sign * small
                changed = parameters | {name: shifted.view_as(parameter)}
                sides.append(float(query_loss(changed, one, 3, body)))
            slope = (sides[0] - sides[1]) / (2 * small)
            assert float(parameter.grad.flatten()[place]) == pytest.approx(slope, abs=1e-8)


def adapted(objective, body, one, steps):
    """The end of plain gradient descent on the support, step by step on copies of the modules."""
    body = nn.ModuleDict({"body": body, "head": objective.head.start})
    import copy

    body = copy.deepcopy(body)
    for _ in range(steps):
        body.zero_grad()
        vectors = body["body"](one.support.inputs)
        F.cross_entropy(body["head"](vectors), one.support.target).backward()
        with torch.no_grad():
            for parameter in body.parameters():
                parameter -= RATE * parameter.grad
    body.zero_grad()
    return body


def test_first_order_is_the_gradient_at_the_adapted_point():
    objective, network, body = made(FirstOrderMaml)
    one = episode(weight=0.25)
    objective.backward(network, one)
    there = adapted(objective, body, one, 3)
    vectors = there["body"](one.query.inputs)
    F.cross_entropy(there["head"](vectors), one.query.target).backward()
    pairs = zip(
        [*body.parameters(), *objective.head.start.parameters()], there.parameters(), strict=True
    )
    for ours, theirs in pairs:
        torch.testing.assert_close(ours.grad, 0.25 * theirs.grad, atol=1e-12, rtol=1e-9)


def test_first_and_second_order_differ():
    gradients = []
    for kind in (Maml, FirstOrderMaml):
        objective, network, body = made(kind)
        objective.backward(network, episode())
        gradients.append(body.linear.weight.grad)
    assert (gradients[0] - gradients[1]).abs().max() > 1e-3


def test_reptile_is_the_displacement_and_adds_up():
    objective, network, body = made(Reptile, steps=3)
    before = {n: p.detach().clone() for n, p in everything(objective, body).items()}
    ones = [episode(0, 0.5), episode(11, 0.5)]
    for one in ones:
        objective.backward(network, one)
    want = {name: torch.zeros_like(tensor) for name, tensor in before.items()}
    for one in ones:
        here = before
        for part in (one.support, one.query, one.support):  # in turn

            def loss(now, part=part):
                own = {n: t for n, t in now.items() if not n.startswith("head.")}
                vectors = functional_call(body, own, (part.inputs, None))
                return F.cross_entropy(F.linear(vectors, now[WEIGHT], now[BIAS]), part.target)

            gradients = grad(loss)(here)
            here = {n: t - RATE * gradients[n] for n, t in here.items()}
        for name in want:
            want[name] += 0.5 * (before[name] - here[name])
    for name, parameter in everything(objective, body).items():
        assert torch.equal(parameter, before[name])
        torch.testing.assert_close(parameter.grad, want[name], atol=1e-12, rtol=1e-9)


def test_protonet_by_hand():
    class Same(nn.Module):
        def forward(self, inputs, segments=None):
            return inputs.values

    def rows(values, target):
        values = torch.tensor(values, requires_grad=True)
        return Batch(Ragged(values, Layout([1] * len(values))), torch.arange(len(values)),
                     torch.tensor(target))  # fmt: skip

    # Means (1, 0) and (0, 2); the query (1, 1) is at 1 and at 1 + 1 = 2.
    support = rows([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0], [0.0, 3.0]], [0, 0, 1, 1])
    one = Episode(support, rows([[1.0, 1.0]], [0]), 2)
    objective = ProtoNet(torch.Tensor.backward)
    found = objective.backward(Functional(Same()), one)
    assert found == {"loss": pytest.approx(np.log(1 + np.exp(-1))), "accuracy": 1.0}
    learned = objective.learned(Functional(Same()), support, 2)
    torch.testing.assert_close(learned[WEIGHT], torch.tensor([[2.0, 0.0], [0.0, 4.0]]))
    torch.testing.assert_close(learned[BIAS], torch.tensor([-1.0, -4.0]))
    answers = objective.answers(Functional(Same()), learned, one.query)
    torch.testing.assert_close(
        answers.softmax(1)[0, 0], torch.tensor(1 / (1 + np.exp(-1.0))).float()
    )
    # d loss / d query = p1 * 2 (mean_0 - mean_1), p1 the probability of the wrong class.
    wrong = 1 - 1 / (1 + np.exp(-1.0))
    want = -2 * wrong * torch.tensor([[1.0 - 0.0, 0.0 - 2.0]])
    torch.testing.assert_close(one.query.inputs.values.grad, want.float())


@pytest.mark.parametrize(("kind", "steps"), [(Anil, 3), (Anil, 1), (FirstOrderAnil, 3)])
def test_anil_moves_the_head_only_and_is_maml_with_the_head_inside(kind, steps):
    objective, network, body = made(Maml, steps=steps, inner=False)
    anil = kind(objective.head, steps, torch.Tensor.backward)
    one = episode()
    before = {n: p.detach().clone() for n, p in body.named_parameters()}
    assert set(anil.learned(network, one.support, WAYS)) == {WEIGHT, BIAS}
    found = anil.backward(network, one)
    parameters = {n: p.detach() for n, p in everything(anil, body).items()}
    inside = {WEIGHT, BIAS}
    want = query_loss(parameters, one, steps, body, inside=inside)
    assert found["loss"] == pytest.approx(float(want))
    assert all(torch.equal(p, before[n]) for n, p in body.named_parameters())
    if kind is Anil:
        wanted = grad(query_loss)(parameters, one, steps, body, inside=inside)
        for name, parameter in everything(anil, body).items():
            torch.testing.assert_close(parameter.grad, wanted[name], atol=1e-12, rtol=1e-9)
    body.zero_grad()
    general = {Anil: Maml, FirstOrderAnil: FirstOrderMaml}[kind]
    same = general({}, anil.head, steps, torch.Tensor.backward)
    was = {n: p.grad for n, p in everything(anil, body).items()}
    anil.head.zero_grad()
    same.backward(network, one)
    for name, parameter in everything(same, body).items():
        if was[name] is not None:
            torch.testing.assert_close(parameter.grad, was[name], atol=1e-12, rtol=1e-9)


@pytest.mark.parametrize("kind", [Maml, FirstOrderMaml])
def test_learned_rates_receive_their_gradient(kind):
    """Of the second order against finite differences; of the first by the displacement."""
    objective, network, body = made(kind, learn_rates=True)
    one = episode()
    objective.backward(network, one)
    assert objective.head.layers == ("head", "linear")
    rates = objective.head.rates
    parameters = {n: p.detach() for n, p in everything(objective, body).items()}
    if kind is Maml:
        small = 1e-6
        for place, layer in enumerate(objective.head.layers):
            sides = []
            for sign in (1, -1):
                by_name = {n: RATE + sign * small * (layer_of(n) == layer) for n in parameters}

                def loss(here, some):
                    own = {n: t for n, t in here.items() if not n.startswith("head.")}
                    vectors = functional_call(body, own, (some.inputs, None))
                    return F.cross_entropy(F.linear(vectors, here[WEIGHT], here[BIAS]), some.target)

                here = dict(parameters)
                for _ in range(3):
                    found = grad(loss)(here, one.support)
                    here = {n: t - by_name[n] * found[n] for n, t in here.items()}
                sides.append(float(loss(here, one.query)))
            slope = (sides[0] - sides[1]) / (2 * small)
            assert float(rates.grad[place]) == pytest.approx(slope, abs=1e-7)
        return
    there = adapted(objective, body, one, 3)
    F.cross_entropy(there["head"](there["body"](one.query.inputs)), one.query.target).backward()
    ours = [*body.parameters()], [*objective.head.start.parameters()]
    theirs = [*there["body"].parameters()], [*there["head"].parameters()]
    for place, here, end in zip((1, 0), ours, theirs, strict=True):
        want = sum(
            float(((e - h).detach() / RATE * e.grad).sum()) for h, e in zip(here, end, strict=True)
        )
        assert float(rates.grad[place]) == pytest.approx(want)


def graph_size(tensor):
    """Nodes that a backward pass from a tensor goes through."""
    seen, waiting = set(), [tensor.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [nearer for nearer, _ in node.next_functions]
    return len(seen)


@pytest.mark.parametrize("learn_rates", [False, True])
def test_memory_does_not_grow_with_first_order_steps(learn_rates):
    def sizes(kind, steps):
        found = []
        objective, network, _ = made(kind, steps=steps, learn_rates=learn_rates)
        objective.propagate = lambda loss: found.append(graph_size(loss))
        objective.backward(network, episode())
        return found[0]

    assert sizes(FirstOrderMaml, 2) == sizes(FirstOrderMaml, 11)
    assert sizes(Maml, 11) > 2 * sizes(Maml, 2)


@pytest.mark.parametrize("kind", [FirstOrderMaml, Reptile])
def test_as_many_tensors_live_at_the_last_step_as_at_the_third(kind):
    objective, network, _ = made(kind, steps=13)
    living = []
    asked = objective.asked

    def counting(*arguments):
        living.append(sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects()))
        return asked(*arguments)

    objective.asked = counting
    objective.backward(network, episode())
    assert len(living) >= 13
    assert living[2] == living[5] == living[12]


def test_a_network_with_attention_in_the_second_order():
    """Through all of a small BERT: the derivative along a direction is that of the loss."""
    torch.manual_seed(3)
    values = {"vocab_size": 23, "hidden_size": 10, "num_hidden_layers": 2, "intermediate_size": 13,
              "num_attention_heads": 2, "max_position_embeddings": 17}  # fmt: skip
    backbone = Bert(BertConfig.from_hf(values))
    for parameter in backbone.parameters():
        nn.init.normal_(parameter, std=0.4)
    head = LearnedHead(nn.Linear(10, WAYS))
    network = Network(backbone, Mean(), head, 0.1).double().eval()
    names = [n for n, _ in network.named_parameters() if not n.startswith("head.")]
    layers = sorted({layer_of(name) for name in [*names, WEIGHT]})
    head.layers, head.rates = tuple(layers), torch.full((len(layers),), 0.05).double()
    inside = {n: p for n, p in network.named_parameters() if n in names}
    objective = Maml(inside, head, 2, torch.Tensor.backward)
    network_of = Functional(Vectors(network), "network.")
    random = torch.Generator().manual_seed(5)

    def rows(count):
        lengths = [3 + place % 3 for place in range(count)]
        tokens = torch.randint(1, 23, (sum(lengths),), generator=random)
        return Batch(Ragged(tokens, Layout(lengths)), torch.arange(count), torch.arange(count) % 2)

    one = Episode(rows(4), rows(6), WAYS)
    found = objective.backward(network_of, one)
    learned = objective.learned(network_of, one.support, WAYS)
    after = objective.measured(objective.answers(network_of, learned, one.query), one.query)
    assert after["loss"] == pytest.approx(found["loss"], abs=1e-9)
    moving = [p for p in network.parameters() if p.grad is not None]
    length = float(torch.stack([p.grad.square().sum() for p in moving]).sum().sqrt())
    direction = [p.grad / length for p in moving]
    sides, small = [], 2e-3  # attention is in float32, whatever is around it
    for sign in (1, -2):
        with torch.no_grad():
            for parameter, step in zip(moving, direction, strict=True):
                parameter += sign * small * step
        learned = objective.learned(network_of, one.support, WAYS)
        answers = objective.answers(network_of, learned, one.query)
        sides.append(float(F.cross_entropy(answers, one.query.target)))
    assert length == pytest.approx((sides[0] - sides[1]) / (2 * small), rel=1e-3)
    with torch.no_grad():
        for parameter, step in zip(moving, direction, strict=True):
            parameter += small * step
    network.zero_grad()
    FirstOrderMaml(inside, head, 2, torch.Tensor.backward).backward(network_of, one)
    along = sum(float((p.grad * d).sum()) for p, d in zip(moving, direction, strict=True))
    assert abs(along / length - 1) > 0.02, "the first order would not have passed"


def test_means_and_generated_heads():
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0], [5.0, -1.0]])
    target = torch.tensor([1, 1, 0])
    means = MeansHead()(lambda: vectors, target, 2)
    torch.testing.assert_close(means[WEIGHT], torch.tensor([[10.0, -2.0], [4.0, 6.0]]))
    torch.testing.assert_close(means[BIAS], torch.tensor([-26.0, -13.0]))
    head = GeneratedHead(2)
    begun = head(lambda: vectors, target, 2)
    torch.testing.assert_close(begun[WEIGHT], means[WEIGHT])
    torch.testing.assert_close(begun[BIAS], means[BIAS])
    nn.init.normal_(head.outer.weight)
    nn.init.normal_(head.outer.bias)
    made = head(lambda: vectors, target, 2)
    of_rows = head.outer(torch.tanh(head.inner(vectors)))
    torch.testing.assert_close(made[WEIGHT][1] - means[WEIGHT][1], of_rows[:2, :2].mean(0))
    torch.testing.assert_close(made[BIAS][0] - means[BIAS][0], of_rows[2, 2])


def test_what_is_frozen_in_training_can_move_in_an_episode():
    objective, network, body = made(Maml)
    body.requires_grad_(False)
    objective.backward(network, episode())
    assert body.linear.weight.grad is None
    assert objective.head.start.weight.grad.abs().max() > 0
    learned = objective.learned(network, episode().support, WAYS)
    assert not torch.equal(learned["linear.weight"], body.linear.weight)
