"""A verdict with made-up figures, as large as a real one. Nothing here was measured."""

import math
import random
from typing import Any

WAYS = {"target": "target only", "source": "source only", "source+target": "source -> target"}
TEXTS = [
    "The zoom is slow , the menus are a maze , and I would buy it again tomorrow .",
    "Not the worst player I have owned .",
    "I expected so much more from this brand .",
    "It does exactly what the box says , which is not much .",
    "Who needs a manual ? Apparently everyone who buys this camera .",
]
RECIPE = """\
backbone = "made-up-minilm"
pooling = "mean"
max_length = 256
test = "test"

[data.source]
path = "movie_reviews.csv"

[data.target]
path = "shop_reviews.csv"
labels = 256

[[stage]]
name = "source"
data = "source"
epochs = 2

[[stage]]
name = "tune"
data = "target"
epochs = 10
"""


def verdict() -> dict[str, Any]:
    """Three ways, three seeds, the source helps."""
    return {
        "schema": "headstart.verdict/1",
        "sentence": "The source helps: +3.4 points [1.1, 5.6] over target only.",
        "winner": "source+target",
        "arms": [
            _arm("target", 256, (0.847, 0.822, 0.869), 3, 41.2),
            _arm("source", 0, (0.848, 0.825, 0.869), 1, 96.4),
            _arm("source+target", 256, (0.881, 0.860, 0.899), 3, 134.0),
        ],
        "gain": {"value": 0.034, "low": 0.011, "high": 0.056},
        "negative_transfer": False,
        "data": _data(),
        "backbone": {
            "name": "made-up-minilm",
            "family": "bert",
            "blocks": 6,
            "width": 384,
            "parameters": 22713216,
            "pooling": "mean",
            "max_length": 256,
            "digest": "3f1c0ffee0ddba11",
        },
        "confusion": {"classes": ["negative", "positive"], "counts": [[341, 63], [56, 540]]},
        "classes": [
            {"name": "negative", "precision": 0.859, "recall": 0.844, "f1": 0.851, "support": 404},
            {"name": "positive", "precision": 0.896, "recall": 0.906, "f1": 0.901, "support": 596},
        ],
        "mistakes": [
            {
                "text": TEXTS[i % len(TEXTS)],
                "truth": ("negative", "positive")[i % 2],
                "predicted": ("positive", "negative")[i % 2],
                "probability": 0.996 - 0.004 * i,
                "row": 17 + 41 * i,
            }
            for i in range(20)
        ],
        "stages": _stages(),
        "recipe": RECIPE,
        "command": "headstart transfer --source movie_reviews.csv --target shop_reviews.csv "
        "--labels 256 --seeds 3 --out runs/shop",
        "versions": {"headstart": "0.1.0", "torch": "2.13.0", "tokenizers": "0.22.1"},
        "machine": {"system": "Linux x86_64", "python": "3.12.1", "threads": 2},
        "precision": "float32",
        "seconds": 512.6,
    }


def hostile() -> dict[str, Any]:
    """The sample with texts and names that would like to be more than text."""
    values = verdict()
    script = "<script>alert('text')</script><img src=http://example.invalid/x onerror=alert(1)>"
    texts = [
        script,
        "\u202eright to left\u202c مرحبا بالعالم שלום",
        "👩‍👩‍👧‍👦🏳️‍🌈 wonderful 🔥",
        "w" * 5000,
        "nul \x00 escape \x1b[31m surrogate \ud800 ]]> --> </blockquote></li></ol>",
        "None of it is nan.",
        "",
    ]
    for mistake, text in zip(values["mistakes"], texts, strict=False):
        mistake["text"] = text
    name = '"><script>alert(2)</script>'
    values["confusion"]["classes"][0] = values["classes"][0]["name"] = name
    values["data"]["source"]["name"] = "<b>" + "long" * 60
    values["data"]["findings"][0]["message"] = script
    values["arms"][0]["title"] = "</title></svg><script>alert(3)</script>"
    values["stages"][0]["name"] = "</title><script>alert(4)</script>"
    values["recipe"] += "# </code></pre><script>alert(5)</script>\n"
    values["command"] += " '</title><script>'"
    values["sentence"] += "</title><script>alert(6)</script>"
    return values


