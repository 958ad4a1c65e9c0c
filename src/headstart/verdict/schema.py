"""What verdict.json holds, as typed values; docs/verdict.schema.json is made from them.

    python -m headstart.verdict.schema > docs/verdict.schema.json

The number in "schema" changes when a key changes its meaning or goes; new keys may come without.
All shares are in [0, 1], all times in seconds.
"""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

SCHEMA = "headstart.verdict/2"
ADDRESS = "https://json-schema.org/draft/2020-12/schema"


class Part(BaseModel):
    """A part of verdict.json; keys that are not named here are an error."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Interval(Part):
    """An estimate with its 95 % interval."""

    value: float
    low: float
    high: float


class Score(Part):
    """The mean over seeds with its 95 % interval."""

    mean: float
    low: float
    high: float


class Arm(Part):
    """One way, as it was judged."""

    name: str
    title: str
    labels: int = Field(description="target rows that the judged models were trained on")
    accuracy: Score
    macro_f1: Score
    seeds: int
    seconds: float = Field(description="training of one seed or fold, shared stages in full")
    restarts: int = Field(description="trainings started again since they had learned nothing")
    collapsed: int = Field(description="trainings that learned nothing in the end")
    stages: list[str] = Field(description="digests of finished stages that were kept")


class Gain(Interval):
    """Accuracy of one arm minus that of another, and what that tells the worth of."""

    of: Literal["source", "pre-training", "Transformer", "fine-tuning"]
    arm: str
    over: str
    effect: Literal["helps", "hurts", "unclear"]


class ChosenBy(Part):
    """How the model that is kept was chosen."""

    rule: str
    rows: int = Field(description="labelled rows that chose; none of them judged")
    best: str = Field(description="the best of all ways, TF-IDF included")
    equal: list[str] = Field(description="ways within one standard error of the most accurate")
    accuracy: dict[str, float] = Field(description="of each way in cross-validation")
    without_source: bool = Field(description="whether only ways without a source could be kept")
    honest: Score | None = Field(description="with folds: accuracy of whatever is chosen so")


class Protocol(Part):
    """By which rows the arms were judged."""

    kind: Literal["given", "held out", "folds"]
    folds: int
    repeats: int
    rows: int


class Stopped(Part):
    """An arm that a budget stopped."""

    arm: str
    title: str
    seeds: int = Field(description="seeds that were finished")
    why: str


class Budget(Part):
    """The time that the search had."""

    seconds: float
    used: float
    stopped: list[Stopped]


class Point(Part):
    """A point of the label curve."""

    labels: int
    mean: float
    low: float
    high: float
    seeds: int


class Saved(Part):
    """What the source is worth in labels, with some labels of the target."""

    labels: int
    worth: float | None
    low: float
    high: float | None
    least: int
    most: int
    reached: Literal["within", "above", "below"]
    saved: float | None


class Expected(Part):
    """What so many labels are expected to give."""

    labels: int
    value: Interval
    gain: Interval


class Outlook(Part):
    """The curve with the source carried on to more labels; a forecast."""

    labels: int
    expected: list[Expected]
    reason: str
    used: list[int]
    power: Interval | None
    sentence: str


class Curve(Part):
    """Accuracy against the number of labels."""

    how: Literal["frozen", "full"]
    metric: Literal["accuracy"]
    arm: str
    with_source: list[Point]
    without_source: list[Point]
    saved: list[Saved]
    outlook: Outlook
    sentence: str | None


class Bin(Part):
    """Rows of about equal confidence."""

    confidence: float
    accuracy: Interval
    count: int


class Sure(Part):
    """How far confidence is from being right."""

    error: Interval
    brier: Interval
    log_loss: Interval
    bins: list[Bin]


class Temperature(Part):
    """What the winner's logits are divided by."""

    kind: Literal["temperature"]
    value: float
    low: float
    high: float
    num_rows: int
    prior: float | None


