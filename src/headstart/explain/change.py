"""What transfer changed: the same texts in other models, and the layers of both.

Shapes: N texts, W words of a text, L + 1 layers with the embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headstart.data.batches import derive_seed
from headstart.data.draw import draw
from headstart.data.examples import Examples
from headstart.errors import CheckpointError
from headstart.explain.attribution import attribute
from headstart.explain.reading import Reading
from headstart.explain.similarity import LEAST_TEXTS, layer_cka, probe
from headstart.explain.subject import Subject
from headstart.explain.values import BeforeValues, LayersValues, MovedValues, ProbeValues
from headstart.models.backbone import Backbone
from headstart.models.checkpoint import open_checkpoint
from headstart.training.embedding import layer_vectors
from headstart.training.progress import Progress

FROZEN = "backbone"
MOST_TEXTS = 400
"""Texts that layers are compared on."""

SHOWN = 5


def seen_before(
    other: Subject, reading: Reading, scores: np.ndarray, method: str, explained: str
) -> BeforeValues:
    """A text in another model.

    Args:
        other: the model.
        reading: the text as the model that is explained reads it.
        scores: (W,) of the words there.
        method: the method that they are of.
        explained: the class that they speak of.
    """
    theirs = other.read(reading.text)
    probabilities = other.logits([theirs.ids])[0].softmax(-1)
    values: BeforeValues = {
        "name": other.name,
        "prediction": other.classes[int(probabilities.argmax())],
        "probabilities": dict(zip(other.classes, rounded(probabilities.numpy()), strict=True)),
        "scores": None,
        "moved": [],
    }
    if explained in other.classes:
        target = other.classes.index(explained)
        found = attribute(other, theirs, method, target).words
        by_place = {
            (word.start, word.end): float(score)
            for word, score in zip(theirs.words, found, strict=True)
        }
        before = [by_place.get((word.start, word.end)) for word in reading.words]
        values["scores"] = before
        values["moved"] = moved(reading, before, scores)
    return values


def moved(reading: Reading, before: Sequence[float | None], after: np.ndarray) -> list[MovedValues]:
    """The words whose score differs most, the largest difference first."""
    pairs: list[MovedValues] = [
        {"text": word.text, "before": old, "after": float(new)}
        for word, old, new in zip(reading.words, before, after, strict=True)
        if old is not None and any(letter.isalnum() for letter in word.text)
    ]
    return sorted(pairs, key=lambda pair: -abs(pair["after"] - pair["before"]))[:SHOWN]


def layers(
    subject: Subject, others: Sequence[Subject], rows: Examples, progress: Progress
) -> tuple[LayersValues | None, list[str]]:
    """The layers of a model beside those of its backbone before training, and of other models.

    Args:
        subject: the model.
        others: to compare with.
        rows: texts to compare on; with labels, these are read off each layer too.
        progress: shows bars.

    Returns:
        The values, None where there are too few texts; and a line for each thing left out.
    """
    chosen = _some(rows)
    if len(chosen) < LEAST_TEXTS:
        return None, [
            f"layers were not compared: {rows.name} has {len(rows)} texts, and {LEAST_TEXTS} are "
            "needed."
        ]
    notes: list[str] = []
    vectors = {subject.name: _vectors(subject, subject.network.backbone, chosen, progress)}
    frozen = _frozen(subject, notes)
    if frozen is not None:
        vectors[FROZEN] = _vectors(subject, frozen, chosen, progress)
    for other in others:
        vectors[other.name] = _vectors(other, other.network.backbone, chosen, progress)
    depth = vectors[subject.name].shape[1]
    similarity = {
        name: layer_cka(found, vectors[subject.name])
        for name, found in vectors.items()
        if name != subject.name and found.shape[1] == depth
    }
    notes += [
        f"layers of {name} are not compared one by one: it has {found.shape[1] - 1} blocks, "
        f"{subject.name} has {depth - 1}."
        for name, found in vectors.items()
        if found.shape[1] != depth
    ]
    probing = _probing(vectors, chosen, notes)
    return {"texts": len(chosen), "similarity": similarity, "probing": probing}, notes


def _probing(
    vectors: dict[str, np.ndarray], rows: Examples, notes: list[str]
) -> dict[str, list[ProbeValues]]:
    """What is read off each layer of each model, where there are labels."""
    if rows.labels is None:
        return {}
    names, counts = np.unique(list(rows.labels), return_counts=True)
    common = set(names[counts > 1].tolist())
    kept = [place for place, label in enumerate(rows.labels) if label in common]
    if len(common) < 2:
        notes.append("labels were not read off the layers: no two classes have 2 texts or more.")
        return {}
    labels = [rows.labels[place] for place in kept]
    found = {}
    for name, of_model in vectors.items():
        per_layer = [probe(of_model[kept, layer], labels) for layer in range(of_model.shape[1])]
        found[name] = [
            ProbeValues(accuracy=one.value, low=one.low, high=one.high) for one in per_layer
        ]
    return found


def _some(rows: Examples) -> Examples:
    """At most `MOST_TEXTS` rows, the classes in proportion."""
    if len(rows) <= MOST_TEXTS:
        return rows
    labels = [""] * len(rows) if rows.labels is None else rows.labels
    return rows.take(draw(labels, MOST_TEXTS, derive_seed("layers", 0))[0])


def _vectors(
    subject: Subject, backbone: Backbone, rows: Examples, progress: Progress
) -> np.ndarray:
    return layer_vectors(
        backbone,
        subject.trained.tokenizer,
        rows,
        max_length=subject.max_length,
        progress=progress,
    )


def _frozen(subject: Subject, notes: list[str]) -> Backbone | None:
    """The backbone that a model was trained from, where it can be opened here."""
    name = subject.trained.provenance.get("backbone")
    if name is None:
        notes.append(f"{subject.name} does not say which backbone it was trained from.")
        return None
    try:
        return open_checkpoint(name).backbone
    except CheckpointError as error:
        notes.append(f"the {FROZEN} was left out: {error.faults[0]}")
        return None


def rounded(values: np.ndarray) -> list[float]:
    """Values as they are shown, to 6 places."""
    return [round(float(value), 6) for value in values]
