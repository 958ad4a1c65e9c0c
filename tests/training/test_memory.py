"""What trades time for memory changes nothing else."""

from __future__ import annotations

import os

import pytest
import torch
from tests.training.test_stage import equal, recipe, rows, train, weights

from headstart.errors import CheckpointError, RecipeError, UserError
from headstart.models.checkpoint import open_checkpoint
from headstart.training.begin import begin
from headstart.training.room import entries
from headstart.training.stage import Workshop


def test_recomputing_gives_the_same_bits(tiny_bert):
    plain = weights(train(tiny_bert, {"epochs": 2})[0])
    again = weights(train(tiny_bert, {"epochs": 2, "recompute": True})[0])
    assert equal(plain, again)


def test_parts_of_a_batch_add_up_to_it(tiny_bert, monkeypatch):
    """Without dropout, which parts would draw in another order."""
    monkeypatch.setattr("headstart.nn.dropout.dropout", lambda values, probability: values)
    monkeypatch.setattr("headstart.nn.attention.dropout", lambda values, probability: values)
    whole = weights(train(tiny_bert, {"epochs": 1, "batch_tokens": 257})[0])
    parts = weights(
        train(tiny_bert, {"epochs": 1, "batch_tokens": 257, "micro_batch_tokens": 61})[0]
    )
    assert not equal(whole, parts), "the same sums in another order are other bits"
    for name, want in whole.items():
        torch.testing.assert_close(parts[name], want, atol=2e-5, rtol=1e-4, msg=name)


def test_a_cache_that_is_full_makes_room(tiny_bert, monkeypatch, own_cache):
    train(tiny_bert, {"epochs": 0.1})
    old = [entry.place for entry in entries(own_cache)]
    for place in old:
        os.utime(place, (1_000_000, 1_000_000))
    monkeypatch.setenv("HEADSTART_CACHE_GB", "1e-9")
    first, second = train(tiny_bert, {"epochs": 0.2}, {"epochs": 0.1})
    there = {entry.place for entry in entries(own_cache)}
    assert not there & set(old)
    assert {first.folder, second.folder} <= there, "what a run needs stays"


def test_time_between_saves_that_is_none(monkeypatch):
    monkeypatch.setenv("HEADSTART_SAVE_SECONDS", "often")
    with pytest.raises(UserError, match=r"\$HEADSTART_SAVE_SECONDS: .* got 'often'"):
        Workshop()


def test_positions_are_stretched_for_longer_texts(tiny_bert):
    checkpoint = open_checkpoint(tiny_bert)
    model = begin(checkpoint, recipe(tiny_bert, {}, positions=53), ("a", "b"))
    assert (model.max_length, model.network.backbone.max_positions) == (53, 53)
    assert checkpoint.backbone.max_positions == 37, "the next arm starts from the same"
    with pytest.raises(RecipeError, match="positions = 53"):
        begin(checkpoint, recipe(tiny_bert, {}, max_length=53), ("a", "b"))
    with pytest.raises(RecipeError, match="positions: 29 positions are not more than the 37"):
        begin(checkpoint, recipe(tiny_bert, {}, positions=29), ("a", "b"))
    result = train(tiny_bert, {"epochs": 0.1}, positions=53)[0]
    assert weights(result)["backbone.embeddings.position.weight"].shape == (53, 20)


def test_a_tokenizer_with_more_tokens_than_the_embedding_has_rows(tiny_bert, tmp_path):
    folder = tmp_path / "more"
    folder.mkdir()
    for file in tiny_bert.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    text = (folder / "vocab.txt").read_text() if (folder / "vocab.txt").exists() else None
    if text is None:
        import tokenizers

        tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.add_tokens(["shoelace"])
        tokenizer.save(str(folder / "tokenizer.json"))
    else:
        (folder / "vocab.txt").write_text(text + "shoelace\n")
    with pytest.raises(CheckpointError, match=r"1 of the tokenizer's .*'shoelace'"):
        Workshop().run(recipe(folder, {}), {"shop": rows(31)})
