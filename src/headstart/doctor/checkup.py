"""headstart.check: everything that can be said of data before anything is trained."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from headstart.data.findings import Finding, Severity
from headstart.data.labels import Labels
from headstart.doctor.examine import cut_texts, look, worst_first
from headstart.doctor.languages import described
from headstart.doctor.opened import Opened, open_set
from headstart.doctor.shift import Shift
from headstart.doctor.subject import TEST, Subject, pairs_with_target, shortened, target_of
from headstart.errors import DataError, RecipeError
from headstart.recipe import DEFAULT_BACKBONE, Stage

if TYPE_CHECKING:
    from headstart.doctor.cost import Cost
    from headstart.doctor.lengths import Lengths
    from headstart.doctor.rewrite import Mended
    from headstart.doctor.two_samples import TwoSamples
    from headstart.training.progress import Progress

SCHEMA = 1
DEEP_ROWS = 5_000

Columns = str | Mapping[str, str] | None
"""A column name for all data sets, or one for each."""


@dataclass(frozen=True)
class Described:
    """A data set in a few figures.

    Attributes:
        key: "source", "target" or "test".
        name: where it came from.
        rows: with a text and a label.
        classes: rows of each.
        median_words: of a text.
        writing: its script and language, as far as they can be told.
        tokens: its texts as the backbone's tokens; None without a backbone.
    """

    key: str
    name: str
    rows: int
    classes: Mapping[str, int]
    median_words: float
    writing: str
    tokens: Lengths | None = None


@dataclass(frozen=True)
class Checkup:
    """What `check` found.

    Attributes:
        sets: the data sets, described.
        findings: the worst first; each with all its rows, and in `data` its data set's key.
        shifts: how each data set differs from the target, by counting.
        two_samples: how well a classifier on frozen vectors tells them from the target.
        cost: what training will take here; None without a backbone.
        backbone: whose tokens and vectors were looked at; None in a quick check.
        looked_at: rows of each data set whose vectors were looked at, by key.
    """

    sets: tuple[Described, ...]
    findings: tuple[Finding, ...]
    shifts: tuple[Shift, ...] = ()
    two_samples: tuple[TwoSamples, ...] = ()
    cost: Cost | None = None
    backbone: str | None = None
    looked_at: Mapping[str, int] = field(default_factory=dict)
    opened: Mapping[str, Opened] = field(default_factory=dict, repr=False, compare=False)

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """The findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    def to_json(self, most_rows: int | None = None) -> str:
        """All of it as JSON.

        Args:
            most_rows: row numbers that a finding keeps; None keeps all.
        """
        findings = [asdict(shortened(finding, most_rows)) for finding in self.findings]
        values: dict[str, Any] = {
            "schema": SCHEMA,
            "sets": [asdict(each) for each in self.sets],
            "findings": findings,
            "shifts": [asdict(shift) for shift in self.shifts],
            "two_samples": [asdict(test) for test in self.two_samples],
            "cost": None if self.cost is None else asdict(self.cost),
            "backbone": self.backbone,
            "looked_at": dict(self.looked_at),
        }
        return json.dumps(values, indent=1, ensure_ascii=False) + "\n"

    def fix(self, out: str | Path) -> tuple[Mended, ...]:
        """Write what can safely be mended to new files of the same format; see `rewrite.mend`.

        Raises:
            UserError: the folder holds other things, cannot be written, or data was not given as
                files.
        """
        from headstart.doctor.rewrite import mend

        return mend(list(self.opened.values()), Path(out))


