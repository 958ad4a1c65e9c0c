"""Why a model answers as it does: everything there is to say of some texts, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.data.batches import derive_seed
from headstart.data.examples import Examples
from headstart.data.pair import Pair
from headstart.errors import DataError, UserError
from headstart.explain.attribution import AUTO, METHODS, attribute, candidates, check_method
from headstart.explain.change import layers, rounded, seen_before
from headstart.explain.drivers import LEAST_TEXTS, Scores, disagreements, drivers, word_scores
from headstart.explain.faithful import RANDOM, Faithfulness, Judged, averaged, judge
from headstart.explain.looking import look
from headstart.explain.neighbours import nearest
from headstart.explain.reading import Reading, split
from headstart.explain.subject import Subject
from headstart.explain.values import (
    SCHEMA,
    ClassWordsValues,
    CutValues,
    ExplanationValues,
    FaithfulnessValues,
    LayersValues,
    MethodValues,
    ShownMethodValues,
    TextValues,
    WordsValues,
    WordValues,
)
from headstart.training.model import Trained
from headstart.training.progress import Progress, Silent

JUDGED = 4
"""Texts on which methods are compared."""

WORD_TEXTS = 200
"""Texts of a file that are read for what drives each class."""


@dataclass(frozen=True)
class Asked:
    """What is wanted of an explanation.

    Attributes:
        method: a name in `METHODS`, or "auto" for the most faithful on this model.
        class_name: the class that is explained; None: of each text the predicted one.
        attention: whether to keep what every layer and head looks at.
        before: other models to compare with, by the names that they are called by.
        train: training rows, among which neighbours are looked for, and on which layers are
            compared.
        words: texts over which it is asked which words drive each class.
    """

    method: str = AUTO
    class_name: str | None = None
    attention: bool = False
    before: tuple[tuple[str, Trained], ...] = ()
    train: Examples | None = None
    words: Examples | None = None


def explain(
    trained: Trained,
    texts: Sequence[str],
    asked: Asked,
    *,
    name: str = "model",
    rows: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> ExplanationValues:
    """Explain a model's answers.

    Args:
        trained: the model.
        texts: what it answers; may be empty where `asked.words` is given.
        asked: what is wanted.
        name: what the model is called.
        rows: the number of each text's row in its file.
        progress: shows bars.

    Raises:
        UserError: a method or class is not known, or cannot be compared between models.
        DataError: a text is empty.
        CheckpointError: the model does not show what was asked for.
    """
    check_method(asked.method)
    names = [name, *(other for other, _ in asked.before)]
    if len(set(names)) < len(names):
        raise UserError(f"before: models need names of their own; got {', '.join(names)}.")
    if not texts and not (asked.words is not None and len(asked.words)):
        raise DataError("explain: no text was given. Give one, or a file of them.")
    _check_texts(texts, asked)
    task = _Task(Subject(trained, name), asked, progress or Silent())
    return task.run(texts, rows)


def _check_texts(texts: Sequence[str], asked: Asked) -> None:
    """Whether all that is given is single texts."""
    faults = [
        f"text {number}: must be a string; got {text!r}. Pairs of texts cannot be explained."
        for number, text in enumerate(texts, 1)
        if not isinstance(text, str) or isinstance(text, Pair)
    ]
    for rows in (asked.train, asked.words):
        if rows is not None and len(rows) and isinstance(rows.texts[0], Pair):
            faults.append(f"{rows.name}: holds pairs of texts, which cannot be explained.")
    if faults:
        raise DataError(faults)


class _Task:
    """An explanation in the making."""

    def __init__(self, subject: Subject, asked: Asked, progress: Progress) -> None:
        self.subject, self.asked, self.progress = subject, asked, progress
        self.others = [Subject(model, name) for name, model in asked.before]
        self.target = None if asked.class_name is None else subject.class_number(asked.class_name)
        self.notes: list[str] = []

    def run(self, texts: Sequence[str], rows: Sequence[int] | None) -> ExplanationValues:
        """All the values."""
        readings = _readings(self.subject, texts)
        sample, samples = self._sample()
        judged, faithfulness = self._judge(readings or samples[:JUDGED])
        method = self._choose(faithfulness)
        values = [
            self._text(reading, method, judged[number] if number < len(judged) and texts else None)
            for number, reading in enumerate(readings)
        ]
        for text, row in zip(values, rows or [], strict=bool(rows)):
            text["row"] = row
        self._neighbours(values)
        return {
            "schema": SCHEMA,
            "model": {
                "name": self.subject.name,
                "classes": list(self.subject.classes),
                "max_length": self.subject.max_length,
                "backbone": self.subject.trained.provenance.get("backbone"),
            },
            "method": self._shown(method),
            "faithfulness": self._faithfulness(judged, faithfulness),
            "texts": values,
            "layers": self._layers(),
            "words": None if sample is None else self._words(samples, sample, method),
            "notes": self.notes,
        }

    @property
    def _needs_sign(self) -> bool:
        return bool(self.others) or self.asked.words is not None

    def _sample(self) -> tuple[Examples | None, list[Reading]]:
        """The texts that the words of a file are read from, and how the model reads them."""
        rows = self.asked.words
        if rows is None:
            return None, []
        chance = np.random.default_rng(derive_seed("explain words", 0))
        order = chance.permutation(len(rows))[:WORD_TEXTS]
        chosen = [rows.texts[place] for place in sorted(order.tolist())]
        readings, _ = _tried(self.subject, chosen)
        if not readings:
            raise DataError(
                f"{rows.name}: none of {len(chosen)} texts holds a word that the model can read."
            )
        return rows, readings

    def _judge(self, readings: Sequence[Reading]) -> tuple[list[Judged], list[Faithfulness]]:
        """How faithful the methods in question are on the first few texts."""
        names = [self.asked.method]
        if self.asked.method == AUTO:
            names, notes = candidates(self.subject)
            self.notes += notes
        some = readings[:JUDGED]
        judged = []
        with self.progress.bar("how faithful is each method", len(some)) as bar:
            for reading in some:
                judged.append(judge(self.subject, reading, names, self._explained(reading)))
                bar.advance(1)
        return judged, averaged(judged)

    def _choose(self, faithfulness: Sequence[Faithfulness]) -> str:
        """The method that is shown."""
        if self.asked.method != AUTO:
            if self._needs_sign and not METHODS[self.asked.method].signed:
                signed = ", ".join(name for name, method in METHODS.items() if method.signed)
                raise UserError(
                    f"--method: {self.asked.method} does not say what speaks against a class, so "
                    f"models and files of texts cannot be compared by it. Take one of {signed}."
                )
            return self.asked.method
        usable, _ = candidates(self.subject, signed_only=self._needs_sign)
        ranked = [one.name for one in faithfulness if one.name in usable]
        if not ranked:
            self.notes.append(
                "whatever words are hidden, the model's answer stays the same: no method is more "
                "faithful than another."
            )
        return ranked[0] if ranked else usable[0]

    def _explained(self, reading: Reading) -> int:
        """The number of the class that is explained."""
        if self.target is not None:
            return self.target
        return int(self.subject.logits([reading.ids])[0].argmax())

    def _text(self, reading: Reading, method: str, judged: Judged | None) -> TextValues:
        subject, target = self.subject, self._explained(reading)
        probabilities = subject.logits([reading.ids])[0].softmax(-1)
        found = attribute(subject, reading, method, target)
        explained = subject.classes[target]
        scores = found.words if judged is None else judged.scores.get(method, found.words)
        return {
            "text": reading.text,
            "row": None,
            "prediction": subject.classes[int(probabilities.argmax())],
            "probabilities": dict(
                zip(subject.classes, rounded(probabilities.numpy()), strict=True)
            ),
            "explained": explained,
            "words": _word_values(reading, scores),
            "rest": float(found.rest),
            "tokens": list(reading.tokens),
            "cut": _cut(reading),
            "attention": look(subject, reading) if self.asked.attention else [],
            "before": [
                seen_before(other, reading, scores, method, explained) for other in self.others
            ],
            "neighbours": [],
        }

    def _neighbours(self, values: Sequence[TextValues]) -> None:
        train = self.asked.train
        if train is None or not values:
            return
        found = nearest(self.subject, [text["text"] for text in values], train, self.progress)
        for text, near in zip(values, found, strict=True):
            text["neighbours"] = near

    def _layers(self) -> LayersValues | None:
        rows = self.asked.train
        if rows is None and self.others:
            rows = self.asked.words
        if rows is None:
            return None
        found, notes = layers(self.subject, self.others, rows, self.progress)
        self.notes += notes
        return found

    def _shown(self, name: str) -> ShownMethodValues:
        method = METHODS[name]
        return {
            "name": name,
            "title": method.title,
            "source": method.source,
            "signed": method.signed,
            "chosen": self.asked.method == AUTO,
        }

    def _faithfulness(
        self, judged: Sequence[Judged], faithfulness: Sequence[Faithfulness]
    ) -> FaithfulnessValues:
        return {
            "methods": [_method_values(one) for one in faithfulness],
            "texts": len(judged),
            "exact": all(one.exact for one in judged),
            "pieces": max(one.num_pieces for one in judged),
            "stand_in": self.subject.stand_in_text,
        }

    def _words(self, readings: Sequence[Reading], rows: Examples, method: str) -> WordsValues:
        """Which words drive each class, in this model and in the others."""
        names = [name for name in self.subject.classes
                 if all(name in other.classes for other in self.others)]  # fmt: skip
        if len(names) < len(self.subject.classes):
            self.notes.append("words are compared for the classes that all models have.")
        scores: dict[str, Scores] = {}
        for subject in (self.subject, *self.others):
            own = readings if subject is self.subject else _as_other(subject, readings)
            numbers = [subject.classes.index(name) for name in names]
            with self.progress.bar(f"words, {subject.name}", len(own)) as bar:
                scores[subject.name] = word_scores(subject, own, method, numbers, bar)
        mine = scores[self.subject.name]
        # Of two classes, what speaks for one speaks against the other: said once.
        compared = {len(names) - 1} if len(self.subject.classes) == 2 else set(range(len(names)))
        classes: list[ClassWordsValues] = [
            {
                "name": name,
                "drivers": {of: drivers(found, column) for of, found in scores.items()},
                "disagreements": {
                    other.name: disagreements(mine, scores[other.name], column)
                    for other in self.others
                    if column in compared
                },
            }
            for column, name in enumerate(names)
        ]
        return {
            "texts": len(readings),
            "of": len(rows),
            "method": METHODS[method].title,
            "least": LEAST_TEXTS,
            "classes": classes,
        }


def _as_other(subject: Subject, readings: Sequence[Reading]) -> list[Reading]:
    """How another model reads the same texts."""
    return _readings(subject, [reading.text for reading in readings])


def _readings(subject: Subject, texts: Sequence[str]) -> list[Reading]:
    """How a model reads texts; all that are empty are told at once."""
    readings, faults = _tried(subject, texts)
    if faults:
        raise DataError(faults)
    return readings


def _tried(subject: Subject, texts: Sequence[str]) -> tuple[list[Reading], list[str]]:
    """How a model reads the texts that it can read, and the faults of the others."""
    readings: list[Reading] = []
    faults: list[str] = []
    for number, text in enumerate(texts, 1):
        try:
            readings.append(subject.read(text, f"text {number}"))
        except DataError as error:
            faults += error.faults
    return readings, faults


def _word_values(reading: Reading, scores: np.ndarray) -> list[WordValues]:
    return [
        {"text": word.text, "start": word.start, "end": word.end, "score": float(score),
         "tokens": list(word.tokens)}
        for word, score in zip(reading.words, scores, strict=True)
    ]  # fmt: skip


def _cut(reading: Reading) -> CutValues | None:
    if reading.unread is None:
        return None
    start, end = reading.unread
    return {
        "tokens": reading.num_tokens,
        "read": len(reading.ids),
        "start": start,
        "end": end,
        "words": len(split(reading.text[start:end])),
    }


def _method_values(one: Faithfulness) -> MethodValues:
    title = "random scores" if one.name == RANDOM else METHODS[one.name].title
    return {
        "name": one.name,
        "title": title,
        "comprehensiveness": one.comprehensiveness,
        "sufficiency": one.sufficiency,
        "score": one.score,
    }
