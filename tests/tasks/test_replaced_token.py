"""Replaced tokens: the loss by hand, what is drawn, and the generator on shared embeddings."""

import math

import numpy as np
import pytest
import torch

from headstart.data.batches import RaggedStore, take
from headstart.models.checkpoint import open_masked_model
from headstart.models.electra import ReplacedTokens, drawn
from headstart.tasks.masked_lm import MaskedLm
from headstart.tasks.replaced_token import ReplacedToken

HIDE = MaskedLm(vocabulary=29, mask=4, special=np.arange(5), share=0.4, masked=1.0, random=0.0)
TASK = ReplacedToken(HIDE)


class Says(torch.nn.Module):
    """Says the same whatever it reads."""

    def __init__(self, logits, words, judged):
        super().__init__()
        self.said = torch.tensor(logits), torch.tensor(words), torch.tensor(judged)

    def forward(self, *read):
        return self.said


def batch(seed=1):
    store = RaggedStore(np.array([2, 7, 8, 9, 3, 2, 11, 5, 3]), np.array([0, 5, 9]))
    return TASK.prepare(take(store, np.array([0, 1])), np.random.default_rng(seed))


def test_the_loss_by_hand_where_one_guess_is_right_and_one_is_wrong():
    asked = batch()
    right, wrong = asked.target.tolist()
    logits = [[0.0] * 29, [0.0] * 29]
    logits[0][right] = 3.0
    judged = [-1.0] * 9
    judged[asked.places[1]] = 2.0
    network = Says(logits, [right, wrong + 1], judged)
    told = (math.log(28 + math.exp(3)) - 3 + math.log(29)) / 2
    own, replaced = math.log(1 + math.exp(-1)), math.log(1 + math.exp(-2))
    want = told + 50 * (8 * own + replaced) / 9
    assert TASK.loss(network, asked).item() == pytest.approx(want, rel=1e-6)


def test_all_that_is_hidden_is_shown_as_the_mask_and_gets_a_number_to_be_drawn_by():
    asked = batch()
    assert len(asked.places) == len(asked.chances) == round(0.4 * 5)
    assert (asked.inputs.values[asked.places] == 4).all()
    again = batch()
    assert torch.equal(again.chances, asked.chances) and torch.equal(again.places, asked.places)
    assert torch.equal(asked.to(torch.device("cpu")).chances, asked.chances)


def test_words_are_drawn_as_often_as_they_are_likely():
    logits = torch.tensor([0.5, 0.2, 0.3]).log().expand(10_000, 3)
    chances = torch.from_numpy(np.random.default_rng(3).random(10_000, dtype=np.float32))
    shares = drawn(logits, chances).bincount(minlength=3) / 10_000
    # Three standard deviations of a half of 10,000 draws are 0.015.
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.2, 0.3]), atol=0.015, rtol=0)
    edges = torch.tensor([0.0, 0.999999])
    assert drawn(torch.tensor([[-math.inf, 0.0, -math.inf]] * 2), edges).tolist() == [1, 1]


@pytest.fixture
def network(tiny_bert):
    torch.manual_seed(3)
    return ReplacedTokens(open_masked_model(tiny_bert).model)


def test_the_generator_is_the_first_third_on_the_backbones_own_embeddings(network):
    small = network.head.generator.backbone
    assert len(small.blocks) == 1 and len(network.backbone.blocks) == 3
    assert small.embeddings is network.backbone.embeddings
    assert network.head.generator.head.score.embedding is network.backbone.embeddings.token
    for own, copied in zip(network.backbone.blocks[0].parameters(), small.blocks[0].parameters(),
                           strict=True):  # fmt: skip
        assert torch.equal(own, copied) and own is not copied
    names = [name for name, _ in network.named_parameters()]
    assert not any("generator.backbone.embeddings" in name for name in names)
    assert not any("embeddings" in name for name in network.head_state())


def test_the_judge_teaches_the_generator_nothing(network):
    """Only the generator's own loss moves it; only the judging moves the judge (section 2)."""
    network.eval()
    rows = RaggedStore(np.random.default_rng(1).integers(5, 20, 41), np.array([0, 17, 41]))
    asked = TASK.prepare(take(rows, np.array([0, 1])), np.random.default_rng(1))
    ReplacedToken(HIDE, weight=1e-9).loss(network, asked).backward()
    generator = network.head.generator.backbone.blocks[0].attention.query.weight
    judge = network.backbone.blocks[2].attention.query.weight
    alone = generator.grad.clone()
    assert alone.abs().max() > 0 and judge.grad.abs().max() < 1e-6
    network.zero_grad()
    TASK.loss(network, asked).backward()
    torch.testing.assert_close(generator.grad, alone)
    assert judge.grad.abs().max() > 1e-6


def test_what_the_backbone_judges_is_the_text_with_the_drawn_words(network):
    network.eval()
    rows = RaggedStore(np.random.default_rng(1).integers(5, 20, 41), np.array([0, 17, 41]))
    asked = TASK.prepare(take(rows, np.array([0, 1])), np.random.default_rng(1))
    with torch.no_grad():
        logits, words, judged = network(asked.inputs, None, asked.places, asked.chances)
        shown = asked.inputs.values.clone()
        shown[asked.places] = words
        hidden = network.backbone(asked.inputs.replace(shown)).values
        detector = network.head.detector
        want = torch.nn.functional.gelu(detector.dense(hidden)) @ detector.score.weight[0]
        torch.testing.assert_close(judged, want + detector.score.bias)
        assert torch.equal(words, drawn(logits, asked.chances))


def test_heads_are_kept_apart_from_the_backbone(network):
    state = {name: torch.full_like(t, 0.25) for name, t in network.head_state().items()}
    before = {name: t.clone() for name, t in network.backbone.state_dict().items()}
    network.load_head(state)
    assert all(torch.equal(t, state[name]) for name, t in network.head_state().items())
    assert all(torch.equal(t, before[n]) for n, t in network.backbone.state_dict().items())
    with pytest.raises(RuntimeError, match="Missing key"):
        network.load_head({})
