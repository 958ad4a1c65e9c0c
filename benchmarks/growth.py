"""Twice the rows, twice the time: reading, tokenising, and a head on frozen features.

    python benchmarks/growth.py [--up-to 80000] [--small]

Rows double from 10,000 up to the flag (--up-to 1280000 takes about half an hour and 3 GB). Texts
are synthetic: words of the demo's film reviews drawn as often as they occur there, every fiftieth
made up anew, so that there is no end of new words. Reading is `headstart.data` on a csv file, then
texts and labels; tokenising and features are with MiniLM's vocabulary; the network of the last is a
tiny BERT made here, so that what is measured is what stands around it.

The rate of tokenising is taken on one core, in a process that has no other.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from common import BACKBONE, MAX_LENGTH, arguments, cold_shop, demo_rows, hush, one_stage, timed
from headstart.data.examples import Examples, examples
from headstart.data.table import read
from headstart.data.text import Tokenizer
from headstart.models.checkpoint import resolve
from table import Row, keep_rows

FIRST = 10_000
ROUNDS = 3
NEW_WORD = 50
SENTENCES_A_SECOND = 100_000


def sentences(texts: Sequence[str], count: int, seed: int) -> list[str]:
    """So many texts of the given texts' words and lengths, every fiftieth word made up."""
    words = np.array([word for text in texts for word in text.split(" ")], dtype=object)
    lengths = np.array([text.count(" ") + 1 for text in texts])
    random = np.random.default_rng(seed)
    sizes = lengths[random.integers(0, len(lengths), count)]
    drawn = words[random.integers(0, len(words), int(sizes.sum()))]
    places = range(0, len(drawn), NEW_WORD)
    drawn[::NEW_WORD] = [f"{drawn[i]}{number:x}" for number, i in enumerate(places)]
    ends = np.cumsum(sizes)
    return [" ".join(drawn[end - size : end]) for end, size in zip(ends, sizes, strict=True)]


def labelled(texts: list[str]) -> Examples:
    """The texts under two labels in turn."""
    labels = [("negative", "positive")[i % 2] for i in range(len(texts))]
    return Examples("synthetic", texts, labels, np.arange(len(texts)))


def tiny_bert(folder: Path) -> None:
    """Write a BERT of one block and width 16, with MiniLM's tokenizer."""
    import torch
    from transformers import BertConfig, BertModel

    hush()
    torch.manual_seed(0)
    sizes = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    BertModel(BertConfig(hidden_size=16, **sizes)).save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        if (file := resolve(BACKBONE) / name).exists():
            shutil.copyfile(file, folder / name)


def reading(rows: Examples) -> float:
    """Seconds from a csv file to texts and labels."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.csv"
        with file.open("w", newline="", encoding="utf-8") as out:
            pairs = zip(rows.texts, rows.labels or (), strict=True)
            csv.writer(out).writerows([("text", "label"), *pairs])
        return timed(lambda: examples(read(file)))[0]


def tokenising(rows: Examples) -> float:
    """Seconds of tokenising, the tokenizer new."""
    tokenizer = Tokenizer.open(resolve(BACKBONE))
    return timed(lambda: tokenizer.encode(rows.texts, MAX_LENGTH))[0]


def frozen_head(folder: Path) -> Callable[[Examples], float]:
    """Seconds of two epochs of a head: tokens, features, training, all from nothing."""

    def seconds(rows: Examples) -> float:
        recipe = one_stage(backbone=str(folder), train="head", epochs=2)
        with cold_shop() as shop:
            return timed(lambda: shop.run(recipe, {"rows": rows}))[0]

    return seconds


def growth_rows(texts: Sequence[str], sizes: list[int], rounds: int) -> list[Row]:
    """Each kind of work at each size, beside twice the time of half the rows."""
    with tempfile.TemporaryDirectory() as folder:
        tiny_bert(Path(folder))
        kinds = {
            "reading a csv file": reading,
            "tokenising": tokenising,
            "head on frozen features (tiny BERT)": frozen_head(Path(folder)),
        }
        found: dict[tuple[str, int], list[float]] = {}
        for number in range(rounds):
            for size in sizes:
                rows = labelled(sentences(texts, size, seed=number))
                for kind, work in kinds.items():
                    found.setdefault((kind, size), []).append(work(rows))
                    print(f"{kind:<36} {size:>9,} rows {found[kind, size][-1]:8.2f} s", flush=True)
    return [
        Row(
            name=f"{kind}: {size:,} rows",
            ours=median(found[kind, size]),
            peer="twice the time of half the rows",
            peers=2 * median(found[kind, size // 2]),
            needed=1 / 1.1,
            note="at most a tenth more than twice",
        )
        for kind in kinds
        for size in sizes[1:]
    ]


def on_one_core(texts: list[str]) -> dict[str, float]:
    """Seconds of tokenising on this process's only core, ours and the tokenizers library's."""
    from tokenizers import Tokenizer as Library

    folder = resolve(BACKBONE)
    found: dict[str, list[float]] = {"ours": [], "library": []}
    for _ in range(ROUNDS):
        ours, library = Tokenizer.open(folder), Library.from_file(str(folder / "tokenizer.json"))
        library.no_padding()
        library.enable_truncation(MAX_LENGTH)
        found["ours"].append(timed(lambda ours=ours: ours.encode(texts, MAX_LENGTH))[0])
        found["library"].append(timed(lambda library=library: library.encode_batch_fast(texts))[0])
    return {name: median(seconds) for name, seconds in found.items()}


def rate_rows(file: Path) -> list[Row]:
    """Sentences a second on one core, of the texts in a file."""
    command = [sys.executable, __file__, "--one-core", str(file)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found = json.loads(done.stdout.splitlines()[-1])
    count = len(json.loads(file.read_text()))
    name = f"tokenising on one core: {count:,} sentences"
    rate = f"{count / found['ours']:,.0f} sentences a second"
    return [
        Row(name, found["ours"], "100,000 sentences a second", count / SENTENCES_A_SECOND,
            needed=1.0, note=rate),
        Row(name, found["ours"], "tokenizers library", found["library"], note="encode_batch_fast"),
    ]  # fmt: skip


def main() -> None:
    """Growth, then the rate."""
    parser = arguments(__doc__)
    parser.add_argument("--up-to", type=int, default=80_000, help="most rows")
    parser.add_argument("--one-core", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one_core is not None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # before any thread is there
        print(json.dumps(on_one_core(json.loads(options.one_core.read_text()))))
        return
    first, last, rounds = (100, 200, 1) if options.small else (FIRST, options.up_to, ROUNDS)
    sizes = [first]
    while 2 * sizes[-1] <= last:
        sizes.append(2 * sizes[-1])
    with demo_rows() as (source, _, _):
        keep_rows(growth_rows(source.texts, sizes, rounds), small=options.small)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "texts.json"
            file.write_text(json.dumps(sentences(source.texts, 10 * first, seed=9)))
            keep_rows(rate_rows(file), small=options.small)


if __name__ == "__main__":
    main()
