"""From what users give to what is asked of an explanation: rows are read, models opened."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.data.examples import Examples, examples
from headstart.data.table import read
from headstart.errors import UserError
from headstart.explain.explanation import Asked
from headstart.explain.opening import open_model
from headstart.training.model import Trained


def asked_for(
    method: str,
    class_name: str | None,
    *,
    attention: bool,
    before: Mapping[str, Trained | str | Path],
    train: Any,
    words: Any,
) -> Asked:
    """What is asked for, read and opened.

    Args:
        method: see `Asked`, as the rest.
        class_name: likewise.
        attention: likewise.
        before: models, or what `open_model` opens.
        train: what `headstart.data.table.read` takes, labelled.
        words: likewise; labels are not needed.

    Raises:
        UserError: with every fault that was found.
    """
    faults: list[str] = []
    opened = []
    for name, model in before.items():
        try:
            opened.append((name, model if isinstance(model, Trained) else open_model(model)))
        except UserError as error:
            faults += error.faults
    rows: dict[str, Examples | None] = {"train": None, "words": None}
    for name, given in (("train", train), ("words", words)):
        try:
            rows[name] = None if given is None else rows_of(given, name, labels=name == "train")
        except UserError as error:
            faults += error.faults
    if faults:
        raise UserError(faults)
    return Asked(method, class_name, attention, tuple(opened), rows["train"], rows["words"])


def rows_of(
    given: Any, name: str, *, text: str | None = None, label: str | None = None, labels: bool = True
) -> Examples:
    """Texts, and labels where they are wanted.

    Args:
        given: what `headstart.data.table.read` takes, or examples.
        name: what messages call it.
        text: the text column; guessed when unambiguous.
        label: the label column, likewise.
        labels: whether labels are wanted.

    Raises:
        DataError: it cannot be read, or its columns cannot be told.
    """
    if isinstance(given, Examples):
        return given
    called = str(given) if isinstance(given, str | Path) else name
    return examples(read(given, name=called), text=text, label=label, require_label=labels)
