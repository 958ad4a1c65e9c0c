"""`headstart predict`: one row out for each text in, from wherever texts come."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import headstart
from headstart.models.checkpoint import open_checkpoint
from headstart.models.network import Mean, Network
from headstart.tasks.classify import Classify
from headstart.training.model import Trained, open_trained, save_trained
from tests.commands import COMMAND, Here, finish, start, write_csv
from tests.conftest import reviews

TEXTS = [
    "great phone",
    "the cable was awful",
    "",
    "  ",
    'a "quoted", text',
    "two\nlines",
    "中文 🙂",
]


@pytest.fixture(scope="module")
def model(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's output folder, its model untrained: what it answers is its own, and no tie."""
    folder = tmp_path_factory.mktemp("runs") / "shop"
    checkpoint = open_checkpoint(str(tiny_bert))
    torch.manual_seed(7)
    head = nn.Linear(checkpoint.backbone.width, 3)
    trained = Trained(
        network=Network(checkpoint.backbone, Mean(), head, 0.1).eval(),
        tokenizer=open_tokenizer(tiny_bert),
        task=Classify(("bad", "good", "so, so")),
        max_length=11,
        pooling="mean",
        origin=tiny_bert,
    )
    with torch.no_grad():  # no class wins everywhere
        head.bias -= trained.logits(TEXTS).mean(0)
    (folder / "model").mkdir(parents=True)
    save_trained(trained, folder / "model", TEXTS)
    (folder / ".headstart").write_text("{}")
    return folder


def open_tokenizer(folder: Path):
    from headstart.data.text import Tokenizer

    return Tokenizer.open(folder)


@pytest.fixture
def run(capsys, monkeypatch, tmp_path) -> Here:
    monkeypatch.chdir(tmp_path)
    return Here(capsys, monkeypatch)


def table(out: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(out)))


def expected(model: Path, texts: list[str]) -> list[tuple[str, str, float]]:
    """What Python's own interface answers."""
    loaded = headstart.load(model)
    probabilities = loaded.predict_proba(texts)
    return list(zip(texts, loaded.predict(texts), probabilities.max(1).tolist(), strict=True))


def agree(rows: list[dict], model: Path, texts: list[str]) -> None:
    assert len(rows) == len(texts)
    for row, (text, label, probability) in zip(rows, expected(model, texts), strict=True):
        assert list(row) == ["text", "label", "probability"]
        assert (row["text"], row["label"]) == (text, label)
        assert float(row["probability"]) == pytest.approx(probability, abs=1e-6)


def test_texts_as_arguments(run, model):
    done = run("predict", model, *TEXTS)
    assert done.code == 0
    assert done.err == ""
    assert done.out.startswith("text,label,probability\n")
    agree(table(done.out), model, TEXTS)
    assert len({row["label"] for row in table(done.out)}) > 1, "else a wrong order would not show"


def test_json_lines(run, model):
    done = run("predict", model, "--json", *TEXTS)
    agree([json.loads(line) for line in done.out.splitlines()], model, TEXTS)
    assert "中文 🙂" in done.out


def test_load_takes_the_run_or_its_model_folder(model):
    texts = [text for text, _ in reviews(31, 3)]
    inner, outer = headstart.load(model / "model"), headstart.load(model)
    np.testing.assert_array_equal(inner.predict_proba(texts), outer.predict_proba(texts))
    one_by_one = [inner.predict_proba([text])[0] for text in texts]
    np.testing.assert_allclose(one_by_one, inner.predict_proba(texts), atol=1e-6)


@pytest.mark.parametrize("options", [[], ["--text", "review"]])
def test_a_csv_file(run, model, tmp_path, options):
    texts = [*TEXTS[:2], *TEXTS[4:]]
    write_csv(tmp_path / "new.csv", [(i, t) for i, t in enumerate(texts)], ["id", "review"])
    done = run("predict", model, "new.csv", *options)
    agree(table(done.out), model, texts)
    assert re.search(r"predict: 5/5, \d\.\d s", done.err)


