"""What holds for every decoder: how its weights may be stored, and what it says."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.models.parity import CLOSE, LABELS, a_network
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

from headstart.errors import CheckpointError
from headstart.models.checkpoint import open_checkpoint, open_language_model, save_network
from headstart.nn.ragged import Ragged

LLAMAS = ["LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM", "Qwen3ForCausalLM"]
WORDS = ["GPT2LMHeadModel", *LLAMAS]
EMBEDDINGS = dict.fromkeys(LLAMAS, "model.embed_tokens.weight") | {
    "GPT2LMHeadModel": "transformer.wte.weight"
}


def reweigh(folder, change):
    """Store other weights than transformers did."""
    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file, {"format": "pt"})


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("stored", ["once", "twice", "under the other name"])
@torch.no_grad()
def test_tied_weights_stored(save, tokens, name, stored):
    theirs, folder = save(name, tie_word_embeddings=True)
    owner = EMBEDDINGS[name]

    def change(state):
        assert "lm_head.weight" not in state
        if stored != "once":
            state["lm_head.weight"] = state[owner].clone()
        if stored == "under the other name":
            del state[owner]

    reweigh(folder, change)
    opened = open_language_model(folder)
    want = theirs(tokens.padded()).logits
    torch.testing.assert_close(opened.model(tokens).values, tokens.layout.pack(want), **CLOSE)
    assert opened.dropped == (("lm_head.weight",) if stored == "twice" else ())
    assert open_checkpoint(folder).dropped == opened.dropped
    names = {n for n, _ in opened.model.named_parameters()}
    assert not any(n.startswith("lm_head") for n in names), "one tensor, one parameter"


@pytest.mark.parametrize("name", WORDS)
def test_tied_weights_that_differ_are_an_error(save, name):
    _, folder = save(name, tie_word_embeddings=True)
    reweigh(folder, lambda state: state.update({"lm_head.weight": state[EMBEDDINGS[name]] + 1}))
    with pytest.raises(CheckpointError, match=r"lm_head.weight: differs .*tie_word_emb"):
        open_language_model(folder)


@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("tied", [True, False])
@torch.no_grad()
def test_shards_with_an_index(save, tokens, tmp_path, name, tied):
    theirs, folder = save(name, tie_word_embeddings=tied)
    theirs.save_pretrained(tmp_path / "shards", max_shard_size="7KB")
    assert (tmp_path / "shards" / "model.safetensors.index.json").exists()
    whole, sharded = open_language_model(folder), open_language_model(tmp_path / "shards")
    assert torch.equal(whole.model(tokens).values, sharded.model(tokens).values)


@pytest.mark.parametrize("name", WORDS)
@torch.no_grad()
def test_bfloat16_becomes_float32(save, tokens, name):
    theirs, folder = save(name)
    theirs.bfloat16().save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "bfloat16"
    model = open_language_model(folder).model
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    # opened anew: rounded in place, their rates of rotary places were rounded too
    theirs = type(theirs).from_pretrained(folder, dtype=torch.float32).eval()
    want = theirs(tokens.padded()).logits
    torch.testing.assert_close(model(tokens).values, tokens.layout.pack(want), **CLOSE)


@torch.no_grad()
def greedy(model, prompts: Ragged, steps: int) -> list[list[int]]:
    """The likeliest word after each row, again and again; everything is read anew each time."""
    rows = prompts.split()
    for _ in range(steps):
        best = model(Ragged.from_rows(rows)).last().argmax(-1)
        rows = [torch.cat([row, word[None]]) for row, word in zip(rows, best, strict=True)]
    return [row.tolist() for row in rows]


@pytest.mark.parametrize("name", WORDS)
def test_greedy_text_is_what_transformers_generates(save, name):
    theirs, folder = save(name)
    generator = torch.Generator().manual_seed(11)
    rows = [torch.randint(1, 101, (length,), generator=generator) for length in (3, 5, 1, 7)]
    said = greedy(open_language_model(folder).model, Ragged.from_rows(rows), 9)
    theirs.generation_config.eos_token_id = None
    want = [
        theirs.generate(
            row[None], attention_mask=torch.ones(1, len(row), dtype=torch.int64),
            do_sample=False, min_new_tokens=9, max_new_tokens=9,
        )[0].tolist()
        for row in rows
    ]  # fmt: skip
    assert said == want
    assert len({tuple(row[-9:]) for row in said}) > 2, "not all the same"


# What saving a classifier says about padding.

TEXTS = ["a b c d e a", "b", "d d e", "c a b e"]


def give_tokenizer(folder, ending=None, **settings):
    """A tokenizer of 8 letters and 3 special tokens, which ends texts with one of them or none."""
    letters = {letter: i for i, letter in enumerate("abcdefgh")}
    tokenizer = Tokenizer(BPE(letters, []))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.decoder = decoders.BPEDecoder()
    tokenizer.add_special_tokens(["<end>", "<other>", "<third>"])  # 8, 9, 10
    if ending is not None:
        tokenizer.post_processor = TemplateProcessing(
            single=f"$A {ending}", special_tokens=[(ending, tokenizer.token_to_id(ending))]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast"} | settings
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return tokenizer


PADDINGS = {  # ending, tokenizer_config.json, config.json: what is written
    "the end of a text": (None, {}, {"eos_token_id": 8}, (8, "<end>")),
    "one of several": (None, {}, {"eos_token_id": [9, 8]}, (9, "<other>")),
    "the tokenizer's": (None, {"pad_token": "<third>"}, {"eos_token_id": 8}, (10, "<third>")),
    "as an object": (None, {"pad_token": {"content": "<other>"}}, {}, (9, "<other>")),
    "the config's": (None, {}, {"eos_token_id": 8, "pad_token_id": 9}, (9, "<other>")),
    "not what ends a text": ("<end>", {"pad_token": "<end>", "padding_side": "left"},
                             {"eos_token_id": 8}, (9, "<other>")),
    "not without a vector": (None, {"pad_token": "<third>"},
                             {"eos_token_id": 8, "vocab_size": 10}, (8, "<end>")),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", WORDS)
@pytest.mark.parametrize("case", PADDINGS)
@torch.no_grad()
def test_a_saved_classifier_reads_batches_in_transformers(hf, save, tmp_path, name, case):
    ending, settings, values, (token, text) = PADDINGS[case]
    values = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None} | values
    _, source = save(name, **values)
    tokenizer = give_tokenizer(source, ending, **settings)
    network, folder = a_network(source, "family"), tmp_path / "model"
    folder.mkdir()
    save_network(folder, network, source=source, labels=LABELS, pooling="family", max_length=13)
    written = json.loads((folder / "tokenizer_config.json").read_text())
    assert json.loads((folder / "config.json").read_text())["pad_token_id"] == token
    assert (written["pad_token"], written["padding_side"]) == (text, "right")
    theirs = hf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    padded = hf.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    assert padded["input_ids"][1, -1] == token
    rows = [torch.tensor(tokenizer.encode(text).ids) for text in TEXTS]
    want = theirs(padded["input_ids"], attention_mask=padded["attention_mask"]).logits
    torch.testing.assert_close(network(Ragged.from_rows(rows)), want, **CLOSE)


@pytest.mark.parametrize("name", WORDS)
@torch.no_grad()
def test_an_empty_text_is_read_alike_where_it_is_all_padding(hf, save, tmp_path, name):
    """It is one end-of-text token, and that is what rows are padded with."""
    _, source = save(name, eos_token_id=8, pad_token_id=None)
    give_tokenizer(source)
    network, folder = a_network(source, "family"), tmp_path / "model"
    folder.mkdir()
    save_network(folder, network, source=source, labels=LABELS, pooling="family", max_length=13)
    theirs = hf.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    padded = torch.tensor([[8, 8, 8], [3, 7, 5], [8, 7, 8]])
    mask = torch.tensor([[1, 0, 0], [1, 1, 1], [1, 1, 0]])
    want = theirs(padded, attention_mask=mask).logits
    rows = [row[: int(seen.sum())] for row, seen in zip(padded, mask, strict=True)]
    torch.testing.assert_close(network(Ragged.from_rows(rows)), want, **CLOSE)


def test_nothing_is_said_about_padding_where_no_token_will_do(save, tmp_path):
    none = {"pad_token_id": None, "bos_token_id": None, "eos_token_id": None}
    _, source = save("GPT2Model", **none)
    folder = tmp_path / "model"
    folder.mkdir()
    network = a_network(source, "family")
    save_network(folder, network, source=source, labels=LABELS, pooling="family", max_length=13)
    assert json.loads((folder / "config.json").read_text())["pad_token_id"] is None
    assert json.loads((folder / "tokenizer_config.json").read_text()) == {"model_max_length": 13}
