"""Which backbone and which source to start from, told from frozen features before any training.

Shapes: N rows of the target, M rows of a source, D width, C classes of the target, Z of a source.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from headstart.data.cache import headstart_cache
from headstart.data.labels import Labels
from headstart.evaluation import transferability
from headstart.recipe import DEFAULT_BACKBONE
from headstart.verdict.candidates import Checked, Opened, Request, check, open_candidate
from headstart.verdict.order import (
    FEATURES,
    Candidate,
    Order,
    Score,
    accuracy,
    in_order,
    sentence,
)

if TYPE_CHECKING:
    from headstart.data.examples import Examples
    from headstart.data.findings import Finding
    from headstart.training.progress import Bar, Progress

SCHEMA = "headstart.ranking/1"

ROWS = 2000
"""Rows of a data set that are looked at by default: more hardly move an order."""

SAME_FEATURES = "the features are the backbone's, the same for every source that is data"


@dataclass(frozen=True)
class Ranking:
    """What to start from.

    Attributes:
        backbones: ordered by what their frozen features tell of the target.
        sources: an order under each backbone, best backbone first; empty without sources.
        target: its name, rows, rows looked at and classes.
        data: the same of each source that is data.
        findings: what was noticed in the data.
    """

    backbones: Order
    sources: tuple[Order, ...]
    target: Mapping[str, Any]
    data: Mapping[str, Mapping[str, Any]]
    findings: tuple[Finding, ...]

    @property
    def backbone(self) -> str:
        """The backbone to start from."""
        return self.backbones.best.name

    @property
    def source(self) -> str | None:
        """The source to start from with that backbone; None where there is none to choose."""
        return self.sources[0].best.name if self.sources else None

    @property
    def sentence(self) -> str:
        """What to start from and how sure that is, in a few words."""
        parts = []
        if len(self.backbones.candidates) > 1:
            parts.append(sentence("backbone", self.backbones))
        if self.sources:
            parts.append(sentence("source", self.sources[0]))
        return " ".join(parts)

    @property
    def values(self) -> dict[str, Any]:
        """Everything, as plain values."""
        found = [{"kind": f.kind, "message": f.message, "count": f.count, "rows": list(f.rows),
                  "remedy": f.remedy} for f in self.findings]  # fmt: skip
        return {
            "schema": SCHEMA,
            "sentence": self.sentence,
            "backbone": self.backbone,
            "source": self.source,
            "target": dict(self.target),
            "data": {name: dict(values) for name, values in self.data.items()},
            "backbones": self.backbones.values,
            "sources": [order.values for order in self.sources],
            "findings": found,
        }

    def to_json(self) -> str:
        """`values` as JSON, a line's end behind it."""
        return json.dumps(self.values, indent=1, ensure_ascii=False) + "\n"


def rank(
    target: Any,
    sources: Any = (),
    backbones: str | Sequence[str] = DEFAULT_BACKBONE,
    *,
    text: str | Mapping[str, str] | None = None,
    label: str | Mapping[str, str] | None = None,
    source_map: Mapping[str, str] | None = None,
    target_map: Mapping[str, str] | None = None,
    rows: int = ROWS,
    max_length: int | None = None,
    by: str | None = None,
    progress: Progress | bool = True,
) -> Ranking:
    """Say which backbone and which source to start from, before any training.

    Every text goes once through each frozen backbone; all measures are computed from the mean over
    its blocks. docs/ranking.md explains them, and `headstart.evaluation.transferability` where each
    comes from.

    Args:
        target: labelled rows like those the model is for: a path, a pandas frame, a list of (text,
            label), a Hugging Face data set.
        sources: what could be trained on first: a list of data as above, of paths, or of folders of
            models that headstart trained; or {name: data}.
        backbones: pre-trained checkpoints, by name or folder.
        text: the text column, for all data; or a mapping with the keys "target", "source" (for all
            of them) and the names of sources.
        label: the label column, likewise.
        source_map: renames labels of every source that has some of them.
        target_map: renames the target's labels.
        rows: most rows of a data set that are looked at, the classes in proportion.
        max_length: longest text in tokens. Default: each checkpoint's own.
        by: the measure that orders, or "mean-rank". Default: `JUDGES`.
        progress: whether to show progress on standard error, or where it goes.

    Raises:
        UserError: with every fault that was found in what was asked.
    """
    from headstart.training.cores import use_given_cores
    from headstart.training.progress import OnConsole, Silent
    from headstart.training.room import limit_bytes, make_room

    names = (backbones,) if isinstance(backbones, str | Path) else backbones
    request = Request(
        target=target,
        sources=named_sources(sources),
        backbones=tuple(str(name) for name in names),
        text=text,
        label=label,
        source_map={str(old): str(new) for old, new in (source_map or {}).items()},
        target_map={str(old): str(new) for old, new in (target_map or {}).items()},
        rows=rows,
        max_length=max_length,
        by=by,
    )
    use_given_cores()
    if isinstance(progress, bool):
        progress = OnConsole() if progress else Silent()
    found = _Judgement(check(request), max_length, by, progress).ranking(request.backbones)
    make_room(headstart_cache(), limit_bytes())
    return found


def named_sources(sources: Any) -> tuple[tuple[str, Any], ...]:
    """Sources with names: a path is its own name, other data is called by its place."""
    if isinstance(sources, Mapping):
        return tuple((str(name), source) for name, source in sources.items())
    if isinstance(sources, str | Path) or not isinstance(sources, Sequence):
        sources = (sources,)
    return tuple(
        (str(source) if isinstance(source, str | Path) else f"source {number}", source)
        for number, source in enumerate(sources, start=1)
    )


