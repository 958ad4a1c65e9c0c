"""The plain objective: the gradient of an epoch is that of the mean over its rows."""

import numpy as np
import torch
from tests.training.test_trainable import SIZES

from headstart.data.batches import RaggedStore, take
from headstart.models.bert import Bert, BertConfig
from headstart.models.network import Mean, Network
from headstart.objectives.supervised import Supervised
from headstart.tasks.classify import Classify
from headstart.training.order import Order


def test_every_row_counts_alike_whatever_its_length():
    torch.manual_seed(3)
    task = Classify(("a", "b", "c"))
    network = Network(Bert(BertConfig.from_hf(SIZES)), Mean(), task.head(14), 0.0).eval()
    random = np.random.default_rng(5)
    lengths = random.integers(2, 11, size=23)
    values = random.integers(0, 31, size=int(lengths.sum())).astype(np.int32)
    store = RaggedStore(values, np.concatenate([[0], np.cumsum(lengths)]))
    target = random.integers(0, 3, size=23)
    order = Order(lengths, 29, seed=1, epochs=1)
    assert len({len(order.rows(step)) for step in range(order.total)}) > 1
    objective = Supervised(task, torch.Tensor.backward)
    for step in range(order.total):
        rows = order.rows(step)
        batch = take(store, rows, target)
        objective.backward(
            network, type(batch)(**vars(batch) | {"weight": len(rows) / order.mean_rows})
        )
    summed = network.head.weight.grad / order.total
    network.zero_grad()
    whole = take(store, np.arange(23), target)
    task.loss(network, whole).backward()
    torch.testing.assert_close(summed, network.head.weight.grad, atol=1e-6, rtol=1e-4)
