"""Drawing, rules, and that what is kept changes nothing."""

from __future__ import annotations

import math

import pytest
import torch
from tests.generation.conftest import DECODERS, WRITERS
from torch import Tensor, nn

from headstart.errors import UserError
from headstart.generation import rules
from headstart.generation.continuation import begin
from headstart.generation.generate import generate
from headstart.generation.options import Options
from headstart.generation.rules import NONE, SoFar
from headstart.generation.search import _Draw
from headstart.models.language import LanguageModel
from headstart.nn.prefix import Prefix, PrefixAttention
from headstart.nn.ragged import Ragged


def so_far(history: list[list[int]], step: int = 0, limits: list[int] | None = None) -> SoFar:
    return SoFar(step, torch.tensor(limits or [99] * len(history)), torch.tensor(history))


def extended(row: Tensor, tokens: list[int]) -> Tensor:
    return torch.cat([row, torch.tensor(tokens, dtype=torch.int64)])


@torch.no_grad()
def whole(model: nn.Module, prompts: Ragged, said: list[list[int]]) -> Tensor:
    """Scores of the word after all of this, everything read anew."""
    if isinstance(model, LanguageModel):
        rows = [extended(p, s) for p, s in zip(prompts.split(), said, strict=True)]
        return model(Ragged.from_rows(rows)).last()
    start = torch.tensor([model.start])
    return model(prompts, Ragged.from_rows([extended(start, s) for s in said])).last()


@pytest.mark.parametrize("name", [*DECODERS, *WRITERS])
def test_what_is_kept_changes_no_score(pair, name):
    """Also when rows leave: as many change places as leave, and all go on as they would."""
    both = pair(name)
    prompts = both.prompts()
    generator = torch.Generator().manual_seed(5)
    with torch.inference_mode():
        going_on = begin(both.model, prompts, room=13)
        rows, said = list(range(5)), [[] for _ in range(5)]
        scores = going_on.scores
        for step in range(11):
            want = whole(both.model, prompts, said)[rows]
            torch.testing.assert_close(scores, want, atol=1e-4, rtol=1e-4)
            if step in (2, 5, 6):
                leaving = [1, 3, 0][(2, 5, 6).index(step)]
                going = torch.tensor([row != leaving for row in rows])
                rows = [rows[place] for place in going_on.keep(going).tolist()]
                assert leaving not in rows
            tokens = torch.randint(3, 101, (len(rows),), generator=generator)
            for row in range(5):
                said[row].append(dict(zip(rows, tokens.tolist(), strict=True)).get(row, 3))
            scores = going_on.step(tokens)
    assert sorted(rows) == [2, 4]


@pytest.mark.parametrize("name", ["gpt2", "mistral", "t5"])
def test_ways_on_that_change_places(pair, name):
    both = pair(name)
    prompts = both.prompts()
    with torch.inference_mode():
        going_on = begin(both.model, prompts, room=7, num_beams=3)
        said = [[token] for token in range(11, 26)]
        going_on.step(torch.arange(11, 26))
        parents = torch.tensor([2, 0, 0, 3, 5, 5, 8, 7, 6, 9, 10, 11, 13, 13, 13])
        going_on.reorder(parents)
        said = [[*said[parent], 31 + place] for place, parent in enumerate(parents.tolist())]
        scores = going_on.step(torch.arange(31, 46))
        repeated = Ragged.from_rows([row for row in prompts.split() for _ in range(3)])
        want = whole(both.model, repeated, said)
    torch.testing.assert_close(scores, want, atol=1e-4, rtol=1e-4)


def test_the_model_is_left_as_it_was(pair):
    both = pair("gpt2")
    before = list(both.model.modules())
    generate(both.model, both.prompts(), Options(max_new_tokens=5))
    assert all(a is b for a, b in zip(before, both.model.modules(), strict=True))


def test_a_prefix_is_refused(pair):
    both = pair("gpt2")
    block = both.model.backbone.blocks[0]
    inner = block.attention
    block.attention = PrefixAttention(inner, Prefix(torch.zeros(2, 22), torch.zeros(2, 22)))
    with pytest.raises(UserError, match="prefix"):
        generate(both.model, both.prompts(), Options(max_new_tokens=5))
    block.attention = inner


