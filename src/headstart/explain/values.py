"""What an explanation holds, as plain values: what `--json` prints and the pages are made of.

Every key is there; what was not asked for, or could not be had, is None or an empty list.
"""

from __future__ import annotations

from typing import TypedDict

SCHEMA = "headstart.explanation/1"


class WordValues(TypedDict):
    """A word of a text.

    Attributes:
        text: as it is written.
        start: place of its first character.
        end: place behind its last character.
        score: of the method that is shown, for the class that is explained.
        tokens: places of its tokens in `TextValues.tokens`.
    """

    text: str
    start: int
    end: int
    score: float
    tokens: list[int]


class CutValues(TypedDict):
    """What of a text the model does not read.

    Attributes:
        tokens: of the whole text.
        read: of them, those that are read.
        start: place of the first character that is not read.
        end: place behind the last one.
        words: how many words lie there.
    """

    tokens: int
    read: int
    start: int
    end: int
    words: int


class AttentionValues(TypedDict):
    """What one kind of attention looks at.

    Attributes:
        kind: "encoder", "decoder" (each token sees itself and those before), "cross" (from what is
            written to what was read) or "image".
        queries: tokens that look, in their order.
        keys: tokens that are looked at.
        weights: [layer][head][query][key], from 0 to 1.
        rollout: [query][key], attention multiplied over the layers; None across texts.
        grid: rows and columns of an image's patches; None for texts.
    """

    kind: str
    queries: list[str]
    keys: list[str]
    weights: list[list[list[list[float]]]]
    rollout: list[list[float]] | None
    grid: tuple[int, int] | None


class NeighbourValues(TypedDict):
    """A training text near a text.

    Attributes:
        row: its number, as its user counts.
        text: the text.
        label: as it was given; None where there is none.
        similarity: cosine of the pooled vectors, -1 to 1.
    """

    row: int
    text: str
    label: str | None
    similarity: float


class MovedValues(TypedDict):
    """A word whose influence another model sees otherwise.

    Attributes:
        text: the word.
        before: its score in the other model.
        after: its score in the model that is explained.
    """

    text: str
    before: float
    after: float


class BeforeValues(TypedDict):
    """The same text in another model.

    Attributes:
        name: of the model.
        prediction: its label.
        probabilities: of its classes.
        scores: of each word, for the class that is explained; None for a word that this model reads
            otherwise; None as a whole where it has no such class.
        moved: the words whose score differs most, the largest difference first.
    """

    name: str
    prediction: str
    probabilities: dict[str, float]
    scores: list[float | None] | None
    moved: list[MovedValues]


class TextValues(TypedDict):
    """A text and why it is labelled as it is.

    Attributes:
        text: all of it.
        row: its number in a file, as its user counts; None where it was given as it is.
        prediction: the label.
        probabilities: of each class.
        explained: the class that scores speak of.
        words: those of which the model reads something.
        rest: what the method gives to special tokens.
        tokens: as the model reads them.
        cut: what is not read; None where all is.
        attention: what was looked at; empty where it was not asked for.
        before: the same text in other models.
        neighbours: training texts near it, the nearest first.
    """

    text: str
    row: int | None
    prediction: str
    probabilities: dict[str, float]
    explained: str
    words: list[WordValues]
    rest: float
    tokens: list[str]
    cut: CutValues | None
    attention: list[AttentionValues]
    before: list[BeforeValues]
    neighbours: list[NeighbourValues]


class MethodValues(TypedDict):
    """How faithful a method is.

    Attributes:
        name: as `--method` takes it, or "random".
        title: for readers.
        comprehensiveness: normalised AOPC, most important words hidden first; 1 is best.
        sufficiency: normalised AOPC, least important words hidden first; 0 is best.
        score: 1 for the best order of words there is, 0.5 for a random one.
    """

    name: str
    title: str
    comprehensiveness: float
    sufficiency: float
    score: float


