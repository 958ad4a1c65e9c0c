"""Backbones from nothing and with more words, as recipes ask for them."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from tests.conftest import reviews
from tokenizers import Tokenizer as Raw
from tokenizers import models
from transformers import (
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)

import headstart
from headstart.data.examples import Examples
from headstart.data.extending import extend
from headstart.data.text import Tokenizer
from headstart.data.vocabulary import train_vocabulary
from headstart.errors import CheckpointError, DataError, RecipeError
from headstart.models.checkpoint import open_checkpoint, open_masked_model
from headstart.recipe import SIZES, Recipe
from headstart.training.making import made
from headstart.training.stage import Workshop

TEXTS = [text.capitalize() + ". It cost 17 €!" for text, _ in reviews(211, 3)]
ODD = ["Ωmega 🙂 naïve", "  two  spaces ", "a\tb\nc", "中文"]
OPENED = {"bert": AutoModelForMaskedLM, "roberta": AutoModelForMaskedLM,
          "gpt2": AutoModelForCausalLM, "t5": AutoModelForSeq2SeqLM}  # fmt: skip


def texts(values=TEXTS):
    return Examples("texts", list(values), None, np.arange(len(values)))


def recipe(backbone, task="masked-lm", **vocabulary):
    return Recipe.from_values(
        {"backbone": str(backbone), "vocabulary": vocabulary, "data": {"texts": {"path": "x"}},
         "stage": [{"name": "learn", "task": task, "data": "texts", "steps": 3}]}
    )  # fmt: skip


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [("bert-tiny", None, 307), ("bert-tiny", "byte-bpe", 307), ("bert-tiny", "unigram", 307),
     ("roberta-tiny", None, 307), ("gpt2-tiny", None, 307), ("gpt2-tiny", "wordpiece", 307),
     ("t5-tiny", None, 307)],
)  # fmt: skip
def test_a_backbone_from_nothing_opens_in_transformers_with_the_same_tokens(name, kind, size):
    shop = Workshop()
    vocabulary = {"size": size} | ({"kind": kind} if kind else {})
    asked = recipe(f"new:{name}", **vocabulary)
    folder = made(asked, {"texts": texts()}, shop).backbone
    family = SIZES[name].family
    theirs = OPENED[family].from_pretrained(folder)
    tokens, ours = AutoTokenizer.from_pretrained(folder), Tokenizer.open(folder)
    assert theirs.config.vocab_size == ours.vocab_size == len(tokens) <= size
    for text in [*TEXTS[:5], *ODD]:
        assert tokens(text)["input_ids"] == ours.encode([text], 99).values.tolist()
    again = made(asked, {"texts": texts()}, shop).backbone
    assert again == folder
    other = made(asked.model_copy(update={"seed": 1}), {"texts": texts()}, shop).backbone
    first, second = (AutoModel.from_pretrained(place).state_dict() for place in (folder, other))
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_new_weights_are_as_unsure_as_can_be():
    """Of V tokens each is about as likely: the loss starts at log V."""
    shop = Workshop()
    for name, task in (("bert-tiny", "masked-lm"), ("gpt2-tiny", "causal-lm")):
        folder = made(recipe(f"new:{name}", task, size=307), {"texts": texts()}, shop)
        (stage,) = shop.run(folder, {"texts": texts()})
        size = Tokenizer.open(folder.backbone).vocab_size
        assert stage.record["log"][0]["loss"] == pytest.approx(np.log(size), abs=0.3)
        assert stage.record["provenance"]["backbone"] == f"new:{name}"


def test_the_same_texts_give_the_same_vocabulary_in_every_process():
    code = (
        "import json, sys\n"
        "from headstart.data.vocabulary import train_vocabulary\n"
        "texts = json.load(sys.stdin)\n"
        "for kind in ('wordpiece', 'byte-bpe', 'unigram'):\n"
        "    built = train_vocabulary(texts, family='bert', kind=kind, size=307, lowercase=True)\n"
        "    print(built.to_str())"
    )
    command, given = [sys.executable, "-c", code], json.dumps(TEXTS)
    runs = [
        subprocess.run(command, input=given, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    assert runs[0] == runs[1] and len(runs[0].splitlines()) == 3


def test_letters_are_kept_or_not_and_room_is_asked_for():
    cased = train_vocabulary(TEXTS, family="bert", kind="wordpiece", size=307, lowercase=False)
    small = train_vocabulary(TEXTS, family="bert", kind="wordpiece", size=307, lowercase=True)
    assert any(token[:1].isupper() for token in cased.get_vocab() if token[0] != "[")
    assert not any(token[:1].isupper() for token in small.get_vocab() if token[0] != "[")
    with pytest.raises(DataError, match="leave no room for words"):
        train_vocabulary(TEXTS, family="gpt2", kind="byte-bpe", size=101, lowercase=False)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"backbone": "new:bert-tinny"}, "no size is called 'bert-tinny'.*'bert-tiny'"),
        ({"backbone": "new:bert-tiny", "vocabulary": {"extend": 5}}, "no vocabulary to extend"),
        ({"backbone": "new:gpt2-tiny", "vocabulary": {"lowercase": True}}, "of wordpiece alone"),
        ({"backbone": "bert-base-uncased", "vocabulary": {"size": 500}}, "brings its own"),
        ({"backbone": "new:bert-tiny", "vocabulary": {"sise": 500}}, "Did you mean 'size'"),
    ],
)
def test_what_does_not_go_together_is_told_by_place(values, said):
    stage = {"name": "a", "task": "masked-lm", "data": "t", "steps": 1}
    with pytest.raises(RecipeError, match=said):
        Recipe.from_values(values | {"data": {"t": {"path": "x"}}, "stage": [stage]})


def test_a_recipe_with_a_vocabulary_is_written_as_it_was_read(tmp_path):
    asked = recipe("new:bert-tiny", size=500, lowercase=False)
    (tmp_path / "r.toml").write_text(asked.to_toml())
    assert Recipe.from_toml(tmp_path / "r.toml") == asked


DOMAIN = ["the endoscope was sterile and the endoscope fits", "endoscopes fit",
          "very sterile endoscope"] * 7  # fmt: skip


@pytest.mark.parametrize("kind", ["wordpiece", "byte-bpe", "unigram"])
def test_new_tokens_save_the_most_and_stand_for_what_they_were(kind):
    built = train_vocabulary(TEXTS, family="bert", kind=kind, size=307, lowercase=True)
    before = {t: built.encode(t, add_special_tokens=False).ids for t in DOMAIN}
    found = extend(built, DOMAIN, 5)
    grown = Raw.from_str(found.content)
    assert found.first == built.get_vocab_size()
    for number, token in enumerate(found.tokens, found.first):
        assert grown.token_to_id(token) == number
    names = {number: text for text, number in built.get_vocab().items()}
    for token, old in zip(found.tokens, found.stand_for, strict=True):
        pieces = [names[number].removeprefix("##") for number in old]
        assert "".join(pieces) == token or "[UNK]" in pieces
    shorter = 0
    for text, ids in before.items():
        after = grown.encode(text, add_special_tokens=False).ids
        plain = [
            n
            for number in after
            for n in ([number] if number < found.first else found.stand_for[number - found.first])
        ]
        assert plain == ids  # new tokens are nothing but old ones put together
        shorter += len(ids) - len(after)
    assert shorter > 0
    for text in TEXTS[:7]:
        if not any(token.strip("▁Ġ") in text.lower() for token in found.tokens):
            assert grown.encode(text).ids == built.encode(text).ids


def test_the_most_useful_words_by_hand():
    vocabulary = {w: i for i, w in enumerate(["[UNK]", "a", "##b", "##c", "d", "##e", "ab"])}
    built = Raw(models.WordPiece(vocabulary, unk_token="[UNK]"))
    # "abcc" is ab ##c ##c: 3 times 2 saved; "de" d ##e: 5 times 1; "x" unknown, 4 times 1; once.
    found = extend(_spaced(built), ["abcc de x de", "abcc de x x", "abcc de x de once"], 3)
    assert found.tokens == ("abcc", "de", "x") and found.first == 7
    assert found.stand_for == ((6, 3, 3), (4, 5), (0,))
    with pytest.raises(DataError, match="hold 3 new tokens"):
        extend(_spaced(built), ["abcc de x de", "abcc de x x", "abcc de x de once"], 4)


def test_byte_pairs_go_on_by_hand():
    vocabulary = {w: i for i, w in enumerate("abc")}
    built = _spaced(Raw(models.BPE(vocabulary, [])))
    # aab 4 times: aa 4, ab 4; the pair that comes first by name: "aa", then "aa" + "b"
    found = extend(built, ["aab aab aab aab", "bc"], 2)
    assert found.tokens == ("aa", "aab") and found.stand_for == ((0, 0), (0, 0, 1))
    assert Raw.from_str(found.content).encode("aab aaab").tokens == ["aab", "aa", "ab"[0], "b"]


def _spaced(built):
    from tokenizers import pre_tokenizers

    built.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return built


def test_a_checkpoint_with_more_words(tiny_bert, tmp_path):
    shop = Workshop()
    start = Workshop().run(recipe(tiny_bert), {"texts": texts()})[0].folder  # with its head
    asked = recipe(start, extend=4)
    place = made(asked, {"texts": texts(DOMAIN)}, shop).backbone
    old, new = open_masked_model(start).model, open_masked_model(place)
    tokenizer = Tokenizer.open(place)
    first = Tokenizer.open(start).vocab_size
    assert tokenizer.vocab_size == first + 4 and not new.fresh
    rows = new.model.backbone.embeddings.token.weight
    assert torch.equal(rows[:first], old.backbone.embeddings.token.weight)
    word = tokenizer.token_id("endoscope")
    assert torch.equal(rows[word], old.backbone.embeddings.token.weight[1])  # it was [UNK]
    assert new.model.head.bias[word] == old.head.bias[1]
    tokens = AutoTokenizer.from_pretrained(place)
    assert (
        tokens("the endoscope")["input_ids"]
        == tokenizer.encode(["the endoscope"], 9).values.tolist()
    )
    assert AutoModelForMaskedLM.from_pretrained(place).config.vocab_size == first + 4
    trained = shop.run(made(asked, {"texts": texts(DOMAIN)}, shop), {"texts": texts(DOMAIN)})
    assert open_checkpoint(trained[0].folder).config["vocab_size"] == first + 4


def test_elsewhere_a_backbone_from_nothing_is_explained():
    with pytest.raises(CheckpointError, match="is made from nothing by a recipe"):
        open_checkpoint("new:bert-tiny")


def test_headstart_run_from_nothing_and_on_to_a_classifier(tmp_path):
    (tmp_path / "t.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    rows = "\n".join(f'"{text}",{label}' for text, label in reviews(61, 5))
    (tmp_path / "shop.csv").write_text(f"text,label\n{rows}\n", encoding="utf-8")
    learn = {"name": "learn", "task": "masked-lm", "data": "t", "steps": 3}
    values = {"backbone": "new:bert-tiny", "vocabulary": {"size": 400},
              "data": {"t": {"path": f"{tmp_path}/t.txt"}}, "stage": [learn]}  # fmt: skip
    result = headstart.run(values, out=tmp_path / "out", progress=False)
    assert result.values["backbone"]["name"] == "new:bert-tiny"
    described = json.loads((tmp_path / "out" / "model" / "headstart.json").read_text())
    assert described["provenance"]["backbone"] == "new:bert-tiny"
    assert 'backbone = "new:bert-tiny"' in (tmp_path / "out" / "recipe.toml").read_text()
    values["data"]["shop"] = {"path": f"{tmp_path}/shop.csv"}
    values["stage"] = [learn, {"name": "tune", "data": "shop", "epochs": 1}]
    verdict = headstart.run(values, out=tmp_path / "two", progress=False)
    assert verdict.values["backbone"]["name"] == "new:bert-tiny"
    assert 'backbone = "new:bert-tiny"' in verdict.values["recipe"]