def check(
    source: Any = None,
    target: Any = None,
    *,
    test: Any = None,
    text: Columns = None,
    label: Columns = None,
    source_map: Mapping[str, str] | None = None,
    target_map: Mapping[str, str] | None = None,
    backbone: str = DEFAULT_BACKBONE,
    max_length: int | None = None,
    deep: bool = True,
    deep_rows: int = DEEP_ROWS,
    plan: Callable[[int], Sequence[Stage]] | None = None,
    progress: Progress | bool = True,
) -> Checkup:
    """Look for what is wrong with data, and say how bad it is and what can be done.

    Quick looks count: classes, repeats, leaks, damage, scripts, words. Deep ones also read texts
    through a frozen backbone: tokens, labels that are most likely wrong, whether data sets are of
    one kind, what training will take on this machine. Folders and tables of images are looked at
    as images.

    Args:
        source: many labelled rows, as `headstart.transfer` takes them; may be left out.
        target: the labelled rows at hand, likewise.
        test: rows to judge by, likewise.
        text: name of the text column, or one for each data set; guessed when unambiguous.
        label: name of the label column, likewise.
        source_map: renames the source's labels; rows with other labels are left out.
        target_map: renames the target's and the test's labels.
        backbone: a folder, a hub name, or the model of an installed package.
        max_length: longest text in tokens. Default: the checkpoint's.
        deep: whether to look through the backbone.
        deep_rows: rows of each data set whose vectors are looked at, drawn where there are more.
        plan: the stages that are planned for so many target rows, for the estimate of time.
        progress: whether to show progress on standard error, or where it goes.

    Raises:
        UserError: with every fault that keeps the data from being read at all.
    """
    given = _given({"source": source, "target": target, TEST: test}, deep_rows)
    from headstart.doctor.images import check_images, holds_images

    if any(holds_images(value) for value in given.values()):
        return check_images(given)
    through = _Through(backbone, max_length, deep_rows, plan) if deep else None
    if through is not None:
        through.open()
    maps = {"source": source_map, "target": target_map, TEST: target_map}
    return _look_at(_open_all(given, text, label, maps), through, _progress(progress))


def _given(sets: Mapping[str, Any], deep_rows: int) -> dict[str, Any]:
    """The data sets that were given.

    Raises:
        RecipeError: none was, or no row is to be looked at.
    """
    given = {key: value for key, value in sets.items() if value is not None}
    faults = []
    if not given:
        faults.append("check: nothing to look at. Give a source, a target or a test.")
    if deep_rows < 1:
        faults.append(f"deep_rows: must be 1 or more; got {deep_rows}.")
    if faults:
        raise RecipeError(faults)
    return given


def _open_all(
    given: Mapping[str, Any],
    text: Columns,
    label: Columns,
    maps: Mapping[str, Mapping[str, str] | None],
) -> dict[str, Opened]:
    """All data sets, opened.

    Raises:
        DataError: with what keeps any of them from being read.
    """
    opened: dict[str, Opened] = {}
    faults: list[str] = []
    for key, value in given.items():
        columns = {"text": _column(text, key), "label": _column(label, key)}
        try:
            opened[key] = open_set(key, value, mapping=maps[key], **columns)
        except DataError as error:
            faults += error.faults
    if faults:
        raise DataError(faults)
    return opened


def _look_at(opened: Mapping[str, Opened], through: _Through | None, progress: Progress) -> Checkup:
    found = [each.subject for each in opened.values()]
    with progress.bar("looking at the rows", len(found)) as bar:
        findings, readings, shifts = look(found, told=lambda: bar.advance())
    findings += [finding for each in opened.values() for finding in each.findings]
    sets = tuple(
        Described(
            key=subject.key,
            name=subject.name,
            rows=len(subject.rows),
            classes=dict(sorted(Labels.of(subject.rows.labels or ()).counts.items())),
            median_words=float(np.median(reading.num_words)),
            writing=described(reading),
        )
        for subject, reading in zip(found, readings, strict=True)
    )
    checkup = Checkup(sets, tuple(worst_first(findings)), tuple(shifts), opened=opened)
    return checkup if through is None else through.look(checkup, found, progress)


