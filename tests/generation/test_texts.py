"""From texts to texts: `headstart.load_generator`, and the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.commands import Here, finish, start
from tests.generation.conftest import enliven
from tokenizers import Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

import headstart
from headstart.errors import CheckpointError, UserError

TEXTS = ["the cat", "a", "once upon a time", "zwölf 🙂"]
FIRST = 3
"""Tokens 0 to 2 begin, pad and end; then come the bytes."""


@pytest.fixture(scope="session")
def folders(hf, tmp_path_factory) -> dict[str, Path]:
    """A GPT-2 and a BART that know bytes."""
    sizes = {"vocab_size": FIRST + 256, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    gpt2 = hf.GPT2Config(
        n_embd=22, n_layer=2, n_head=2, n_positions=97, tie_word_embeddings=False, **sizes
    )
    bart = hf.BartConfig(
        d_model=22, encoder_layers=2, encoder_attention_heads=2, encoder_ffn_dim=31,
        decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=31, decoder_start_token_id=2,
        max_position_embeddings=97, forced_eos_token_id=2, **sizes,
    )  # fmt: skip
    gpt2, bart = hf.GPT2LMHeadModel(gpt2), hf.BartForConditionalGeneration(bart)
    bart.generation_config.update(num_beams=3, max_length=23, early_stopping=True)
    made = {}
    for name, model in (("gpt2", gpt2), ("bart", bart)):
        made[name] = tmp_path_factory.mktemp(name)
        enliven(model)
        model.eval().save_pretrained(made[name])
        save_bytes(made[name], framed=name == "bart")
    return made


def save_bytes(folder: Path, *, framed: bool) -> None:
    words = ["<s>", "<pad>", "</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(BPE({word: number for number, word in enumerate(words)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(words[:FIRST])
    if framed:
        tokenizer.post_processor = TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
    tokenizer.save(str(folder / "tokenizer.json"))
    names = {"bos_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>"}
    names["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(names))


@pytest.fixture
def gpt2(folders) -> headstart.Generator:
    return headstart.load_generator(folders["gpt2"])


@pytest.fixture
def bart(folders) -> headstart.Generator:
    return headstart.load_generator(folders["bart"])


@pytest.fixture
def run(capsys, monkeypatch, tmp_path) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(capsys, monkeypatch)


def theirs(hf, folder: Path, kind: str, text: str, **settings: object) -> str:
    tokenizer = hf.AutoTokenizer.from_pretrained(folder)
    model = getattr(hf, kind).from_pretrained(folder).eval()
    given = tokenizer([text], return_tensors="pt", return_token_type_ids=False)
    said = model.generate(**given, **settings)[0]
    start = 0 if model.config.is_encoder_decoder else given["input_ids"].shape[1]
    return tokenizer.decode(said[start:], skip_special_tokens=True)


def test_a_decoder_goes_on_as_in_transformers(hf, folders, gpt2):
    want = [
        theirs(hf, folders["gpt2"], "AutoModelForCausalLM", text, max_new_tokens=19)
        for text in TEXTS
    ]
    assert gpt2.generate(TEXTS, max_new_tokens=19) == want
    assert len(set(want)) > 1


def test_what_the_folder_asks_for_is_done(hf, folders, bart):
    want = [theirs(hf, folders["bart"], "AutoModelForSeq2SeqLM", text) for text in TEXTS]
    assert bart.generate(TEXTS) == want
    assert (bart.options().num_beams, bart.options().max_length) == (3, 23)
    assert bart.options().last == (2,)


@pytest.mark.parametrize("options", [{}, {"temperature": 1.3, "top_k": 31, "seed": 3}])
def test_a_stream_says_the_same_in_pieces(gpt2, options):
    for number, text in enumerate(TEXTS):
        whole = gpt2.generate([text], max_new_tokens=29, **options)[0]
        pieces = list(gpt2.stream(text, max_new_tokens=29, **options))
        assert "".join(pieces) == whole, number
        assert len(pieces) > 3


def test_pieces_come_before_the_end(gpt2):
    pieces = gpt2.stream("the cat", max_new_tokens=83, temperature=1.0)
    assert isinstance(pieces, Iterator)
    assert len(next(pieces)) < 9


@pytest.mark.parametrize("num_beams", [1, 3])
def test_a_stop_string_ends_a_text_and_is_cut(gpt2, num_beams):
    options = {"max_new_tokens": 29, "num_beams": num_beams}
    free = gpt2.generate(TEXTS, **options)[0]
    pairs = (free[place : place + 2] for place in range(2, len(free)))
    stop = next(pair for pair in pairs if free.index(pair) > 1)
    cut = gpt2.generate(TEXTS, stop=["nowhere in there", stop], **options)
    if num_beams == 1:
        assert cut[0] == free[: free.index(stop)]
        assert "".join(gpt2.stream(TEXTS[0], stop=stop, max_new_tokens=29, num_beams=1)) == (cut[0])
    assert all(stop not in text for text in cut)


def test_answers_do_not_depend_on_the_batch(gpt2):
    options = {"max_new_tokens": 23, "temperature": 1.2, "seed": 11}
    together = gpt2.generate(TEXTS, **options)
    assert gpt2.generate(TEXTS, batch_size=1, **options) == together
    assert gpt2.generate(TEXTS, batch_size=3, **options) == together
    assert gpt2.generate(TEXTS[:2], **options) == together[:2]
    assert gpt2.generate(TEXTS, **options | {"seed": 12}) != together


def test_several_answers_to_a_text(gpt2):
    drawn = gpt2.generate(TEXTS, num_return_sequences=3, temperature=1.0, max_new_tokens=17)
    assert len(drawn) == len(set(drawn)) == 12
    best = gpt2.generate(TEXTS, num_return_sequences=2, num_beams=3, max_new_tokens=17)
    assert best[::2] == gpt2.generate(TEXTS, num_beams=3, max_new_tokens=17)


def test_nothing_gives_nothing(gpt2):
    assert gpt2.generate([]) == []


def test_an_empty_text_begins_anew(gpt2):
    assert len(gpt2.generate([""], max_new_tokens=5)) == 1


def faults(call) -> list[str]:
    with pytest.raises(UserError) as caught:
        call()
    return list(caught.value.faults)


def test_all_wrong_options_are_named_at_once(gpt2):
    found = faults(
        lambda: gpt2.generate(TEXTS, max_new_token=3, num_beams=0, top_p=1.5, early_stopping="no")
    )
    assert len(found) == 4
    assert "max_new_token: is no option. Did you mean 'max_new_tokens'?" in found[0]
    assert "num_beams: must be a whole number, 1 or more; got 0." in found
    assert "top_p: must be a number above 0 and 1 or less; got 1.5." in found


def test_options_that_do_not_fit_each_other(gpt2):
    found = faults(lambda: gpt2.generate(TEXTS, num_beams=3, temperature=0.5, min_new_tokens=7,
                                         max_new_tokens=5))  # fmt: skip
    assert [fault.split(":")[0] for fault in found] == ["min_new_tokens", "num_beams"]
    assert "sample" in faults(lambda: gpt2.generate(TEXTS, sample=False, top_k=5))[0]
    assert "beams" in faults(lambda: gpt2.generate(TEXTS, num_return_sequences=2))[0]


def test_texts_must_be_a_list_of_texts(gpt2):
    assert "Put it in a list" in faults(lambda: gpt2.generate("the cat"))[0]
    assert faults(lambda: gpt2.generate(["a", 3, None]))[1].startswith("text 2 (from 0)")
    assert faults(lambda: gpt2.generate(["a"], stop=""))[0].startswith("stop: ")


def test_a_prompt_longer_than_the_positions(gpt2, bart):
    [fault] = faults(lambda: gpt2.generate(["a" * 97, "b", "c" * 101]))
    assert "2 of 3 are longer than the 96 tokens" in fault
    assert "the longest has 101" in fault
    [fault] = faults(lambda: bart.generate(["a" * 96]))
    assert "1 of 1 are longer than the 97 tokens" in fault
    assert "the longest has 98" in fault


def test_new_tokens_beyond_the_positions(gpt2):
    [fault] = faults(lambda: gpt2.generate(["a" * 90, "b"], max_new_tokens=11))
    assert "11 do not fit behind 1 of 2 texts" in fault
    assert "max_new_tokens=7" in fault
    assert len(gpt2.generate(["a" * 90, "b"])) == 2, "without a number, positions end a text"


def test_beams_do_not_stream(gpt2):
    assert "3 beams" in faults(lambda: gpt2.stream("a", num_beams=3))[0]


def test_an_encoder_says_nothing(tiny_bert):
    with pytest.raises(CheckpointError, match=r"a bert reads texts and says none.*gpt2.*t5"):
        headstart.load_generator(tiny_bert)


def test_what_a_folder_asks_for_and_cannot_have(folders, tmp_path):
    for file in folders["gpt2"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    values = {"typical_p": 0.5, "min_length": 3, "bad_words_ids": [[3], [4, 5]], "num_beams": 0}
    (tmp_path / "generation_config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError) as caught:
        headstart.load_generator(tmp_path)
    place = f"{tmp_path / 'generation_config.json'}, "
    names = [f.removeprefix(place).split(":")[0] for f in caught.value.faults]
    assert names == ["typical_p", "bad_words_ids", "min_length", "num_beams"]


def test_the_command_writes_as_it_goes(run, folders, gpt2):
    done = run("generate", folders["gpt2"], "the cat", "--max-new-tokens", 19)
    assert (done.code, done.err) == (0, "")
    assert done.out == gpt2.generate(["the cat"], max_new_tokens=19)[0] + "\n"


def test_the_command_with_options_and_json(run, folders, gpt2):
    done = run("generate", folders["gpt2"], *TEXTS, "--max-new-tokens", 19, "--temperature", 0.7,
               "--top-k", 40, "--top-p", 0.9, "--min-p", 0.01, "--seed", 5, "--stop", "q",
               "--json")  # fmt: skip
    want = gpt2.generate(TEXTS, max_new_tokens=19, temperature=0.7, top_k=40, top_p=0.9,
                         min_p=0.01, seed=5, stop="q")  # fmt: skip
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert rows == [{"text": t, "answer": a} for t, a in zip(TEXTS, want, strict=True)]


def test_the_command_reads_lines(folders, bart):
    done = finish(start("generate", folders["bart"], "-"), "the cat\na\n")
    assert (done.code, done.err) == (0, "")
    assert done.out == "".join(f"{answer}\n" for answer in bart.generate(["the cat", "a"]))


def test_the_command_ends_with_2_where_asked_for_what_cannot_be(run, folders, tiny_bert):
    done = run("generate", tiny_bert, "the cat")
    assert done.code == 2
    assert "reads texts and says none" in done.err
    done = run("generate", folders["gpt2"], "the cat", "--top-p", 7)
    assert done.code == 2
    assert "top_p: must be a number above 0 and 1 or less; got 7.0." in done.err


def test_the_command_is_there():
    assert finish(start("generate", "--help")).code == 0
