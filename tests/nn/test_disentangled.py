"""Sizes are distinct primes where the heads allow: rows of 5, 2 and 7, width 22, 2 heads."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import nn

from headstart.nn.attention import Form, kernel
from headstart.nn.convolution import TokenConvolution
from headstart.nn.disentangled import (
    ContentToPosition,
    DisentangledAttention,
    Distances,
    DistanceVectors,
    OwnMap,
    PositionToContent,
    SharedMap,
)
from headstart.nn.dropout import Dropout
from headstart.nn.multihead import Borrowed, MultiHeadAttention
from headstart.nn.ragged import Layout, Ragged

LENGTHS, WIDTH, HEADS = [5, 2, 7], 22, 2
TERMS = {"c2p": ContentToPosition, "p2c": PositionToContent}


def randomised(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.2)
    return module


def attention(vectors, distances, terms=("c2p", "p2c"), project=SharedMap, dropout=0.0):
    return randomised(
        DisentangledAttention(
            WIDTH,
            Form(HEADS),
            terms={name: TERMS[name](project()) for name in terms},
            vectors=Borrowed(vectors),
            distances=distances,
            vector_dropout=dropout,
        )
    )


def ragged(lengths=LENGTHS):
    return Ragged(torch.randn(sum(lengths), WIDTH), Layout(lengths))


def test_near_distances_have_buckets_of_their_own_and_far_ones_share():
    """K = 8: up to 4 each its own; ceil(3 ln(n / 4) / ln(32 / 4)) + 4 from there, 7 the last."""
    buckets = Distances(8, furthest=33)
    away = torch.tensor([0, 1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 100])
    steps = torch.tensor([0, 1, 2, 3, 4, 5, 5, 6, 6, 7, 7, 8, 8])
    assert buckets(away).tolist() == (8 + steps).clamp(max=15).tolist()
    assert buckets(-away).tolist() == (8 - steps).tolist()


def test_plain_distances_are_clamped():
    away = torch.tensor([-9, -5, -4, 0, 3, 4, 5, 9])
    buckets = Distances(5, 5, shared=False)
    assert buckets(away).tolist() == [0, 0, 1, 5, 8, 9, 9, 9]


@pytest.mark.parametrize("sizes", [(256, 512), (32, 512), (7, 23), (64, 128), (2, 11), (16, 11)])
def test_buckets_are_those_of_transformers(hf_buckets, sizes):
    count, furthest = sizes
    away = torch.arange(-2039, 2040)
    want = hf_buckets(away, count, furthest).long() + count
    assert torch.equal(Distances(count, furthest)(away), want.clamp(0, 2 * count - 1))


@pytest.fixture(scope="module")
def hf_buckets():
    module = pytest.importorskip("transformers.models.deberta_v2.modeling_deberta_v2")
    return module.make_log_bucket_position


@pytest.mark.parametrize("longest", [1, 2, 7, 13, 31])
@pytest.mark.parametrize(
    "distances", [Distances(7, 23), Distances(16, 11), Distances(11, 11, shared=False)]
)
def test_the_buckets_that_a_row_can_meet_are_all_that_is_looked_at(distances, longest):
    layout = Layout([longest])
    reach, slots = distances.reach(longest), distances.slots(layout)
    places = torch.arange(longest)
    want = distances(places[:, None] - places[None, :])
    assert torch.equal(slots + distances.num_buckets - reach, want)
    assert slots.min() >= 0 and slots.max() < 2 * reach <= 2 * distances.num_buckets
    assert distances.slots(layout) is slots, "made once for all blocks"


def test_a_short_row_reads_few_vectors():
    assert Distances(256, 512).reach(13) == 13
    assert Distances(256, 512).reach(400) == 256


@pytest.mark.parametrize("project", [SharedMap, lambda: OwnMap(WIDTH)])
@pytest.mark.parametrize("terms", [("c2p",), ("p2c",), ("c2p", "p2c")])
@torch.no_grad()
def test_scores_are_the_papers_formula(terms, project):
    """Equation 4, one pair after the other, in the places that transformers takes them from."""
    torch.manual_seed(0)
    distances = Distances(5, 11)
    vectors = randomised(DistanceVectors(5, WIDTH, nn.LayerNorm(WIDTH)))
    module = attention(vectors, distances, terms, project)
    x = ragged()
    table = vectors.norm(vectors.table.weight)
    got = module.weights(x, x)
    width = WIDTH // HEADS
    for row, tokens in enumerate(x.split()):
        queries, keys = module.query(tokens), module.key(tokens)
        for head in range(HEADS):
            cut = slice(head * width, (head + 1) * width)
            scores = queries[:, cut] @ keys[:, cut].T
            for i in range(len(tokens)):
                for j in range(len(tokens)):
                    apart = table[distances(torch.tensor(i - j))]
                    if "c2p" in terms:
                        asked = module.terms["c2p"].project(apart, module.key)[cut]
                        scores[i, j] += queries[i, cut] @ asked
                    if "p2c" in terms:
                        asking = module.terms["p2c"].project(apart, module.query)[cut]
                        scores[i, j] += keys[j, cut] @ asking
            want = (scores / math.sqrt((1 + len(terms)) * width)).softmax(-1)
            real = got[row, head, : len(tokens), : len(tokens)]
            torch.testing.assert_close(real, want, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_without_vectors_it_is_plain_attention_with_a_smaller_scale():
    vectors = DistanceVectors(5, WIDTH, nn.Identity())
    module = attention(vectors, Distances(5, 11), project=lambda: OwnMap(WIDTH))
    nn.init.zeros_(vectors.table.weight)
    for term in module.terms.values():
        nn.init.zeros_(term.project.map.bias)
    plain = MultiHeadAttention(WIDTH, Form(HEADS, scale=(3 * WIDTH / HEADS) ** -0.5))
    state = {n: t for n, t in module.state_dict().items() if not n.startswith("terms.")}
    plain.load_state_dict(state)
    x = ragged()
    torch.testing.assert_close(module(x, x), plain(x, x))


def test_kernels_agree_and_padding_does_not_matter():
    torch.manual_seed(0)
    vectors = randomised(DistanceVectors(5, WIDTH, nn.LayerNorm(WIDTH)))
    module = attention(vectors, Distances(5, 11))
    x, results = ragged(), {}
    for name in ("sdpa", "eager"):
        vectors.zero_grad()
        with kernel(name):
            mixed = module(x, x)
        mixed.square().sum().backward()
        alone = torch.cat([module(r, r) for r in (Ragged.from_rows([t]) for t in x.split())])
        torch.testing.assert_close(mixed, alone, atol=1e-5, rtol=1e-5)
        results[name] = (mixed, vectors.table.weight.grad.clone())
    for a, b in zip(*results.values(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)
        assert torch.isfinite(b).all()


@pytest.mark.parametrize("lengths", [LENGTHS, [7, 7]])
@pytest.mark.parametrize("training", [False, True])
def test_half_precision_runs_in_every_kernel(lengths, training):
    module = attention(DistanceVectors(5, WIDTH, nn.Identity()), Distances(5, 11), dropout=0.1)
    x = ragged(lengths)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = module.train(training)(x, x)
    assert mixed.dtype == torch.bfloat16 and torch.isfinite(mixed).all()


def test_vectors_belong_to_whoever_lends_them():
    vectors = DistanceVectors(5, WIDTH, nn.LayerNorm(WIDTH))
    module = attention(vectors, Distances(5, 11))
    assert {n.split(".")[0] for n, _ in module.named_parameters()} == {
        "query", "key", "value", "output"
    }  # fmt: skip
    both = nn.ModuleList([vectors, module])
    copied = copy.deepcopy(both)
    x = ragged()
    assert torch.equal(both[1](x, x), copied[1](x, x))
    nn.init.zeros_(copied[0].norm.weight)
    assert not torch.equal(both[1](x, x), copied[1](x, x)), "a copy reads its own"


def test_dropout_of_vectors_only_while_training():
    module = attention(DistanceVectors(5, WIDTH, nn.Identity()), Distances(5, 11), dropout=0.3)
    assert [m.p for m in module.modules() if isinstance(m, Dropout)] == [0.3]
    x = ragged()
    assert not torch.equal(module(x, x), module(x, x))
    assert torch.equal(module.eval()(x, x), module(x, x))


def test_a_width_that_no_heads_divide():
    with pytest.raises(ValueError, match="width must be a multiple of num_heads=3; got 22"):
        DisentangledAttention(
            22, Form(3), terms={}, vectors=Borrowed(nn.Identity()), distances=Distances(5, 11)
        )


@torch.no_grad()
def test_a_convolution_ends_where_a_text_ends():
    """Each row as if it were alone, zeros around it; groups of 11 and 2 parts of the width."""
    torch.manual_seed(0)
    module = TokenConvolution(WIDTH, 5, groups=2, activation=torch.tanh)
    x = ragged()
    rows = [
        torch.tanh(module.filter(nn.functional.pad(row, (0, 0, 0, 3)).T[None])[0].T[: len(row)])
        for row in x.split()
    ]
    torch.testing.assert_close(module(x), torch.cat(rows))
    with pytest.raises(ValueError, match="size must be odd, a token in the middle; got 4"):
        TokenConvolution(WIDTH, 4, activation=torch.tanh)