class _Judgement:
    """The measures of all candidates, from features that are computed once for each data set.

    Args:
        checked: target and sources.
        max_length: longest text in tokens; None takes each checkpoint's own.
        by: the measure that orders; None takes the default.
        progress: where bars go.
    """

    def __init__(
        self, checked: Checked, max_length: int | None, by: str | None, progress: Progress
    ) -> None:
        self.checked, self.max_length, self.by, self.progress = checked, max_length, by, progress
        self.labels = _labels(checked.target)
        self.truth = _classes(self.labels)

    def ranking(self, names: Sequence[str]) -> Ranking:
        """Judge every backbone, and every source under it."""
        models = [self._model(name, folder) for name, folder in self.checked.models.items()]
        backbones: list[Candidate] = []
        sources: dict[str, Order] = {}
        for name in names:
            opened = open_candidate(name, self.max_length)
            vectors = self._vectors(name, opened, self.checked.target)
            backbones.append(self._backbone(name, opened, vectors))
            judged = [self._data(source, name, opened, vectors) for source in self.checked.data]
            if judged or models:
                sources[name] = in_order(
                    "sources", [*judged, *models], self.truth, by=self.by, backbone=name
                )
        order = in_order("backbones", backbones, self.truth, by=self.by)
        given = self.checked.given
        return Ranking(
            backbones=order,
            sources=tuple(sources[c.name] for c in order.candidates if sources),
            target=_described(self.checked.target, given[""]),
            data={n: _described(rows, given[n]) for n, rows in self.checked.data.items()},
            findings=self.checked.findings,
        )

    def _backbone(self, name: str, opened: Opened, vectors: NDArray[np.float64]) -> Candidate:
        scores, absent = self._features(vectors)
        if opened.network is None:
            absent["leep"] = "it has no classification head"
        else:
            said = opened.probabilities(self.checked.target, self.progress)
            scores = {"leep": Score(transferability.leep(said, self.truth))} | scores
        return Candidate(name, "backbone", scores, absent)

    def _features(self, vectors: NDArray[np.float64]) -> tuple[dict[str, Score], dict[str, str]]:
        """What the target's vectors (N, D) tell, and why NLEEP is not computed where it is not."""
        truth, absent = self.truth, {}
        scores = {
            "hscore": Score(transferability.h_score(vectors, truth)),
            "logme": Score(transferability.log_me(vectors, truth)),
            "knn": accuracy(transferability.neighbours(vectors, truth), truth),
            "probe": accuracy(transferability.cross_validated(vectors, truth), truth),
        }
        needed = transferability.nleep_rows(len(self.labels.names))
        if len(truth) < needed:
            absent["nleep"] = (
                f"it needs {needed:,} rows of the target, and there are {len(truth):,}"
            )
        else:
            scores["nleep"] = Score(transferability.nleep(vectors, truth))
        return scores, absent

    def _vectors(self, name: str, opened: Opened, rows: Examples) -> NDArray[np.float64]:
        return opened.vectors(rows, _Named(self.progress, f"{name}, {rows.name}"))

    def _data(
        self, name: str, backbone: str, opened: Opened, vectors: NDArray[np.float64]
    ) -> Candidate:
        """A source that is data: a probe on its frozen features answers for the target."""
        rows = self.checked.data[name]
        theirs, labels = self._vectors(backbone, opened, rows), _labels(rows)
        said = transferability.probe(theirs, _classes(labels), vectors)
        scores, absent = self._answered(said, labels.names)
        scores["similarity"] = Score(transferability.similarity(theirs, vectors))
        absent |= dict.fromkeys(FEATURES, SAME_FEATURES)
        return Candidate(name, "data", scores, absent)

    def _model(self, name: str, folder: Path) -> Candidate:
        """A source that is a trained model: its own head answers, and its features are its own."""
        opened = open_candidate(folder, self.max_length)
        assert opened.labels is not None, "a model of headstart names its classes"
        said = opened.probabilities(self.checked.target, self.progress)
        scores, absent = self._answered(said, opened.labels)
        absent["similarity"] = "the rows that the model was trained on are not at hand"
        more, lacking = self._features(self._vectors(name, opened, self.checked.target))
        return Candidate(name, "model", scores | more, absent | lacking)

    def _answered(
        self, said: NDArray[np.float64], labels: Sequence[str]
    ) -> tuple[dict[str, Score], dict[str, str]]:
        """What the source's probabilities (N, Z) for the target tell."""
        scores = {"leep": Score(transferability.leep(said, self.truth))}
        if set(labels) != set(self.labels.names):
            return scores, {"answers": f"its classes are {_some(labels)}, not the target's"}
        places = np.array([self.labels.names.index(label) for label in labels])
        return scores | {"answers": accuracy(places[said.argmax(1)], self.truth)}, {}


class _Named:
    """Progress whose bars say what they are about."""

    def __init__(self, progress: Progress, name: str) -> None:
        self.progress, self.name = progress, name

    def bar(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
        """A bar with the name in front of its title."""
        return self.progress.bar(f"{self.name}: {title}", total, done)

    def say(self, message: str) -> None:
        """Pass the message on."""
        self.progress.say(message)


def _labels(rows: Examples) -> Labels:
    assert rows.labels is not None, "they were read with their labels"
    return Labels.of(rows.labels)


def _classes(labels: Labels) -> NDArray[np.int64]:
    return labels.codes.astype(np.int64)


def _described(rows: Examples, given: int) -> dict[str, Any]:
    return {
        "name": rows.name,
        "rows": given,
        "looked_at": len(rows),
        "classes": _labels(rows).counts,
    }


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:5])
    return shown + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
