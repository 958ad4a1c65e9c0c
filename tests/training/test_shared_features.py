"""Draws from one data set read the frozen features of the whole, computed once for all of them."""

import numpy as np
import torch
from tests.training.test_stage import recipe, rows, weights

from headstart.training import features
from headstart.training.stage import Workshop


def test_every_draw_reads_the_features_of_the_whole(tiny_bert, monkeypatch, tmp_path):
    whole = rows(101)
    computed = []
    compute = features._compute
    monkeypatch.setattr(
        features, "_compute", lambda *given: computed.append(len(given[3])) or compute(*given)
    )
    head = recipe(tiny_bert, {"train": "head", "epochs": 3})
    random = np.random.default_rng(3)
    draws = [np.sort(random.choice(101, size, replace=False)) for size in (31, 53, 31)]
    shop = Workshop(cache=tmp_path / "shared")
    shared = [shop.run(head, {"shop": whole.part(draw)})[0] for draw in draws]
    assert computed == [101]
    alone = Workshop(cache=tmp_path / "alone")
    for draw, result in zip(draws, shared, strict=True):
        single = alone.run(head, {"shop": whole.take(draw)})[0]
        assert single.digest != result.digest, "what was computed is not the same to the last bit"
        for name, tensor in weights(single).items():
            torch.testing.assert_close(weights(result)[name], tensor, atol=1e-5, rtol=1e-4)
    assert computed == [101, 31, 53, 31]


def test_a_part_of_a_part_is_of_itself_alone():
    part = rows(101).part(np.arange(53))
    assert part.whole is not None and part.take([3, 5]).whole is None
    assert part.take([3, 5]).texts == [part.texts[3], part.texts[5]]
