"""Which words made a model answer as it did: a few texts, marked at little cost for a report.

Every word is hidden in turn (`attribution.occlusion`), which any model can be asked and which needs
no trust in gradients. Where the texts are long, and that would be many readings, gradient x input
is taken instead, which reads each text once.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headstart.data.pair import Pair
from headstart.errors import UserError
from headstart.explain.attribution import METHODS, attribute
from headstart.explain.reading import Reading
from headstart.explain.subject import Subject
from headstart.training.model import Trained

MOST_TEXTS = 8
MOST_TOKENS = 60_000
"""Tokens that are read at most to hide every word: some seconds of two cores."""


def marked(trained: Trained, texts: Sequence[str], classes: Sequence[str]) -> dict[str, Any] | None:
    """Score the words of the first few texts.

    Args:
        trained: a classifier.
        texts: what it answered.
        classes: the class to explain of each.

    Returns:
        Plain values: "method" with name, title and source; "words", for each text the start, end
        and score (in log-odds of the class, below 0 against it) of each of its words, none for a
        text that holds none. None where the model or its texts cannot be explained so.
    """
    first = zip(texts[:MOST_TEXTS], classes[:MOST_TEXTS], strict=True)
    some = [(text, class_name) for text, class_name in first if not isinstance(text, Pair)]
    try:
        subject = Subject(trained, "model")
        readings = [_read(subject, text) for text, _ in some]
    except UserError:
        return None
    name = _method(subject, [reading for reading in readings if reading is not None])
    if not any(readings) or name is None:
        return None
    words = [
        [] if reading is None else _words(subject, reading, name, class_name)
        for reading, (_, class_name) in zip(readings, some, strict=True)
    ]
    method = METHODS[name]
    return {"method": {"name": name, "title": method.title, "source": method.source},
            "words": words}  # fmt: skip


def _read(subject: Subject, text: str) -> Reading | None:
    """A text as the model reads it; None where it reads nothing."""
    reading = subject.read(text) if text.strip() else None
    return reading if reading is not None and reading.words else None


def _method(subject: Subject, readings: Sequence[Reading]) -> str | None:
    """Hiding words where that is quick, else gradients, else nothing."""
    tokens = sum(len(reading.words) * len(reading.ids) for reading in readings)
    if tokens <= MOST_TOKENS:
        return "occlusion"
    return "gradient-x-input" if subject.in_parts else None


def _words(subject: Subject, reading: Reading, name: str, class_name: str) -> list[dict[str, Any]]:
    found = attribute(subject, reading, name, subject.class_number(class_name))
    return [
        {"start": word.start, "end": word.end, "score": round(float(score), 4)}
        for word, score in zip(reading.words, found.words, strict=True)
    ]
