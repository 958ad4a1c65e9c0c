"""Perplexity and pseudo-perplexity against transformers, row by row."""

import math

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertForMaskedLM, GPT2Config, GPT2LMHeadModel

from headstart.data.batches import RaggedStore
from headstart.evaluation.perplexity import (
    Likelihoods,
    change,
    pseudo_likelihoods,
    some_rows,
    token_likelihoods,
)
from headstart.models.checkpoint import open_language_model, open_masked_model
from headstart.tasks.causal_lm import CausalLm
from headstart.tasks.masked_lm import MaskedLm

CPU = torch.device("cpu")


def store(rows=7):
    random = np.random.default_rng(3)
    lengths = random.integers(2, 13, size=rows)
    values = random.integers(5, 67, size=int(lengths.sum())).astype(np.int32)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    values[offsets[:-1]] = 2
    return RaggedStore(values, offsets)


def randomised(model, folder):
    torch.manual_seed(11)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.eval().save_pretrained(folder)
    return model


@torch.no_grad()
def test_pseudo_perplexity_hides_each_token_alone(tmp_path):
    config = BertConfig(vocab_size=67, hidden_size=14, num_hidden_layers=3, num_attention_heads=2,
                        intermediate_size=29, max_position_embeddings=31)  # fmt: skip
    theirs = randomised(BertForMaskedLM(config), tmp_path)
    task = MaskedLm(vocabulary=67, mask=4, special=np.array([0, 1, 2, 3, 4]))
    rows, chosen = store(), np.array([1, 4, 6])
    found = pseudo_likelihoods(open_masked_model(tmp_path).model, task, rows, chosen, CPU)
    for loss, count, row in zip(found.losses, found.counts, chosen, strict=True):
        tokens = torch.from_numpy(rows.values[rows.offsets[row] : rows.offsets[row + 1]]).long()
        want = 0.0
        for place in range(1, len(tokens)):
            shown = tokens.clone()
            shown[place] = 4
            want -= float(theirs(shown[None]).logits[0, place].log_softmax(-1)[tokens[place]])
        assert count == len(tokens) - 1
        assert loss == pytest.approx(want, abs=1e-4)


@torch.no_grad()
def test_perplexity_of_a_decoder_row_by_row(tmp_path):
    config = GPT2Config(vocab_size=67, n_embd=14, n_layer=3, n_head=2, n_positions=31,
                        bos_token_id=0, eos_token_id=0)  # fmt: skip
    theirs = randomised(GPT2LMHeadModel(config), tmp_path)
    rows = store()
    found = token_likelihoods(open_language_model(tmp_path).model, CausalLm(), rows, np.arange(7),
                              CPU)  # fmt: skip
    for row, loss in enumerate(found.losses):
        tokens = torch.from_numpy(rows.values[rows.offsets[row] : rows.offsets[row + 1]]).long()
        want = theirs(tokens[None], labels=tokens[None]).loss * (len(tokens) - 1)
        assert loss == pytest.approx(float(want), abs=1e-4)
    assert found.perplexity == pytest.approx(math.exp(found.losses.sum() / found.counts.sum()))


def test_a_change_is_a_ratio_of_sums_with_bounds_that_cover():
    """Rows of unequal length whose true change is -0.25 nats a token: 95 % of bounds hold it."""
    random, held = np.random.default_rng(5), 0
    for _ in range(400):
        counts = random.integers(3, 40, 61)
        before = Likelihoods(random.normal(3, 1, 61) * counts, counts)
        after = Likelihoods(before.losses + (random.normal(-0.25, 0.3, 61)) * counts, counts)
        found = change(before, after)
        assert found.value == pytest.approx(after.mean - before.mean)
        held += found.low <= -0.25 <= found.high
    assert 0.92 <= held / 400 <= 0.98


def test_one_row_says_nothing_about_others():
    one = Likelihoods(np.array([3.0]), np.array([2]))
    assert change(one, one).low == -math.inf


def test_rows_are_drawn_within_a_budget_of_reads():
    rows = store(101)
    chosen = some_rows(rows, np.arange(101), 900, seed=1)
    reads = (rows.lengths[chosen] ** 2).sum()
    assert 600 < reads <= 900 and len(set(chosen.tolist())) == len(chosen)
    assert len(some_rows(rows, np.arange(101), 1, seed=1)) == 1
