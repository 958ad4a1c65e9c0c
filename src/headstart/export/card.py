"""The card of a model: what it is, what it was trained on, what it reached, how it is used.

Written from the model's provenance and, where the run's verdict.json is at hand, from the verdict.
Its front matter is what the Hugging Face hub reads
(https://huggingface.co/docs/hub/model-cards#model-card-metadata).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.export.private import hub_name, last_part, shown_name
from headstart.models.published import HEAD_FILE
from headstart.report.text import points
from headstart.report.words import arrows, count, number, share
from headstart.training.model import Trained

CARD = "README.md"
SHOWN_LABELS = 30
MOVES = {"all": "everything", "head": "the head"}


def model_card(
    model: Trained,
    name: str,
    verdict: Mapping[str, Any] | None = None,
    *,
    license_name: str | None = None,
) -> str:
    """The text of a README.md.

    Args:
        model: what is described.
        name: what it is called, or its name on the hub, as the lines of code have it.
        verdict: the content of the run's verdict.json; without it the figures of the model alone
            are told.
        license_name: as the hub writes it, such as "apache-2.0"; nothing is said of it otherwise.
    """
    parts = [
        _front_matter(model, name, verdict, license_name),
        f"# {_plain(last_part(name))}\n",
        _summary(model),
        _trained_on(model),
        _reached(model, verdict),
        _usage(model, name),
        _limits(model),
    ]
    return "\n".join(part for part in parts if part)


def read_verdict(model: Trained) -> dict[str, Any] | None:
    """The verdict.json of the run that left this model; None where it lies elsewhere or alone."""
    file = model.origin.absolute().parent / "verdict.json"
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        same = values["sentence"] == model.provenance.get("sentence")
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return values if same else None


def write_card(folder: Path, text: str) -> None:
    """Put a card into a model's folder."""
    (folder / CARD).write_text(text, encoding="utf-8")


def _front_matter(
    model: Trained, name: str, verdict: Mapping[str, Any] | None, license_name: str | None
) -> str:
    from huggingface_hub import ModelCardData

    base = hub_name(str(model.provenance.get("backbone", "")))
    results = _results(model, verdict)
    data = ModelCardData(
        base_model=base,
        eval_results=results or None,
        library_name="transformers" if model.pooling == "family" else "sentence-transformers",
        license=license_name,
        metrics=["accuracy", "f1"] if results else None,
        model_name=last_part(name) if results else None,
        pipeline_tag="text-classification",
        tags=["headstart", "transfer-learning"],
    )
    return f"---\n{data.to_yaml()}\n---\n"


def _results(model: Trained, verdict: Mapping[str, Any] | None) -> list[Any]:
    """What the hub's table of results shows."""
    from huggingface_hub import EvalResult

    figures = model.provenance.get("verdict")
    if not figures:
        return []
    rows = last_part(verdict["data"]["test"]["name"]) if verdict else "test rows"
    slug = re.sub(r"[^\w.-]+", "-", rows.lower(), flags=re.ASCII).strip("-") or "data"
    shown = (("accuracy", "accuracy", "Accuracy"), ("f1", "macro_f1", "Macro-F1"))
    return [
        EvalResult(
            task_type="text-classification",
            dataset_type=slug,
            dataset_name=rows,
            metric_type=kind,
            metric_name=title,
            metric_value=round(figures[key]["mean"], 4),
        )
        for kind, key, title in shown
    ]


def _summary(model: Trained) -> str:
    labels = model.task.labels
    named = ", ".join(_code(label) for label in labels[:SHOWN_LABELS])
    more = f" and {number(len(labels) - SHOWN_LABELS)} more" if labels[SHOWN_LABELS:] else ""
    backbone = model.network.backbone
    size = sum(parameter.numel() for parameter in model.network.parameters()) / 1e6
    said = model.provenance.get("sentence")
    verdict = f"\n> {_plain(arrows(said))}\n" if said else ""
    return (
        f"Puts a text into one of {len(labels)} classes: {named}{more}.\n{verdict}\n"
        f"A {backbone.family} of {count(len(backbone.blocks), 'block')}, {size:,.1f} million "
        "parameters, trained with headstart, which carries what a Transformer learned where "
        "labels were easy to get to where they are few, and measures what that was worth.\n"
    )


def _trained_on(model: Trained) -> str:
    backbone = str(model.provenance.get("backbone", ""))
    if not backbone:
        return ""
    base = hub_name(backbone)
    start = f"[{base}](https://huggingface.co/{base})" if base else _code(shown_name(backbone))
    rows = [
        (stage["name"], last_part(stage["data"]), number(stage["rows"]), *_what(stage["stage"]))
        for stage in model.provenance.get("stages", [])
    ]
    table = _table(("stage", "data", "rows", "what moves", "for"), rows)
    return f"## What it was trained on\n\nStarted from {start}.\n\n{table}\n"