class FaithfulnessValues(TypedDict):
    """How faithful the methods are on this model.

    Attributes:
        methods: the most faithful first, "random" last; empty where the model's answers do not
            hang on the words at all.
        texts: on how many texts it was measured.
        exact: whether the limits of all texts are exact; else some are those of a beam search.
        pieces: into how many pieces the longest of the texts fell.
        stand_in: the token that was put in the place of hidden words.
    """

    methods: list[MethodValues]
    texts: int
    exact: bool
    pieces: int
    stand_in: str


class ShownMethodValues(TypedDict):
    """The method whose scores are shown.

    Attributes:
        name: as `--method` takes it.
        title: for readers.
        source: the paper it comes from.
        signed: whether a score below 0 speaks against the class, in log-odds; else scores are 0 or
            more and say only how much a word matters.
        chosen: whether it was chosen for being the most faithful, or asked for.
    """

    name: str
    title: str
    source: str
    signed: bool
    chosen: bool


class ProbeValues(TypedDict):
    """What a logistic regression reads off a layer.

    Attributes:
        accuracy: share of texts that it is right about, cross-validated.
        low: lower end of its 95 % interval.
        high: upper end.
    """

    accuracy: float
    low: float
    high: float


class LayersValues(TypedDict):
    """The layers of a model beside those of others, the embeddings first.

    Attributes:
        texts: on how many texts.
        similarity: by the other model's name, CKA of each layer; None where it is not defined.
        probing: by the model's name, for each layer; empty where labels are missing.
    """

    texts: int
    similarity: dict[str, list[float | None]]
    probing: dict[str, list[ProbeValues]]


class DriverValues(TypedDict):
    """A word and what it does over many texts.

    Attributes:
        word: in lower case.
        texts: in how many it was.
        mean: its mean score, in log-odds of the class.
        low: lower end of the mean's 95 % interval.
        high: upper end.
    """

    word: str
    texts: int
    mean: float
    low: float
    high: float


class DisagreementValues(TypedDict):
    """A word that two models weigh otherwise.

    Attributes:
        word: in lower case.
        texts: in how many it was.
        before: its mean score in the other model.
        after: its mean score in the model that is explained.
        difference: of the two.
        low: lower end of the difference's 95 % interval.
        high: upper end.
    """

    word: str
    texts: int
    before: float
    after: float
    difference: float
    low: float
    high: float


class ClassWordsValues(TypedDict):
    """What drives a class.

    Attributes:
        name: of the class.
        drivers: by the model's name, the words that speak most for the class.
        disagreements: by the other model's name, the words that the two weigh otherwise; of two
            classes, where one says the opposite of the other, only the last one has them.
    """

    name: str
    drivers: dict[str, list[DriverValues]]
    disagreements: dict[str, list[DisagreementValues]]


class WordsValues(TypedDict):
    """Which words drive each class, over the texts of a file.

    Attributes:
        texts: how many were read.
        of: how many there are.
        method: whose scores these are, by its title.
        least: texts that a word must be in.
        classes: what drives each.
    """

    texts: int
    of: int
    method: str
    least: int
    classes: list[ClassWordsValues]


class ModelValues(TypedDict):
    """The model that is explained.

    Attributes:
        name: what it was called by.
        classes: in their order; empty for a model that is none.
        max_length: tokens of a text at most.
        backbone: what it was trained from; None where nothing says so.
    """

    name: str
    classes: list[str]
    max_length: int
    backbone: str | None


class ExplanationValues(TypedDict):
    """All of an explanation.

    Attributes:
        schema: `SCHEMA`.
        model: what is explained.
        method: whose scores are shown; None where only attention was asked for.
        faithfulness: how faithful the methods are.
        texts: what was explained.
        layers: the model's layers beside those of others.
        words: which words drive each class.
        notes: what was left out and why.
    """

    schema: str
    model: ModelValues
    method: ShownMethodValues | None
    faithfulness: FaithfulnessValues | None
    texts: list[TextValues]
    layers: LayersValues | None
    words: WordsValues | None
    notes: list[str]
