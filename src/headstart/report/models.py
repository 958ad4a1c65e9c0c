"""Which models can be opened, and what one of them is, as values and as a table."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import nn

from headstart.errors import RecipeError
from headstart.models.families import FAMILIES
from headstart.nn.patches import GridPositions
from headstart.nn.position import LearnedPositions, Rotary, SinusoidalPositions

if TYPE_CHECKING:
    from pathlib import Path

    from headstart.models.checkpoint import Checkpoint

BATCH_TOKENS, LENGTH = 1024, 128
"""The batch that memory is told for: the default tokens, in rows of so many."""


def families() -> list[dict[str, Any]]:
    """Each family: its `model_type`, what it is, and the classes of transformers it stands for."""
    return [
        {
            "family": family.name,
            "kind": family.kind,
            "classifier": family.classifier.architecture if family.classifier else None,
            "language": family.language.architecture if family.language else None,
        }
        for family in FAMILIES.values()
    ]


def families_table() -> str:
    """The families, for people."""
    rows = [("family", "kind", "classes of transformers")]
    rows += [
        (f["family"], f["kind"], ", ".join(filter(None, (f["classifier"], f["language"]))) or "-")
        for f in families()
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(2)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c}" for a, b, c in rows]
    lines += [
        "",
        "Any other encoder or decoder of transformers opens by the bridge: pip install "
        "'headstart[transformers]'.",
        "One model: headstart models NAME, where NAME is a folder or a name on the Hugging Face "
        "hub.",
    ]
    return "\n".join(lines)


def describe(name: str | Path) -> dict[str, Any]:
    """What one model is, and what training it takes.

    Raises:
        CheckpointError: it cannot be opened.
    """
    from headstart.models.checkpoint import open_checkpoint

    checkpoint = open_checkpoint(name)
    backbone = checkpoint.backbone
    return {
        "name": checkpoint.name,
        "folder": str(checkpoint.folder),
        "family": checkpoint.family,
        "architectures": list(checkpoint.config.get("architectures") or ()),
        "blocks": len(backbone.blocks),
        "width": backbone.width,
        "parameters": sum(p.numel() for p in backbone.parameters()),
        "positions": positions(backbone),
        "longest_row": backbone.max_positions,
        "max_length": checkpoint.max_length,
        "tokenizer": _tokenizer(checkpoint),
        "pooling": checkpoint.default_pooling,
        "labels": list(checkpoint.labels) if checkpoint.labels else None,
        "licence": _licence(checkpoint.folder),
        "note": backbone.note,
        "memory": _memory(checkpoint),
    }


def model_table(values: Mapping[str, Any]) -> str:
    """What `describe` gave, for people."""
    tokenizer = values["tokenizer"]
    lines = {
        "name": values["name"],
        "folder": values["folder"],
        "family": f"{values['family']} ({', '.join(values['architectures']) or 'no class named'})",
        "blocks": f"{values['blocks']} of width {values['width']}",
        "parameters": f"{values['parameters']:,}",
        "positions": f"{values['positions']}, rows of at most {values['longest_row']:,} tokens",
        "max length": f"{values['max_length']:,} tokens",
        "tokenizer": tokenizer or "none that can be read",
        "pooling": values["pooling"],
        "labels": ", ".join(values["labels"]) if values["labels"] else "no classification head",
        "licence": values["licence"] or "not stated",
    }
    lines |= {"note": values["note"]} if values["note"] else {}
    lines |= {
        f"train {way}": f"about {total / 2**20:,.0f} MiB"
        for way, total in values["memory"]["bytes"].items()
    }
    lines |= {f"train {way}": why for way, why in values["memory"]["refused"].items()}
    shown = [f"{key:<11} {value}" for key, value in lines.items()]
    if values["memory"]["bytes"]:
        memory = values["memory"]
        shown.append(
            f"{'':<11} (float32, batches of {memory['batch_tokens']:,} tokens in rows of "
            f"{memory['length']}; Python and its libraries not counted)"
        )
    return "\n".join(shown)


def positions(backbone: nn.Module) -> str:
    """How a backbone knows the places of its tokens, from the modules it is built of."""
    kinds: dict[str, type[nn.Module]] = {
        "learned": LearnedPositions,
        "sinusoidal": SinusoidalPositions,
        "rotary": Rotary,
        "learned on a grid that is resized": GridPositions,
    }
    there = [name for name, kind in kinds.items() if any(isinstance(m, kind) for m in
             backbone.modules())]  # fmt: skip
    if any("relative" in name for name, _ in backbone.named_parameters()):
        there.append("relative")
    return " and ".join(there) or "as transformers has them"


def _tokenizer(checkpoint: Checkpoint) -> str | None:
    """The kind of the tokenizer and its size; None where texts cannot be read."""
    from headstart.data.text import Tokenizer
    from headstart.errors import CheckpointError

    try:
        tokenizer = Tokenizer.open(checkpoint.folder)
    except CheckpointError:
        return None
    return f"{tokenizer.kind}, {tokenizer.vocab_size:,} tokens"


def _licence(folder: Path) -> str | None:
    """The licence that the model card's front matter states, or config.json."""
    card = folder / "README.md"
    if card.exists():
        text = card.read_text(encoding="utf-8", errors="replace")
        front = re.match(r"---\n(.*?)\n---", text, re.DOTALL)
        said = re.search(r"^license:\s*(\S+)", front.group(1), re.MULTILINE) if front else None
        if said:
            return said.group(1).strip("'\"")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return config.get("license") or config.get("licence")


def _memory(checkpoint: Checkpoint) -> dict[str, Any]:
    """Bytes that training takes in each of three ways, and why where it cannot be done."""
    from headstart.training.footprint import WAYS, footprint

    length = min(LENGTH, checkpoint.max_length)
    sizes, refused = {}, {}
    for way, train in WAYS.items():
        try:
            found = footprint(checkpoint, train, batch_tokens=BATCH_TOKENS, length=length)
        except RecipeError as error:
            refused[way] = str(error)
        else:
            sizes[way] = found.total
    return {"batch_tokens": BATCH_TOKENS, "length": length, "bytes": sizes, "refused": refused}
