"""Frozen features of what is no text: a row comes out longer than it went in, or wider."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import nn

from headstart.data.batches import RaggedStore, take
from headstart.models.families import FAMILIES
from headstart.models.network import Network
from headstart.training.features import features
from headstart.training.progress import Silent

SIZES = {
    "hidden_size": 22,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 37,
    "image_size": 15,
    "patch_size": 5,
    "num_channels": 3,
}


@pytest.mark.parametrize("kind", ["vit", "dinov2"])
@pytest.mark.parametrize("depth", [2, 5])
def test_images_are_kept_as_they_come_out(tmp_path, kind, depth):
    torch.manual_seed(0)
    family = FAMILIES[kind]
    values = SIZES | {"mlp_ratio": 2}
    backbone = family.build(values)
    pool = family.classifier.pooler(values)
    width = 22 * family.classifier.pooled_widths
    network = Network(backbone, pool, nn.Linear(width, 3), 0.0).eval()
    random = np.random.default_rng(0)
    patches = random.normal(size=(7 * 9, 3 * 5 * 5)).astype(np.float32)  # 7 images of 3 x 3
    store = RaggedStore(patches, np.arange(0, 7 * 9 + 1, 9))
    kept = features(Fabric(accelerator="cpu", devices=1), network, depth, store,
                    folder=tmp_path, key="images", progress=Silent())  # fmt: skip
    everything = np.arange(7)
    want = network(take(store, everything).inputs)
    got = network.suffix(kept.gather(everything), depth)
    torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-6)
    assert kept.lengths.tolist() == [1 if depth == network.depth else 10] * 7
