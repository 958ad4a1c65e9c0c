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
        "schema": "headstart.verdict/2",
        "sentence": "The source helps: +3.4 points [1.1, 5.6] over target only.",
        "winner": "source+target",
        "arms": [
            _arm("target", 256, (0.847, 0.822, 0.869), 3, 41.2),
            _arm("source", 0, (0.848, 0.825, 0.869), 1, 96.4),
            _arm("source+target", 256, (0.881, 0.860, 0.899), 3, 134.0),
        ],
        "gain": {"value": 0.034, "low": 0.011, "high": 0.056},
        "gains": [
            {
                "of": "source",
                "arm": "source+target",
                "over": "target",
                "value": 0.034,
                "low": 0.011,
                "high": 0.056,
                "effect": "helps",
            },
            {
                "of": "pre-training",
                "arm": "target",
                "over": "random",
                "value": 0.1,
                "low": -0.02,
                "high": 0.22,
                "effect": "unclear",
            },
        ],
        "negative_transfer": False,
        "chosen_by": {
            "rule": "made up",
            "rows": 256,
            "best": "source+target",
            "equal": ["source+target", "source"],
            "accuracy": {},
            "honest": None,
            "without_source": False,
        },
        "protocol": {"kind": "given", "folds": 0, "repeats": 3, "rows": 1000},
        "budget": {
            "seconds": 600.0,
            "used": 512.6,
            "stopped": [
                {"arm": "random", "title": "random weights", "seeds": 1, "why": "too far behind"}
            ],
        },
        "curve": curve(),
        "calibration": _calibration(),
        "selective": _selective(),
        "offsets": {
            "values": [0.25, -0.25],
            "way": "prior",
            "metric": "macro_f1",
            "before": _interval(0.861),
            "after": _interval(0.874),
            "num_rows": 256,
        },
        "explained": {
            "method": {"name": "occlusion", "title": "occlusion", "source": "Zeiler & Fergus 2014"},
            "words": [
                [
                    {"start": 0, "end": 3, "score": 0.25},
                    {"start": 4, "end": 8, "score": -1.5},
                    {"start": 12, "end": 16, "score": 0.01},
                ],
                [],
            ],
        },
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
        "machine": {
            "system": "Linux x86_64",
            "python": "3.12.1",
            "threads": 2,
            "watts": 30.0,
            "watts_from": "a made-up limit",
        },
        "precision": "float32",
        "seconds": 512.6,
    }


def curve() -> dict[str, Any]:
    """Accuracy by labels, what they are worth, and what more would bring."""
    counts = (8, 16, 32, 64, 128, 256)
    alone = [_point(n, 0.60 + 0.045 * i) for i, n in enumerate(counts)]
    helped = [_point(n, 0.78 + 0.017 * i) for i, n in enumerate((0, *counts))]
    saved = [
        {
            "labels": 0,
            "worth": 128.5,
            "low": 90.0,
            "high": 190.0,
            "least": 8,
            "most": 256,
            "reached": "within",
            "saved": 128.5,
        },
        {
            "labels": 64,
            "worth": 201.0,
            "low": 160.0,
            "high": None,
            "least": 8,
            "most": 256,
            "reached": "within",
            "saved": 137.0,
        },
        {
            "labels": 256,
            "worth": None,
            "low": 230.0,
            "high": None,
            "least": 8,
            "most": 256,
            "reached": "above",
            "saved": None,
        },
    ]
    ahead = [
        {"labels": n, "value": _interval(0.89 + 0.01 * i), "gain": _interval(0.01 * (i + 1))}
        for i, n in enumerate((512, 1024))
    ]
    return {
        "how": "frozen",
        "metric": "accuracy",
        "arm": "source+target",
        "with_source": helped,
        "without_source": alone,
        "saved": saved,
        "sentence": "64 labels plus the source are worth 200 [160, more than 256] labels alone.",
        "outlook": {
            "labels": 256,
            "expected": ahead,
            "reason": "",
            "used": list(counts),
            "power": _interval(0.4),
            "sentence": "More labels would bring a little.",
        },
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


def _interval(value: float, half: float = 0.02) -> dict[str, float]:
    return {"value": value, "low": value - half, "high": value + half}


def _point(labels: int, mean: float) -> dict[str, Any]:
    return {"labels": labels, "mean": mean, "low": mean - 0.03, "high": mean + 0.03, "seeds": 5}


def _calibration() -> dict[str, Any]:
    def side(off: float) -> dict[str, Any]:
        sure = (0.55, 0.75, 0.9, 0.97)
        bins = [{"confidence": c, "accuracy": _interval(c - off), "count": 250} for c in sure]
        return {
            "error": _interval(off, 0.01),
            "brier": _interval(0.2),
            "log_loss": _interval(0.4),
            "bins": bins,
        }

    temperature = {
        "kind": "temperature",
        "value": 1.6,
        "low": 1.2,
        "high": 2.1,
        "num_rows": 256,
        "prior": 0.5,
    }
    return {"temperature": temperature, "before": side(0.05), "after": side(0.02)}


def _selective() -> dict[str, Any]:
    curve = [
        {"coverage": i / 20, "risk": 0.12 * (i / 20) ** 2, "threshold": 1 - i / 40}
        for i in range(1, 21)
    ]
    return {
        "share": 0.8,
        "accuracy": _interval(0.92),
        "all": _interval(0.88),
        "area": _interval(0.04),
        "curve": curve,
    }


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
                "severity": "note",
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