@dataclass
class _Through:
    """The looks through a frozen backbone."""

    name: str
    max_length: int | None
    most_rows: int
    plan: Callable[[int], Sequence[Stage]] | None

    def open(self) -> None:
        """Open the backbone before any data is read, so that a wrong name is told at once.

        Raises:
            CheckpointError: there is no such model.
            RecipeError: it reads images, or the length does not fit.
        """
        from headstart.data.text import Tokenizer
        from headstart.models.checkpoint import open_checkpoint

        self.checkpoint = open_checkpoint(self.name)
        backbone = self.checkpoint.backbone
        if backbone.patch_values is not None:
            raise RecipeError(
                f"backbone {self.name!r}: a {self.checkpoint.family} reads images. Choose one that "
                "reads texts, or look without one (--quick)."
            )
        if self.max_length is not None and not 4 <= self.max_length <= backbone.max_positions:
            raise RecipeError(
                f"max_length: must be 4 to {backbone.max_positions} for {self.name}; got "
                f"{self.max_length}."
            )
        self.tokenizer = Tokenizer.open(self.checkpoint.folder)
        self.length = self.max_length or self.checkpoint.max_length

    def look(self, checkup: Checkup, found: list[Subject], progress: Progress) -> Checkup:
        """Add what tokens, vectors and a few training steps tell."""
        from headstart.data.tokenised import tokenised
        from headstart.doctor.cost import estimate, memory_finding
        from headstart.doctor.lengths import measure, unknown_tokens
        from headstart.doctor.noise import suspected_labels
        from headstart.doctor.two_samples import two_sample_findings, two_samples

        tokens = {s.key: tokenised(self.tokenizer, s.rows, self.length) for s in found}
        lengths = {key: measure(t, self.tokenizer, self.length) for key, t in tokens.items()}
        findings = list(checkup.findings)
        for subject in found:
            findings += cut_texts(replace(subject, tokens=tokens[subject.key]), self.length)
            findings += unknown_tokens(subject, lengths[subject.key], self.name)
        vectors = {subject.key: self._vectors(subject, progress) for subject in found}
        with progress.bar("labels in doubt, fold by fold", len(found)) as bar:
            for subject in found:
                findings += suspected_labels(vectors[subject.key])
                bar.advance()
        tests: list[TwoSamples] = []
        for one, other in pairs_with_target(found):
            told = two_samples(vectors[one.key], vectors[other.key])
            if told is not None:
                tests.append(told)
                findings += two_sample_findings(told, vectors[one.key], vectors[other.key])
            findings += self._turned(vectors, one, other)
        trained = {key: t for key, t in tokens.items() if key != TEST} or tokens
        target = target_of(found)
        stages = self.plan(len(target.rows)) if self.plan is not None and target else ()
        cost = estimate(self.checkpoint, trained, stages)
        findings += memory_finding(cost, self.name)
        return replace(
            checkup,
            sets=tuple(replace(each, tokens=lengths[each.key]) for each in checkup.sets),
            findings=tuple(worst_first(findings)),
            two_samples=tuple(tests),
            cost=cost,
            backbone=self.name,
            looked_at={key: len(each.places) for key, each in vectors.items()},
        )

    def _vectors(self, subject: Subject, progress: Progress) -> Any:
        from headstart.doctor.vectors import frozen_vectors

        return frozen_vectors(subject, self.checkpoint, self.tokenizer, max_length=self.length,
                              most_rows=self.most_rows, progress=progress)  # fmt: skip

    def _turned(self, vectors: Mapping[str, Any], one: Subject, other: Subject) -> list[Finding]:
        from headstart.doctor.two_samples import turned_labels

        return [] if one.key == TEST else turned_labels(vectors[one.key], vectors[other.key])


def _column(columns: Columns, key: str) -> str | None:
    """The column of one data set; test rows have the target's columns."""
    if columns is None or isinstance(columns, str):
        return columns
    return columns.get(key, columns.get("target") if key == TEST else None)


def _progress(progress: Progress | bool) -> Progress:
    from headstart.training.progress import OnConsole, Silent

    if isinstance(progress, bool):
        return OnConsole() if progress else Silent()
    return progress