def _arm(
    name: str, labels: int, accuracy: tuple[float, float, float], seeds: int, seconds: float
) -> dict[str, Any]:
    mean, low, high = accuracy
    return {
        "name": name,
        "title": WAYS[name],
        "labels": labels,
        "accuracy": {"mean": mean, "low": low, "high": high},
        "macro_f1": {"mean": mean - 0.008, "low": low - 0.01, "high": high - 0.007},
        "seeds": seeds,
        "seconds": seconds,
        "stages": ["5eed"],
    }


def _data() -> dict[str, Any]:
    def part(name: str, negative: int, positive: int, **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "rows": negative + positive,
            "classes": {"negative": negative, "positive": positive},
            "lengths": {"min": 3, "median": 24.0, "p95": 52.0, "max": 311},
            **more,
        }

    return {
        "source": part("movie_reviews.csv", 4983, 5089),
        "target": part("shop_reviews.csv", 802, 1183, labelled=256, unlabelled=1729),
        "test": part("shop_reviews.csv", 404, 596, held_out=True),
        "findings": [
            {
                "kind": "duplicates",
                "message": "shop_reviews.csv: 14 texts are in the training and in the test rows.",
                "count": 14,
                "rows": [3, 91, 207, 208, 511, 640, 702, 741, 800, 913, 1002, 1077, 1204, 1300],
                "remedy": "They were taken out of the training rows.",
            },
            {
                "kind": "truncated",
                "message": "movie_reviews.csv: 2 of 10,072 texts are longer than 256 tokens.",
                "count": 2,
                "rows": [77, 4011],
                "remedy": "They were cut; --max-length 311 would keep them whole.",
            },
        ],
    }


def _stages() -> list[dict[str, Any]]:
    whole = [{"pattern": ".*", "parameters": 22713986, "learning_rate": 1e-4}]
    head = [
        {"pattern": "head|pool", "parameters": 770, "learning_rate": 1e-3},
        {"pattern": ".*", "parameters": 22713216, "learning_rate": 0.0},
    ]
    source = _stage("source", ["source", "source+target"], 0, 5036, 96.4, whole, True)
    stages = [source | {"cached": True}]
    for seed in range(3):
        stages.append(_stage("target", ["target"], seed, 320, 41.2, whole, False))
        stages.append(_stage("probe", ["source+target"], seed, 640, 3.1, head, False))
        stages.append(_stage("tune", ["source+target"], seed, 320, 34.5, whole, False))
    return stages


def _stage(
    name: str,
    arms: list[str],
    seed: int,
    steps: int,
    seconds: float,
    trainable: list[dict[str, Any]],
    validated: bool,
) -> dict[str, Any]:
    chance = random.Random(f"{name} {seed}")
    every = max(1, steps // 300)
    log: list[dict[str, Any]] = []
    for step in range(every, steps + 1, every):
        loss = 0.12 + 0.57 * math.exp(-4 * step / steps) + chance.gauss(0, 0.025)
        log.append({"step": step, "loss": max(0.01, loss), "learning_rate": 1e-4})
    if validated:
        for part in (0.25, 0.5, 0.75, 1.0):
            scores = {"accuracy": 0.7 + 0.16 * part**0.5, "macro_f1": 0.69 + 0.16 * part**0.5}
            log[round(part * len(log)) - 1]["validation"] = scores
    return {
        "digest": f"{name}{seed}",
        "name": name,
        "arm": arms,
        "seed": seed,
        "seconds": seconds,
        "steps": steps,
        "tokens": steps * 497,
        "tokens_per_second": steps * 497 / seconds,
        "peak_memory_bytes": 1_412_000_000,
        "cached": False,
        "trainable": trainable,
        "log": log,
    }