def test_a_file_of_json_lines(run, model, tmp_path):
    lines = [json.dumps({"text": text, "stars": i}) for i, text in enumerate(TEXTS)]
    (tmp_path / "new.jsonl").write_text("\n".join(lines), encoding="utf-8")
    agree(table(run("predict", model, "new.jsonl").out), model, TEXTS)


def test_empty_cells_give_a_row_each(run, model, tmp_path):
    write_csv(tmp_path / "new.csv", [(1, "great"), (2, ""), (3, "awful")], ["id", "text"])
    agree(table(run("predict", model, "new.csv").out), model, ["great", "", "awful"])


def test_more_rows_than_a_chunk(run, model, tmp_path):
    texts = [f"{text} {i}" for i, (text, _) in enumerate(reviews(4099, 3))]
    write_csv(tmp_path / "new.csv", [(t,) for t in texts], ["text"])
    rows = table(run("predict", model, "new.csv").out)
    assert [row["text"] for row in rows] == texts


def test_texts_from_a_pipe(run, model, monkeypatch):
    class Pipe:
        buffer = io.BytesIO("\ufeffgreat\r\n\nthe 中文 phone\nlast".encode())

    monkeypatch.setattr(sys, "stdin", Pipe)
    agree(table(run("predict", model, "-").out), model, ["great", "", "the 中文 phone", "last"])


def test_an_empty_pipe_gives_the_header(run, model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    done = run("predict", model, "-")
    assert (done.code, done.out) == (0, "text,label,probability\n")


def test_bytes_that_are_no_text_are_named_by_line(run, model, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"fine\ncaf\xe9\n")))
    done = run("predict", model, "-")
    assert done.code == 2
    assert "standard input, line 2: is not UTF-8 (byte 3 of the line)" in done.err
    assert "iconv" in done.err


def test_rows_come_out_before_the_pipe_is_closed(model):
    process = start("predict", model, "-", "--json")
    assert process.stdin is not None
    assert process.stdout is not None
    for text in ("great phone", "awful"):
        process.stdin.write(text + "\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["text"] == text
    done = finish(process, "last")
    assert json.loads(done.out)["text"] == "last"
    assert (done.code, done.err) == (0, "")


def test_a_reader_that_leaves_early_is_no_disaster(model):
    command = f"{' '.join(COMMAND)} predict '{model}' - | head -1"
    done = subprocess.run(["bash", "-c", command], input="great\n" * 20_000, text=True,
                          check=True, capture_output=True)  # fmt: skip
    assert done.stdout == "text,label,probability\n"
    assert done.stderr == ""


def test_predicting_loads_no_more_than_it_needs(model):
    code = (f"import sys, headstart\nheadstart.load({str(model)!r}).predict(['great'])\n"
            "print(*sorted(sys.modules))")  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    needless = {"lightning_fabric", "pandas", "sklearn", "scipy", "pyarrow", "torchmetrics",
                "jinja2", "transformers", "torch._dynamo", "torch._inductor"}  # fmt: skip
    assert not needless & set(done.stdout.split())


def test_out_is_written_whole_or_not_at_all(run, model, tmp_path, monkeypatch):
    done = run("predict", model, "great", "awful", "--out", "deep/labelled.csv")
    assert (done.code, done.out) == (0, "")
    place = tmp_path / "deep" / "labelled.csv"
    agree(table(place.read_text(encoding="utf-8")), model, ["great", "awful"])
    before = place.read_bytes()

    class Failing:
        buffer = io.BytesIO(b"great\n\xff\n")

    monkeypatch.setattr(sys, "stdin", Failing)
    assert run("predict", model, "-", "--out", place).code == 2
    assert place.read_bytes() == before
    assert [p.name for p in place.parent.iterdir()] == ["labelled.csv"]


def test_out_must_be_a_file(run, model, tmp_path):
    done = run("predict", model, "great", "--out", tmp_path)
    assert done.code == 2
    assert "is a folder. Give a file, such as " in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nwe.csv"], r"nwe\.csv: there is no such file\. Did you mean 'new\.csv'\?"),
        (["reviews.txt"], r"reviews\.txt: there is no such file"),
        (["lines.txt"], r"one text a line, give it on standard input: .*MODEL - < lines\.txt"),
        (["new.csv", "more.csv"], r"new\.csv: is a file among 2 arguments; one file at a time"),
        (["great", "-"], r"-: is a file among 2 arguments"),
        (["new.csv", "--text", "txet"], r"no column 'txet'.*"),
        (["two.csv"], r"two\.csv.*--text"),
        (["great", "--text", "review"], r"--text: 'review' names a column, and no table file"),
    ],
)
def test_what_cannot_be_read_is_said(run, model, tmp_path, arguments, message):
    write_csv(tmp_path / "new.csv", [("great",)], ["text"])
    write_csv(tmp_path / "two.csv", [("great", "so")], ["first", "second"])
    (tmp_path / "lines.txt").write_text("great\nawful\n")
    done = run("predict", model, *arguments)
    assert done.code == 2
    assert done.out == ""
    assert re.search(message, done.err), done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("text", ["See data.csv for more.", "no/such/file", "Great.", "x" * 3000])
