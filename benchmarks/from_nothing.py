"""A decoder and an encoder from nothing, on the English captions of Multi30k.

    python benchmarks/from_nothing.py [--epochs 3] [--small]

Vocabulary and weights come from the 29,000 training captions alone (../shared/data/multi30k, task
1, train.en); what is measured is the perplexity, or pseudo-perplexity, of the 1,014 captions of
val.en, beside that of a model that only knows how frequent each token is. What the decoder writes
when it is told nothing is kept too, with the share of its captions that stand in the training
captions as they are. Where the captions are not there, nothing is measured. Kept in
results/from_nothing.json.
"""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np

from common import arguments, cold_shop, keep
from headstart.data.text import Tokenizer
from headstart.recipe import Recipe
from headstart.speaking import open_generator
from headstart.training.making import made
from headstart.training.stage import Workshop
from headstart.verdict.running import Pretraining, pretrain, read_texts

CAPTIONS = Path(__file__).parents[2] / "shared/data/multi30k/data/task1/raw"
SAMPLES, SHOWN = 200, 20
MODELS = {"gpt2-mini": "causal-lm", "bert-mini": "masked-lm"}


def captions(name: str, most: int | None) -> list[str]:
    """The captions of a file, without repeats, in their order."""
    with gzip.open(CAPTIONS / f"{name}.en.gz", "rt", encoding="utf-8") as file:
        return list(dict.fromkeys(line.strip() for line in file if line.strip()))[:most]


def recipe_of(size: str, epochs: float) -> Recipe:
    """One stage on a backbone from nothing."""
    stage = {"name": "learn", "task": MODELS[size], "data": "captions", "epochs": epochs,
             "learning_rate": 1e-3, "batch_tokens": 2048, "schedule": "cosine"}  # fmt: skip
    return Recipe.from_values(
        {"backbone": f"new:{size}", "vocabulary": {"size": 2000}, "max_length": 64, "test": "held",
         "data": {"captions": {"path": "<memory>"}, "held": {"path": "<memory>"}},
         "stage": [stage]}
    )  # fmt: skip


def frequency_perplexity(folder: str, train: list[str], held: list[str]) -> float:
    """Of the held captions' tokens, by how frequent each is among the training captions'."""
    tokenizer = Tokenizer.open(folder)
    counts = np.bincount(tokenizer.encode(train, 64).values, minlength=tokenizer.vocab_size) + 0.5
    costs = -np.log(counts / counts.sum())
    return float(np.exp(costs[tokenizer.encode(held, 64).values].mean()))


def written(result: Pretraining, train: list[str], count: int) -> dict[str, Any]:
    """What the decoder says when it is told nothing."""
    speaker = open_generator(result.last.folder)
    said = speaker.generate([""] * count, sample=True, top_p=0.95, seed=0, max_new_tokens=40)
    said = [text.strip() for text in said]
    known, words = set(train), {word for text in train for word in text.split()}
    spoken = [word for text in said for word in text.split()]
    return {
        "samples": said[:SHOWN],
        "copied": sum(text in known for text in said) / len(said),
        "known_words": sum(word in words for word in spoken) / max(1, len(spoken)),
        "words": float(np.mean([len(text.split()) for text in said])),
        "words_of_captions": float(np.mean([len(text.split()) for text in train])),
    }


def measured(
    shop: Workshop, size: str, epochs: float, train: list[str], held: list[str]
) -> dict[str, Any]:
    """Train one size from nothing, and say what it learned."""
    recipe = recipe_of(size, epochs)
    texts = read_texts(recipe, {"captions": train, "held": held})
    result = pretrain(recipe, texts, shop)
    folder = made(recipe, texts.train, shop).backbone
    plain = frequency_perplexity(folder, train, held)
    print(f"{size}: {result.sentence} Frequencies alone: {plain:,.1f}.", flush=True)
    found = {"backbone": size, "parameters": result.values["backbone"]["parameters"],
             "judged": result.judged, "frequencies_alone": plain,
             "seconds": result.values["stages"][-1]["seconds"]}  # fmt: skip
    if MODELS[size] == "causal-lm":
        found |= written(result, train, SAMPLES)
        for sample in found["samples"][:5]:
            print(f"  {sample}", flush=True)
    return found


def main() -> None:
    """Train both and keep what they learned."""
    parser = arguments(__doc__)
    parser.add_argument("--epochs", type=float, default=3.0)
    options = parser.parse_args()
    if not CAPTIONS.is_dir():
        print(f"{CAPTIONS}: the captions of Multi30k are not there; nothing was measured.")
        sys.exit(0)
    small = options.small
    train, held = captions("train", 2000 if small else None), captions("val", 50 if small else None)
    epochs = 0.3 if small else options.epochs
    with cold_shop() as shop:
        rows = [measured(shop, size, epochs, train, held) for size in MODELS]
    if small:
        print("a small run is not kept")
    else:
        print(f"kept in {keep('from_nothing', {'rows': rows, 'captions': len(train)}).name}")


if __name__ == "__main__":
    main()
