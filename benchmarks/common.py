"""What the benchmarks share: the reviews, the rival, the machine, and where results are kept."""

from __future__ import annotations

import json
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from headstart.data.examples import Examples
from headstart.data.findings import remove_duplicates
from headstart.data.suites.vader import archive, demo_examples

RESULTS = Path(__file__).parent / "results"


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
        "versions": versions(
            "headstart",
            "torch",
            "transformers",
            "accelerate",
            "lightning-fabric",
            "scikit-learn",
            "tokenizers",
        ),
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


class Trainer:
    """Hugging Face Trainer on the same checkpoint, rows, epochs and batch of 16 texts.

    Everything else is its default: float32, random order, padding to the longest of a batch,
    AdamW at 5e-5 with linear decay.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...], max_length: int) -> None:
        from transformers import AutoTokenizer

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
        self, model: Any, texts: list[str], labels: list[str], *, epochs: float, seed: int
    ) -> tuple[Any, float]:
        """Train; returns the model and the seconds of `train()` alone."""
        from transformers import DataCollatorWithPadding, TrainingArguments
        from transformers import Trainer as HuggingFaceTrainer

        arguments = TrainingArguments(
            output_dir="/tmp/headstart-benchmark",
            num_train_epochs=epochs,
            per_device_train_batch_size=16,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            seed=seed,
            use_cpu=True,
        )
        trainer = HuggingFaceTrainer(
            model=model,
            args=arguments,
            train_dataset=self._rows(texts, labels),
            data_collator=DataCollatorWithPadding(self.tokenizer),
        )
        start = time.perf_counter()
        trainer.train()
        return model, time.perf_counter() - start

    def accuracy(self, model: Any, texts: list[str], labels: list[str]) -> float:
        """Share of right answers, in batches of 64 sorted by length."""
        import torch

        model.eval()
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

    def _rows(self, texts: list[str], labels: list[str]) -> list[dict[str, Any]]:
        encoded = self.tokenizer(texts, truncation=True, max_length=self.max_length)
        return [
            {"input_ids": ids, "attention_mask": mask, "labels": self.classes.index(label)}
            for ids, mask, label in zip(
                encoded["input_ids"], encoded["attention_mask"], labels, strict=True
            )
        ]


def mean(values: list[float]) -> float:
    """The mean, rounded to what a table shows."""
    return round(float(np.mean(values)), 4)
