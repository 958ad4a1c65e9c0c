"""Which tokens are hidden together."""

import numpy as np
import pytest
import torch

from headstart.data.batches import Batch
from headstart.nn.ragged import Layout, Ragged
from headstart.tasks.hiding import Spans, WholeWords, span_lengths, words_of
from headstart.tasks.masked_lm import MaskedLm

SPECIAL = np.array([0, 1])
BEGINS = np.arange(31) % 3 == 0  # tokens 3, 6, 9, ... begin a word


def packed(rows):
    values = torch.tensor([token for row in rows for token in row])
    return Ragged(values, Layout([len(row) for row in rows]))


def many(seed, rows=211):
    random = np.random.default_rng(seed)
    lengths = random.integers(2, 23, rows)
    return packed([[0, *random.integers(2, 31, n).tolist(), 1] for n in lengths])


def masked(hide, **values):
    return MaskedLm(vocabulary=31, mask=2, special=np.array([0, 1, 2]), hide=hide, **values)


def able_of(tokens):
    return ~np.isin(tokens.values.numpy(), [0, 1, 2])


def test_words_begin_at_their_tokens_behind_gaps_and_where_rows_do():
    #          [ 0  | 4  5 | 6  7 | 1 ]      [ 8  | 9 ]    a row without special tokens, and
    tokens = packed([[0, 4, 5, 6, 7, 1], [8, 9], [10, 0, 11]])
    able = ~np.isin(tokens.values.numpy(), SPECIAL)
    starts, stops, runs = words_of(tokens, able, BEGINS)
    assert starts.tolist() == [1, 3, 6, 7, 8, 10]
    assert stops.tolist() == [3, 5, 7, 8, 9, 11]
    assert runs.tolist() == [1, 1, 2, 2, 3, 4]


def test_whole_words_are_hidden_or_shown_and_never_more_than_the_share():
    tokens = many(3)
    able = able_of(tokens)
    starts, stops, _ = words_of(tokens, able, BEGINS)
    hidden = WholeWords(BEGINS)(tokens, able, 97, np.random.default_rng(5)).places
    taken = np.isin(np.arange(len(able)), hidden)
    for start, stop in zip(starts, stops, strict=True):
        assert taken[start:stop].all() or not taken[start:stop].any()
    assert 90 <= len(hidden) <= 97 and able[hidden].all()
    assert (np.diff(hidden) > 0).all()


def test_where_no_word_fits_the_shortest_one_is_hidden():
    tokens = packed([[0, 3, 4, 5, 7, 6, 7, 1]])
    hidden = WholeWords(BEGINS)(tokens, able_of(tokens), 1, np.random.default_rng(0))
    assert hidden.places.tolist() == [5, 6]


def test_spans_meet_the_share_exactly_begin_words_and_stay_in_their_row():
    tokens = many(7)
    able = able_of(tokens)
    starts, _, runs = words_of(tokens, able, BEGINS)
    hidden = Spans(BEGINS)(tokens, able, 103, np.random.default_rng(5))
    assert len(hidden.places) == 103 and able[hidden.places].all()
    run_of = dict(zip(starts, runs, strict=True))
    for fate in np.unique(hidden.fates):
        places = hidden.places[hidden.fates == fate]
        assert (np.diff(places) == 1).all() and places[0] in run_of
        assert {run_of[p] for p in places if p in run_of} == {run_of[places[0]]}


def test_spans_have_3_8_words_in_the_mean_as_published():
    """Joshi et al. 2020, section 3.1 and figure 2."""
    assert float(span_lengths() @ np.arange(1, 11)) == pytest.approx(3.8, abs=0.005)
    assert span_lengths()[1] / span_lengths()[0] == pytest.approx(0.8)


def test_tokens_of_a_span_are_shown_alike():
    batch = Batch(many(11, rows=5003), torch.arange(5003))
    task = masked(Spans(BEGINS), share=0.2)
    hidden = Spans(BEGINS)(
        batch.inputs, able_of(batch.inputs),
        round(0.2 * int(able_of(batch.inputs).sum())), np.random.default_rng(2))  # fmt: skip
    shown = task.prepare(batch, np.random.default_rng(2))
    assert shown.places.tolist() == hidden.places.tolist()
    seen, before = shown.inputs.values[shown.places], shown.target
    as_mask = (seen == 2).numpy()
    same = (seen == before).numpy()
    spans = [hidden.fates == fate for fate in np.unique(hidden.fates)]
    assert all(as_mask[span].all() or not as_mask[span].any() for span in spans)
    assert np.mean([as_mask[span].all() for span in spans]) == pytest.approx(0.8, abs=0.025)
    assert np.mean([same[span].all() for span in spans]) == pytest.approx(0.1, abs=0.02)


def test_a_batch_of_nothing_but_special_tokens_has_no_loss():
    batch = Batch(packed([[0, 1], [0, 1]]), torch.arange(2))
    shown = masked(Spans(BEGINS)).prepare(batch, np.random.default_rng(0))
    assert len(shown.places) == 0 and torch.equal(shown.inputs.values, batch.inputs.values)

    def network(inputs, segments, places):
        return torch.zeros(len(places), 31)

    assert float(masked(Spans(BEGINS)).loss(network, shown)) == 0.0
