"""Span corruption and denoising: losses of transformers, exact shares, texts that come back."""

import numpy as np
import pytest
import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from headstart.data.batches import RaggedStore, take
from headstart.models.checkpoint import open_language_model
from headstart.nn.ragged import Ragged
from headstart.tasks.denoise import Denoise, infilled, permuted
from headstart.tasks.span_corruption import SpanCorruption, random_spans

T5 = {"vocab_size": 67, "d_model": 14, "d_kv": 5, "d_ff": 29, "num_layers": 2, "num_heads": 3,
      "num_decoder_layers": 3, "decoder_start_token_id": 0, "pad_token_id": 0,
      "eos_token_id": 1}  # fmt: skip
BART = {"vocab_size": 67, "d_model": 14, "encoder_layers": 2, "decoder_layers": 3,
        "encoder_attention_heads": 2, "decoder_attention_heads": 7, "encoder_ffn_dim": 29,
        "decoder_ffn_dim": 31, "max_position_embeddings": 37, "pad_token_id": 1,
        "bos_token_id": 0, "eos_token_id": 2, "decoder_start_token_id": 2}  # fmt: skip
SENTINELS = np.arange(66, 53, -1)
CORRUPT = SpanCorruption(start=0, end=(1,), sentinels=SENTINELS)
MASK = 4
MEND = Denoise(start=2, before=(0,), after=(2,), mask=MASK, ends=np.arange(67) % 5 == 0)
FAMILIES = {
    "t5": (lambda: T5ForConditionalGeneration(T5Config(**T5)), CORRUPT),
    "mt5": (lambda: MT5ForConditionalGeneration(MT5Config(**T5, tie_word_embeddings=False)),
            CORRUPT),
    "flan": (lambda: T5ForConditionalGeneration(
        T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False)), CORRUPT),
    "bart": (lambda: BartForConditionalGeneration(BartConfig(**BART)), MEND),
}  # fmt: skip


def store(task, seed=3, rows=17):
    """Texts framed as the task's family does."""
    random = np.random.default_rng(seed)
    before = task.before if isinstance(task, Denoise) else ()
    after = task.after if isinstance(task, Denoise) else task.end
    texts = [random.integers(5, 53, size=random.integers(0, 23)) for _ in range(rows)]
    framed = [np.concatenate([before, text, after]).astype(np.int32) for text in texts]
    lengths = [len(row) for row in framed]
    return RaggedStore(np.concatenate(framed), np.concatenate([[0], np.cumsum(lengths)]))


@pytest.mark.parametrize("name", FAMILIES)
def test_the_loss_and_its_gradients_are_those_of_transformers(name, tmp_path):
    make, task = FAMILIES[name]
    torch.manual_seed(11)
    theirs = make().eval()
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    theirs.save_pretrained(tmp_path)
    ours = open_language_model(tmp_path).model
    batch = task.prepare(take(store(task), np.arange(17)), np.random.default_rng(5))
    loss = task.loss(ours, batch)
    labels = Ragged(batch.target, batch.partner.layout).padded()
    labels[torch.arange(labels.shape[1]) >= batch.partner.lengths[:, None]] = -100
    mask = torch.arange(int(batch.inputs.lengths.max())) < batch.inputs.lengths[:, None]
    want = theirs(batch.inputs.padded(), attention_mask=mask.long(), labels=labels).loss
    torch.testing.assert_close(loss, want, atol=1e-5, rtol=1e-5)
    loss.backward()
    want.backward()
    got = ours.backbone.embeddings.token.weight.grad
    them = theirs.get_input_embeddings().weight.grad
    torch.testing.assert_close(got, them, atol=1e-5, rtol=1e-4)


def test_spans_put_back_give_the_text():
    rows = store(CORRUPT, seed=7, rows=101)
    batch = CORRUPT.prepare(take(rows, np.arange(101)), np.random.default_rng(1))
    targets = Ragged(batch.target, batch.partner.layout).split()
    for number, (source, target) in enumerate(zip(batch.inputs.split(), targets, strict=True)):
        assert source[-1] == target[-1] == 1
        hidden: dict[int, list[int]] = {}
        for token in target[:-1].tolist():
            if token in SENTINELS:
                hidden[token] = []
            else:
                hidden[next(reversed(hidden))].append(token)
        assert list(hidden) == SENTINELS[: len(hidden)].tolist()
        if len(hidden) and len(source) > 2:
            assert all(hidden.values())
        back = [t for token in source.tolist() for t in hidden.get(token, [token])]
        assert back == rows.gather(np.array([number])).values.tolist()


