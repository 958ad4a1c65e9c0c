"""Span corruption and denoising as stages of a recipe: trained, resumed, kept, refused."""

import json

import numpy as np
import pytest
import torch
from tests.conftest import BAD, FILLER, GOOD, reviews
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    T5Config,
    T5ForConditionalGeneration,
)

from headstart.data.examples import Examples
from headstart.errors import RecipeError
from headstart.models.checkpoint import open_checkpoint, open_language_model
from headstart.models.families import family_of
from headstart.recipe import Recipe
from headstart.training.asking import check_served
from headstart.training.model import open_trained
from headstart.training.pretraining import PretrainingStage
from headstart.training.stage import Workshop

WORDS = [*dict.fromkeys(GOOD + BAD + FILLER), ".", "!"]
T5 = {"d_model": 14, "d_kv": 5, "d_ff": 29, "num_layers": 2, "num_heads": 3,
      "num_decoder_layers": 3, "decoder_start_token_id": 0, "pad_token_id": 0,
      "eos_token_id": 1}  # fmt: skip
BART = {"d_model": 14, "encoder_layers": 2, "decoder_layers": 3, "encoder_attention_heads": 2,
        "decoder_attention_heads": 7, "encoder_ffn_dim": 29, "decoder_ffn_dim": 31,
        "max_position_embeddings": 37, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2,
        "decoder_start_token_id": 2}  # fmt: skip


def save_tokenizer(folder, words, single, named):
    tokenizer = Tokenizer(WordPiece({w: i for i, w in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    special = [(token, words.index(token)) for token in single.split() if token != "$A"]
    tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=special)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(named))


def save_t5(folder, sentinels=11):
    words = ["<pad>", "</s>", "<unk>", *WORDS,
             *(f"<extra_id_{n}>" for n in reversed(range(sentinels)))]  # fmt: skip
    torch.manual_seed(3)
    config = T5Config(**T5, vocab_size=len(words) + 2)
    T5ForConditionalGeneration(config).save_pretrained(folder)
    save_tokenizer(folder, words, "$A </s>",
                   {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"})  # fmt: skip
    return folder


def save_bart(folder):
    words = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *WORDS]
    torch.manual_seed(3)
    config = BartConfig(**BART, vocab_size=len(words))
    BartForConditionalGeneration(config).save_pretrained(folder)
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
             "mask_token": "<mask>", "cls_token": "<s>", "sep_token": "</s>"}  # fmt: skip
    save_tokenizer(folder, words, "<s> $A </s>", named)
    return folder


@pytest.fixture(params=["span-corruption", "denoise"])
def start(request, tmp_path):
    """A task and a folder with what serves it."""
    folder = tmp_path / "start"
    folder.mkdir()
    save = save_t5 if request.param == "span-corruption" else save_bart
    return request.param, save(folder)


def rows(count, seed=7, labelled=False):
    texts, labels = zip(*reviews(count, seed), strict=True)
    texts = [f"{text} . {text[:20]} !" for text in texts]
    return Examples("texts", texts, list(labels) if labelled else None, np.arange(count))


def recipe(backbone, task, **stage):
    adapt = {"name": "adapt", "task": task, "data": "texts", "steps": 7,
             "batch_tokens": 256, "learning_rate": 1e-3} | stage  # fmt: skip
    return Recipe.from_values(
        {"backbone": str(backbone), "max_length": 37,
         "data": {"texts": {"path": "x"}, "shop": {"path": "x"}},
         "stage": [adapt, {"name": "tune", "data": "shop", "epochs": 1}]}
    )  # fmt: skip


DATA = {"texts": rows(61), "shop": rows(31, seed=3, labelled=True)}


def test_held_out_loss_falls_and_a_classifier_and_the_task_go_on(start):
    task, folder = start
    settings = {"epochs": 4, "steps": None, "validation": 0.2, "learning_rate": 1e-2}
    chain = recipe(folder, task, **settings)
    short = {"name": "again", "epochs": None, "steps": 1, "learning_rate": 1e-9, "validation": 0.0}
    again = chain.stage[0].model_copy(update=short)
    chain = chain.model_copy(update={"stage": (*chain.stage, again)})
    adapted, tuned, last = Workshop().run(chain, DATA)
    judged = [point["validation"] for point in adapted.record["log"] if "validation" in point]
    log = [found["log_likelihood"] for found in judged]
    assert log[-1] > log[0] + 0.1
    assert open_trained(tuned.folder).task.labels == ("negative", "positive")
    model, end = (open_language_model(stage.folder).model for stage in (adapted, last))
    for name, tensor in end.decoder.state_dict().items():
        torch.testing.assert_close(tensor, model.decoder.state_dict()[name], atol=1e-6, rtol=1e-6)
    tuned_backbone = open_checkpoint(tuned.folder).backbone.state_dict()
    for name, tensor in end.backbone.state_dict().items():
        torch.testing.assert_close(tensor, tuned_backbone[name], atol=1e-6, rtol=1e-6)


def test_resumed_is_uninterrupted_and_parts_frozen_stay(start, monkeypatch, tmp_path):
    task, folder = start
    some = recipe(folder, task, learning_rate=None, train={"decoder": 1e-3, ".*": 0})
    whole = Workshop(cache=tmp_path / "a").run(some, DATA)[0]
    work = PretrainingStage.work

    def killed(self, step):
        if step == 4:
            raise KeyboardInterrupt
        return work(self, step)

    monkeypatch.setenv("HEADSTART_SAVE_SECONDS", "0")
    monkeypatch.setattr(PretrainingStage, "work", killed)
    with pytest.raises(KeyboardInterrupt):
        Workshop(cache=tmp_path / "b").run(some, DATA)
    monkeypatch.setattr(PretrainingStage, "work", work)
    data = DATA | {"texts": rows(61, labelled=True)}
    resumed = Workshop(cache=tmp_path / "b").run(some, data)[0]
    assert resumed.digest == whole.digest, "labels are not read"
    again = open_language_model(resumed.folder).model.state_dict()
    before = open_language_model(folder).model.state_dict()
    for name, tensor in open_language_model(whole.folder).model.state_dict().items():
        assert torch.equal(tensor, again[name]), name
        frozen = not name.startswith("decoder.")
        assert not frozen or torch.equal(tensor, before[name]), name
    assert any(not torch.equal(again[name], before[name]) for name in again)


def test_what_cannot_be_is_refused_with_who_can(tiny_bert, tmp_path):
    bert, t5, bart = (family_of({"model_type": name}) for name in ("bert", "t5", "bart"))
    with pytest.raises(RecipeError, match=r"a bert, cannot.*Families for span-corruption: t5, mt5"):
        check_served(recipe(tiny_bert, "span-corruption"), bert)
    with pytest.raises(RecipeError, match=r"It can serve: .*denoise.*: t5, mt5"):
        check_served(recipe(tiny_bert, "span-corruption"), bart)
    with pytest.raises(RecipeError, match=r"It can serve: .*span-corruption.*denoise: bart"):
        check_served(recipe(tiny_bert, "denoise"), t5)
    with pytest.raises(RecipeError, match=r"has no sentinels \(<extra_id_0>, ...\)"):
        Workshop().run(recipe(save_t5(tmp_path, 0), "span-corruption"), DATA)
    short = recipe(save_t5(tmp_path, 3), {"kind": "span-corruption", "share": 0.5})
    with pytest.raises(RecipeError, match=r"36 tokens loses 6 spans, and there are 3 sentinels"):
        Workshop().run(short, DATA)
