"""What the benchmarks share: the reviews, the rival, the machine, and where results are kept."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from headstart.data.draw import draw
from headstart.data.examples import Examples
from headstart.data.findings import remove_duplicates
from headstart.data.suites.vader import archive, demo_examples
from headstart.recipe import Recipe

if TYPE_CHECKING:
    from headstart.data.text import Tokenizer
    from headstart.training.stage import StageResult, Workshop

T = TypeVar("T")
RESULTS = Path(__file__).parent / "results"
BACKBONE = "all-MiniLM-L6-v2"
MAX_LENGTH = 256
"""Longest text in tokens, as the backbone was published with."""

PACKAGES = ("headstart", "torch", "transformers", "accelerate", "sentence-transformers", "setfit",
            "onnxruntime", "lightning-fabric", "scikit-learn", "tokenizers")  # fmt: skip
"""Whose versions a figure depends on."""


def arguments(doc: str | None) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="seconds: try whether it works")
    return parser


def machine() -> dict[str, Any]:
    """Processor, cores, system and the versions that a figure depends on."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")), "")
    flags = next((x for x in lines if x.startswith("flags")), "")
    return {
        "processor": name or platform.processor(),
        "bf16_instructions": "avx512_bf16" in flags or "amx_bf16" in flags,
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def versions(*names: str) -> dict[str, str]:
    """Installed versions; a package that is not there is left out."""
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def keep(name: str, result: dict[str, Any]) -> Path:
    """Write a result beside the script, with machine, versions and date."""
    described = {
        "name": name,
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": machine(),
        "versions": versions(*PACKAGES),
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(described | result, indent=1) + "\n")
    return path


@contextmanager
def demo_rows() -> Iterator[tuple[Examples, Examples, Examples]]:
    """The demo's source, target and test rows, with a cache of one's own: nothing was done before.

    Training rows whose text is a test row are left out, as `headstart transfer` does.
    """
    file = archive()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["HEADSTART_CACHE"] = cache
        (Path(cache) / "downloads").mkdir()
        (Path(cache) / "downloads" / file.name).symlink_to(file)
        source, target, test = demo_examples()
        yield remove_duplicates(source, test)[0], remove_duplicates(target, test)[0], test


def some(rows: Examples, count: int, seed: int = 0) -> Examples:
    """So many rows, the classes in proportion; all of them where there are fewer."""
    return rows if count >= len(rows) else rows.take(draw(rows.labels or [], count, seed)[0])


def random_texts(tokenizer: Tokenizer, lengths: Sequence[int], seed: int) -> list[str]:
    """Texts of random words that become so many tokens each, special tokens counted.

    Args:
        tokenizer: a WordPiece that makes one token of a word in its vocabulary, two special.
        lengths: tokens of each text, 3 at least.
        seed: of the words.
    """
    words = sorted(w for w in tokenizer.vocabulary if w.isascii() and w.isalpha() and w.islower())
    random = np.random.default_rng(seed)
    return [
        " ".join(words[i] for i in random.integers(0, len(words), length - 2)) for length in lengths
    ]


def one_stage(**stage: Any) -> Recipe:
    """A recipe of one stage on the data set "rows"; `stage` is its values."""
    return Recipe.from_values(
        {
            "backbone": stage.pop("backbone", BACKBONE),
            "max_length": MAX_LENGTH,
            "seed": stage.pop("seed", 0),
            "data": {"rows": {"path": "<memory>"}},
            "stage": [{"name": "stage", "data": "rows"} | stage],
        }
    )


@contextmanager
def cold_shop() -> Iterator[Workshop]:
    """A workshop that has done nothing before."""
    from headstart.training.stage import Workshop

    with tempfile.TemporaryDirectory() as folder:
        yield Workshop(cache=Path(folder))


def judged(stage: StageResult, test: Examples) -> float:
    """Share of right answers of the model that a stage left."""
    from headstart.training.model import open_trained

    model = open_trained(stage.folder)
    return right(model.task.decode(model.logits(test.texts)), test)


def right(answers: Sequence[str], test: Examples) -> float:
    """Share of right answers."""
    pairs = zip(answers, test.labels or [], strict=True)
    return sum(answer == label for answer, label in pairs) / len(test)


def alternate(ways: Mapping[str, Callable[[int], T]], rounds: int) -> dict[str, list[T]]:
    """Do each way once, then each again: what slows a machine down for a while slows all alike.

    Args:
        ways: what to do, by name; each is told the number of its round, from 0.
        rounds: how often.

    Returns:
        What each gave in each round.
    """
    found: dict[str, list[T]] = {name: [] for name in ways}
    for number in range(rounds):
        for name, way in ways.items():
            found[name].append(way(number))
    return found


def timed(work: Callable[[], T]) -> tuple[float, T]:
    """Seconds that something takes, and what it gives."""
    start = time.perf_counter()
    given = work()
    return time.perf_counter() - start, given


def hush() -> None:
    """Keep bars and notes of transformers out of what is printed."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def middle(runs: Sequence[tuple[float, Any]]) -> float:
    """Median of the seconds of several runs."""
    return statistics.median(seconds for seconds, _ in runs)


class Trainer:
    """Hugging Face Trainer on the same checkpoint, rows and epochs.

    Where no settings are given: its defaults with batches of 16 texts, which are float32, random
    order, padding to the longest of a batch, AdamW at 5e-5 with linear decay.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...], max_length: int) -> None:
        from transformers import AutoTokenizer

        hush()
        self.folder, self.classes, self.max_length = folder, classes, max_length
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def fresh(self, seed: int) -> Any:
        """The checkpoint under a new head."""
        import torch
        from transformers import AutoModelForSequenceClassification

        torch.manual_seed(seed)
        return AutoModelForSequenceClassification.from_pretrained(
            self.folder, num_labels=len(self.classes)
        )

    def fit(
        self,
        model: Any,
        texts: Sequence[str],
        labels: Sequence[str],
        *,
        epochs: float,
        seed: int,
        settings: Mapping[str, Any] | None = None,
    ) -> tuple[Any, float]:
        """Train; returns the model and the seconds of `train()` alone.

        Args:
            settings: of `transformers.TrainingArguments`, in the place of the defaults.
        """
        import torch
        from transformers import DataCollatorWithPadding, PrinterCallback, TrainingArguments
        from transformers import Trainer as HuggingFaceTrainer

        values = {
            "output_dir": f"{tempfile.gettempdir()}/headstart-benchmark",
            "num_train_epochs": epochs,
            "per_device_train_batch_size": 16,
            "save_strategy": "no",
            "report_to": [],
            "disable_tqdm": True,
            "logging_strategy": "no",
            "seed": seed,
            "use_cpu": not torch.cuda.is_available(),
        }
        arguments = TrainingArguments(**values | dict(settings or {}))
        trainer = HuggingFaceTrainer(
            model=model,
            args=arguments,
            train_dataset=self._rows(texts, labels),
            data_collator=DataCollatorWithPadding(self.tokenizer),
        )
        trainer.remove_callback(PrinterCallback)
        start = time.perf_counter()
        trainer.train()
        return model, time.perf_counter() - start

    def accuracy(self, model: Any, texts: Sequence[str], labels: Sequence[str]) -> float:
        """Share of right answers, in batches of 64 sorted by length."""
        import torch

        model.cpu().eval()
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        right = 0
        with torch.inference_mode():
            for start in range(0, len(order), 64):
                rows = order[start : start + 64]
                batch = [texts[i] for i in rows]
                encoded = self.tokenizer(
                    batch,
                    truncation=True,
                    padding=True,
                    max_length=self.max_length,
                    return_tensors="pt",
                )
                best = model(**encoded).logits.argmax(-1).tolist()
                right += sum(self.classes[b] == labels[i] for b, i in zip(best, rows, strict=True))
        return right / len(texts)

    def _rows(self, texts: Sequence[str], labels: Sequence[str]) -> list[dict[str, Any]]:
        encoded = self.tokenizer(list(texts), truncation=True, max_length=self.max_length)
        return [
            {"input_ids": ids, "attention_mask": mask, "labels": self.classes.index(label)}
            for ids, mask, label in zip(
                encoded["input_ids"], encoded["attention_mask"], labels, strict=True
            )
        ]


def mean(values: list[float]) -> float:
    """The mean, rounded to what a table shows."""
    return round(float(np.mean(values)), 4)