class Calibration(Part):
    """Whether the winner's first seed is right as often as it says, on the judged rows."""

    temperature: Temperature | None
    before: Sure
    after: Sure | None = None


class Coverage(Part):
    """A point of the risk-coverage curve."""

    coverage: float
    risk: float
    threshold: float


class Selective(Part):
    """Accuracy where only the surest rows are answered."""

    share: float
    accuracy: Interval
    all: Interval
    area: Interval
    curve: list[Coverage]


class Offsets(Part):
    """What is added to the log probability of each class, where classes are unequal."""

    values: list[float]
    way: Literal["none", "prior", "free"]
    metric: str
    before: Interval
    after: Interval
    num_rows: int


class Lengths(Part):
    """Tokens of a text."""

    min: int
    median: float
    p95: float
    max: int


class DataSet(Part):
    """A data set as it was read."""

    name: str
    rows: int
    classes: dict[str, int]
    lengths: Lengths
    labelled: int | None = None
    unlabelled: int | None = None
    held_out: bool | None = None


class Backbone(Part):
    """What the kept model is built on."""

    name: str
    family: str
    blocks: int
    width: int
    parameters: int
    pooling: str
    max_length: int
    digest: str


class Confusion(Part):
    """Judged rows: the true class down, the predicted class across."""

    classes: list[str]
    counts: list[list[int]]


class ClassRow(Part):
    """A class of the winner's first seed."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


class Mistake(Part):
    """A judged row that the winner's first seed answers wrongly."""

    text: str
    truth: str
    predicted: str
    probability: float
    row: int


class Word(Part):
    """A word of a mistake."""

    start: int = Field(description="place of its first character in the text")
    end: int = Field(description="place behind its last one")
    score: float = Field(description="log-odds that it brings to the predicted class")


class Method(Part):
    """How words are scored."""

    name: str
    title: str
    source: str


class Explained(Part):
    """The words of the first few mistakes."""

    method: Method
    words: list[list[Word]] = Field(description="of each mistake, in their order")


class Moving(Part):
    """Parameters that one pattern covers."""

    pattern: str
    parameters: int
    learning_rate: float


class StageRun(Part):
    """A finished stage."""

    name: str
    seed: int
    seconds: float
    steps: int
    tokens: int
    tokens_per_second: float
    peak_memory_bytes: int
    trainable: list[Moving]
    log: list[dict[str, Any]]
    digest: str
    arm: list[str]
    cached: bool


class VerdictFile(Part):
    """verdict.json: what the transfer was worth, and why."""

    model_config = ConfigDict(extra="forbid", strict=True, title="headstart verdict")

    schema_: Literal["headstart.verdict/2"] = Field(alias="schema")
    sentence: str = Field(description="the verdict in words")
    winner: str = Field(description="the arm whose model is kept")
    arms: list[Arm]
    gain: Interval | None = Field(description="what the source was worth, in accuracy")
    gains: list[Gain]
    negative_transfer: bool
    chosen_by: ChosenBy
    protocol: Protocol
    budget: Budget | None
    curve: Curve | None
    calibration: Calibration
    selective: Selective
    offsets: Offsets | None
    data: dict[str, DataSet | list[dict[str, Any]]] = Field(
        description='each data set by name, and under "findings" what was noticed'
    )
    backbone: Backbone
    confusion: Confusion
    classes: list[ClassRow]
    mistakes: list[Mistake]
    explained: Explained | None = Field(default=None, description="what made it answer so")
    stages: list[StageRun]
    recipe: str = Field(description="the winner's, in TOML")
    versions: dict[str, str]
    machine: dict[str, Any]
    precision: str
    seconds: float
    command: str


def json_schema() -> str:
    """The text of docs/verdict.schema.json."""
    schema = {"$schema": ADDRESS, "$id": SCHEMA} | VerdictFile.model_json_schema(by_alias=True)
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(json_schema(), end="")