def _what(stage: Mapping[str, Any]) -> tuple[str, str]:
    """What moves in a stage, and for how long."""
    train = stage.get("train", "all")
    if isinstance(train, Mapping):
        train = ", ".join(train) if "kind" not in train else str(train["kind"])
    if stage.get("steps"):
        return MOVES.get(train, train), count(stage["steps"], "step")
    return MOVES.get(train, train), count(stage.get("epochs"), "epoch")


def _reached(model: Trained, verdict: Mapping[str, Any] | None) -> str:
    figures = model.provenance.get("verdict")
    if not figures:
        return ""
    lines = ["## What it reaches\n"]
    if verdict:
        test = verdict["data"]["test"]
        held = ", held out: no stage was trained on them" if test["held_out"] else ""
        lines.append(
            f"On {count(test['rows'], 'test row')} of {_plain(last_part(test['name']))}{held}.\n"
        )
    arms = verdict["arms"] if verdict else [figures]
    header = ("way", "target labels", "accuracy in % [95 % interval]", "macro-F1", "")
    rows = [
        (
            arrows(arm["title"]),
            number(arm["labels"]),
            points(arm["accuracy"]),
            points(arm["macro_f1"]),
            "this model" if arm["name"] == figures["name"] else "",
        )
        for arm in arms
    ]
    lines.append(_table(header, rows))
    if figures["seeds"] > 1:
        lines.append(f"\nFigures are means over {figures['seeds']} seeds; this is the first's.")
    worst = min(verdict["classes"], key=lambda row: row["f1"]) if verdict else None
    if worst:
        lines.append(
            f"\nThe weakest class is {_code(worst['name'])}: precision "
            f"{share(worst['precision'])}, recall {share(worst['recall'])} on "
            f"{count(worst['support'], 'row')}."
        )
    return "\n".join(lines) + "\n"


def _usage(model: Trained, name: str) -> str:
    quoted = json.dumps(name, ensure_ascii=False)
    on_hub = "/" in name
    fetch = "from huggingface_hub import snapshot_download\n" if on_hub else ""
    place = f"snapshot_download({quoted})" if on_hub else quoted
    ours = (
        f"import headstart\n{fetch}\nmodel = headstart.load({place})\n"
        'model.predict(["a text of yours"])'
    )
    whole = model.pooling == "family"
    theirs = _in_transformers(quoted) if whole else _in_sentences(name, on_hub)
    library = "transformers" if whole else "sentence-transformers"
    return (
        f"## How to use it\n\nIn headstart:\n\n```python\n{ours}\n```\n\n"
        f"In {library}:\n\n```python\n{theirs}\n```\n"
    )


def _in_transformers(quoted: str) -> str:
    return (
        "from transformers import pipeline\n\n"
        f'classify = pipeline("text-classification", model={quoted}, truncation=True)\n'
        'classify("a text of yours")'
    )


def _in_sentences(name: str, on_hub: bool) -> str:
    """The backbone is theirs; the head is two tensors beside it."""
    quoted = json.dumps(name, ensure_ascii=False)
    head = json.dumps(f"{name}/{HEAD_FILE}", ensure_ascii=False)
    if on_hub:
        head = f'hf_hub_download({quoted}, "{HEAD_FILE}")'
    fetch = "from huggingface_hub import hf_hub_download\n" if on_hub else ""
    return (
        f"{fetch}from safetensors.torch import load_file\n"
        "from sentence_transformers import SentenceTransformer\n\n"
        f"encoder = SentenceTransformer({quoted})\n"
        f"head = load_file({head})\n"
        'vectors = encoder.encode(["a text of yours"], convert_to_tensor=True).cpu()\n'
        'logits = vectors @ head["weight"].T + head["bias"]\n'
        "labels = encoder[0].auto_model.config.id2label\n"
        "[labels[i] for i in logits.argmax(-1).tolist()]"
    )


def _limits(model: Trained) -> str:
    return (
        "## Limits\n\n"
        f"- A text of more than {count(model.max_length, 'token')} is cut at its end.\n"
        "- It answers with one of its labels whatever the text, also where none fits.\n"
        "- The figures hold for texts like the test rows; on others it may do worse.\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    return "\n".join(_table_lines(header, rows))


def _table_lines(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(header)} |"
    yield "|" + " --- |" * len(header)
    for row in rows:
        yield f"| {' | '.join(_plain(cell) for cell in row)} |"


def _plain(text: str) -> str:
    """A text in which Markdown and HTML see nothing but characters."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    """A text as code, whatever backticks it holds."""
    text = " ".join(text.split()) or " "
    fence = "`" * (max(map(len, re.findall(r"`+", text)), default=0) + 1)
    return f"{fence}{text}{fence}" if "`" not in text else f"{fence} {text} {fence}"
