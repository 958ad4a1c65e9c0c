"""Contrast as a stage of a recipe: trained, resumed, kept for sentence-transformers, refused."""

import json
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.conftest import reviews
from tests.training.test_pretraining import tiny_gpt2  # noqa: F401

from headstart.data.batches import take
from headstart.data.examples import Examples
from headstart.data.pair import Pair
from headstart.errors import RecipeError
from headstart.models.checkpoint import open_checkpoint, sentence_embeddings
from headstart.models.families import family_of
from headstart.recipe import Recipe
from headstart.training.asking import check_served
from headstart.training.contrasting import encode_sides
from headstart.training.model import open_trained
from headstart.training.pretraining import PretrainingStage
from headstart.training.stage import Workshop


def rows(count, seed=7, labelled=False):
    texts, labels = zip(*reviews(count, seed), strict=True)
    return Examples("texts", list(texts), list(labels) if labelled else None, np.arange(count))


def paired(count):
    alone = rows(count, seed=5)
    texts = [Pair(" ".join(t.split()[::2]), t) for t in alone.texts]
    return replace(alone, texts=texts)


def recipe(backbone, pooling="auto", **stage):
    adapt = {"name": "adapt", "task": "contrast", "data": "texts", "steps": 7,
             "batch_tokens": 256, "learning_rate": 1e-3} | stage  # fmt: skip
    return Recipe.from_values(
        {"backbone": str(backbone), "pooling": pooling,
         "data": {"texts": {"path": "x"}, "shop": {"path": "x"}},
         "stage": [adapt, {"name": "tune", "data": "shop", "epochs": 1}]}
    )  # fmt: skip


DATA = {"texts": rows(97), "shop": rows(41, seed=3, labelled=True)}


@pytest.mark.parametrize("pooling", ["auto", "cls"])
def test_sentence_transformers_opens_what_is_left_and_a_classifier_goes_on(
    tiny_bert, pooling, tmp_path
):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        library = pytest.importorskip("sentence_transformers")
    adapted, tuned = Workshop().run(recipe(tiny_bert, pooling), DATA)
    opened = open_checkpoint(adapted.folder)
    assert opened.pooling == ("mean" if pooling == "auto" else pooling)
    model = library.SentenceTransformer(str(adapted.folder), device="cpu")
    texts = list(DATA["texts"].texts[:5])
    store = Workshop().tokens(open_trained(tuned.folder).tokenizer, 37, DATA["texts"])
    tokens = take(store, np.arange(5)).inputs
    with torch.no_grad():
        ours = sentence_embeddings(opened, tokens)
    theirs = model.encode(texts, convert_to_tensor=True)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert open_trained(tuned.folder).pooling == opened.pooling
    start = open_checkpoint(tiny_bert).backbone.state_dict()
    moved = [n for n, t in opened.backbone.state_dict().items() if not torch.equal(t, start[n])]
    assert moved


def test_pairs_are_learned_and_told_from_others_that_were_held_out(tiny_bert):
    data = DATA | {"texts": paired(157)}
    settings = {"epochs": 4, "steps": None, "validation": 0.2, "learning_rate": 1e-2}
    adapted = Workshop().run(recipe(tiny_bert, **settings), data)[0]
    judged = [point["validation"] for point in adapted.record["log"] if "validation" in point]
    log = [found["log_likelihood"] for found in judged]
    assert log[-1] > log[0] + 0.2


def test_resumed_is_uninterrupted(tiny_bert, monkeypatch, tmp_path):
    whole = Workshop(cache=tmp_path / "a").run(recipe(tiny_bert), DATA)[0]
    work = PretrainingStage.work

    def killed(self, step):
        if step == 4:
            raise KeyboardInterrupt
        return work(self, step)

    monkeypatch.setenv("HEADSTART_SAVE_SECONDS", "0")
    monkeypatch.setattr(PretrainingStage, "work", killed)
    with pytest.raises(KeyboardInterrupt):
        Workshop(cache=tmp_path / "b").run(recipe(tiny_bert), DATA)
    monkeypatch.setattr(PretrainingStage, "work", work)
    resumed = Workshop(cache=tmp_path / "b").run(recipe(tiny_bert), DATA)[0]
    again = open_checkpoint(resumed.folder).backbone.state_dict()
    for name, tensor in open_checkpoint(whole.folder).backbone.state_dict().items():
        assert torch.equal(tensor, again[name]), name


def test_labels_do_not_matter_and_frozen_blocks_stay_as_they_are(tiny_bert):
    some = recipe(tiny_bert, steps=2, learning_rate=None, train={"blocks.2": 1e-3, ".*": 0})
    adapted = Workshop().run(some, DATA)[0]
    labelled = DATA | {"texts": rows(97, labelled=True)}
    assert Workshop().run(some, labelled)[0].reused
    start = open_checkpoint(tiny_bert).backbone.state_dict()
    for name, tensor in open_checkpoint(adapted.folder).backbone.state_dict().items():
        assert torch.equal(tensor, start[name]) != name.startswith("blocks.2."), name


def test_a_decoder_is_pooled_at_its_last_token(tiny_gpt2):  # noqa: F811
    data = {"texts": rows(23), "shop": rows(13, labelled=True)}
    adapted, tuned = Workshop().run(recipe(tiny_gpt2, steps=1), data)
    assert open_checkpoint(adapted.folder).pooling == "last"
    assert open_trained(tuned.folder).pooling == "last"
    described = json.loads((adapted.folder / "headstart.json").read_text())
    assert described["task"] == "contrast"


def test_what_cannot_be_is_refused_with_the_remedy(tiny_bert, tiny_gpt2):  # noqa: F811
    with pytest.raises(RecipeError, match=r"stage\[0\].micro_batch_tokens: .*recompute = true"):
        recipe(tiny_bert, micro_batch_tokens=64)
    with pytest.raises(RecipeError, match=r"lora:8 is trained with a classifier alone"):
        recipe(tiny_bert, train="lora:8")
    vit = family_of({"model_type": "vit"})
    with pytest.raises(RecipeError, match=r"contrast asks what .* a vit, cannot"):
        check_served(recipe(tiny_bert), vit)
    with pytest.raises(RecipeError, match=r"weights of its own.*pooling = 'cls' or 'mean'"):
        Workshop().run(recipe(tiny_bert, "family"), DATA)
    with pytest.raises(RecipeError, match="cls reads the first token"):
        Workshop().run(recipe(tiny_gpt2, "cls"), DATA)


def test_tokens_of_no_pair_are_lost(tiny_bert):
    from headstart.data.text import Tokenizer

    texts = list(paired(19).texts)
    tokens = encode_sides(Tokenizer.open(tiny_bert), texts, 37)
    assert len(tokens) == 19 and tokens.lengths.sum() == len(tokens.values) == len(tokens.segments)