def test_what_the_decoder_reads_is_the_target_behind_the_start():
    batch = CORRUPT.prepare(take(store(CORRUPT), np.arange(17)), np.random.default_rng(1))
    targets = Ragged(batch.target, batch.partner.layout).split()
    for read, told in zip(batch.partner.split(), targets, strict=True):
        assert read.tolist() == [0, *told.tolist()[:-1]]


@pytest.mark.parametrize("length", [2, 3, 7, 20, 113, 512])
@pytest.mark.parametrize(("share", "mean_span"), [(0.15, 3.0), (0.5, 1.0), (0.5, 11.0)])
def test_the_share_and_the_number_of_spans_are_exact(length, share, mean_span):
    for seed in range(5):
        hidden = random_spans(length, share, mean_span, np.random.default_rng(seed))
        count = min(max(round(length * share), 1), length - 1)
        assert hidden.sum() == count
        spans = (np.diff(hidden.astype(int), prepend=0) == 1).sum()
        assert spans == min(max(round(count / mean_span), 1), count, length - count)
        assert not hidden[0] and hidden[-1], "what is kept and what is not take turns"


def test_a_text_of_512_tokens_loses_77_in_26_spans_and_all_cuts_are_alike_likely():
    """The numbers of T5's own; 4 tokens in 2 pieces are cut in 3 ways, a third of draws each."""
    hidden = random_spans(512, 0.15, 3.0, np.random.default_rng(3))
    assert hidden.sum() == 77 and (np.diff(hidden.astype(int)) == 1).sum() == 26
    random = np.random.default_rng(5)
    first = [int(np.argmax(random_spans(8, 0.5, 2.0, random))) for _ in range(3000)]
    # Three standard deviations of a third of 3,000 draws are 0.026.
    assert np.bincount(first)[1:] / 3000 == pytest.approx([1 / 3] * 3, abs=0.026)


def test_infilling_hides_exactly_the_share_and_keeps_the_others_in_their_order():
    text = np.arange(5, 106)
    for seed in range(23):
        damaged = infilled(text, MASK, 0.3, 3.0, np.random.default_rng(seed))
        kept = damaged[damaged != MASK]
        assert len(kept) == 101 - round(0.3 * 101)
        assert (np.diff(kept) > 0).all()
    assert infilled(text[:0], MASK, 0.3, 3.0, np.random.default_rng(0)).tolist() == []
    assert MASK in infilled(text[:1], MASK, 0.3, 3.0, np.random.default_rng(0))


def test_lengths_of_spans_are_poissons_and_empty_ones_put_a_mask_in_between():
    """A span that is never cut short: e^-3 of them are empty, and their mean is 3."""
    text = np.arange(5, 40_005)
    damaged = infilled(text, MASK, 0.3, 3.0, np.random.default_rng(3))
    masks = int((damaged == MASK).sum())
    assert masks == pytest.approx(12_000 / 3, rel=0.03)
    kept = np.concatenate([[4], damaged[damaged != MASK]])
    between = np.flatnonzero(damaged == MASK)
    before = kept[np.searchsorted(np.flatnonzero(damaged != MASK), between)]
    after = np.append(kept, 40_005)[np.searchsorted(np.flatnonzero(damaged != MASK), between) + 1]
    lone = ~np.isin(between - 1, between) & ~np.isin(between + 1, between)
    empty = (after - before == 1)[lone].mean()
    assert empty == pytest.approx(np.exp(-3), abs=0.015)


def test_sentences_change_places_whole():
    text = np.array([6, 7, 10, 8, 15, 9, 11])
    seen = {tuple(permuted(text, text % 5 == 0, np.random.default_rng(s))) for s in range(60)}
    parts = [(6, 7, 10), (8, 15), (9, 11)]
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    assert seen == {tuple(t for place in order for t in parts[place]) for order in orders}
    assert permuted(text[:0], text[:0] > 0, np.random.default_rng(0)).tolist() == []


def test_the_target_of_denoising_is_the_whole_text():
    rows = store(MEND)
    batch = MEND.prepare(take(rows, np.arange(17)), np.random.default_rng(5))
    assert torch.equal(batch.target, rows.gather(np.arange(17)).values)
    assert (batch.inputs.first() == 0).all() and (batch.inputs.last() == 2).all()
    assert (batch.partner.first() == 2).all()
