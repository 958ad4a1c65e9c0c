"""A table of many times the rows is read, prepared and labelled in the same memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from headstart.data.text import Tokenizer
from headstart.models.checkpoint import open_checkpoint
from headstart.models.network import Mean, Network
from headstart.tasks.classify import Classify
from headstart.training.model import Trained, save_trained

NUM_ROWS = 5_003
WORDS = 330
LIMIT = 1 << 20
"""What is larger is kept in files, and as much of a file stays in memory."""

WORK = """
import json, resource, sys
from pathlib import Path

from headstart.data import json_rows, mapped
from headstart.data.examples import examples
from headstart.data.findings import contradictions
from headstart.data.table import read
from headstart.data.text import Tokenizer
from headstart.data.tokenised import tokenised
from headstart.predicting import predict_to
from headstart.verdict.rows import hold_out, remove_duplicates

limit, model, *files = sys.argv[1:]
mapped.LARGE = mapped.RESIDENT = int(limit)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def work(file):
    rows = examples(read(file))
    train, test = hold_out(rows)
    train, _ = remove_duplicates(train, test)
    contradictions(train)
    tokens = tokenised(Tokenizer.open(model), train, 1_000)
    predict_to(Path(model), [file], text_column=None, json_lines=False, out=Path(file + ".out"))
    return {"rows": len(rows), "train": len(train), "tokens": len(tokens.values),
            "digest": train.digest, "peak": peak()}


found = [work(file) for file in files]
print(json.dumps(found))
"""


def write(path: Path, count: int, words: int) -> None:
    """So many rows of so many words each, with one of each row's own."""
    with path.open("w", encoding="utf-8") as file:
        comma = path.suffix == ".csv"
        if comma:
            file.write("text,label\n")
        for number in range(count):
            text = f"row{number} " + "great film the plot was dull " * (words // 6)
            label = ("good", "bad")[number % 2]
            row = (
                f"{text},{label}\n" if comma else json.dumps({"text": text, "label": label}) + "\n"
            )
            file.write(row)


@pytest.fixture(scope="module")
def model(tiny_bert: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    checkpoint = open_checkpoint(str(tiny_bert))
    torch.manual_seed(3)
    trained = Trained(
        network=Network(checkpoint.backbone, Mean(), nn.Linear(20, 2), 0.1).eval(),
        tokenizer=Tokenizer.open(tiny_bert),
        task=Classify(("bad", "good")),
        max_length=7,
        pooling="mean",
        origin=tiny_bert,
    )
    save_trained(trained, folder, ["great"])
    return folder


@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_memory_does_not_grow_with_the_rows(tmp_path, model, ending):
    files = [tmp_path / f"{name}{ending}" for name in ("few", "many")]
    write(files[0], NUM_ROWS // 3, WORDS)
    write(files[1], NUM_ROWS, WORDS)
    more = (files[1].stat().st_size - files[0].stat().st_size) / 2**20
    command = [sys.executable, "-c", WORK, str(LIMIT), str(model), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    few, many = json.loads(done.stdout.splitlines()[-1])
    assert (many["rows"], many["train"]) == (NUM_ROWS, NUM_ROWS - round(NUM_ROWS / 5))
    assert many["tokens"] > 2.9 * few["tokens"] > 1_000_000
    assert len((tmp_path / f"many{ending}.out").read_text().splitlines()) == NUM_ROWS + 1
    assert many["peak"] - few["peak"] < more / 2, (
        "in memory the texts would take it twice, and their tokens many times"
    )
