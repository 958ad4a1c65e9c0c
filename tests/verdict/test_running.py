"""Recipes that end without labels, run as users run them."""

import json

import numpy as np
import pytest
import torch
from tests.conftest import reviews, save_tokenizer
from transformers import AutoModelForMaskedLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

import headstart
from headstart.data.examples import Examples
from headstart.errors import DataError, RecipeError
from headstart.models.checkpoint import open_masked_model
from headstart.report.pretraining import pretraining_table
from headstart.verdict.running import Pretraining, hold_out_texts, sentence

WORDS = [text for text, _ in reviews(203, 3)]


def written(folder):
    """A file of a text column alone, and labelled reviews."""
    lines = ["body", *WORDS]
    (folder / "texts.csv").write_text("\n".join(lines), encoding="utf-8")
    shop = [f"{text},{label}" for text, label in reviews(61, 5)]
    (folder / "shop.csv").write_text("\n".join(["text,label", *shop]), encoding="utf-8")
    return folder


def recipe(backbone, folder, *stages, **more):
    data = {"texts": {"path": f"{folder}/texts.csv"}, "shop": {"path": f"{folder}/shop.csv"}}
    used = {stage["data"] for stage in stages} | {more.get("test")}
    return {"backbone": str(backbone), "data": {n: d for n, d in data.items() if n in used},
            "stage": list(stages), **more}  # fmt: skip


ADAPT = {"name": "adapt", "task": "masked-lm", "data": "texts", "epochs": 8, "batch_tokens": 128,
         "learning_rate": 3e-3}  # fmt: skip
TUNE = {"name": "tune", "data": "shop", "epochs": 1}


def test_what_is_left_is_a_checkpoint_with_what_it_bought(tiny_bert, tmp_path):
    written(tmp_path)
    out = tmp_path / "out"
    result = headstart.run(recipe(tiny_bert, tmp_path, ADAPT), out=out, progress=False)
    assert isinstance(result, Pretraining)
    values = json.loads((out / "verdict.json").read_text())
    assert values == result.values and values["schema"] == "headstart.pretraining/1"
    (judged,) = values["judged"]
    assert judged["measure"] == "pseudo-perplexity" and judged["texts"] == 11
    assert judged["after"]["pseudo-perplexity"] < judged["before"]["pseudo-perplexity"]
    assert judged["after"]["loss"] < judged["before"]["loss"]
    assert judged["change"]["high"] < 0
    seen, held = values["data"]["texts"]["texts"], values["held_out"]["texts"]["texts"]
    assert held == 11 and seen <= 203 - 11
    assert not open_masked_model(out / "model").fresh
    theirs = AutoModelForMaskedLM.from_pretrained(out / "model")
    assert theirs.config.vocab_size == len(AutoTokenizer.from_pretrained(out / "model"))
    assert not (out / "model" / "stage.json").exists()
    assert (out / "stages" / values["stages"][0]["digest"] / "stage.json").exists()
    assert max(map(len, pretraining_table(values).splitlines())) <= 80
    again = headstart.run(out / "recipe.toml", progress=False)
    assert again.last.reused and again.judged == result.judged
    classifier = headstart.run(recipe(out / "model", tmp_path, TUNE), progress=False)
    assert classifier.winner == "tune"


def test_in_the_middle_the_verdict_comes_after_the_stages_with_labels(tiny_bert, tmp_path):
    written(tmp_path)
    stages = [ADAPT | {"epochs": 1}, TUNE | {"name": "source"}, TUNE]
    verdict = headstart.run(recipe(tiny_bert, tmp_path, *stages), progress=False)
    assert [arm["name"] for arm in verdict.values["arms"]] == ["source", "tune"]


def test_texts_that_judge_may_be_given(tiny_bert, tmp_path):
    written(tmp_path)
    result = headstart.run(
        recipe(tiny_bert, tmp_path, ADAPT | {"epochs": 1}, test="shop"), progress=False
    )
    assert result.values["held_out"] == {
        "test": {"name": str(tmp_path / "shop.csv"), "texts": 61, "given": True}
    }


def test_a_stage_without_labels_behind_one_with_labels(tiny_bert, tmp_path):
    written(tmp_path)
    stages = [TUNE, ADAPT | {"epochs": 1}]
    result = headstart.run(recipe(tiny_bert, tmp_path, *stages), progress=False)
    assert [stage["name"] for stage in result.values["stages"]] == ["tune", "adapt"]
    assert [judged["stage"] for judged in result.judged] == ["adapt"]


def test_a_decoder_tells_its_perplexity_on_a_folder_of_texts(tmp_path):
    words = sorted({word for text in WORDS for word in text.split()})
    config = GPT2Config(vocab_size=5 + len(words), n_embd=14, n_layer=2, n_head=2, n_positions=23,
                        bos_token_id=2, eos_token_id=3)  # fmt: skip
    torch.manual_seed(3)
    GPT2LMHeadModel(config).save_pretrained(tmp_path / "gpt2")
    save_tokenizer(tmp_path / "gpt2", ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words])
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "book.txt").write_text("\n".join(WORDS))
    stage = ADAPT | {"task": "causal-lm"}
    values = {"backbone": str(tmp_path / "gpt2"), "data": {"texts": {"path": f"{tmp_path}/texts"}},
              "stage": [stage]}  # fmt: skip
    (judged,) = headstart.run(values, progress=False).judged
    assert judged["measure"] == "perplexity"
    assert judged["after"]["perplexity"] < judged["before"]["perplexity"]
    assert judged["after"]["perplexity"] == pytest.approx(np.exp(judged["after"]["loss"]), rel=1e-5)


def test_a_task_that_the_backbone_cannot_serve_is_told_before_anything_is_trained(
    tiny_bert, tmp_path
):
    written(tmp_path)
    stages = [ADAPT | {"task": "causal-lm"}, ADAPT | {"name": "b", "task": "causal-lm"}]
    for last in ([], [TUNE]):
        with pytest.raises(RecipeError, match="It can serve: classify, masked-lm") as told:
            headstart.run(recipe(tiny_bert, tmp_path, *stages, *last), progress=False)
        assert len(told.value.faults) == 2


def texts(*values):
    return Examples("texts", list(values), None, np.arange(len(values)))


def test_a_twentieth_is_held_out_and_of_few_texts_the_end_of_each():
    train, held = hold_out_texts(texts(*map(str, range(101))))
    assert len(held) == 6 and sorted([*train.texts, *held.texts]) == sorted(map(str, range(101)))
    book = " ".join(map(str, range(40)))
    train, held = hold_out_texts(texts(book, "short"))
    assert train.texts == [" ".join(map(str, range(38))), "short"] and held.texts == ["38 39"]
    with pytest.raises(DataError, match="too few to hold any out"):
        hold_out_texts(texts("short", "too"))


def test_the_sentence_says_what_other_texts_would_leave_open():
    judged = {"stage": "adapt", "measure": "perplexity", "rows": 7, "tokens": 1234,
              "before": {"perplexity": 20.04}, "after": {"perplexity": 17.0},
              "change": {"value": -0.1, "low": -0.2, "high": -0.05}}  # fmt: skip
    start = "adapt: perplexity of 7 held-out rows (1,234 tokens) 20.0 -> 17.0"
    assert sentence(judged) == f"{start}."
    wide = judged | {"change": {"value": -0.1, "low": -0.2, "high": 0.05}}
    assert sentence(wide) == f"{start}: within what other texts would give."
    worse = judged | {"change": {"value": 0.1, "low": 0.05, "high": 0.2}}
    assert sentence(worse) == f"{start}: it got worse."