def test_texts_that_only_look_like_files(run, model, text):
    agree(table(run("predict", model, text).out), model, [text])


def test_an_unknown_model(run, model):
    done = run("predict", model.parent / "shpo", "great")
    assert done.code == 2
    assert "shpo: there is no such folder" in done.err
    assert "Did you mean 'shop'?" in done.err
    done = run("predict", model.parent, "great")
    assert "holds no headstart.json, so it is no model saved by headstart" in done.err
    assert done.code == 2
    done = run("predict", model / "model" / "config.json", "great")
    assert "config.json: is a file" in done.err


def test_a_run_that_has_not_finished(run, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".headstart").write_text("{}")
    done = run("predict", "out", "great")
    assert done.code == 2
    assert "out: the run in this folder has not finished" in done.err
    assert "it goes on where it stopped" in done.err


BROKEN = {
    "half": (lambda text: text[: len(text) // 2], r"headstart\.json: is damaged \("),
    "empty": (lambda text: "", r"headstart\.json: is damaged \("),
    "list": (lambda text: "[]", r"headstart\.json: is damaged \("),
    "bytes": (lambda text: "\udcff", r"headstart\.json: is damaged \("),
    "no schema": (lambda text: "{}", r"'schema' is missing"),
    "schema": (lambda text: text.replace("model/1", "model/9"), r"this headstart reads .*model/1"),
    "labels": (lambda text: text.replace('"labels"', '"lables"'), r"json, labels: is missing"),
    "one class too few": (lambda text: text.replace('"bad",', ""), r"names 2 classes; .* have 3"),
    "length": (lambda text: text.replace(": 11,", ": 900,"), r"max_length: is 900; .* have 37"),
    "word": (lambda text: text.replace(": 11,", ': "11",'), r"max_length: is missing or no whole"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_a_corrupted_description(run, model, tmp_path, fault):
    change, message = BROKEN[fault]
    copy = shutil.copytree(model / "model", tmp_path / "copy")
    file = copy / "headstart.json"
    changed = change(file.read_text(encoding="utf-8"))
    file.write_bytes(changed.encode("utf-8", "surrogateescape"))
    done = run("predict", copy, "great")
    assert done.code == 2
    assert re.search(message, done.err), done.err
    assert done.out == ""
    assert "Traceback" not in done.err


def test_truncated_weights(run, model, tmp_path):
    copy = shutil.copytree(model / "model", tmp_path / "copy")
    for file in copy.glob("*.safetensors"):
        os.truncate(file, file.stat().st_size // 2)
    done = run("predict", copy, "great")
    assert done.code == 2
    assert "is truncated or damaged" in done.err


def test_the_fixture_is_a_model_like_any_other(model):
    assert open_trained(model / "model").task.labels == ("bad", "good", "so, so")