@pytest.mark.parametrize(
    ("ours", "name", "settings"),
    [
        ({"temperature": 0.7}, "TemperatureLogitsWarper", {"temperature": 0.7}),
        ({"top_k": 7}, "TopKLogitsWarper", {"top_k": 7}),
        ({"top_k": 700}, "TopKLogitsWarper", {"top_k": 700}),
        ({"top_p": 0.6}, "TopPLogitsWarper", {"top_p": 0.6}),
        ({"top_p": 0.01}, "TopPLogitsWarper", {"top_p": 0.01}),
        ({"min_p": 0.1}, "MinPLogitsWarper", {"min_p": 0.1}),
    ],
)
def test_what_is_drawn_from(hf, ours, name, settings):
    scores = torch.randn(5, 101, generator=torch.Generator().manual_seed(1)) * 3
    [rule] = rules.rules(Options(sample=True, **ours))
    want = getattr(hf, name)(**settings)(torch.zeros(5, 1, dtype=torch.int64), scores.clone())
    torch.testing.assert_close(rule(scores, so_far([[0]] * 5)), want)


def test_words_are_drawn_by_their_probability():
    """5,000 rows of one seed; of 1/2, 1/3, 1/6 each share is within 4 standard deviations."""
    scores = torch.tensor([math.log(3), -math.inf, math.log(2), 0.0, -math.inf])
    drawn = _Draw(13, range(5000))(scores.expand(5000, -1), list(range(5000)))
    shares = torch.bincount(drawn, minlength=5) / 5000
    assert shares[1] == shares[4] == 0
    for share, expected in zip(shares[[0, 2, 3]].tolist(), (1 / 2, 1 / 3, 1 / 6), strict=True):
        assert abs(share - expected) < 4 * (expected * (1 - expected) / 5000) ** 0.5


def test_a_word_that_cannot_be_is_not_drawn_at_the_very_end():
    class Highest(_Draw):
        def __init__(self) -> None:
            self._numbers = [self]

        def random(self) -> float:
            return math.nextafter(1.0, 0.0)

    scores = torch.full((1, 7), -math.inf)
    scores[0, [1, 3]] = 0.0
    assert Highest()(scores, [0]).tolist() == [3]


def test_rows_draw_for_themselves(pair):
    both = pair("llama")
    prompts = both.prompts()
    options = Options(max_new_tokens=13, sample=True, seed=3)
    together = generate(both.model, prompts, options)
    for number, row in enumerate(prompts.split()):
        alone = generate(both.model, Ragged.from_rows([row]), options, numbers=[number])
        assert alone == together[number : number + 1]
    other = generate(both.model, prompts, Options(max_new_tokens=13, sample=True, seed=4))
    assert all(a != b for a, b in zip(together, other, strict=True))


def test_repetition_is_penalised_in_a_rows_own_words():
    scores = torch.tensor([[2.0, -2.0, 4.0], [2.0, -2.0, 4.0]])
    got = rules.penalize_repetition(scores, so_far([[NONE, 1], [0, 0]]), penalty=2.0)
    assert got.tolist() == [[2.0, -4.0, 4.0], [1.0, -2.0, 4.0]]


def test_no_run_comes_twice():
    """3 4 5 3 4: with runs of 3, no 5; with runs of 2, no 5 either; with 1, none of them."""
    scores, held = torch.zeros(1, 7), so_far([[3, 4, 5, 3, 4]])
    for size, banned in ((3, [5]), (2, [5]), (1, [3, 4, 5]), (6, [])):
        got = rules.ban_repeated_ngrams(scores, held, size=size)
        assert [n for n, s in enumerate(got[0].tolist()) if s == -math.inf] == banned


def test_a_gap_is_no_run():
    got = rules.ban_repeated_ngrams(torch.zeros(1, 7), so_far([[NONE, NONE, NONE, 3]]), size=3)
    assert not got.isinf().any()


def test_each_row_is_forced_to_end_at_its_own_limit():
    got = rules.force_last(torch.ones(2, 3), so_far([[0], [0]], 4, [5, 6]), tokens=[2])
    assert got.tolist() == [[-math.inf, -math.inf, 0.0], [1.0, 1.0, 1.0]]


def test_ends_told_from_outside(pair):
    both = pair("llama")
    prompts = both.prompts()
    free = generate(both.model, prompts, Options(max_new_tokens=13))
    got = generate(both.model, prompts, Options(max_new_tokens=13), ends=lambda said: said[-1] > 50)
    for row, cut in zip(free, got, strict=True):
        ends = [place for place, token in enumerate(row) if token > 50]
        assert cut == (row[: ends[0] + 1] if ends else row)


def test_positions_end_a_text_where_no_number_was_given(pair):
    both = pair("gpt2")
    got = generate(both.model, both.prompts([53, 11]), Options())
    assert [len(row) for row in got] == [8, 50]
    beams = generate(both.model, both.prompts([53, 11]), Options(num_beams=2))
    assert [len(row) for row in beams] == [8, 50]
    said = generate(both.model, both.prompts([53, 11]), Options(max_length=57))
    assert [len(row) for row in said] == [4, 46]
    with pytest.raises(UserError, match="1 of 2 prompts have 53 tokens or more"):
        generate(both.model, both.prompts([53, 11]), Options(max_length=53))
