"""Token for token what transformers says: greedy and beams, every family, uneven prompts."""

from __future__ import annotations

import pytest
from tests.generation.conftest import DECODERS, MODELS, WRITERS, some_ends

from headstart.generation.generate import generate
from headstart.generation.options import Options

NEW = 23


@pytest.mark.parametrize("name", MODELS)
def test_greedy(pair, name):
    both = pair(name)
    prompts = both.prompts()
    want = both.generate(prompts, (), max_new_tokens=NEW)
    got = generate(both.model, prompts, Options(max_new_tokens=NEW))
    assert got == want
    assert all(len(row) == NEW for row in got)


@pytest.mark.parametrize("name", MODELS)
def test_greedy_rows_end_at_different_places(pair, name):
    both = pair(name)
    prompts = both.prompts()
    free = generate(both.model, prompts, Options(max_new_tokens=NEW))
    eos = some_ends(free)
    want = both.generate(prompts, eos, max_new_tokens=NEW)
    got = generate(both.model, prompts, Options(max_new_tokens=NEW, eos=eos))
    assert got == want
    assert len({len(row) for row in got}) > 1


@pytest.mark.parametrize("stopping", [False, True, "never"])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 1.7, -0.7])
@pytest.mark.parametrize("name", ["gpt2", "mistral", *WRITERS])
def test_beams(pair, name, penalty, stopping):
    both = pair(name)
    prompts = both.prompts()
    free = generate(both.model, prompts, Options(max_new_tokens=NEW, num_beams=3))
    eos = some_ends(free)
    settings = {
        "max_new_tokens": 13, "num_beams": 3, "length_penalty": penalty,
        "early_stopping": stopping, "num_return_sequences": 2,
    }  # fmt: skip
    want = both.generate(prompts, eos, **settings)
    got = generate(both.model, prompts, Options(eos=eos, **settings))
    assert got == want


@pytest.mark.parametrize("num_beams", [2, 5])
@pytest.mark.parametrize("name", [*DECODERS, *WRITERS])
def test_beams_that_never_end(pair, name, num_beams):
    both = pair(name)
    prompts = both.prompts()
    settings = {"max_new_tokens": NEW, "num_beams": num_beams}
    want = both.generate(prompts, (), **settings)
    assert generate(both.model, prompts, Options(**settings)) == want


@pytest.mark.parametrize("num_beams", [1, 3])
@pytest.mark.parametrize("name", ["gpt2", "bart"])
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ({"repetition_penalty": 1.3}, {"repetition_penalty": 1.3}),
        ({"no_repeat_ngram_size": 2}, {"no_repeat_ngram_size": 2}),
        ({"min_new_tokens": 11}, {"min_new_tokens": 11}),
        ({"last": (5,)}, {"forced_eos_token_id": 5}),
        ({"forbidden": (17, 3, 51)}, {"bad_words_ids": [[17], [3], [51]]}),
        ({"renormalize": True}, {"renormalize_logits": True}),
    ],
)
def test_rules(pair, name, num_beams, ours, theirs):
    both = pair(name)
    prompts = both.prompts([5, 5, 5])
    free = generate(both.model, prompts, Options(max_new_tokens=NEW))
    eos = (*some_ends(free), 5)
    settings = {"max_new_tokens": 17, "num_beams": num_beams}
    want = both.generate(prompts, eos, **settings, **theirs)
    assert generate(both.model, prompts, Options(eos=eos, **settings, **ours)) == want


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_forced_first_token(pair, num_beams):
    both = pair("bart")
    prompts = both.prompts()
    settings = {"max_new_tokens": 17, "num_beams": num_beams}
    want = both.generate(prompts, (2,), **settings, forced_bos_token_id=7, forced_eos_token_id=2)
    got = generate(both.model, prompts, Options(eos=(2,), first=7, last=(2,), **settings))
    assert got == want
    assert all(row[0] == 7 for row in got)
