"""What can be asked of a backbone: the values of a stage's `task`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from headstart.recipe.values import Fraction, Values

Positive = Annotated[float, Field(gt=0)]


class Classify(Values):
    """One label for each text.

    Attributes:
        kind: "classify".
        class_weights: "balanced" weighs each class by rows / (classes * rows of the class), as
            scikit-learn does; a table gives weights by label.
        label_smoothing: probability mass spread over all classes (Szegedy et al. 2016, section 7).
    """

    kind: Literal["classify"]
    class_weights: Literal["balanced"] | dict[str, Positive] | None = None
    label_smoothing: Fraction = 0.0


class MaskedLm(Values):
    """Tokens are hidden, and told from those around them (Devlin et al. 2019, section 3.1).

    Attributes:
        kind: "masked-lm".
        share: of the tokens, hidden anew each time a text is seen.
        masked: of the hidden tokens, shown as the mask.
        random: of the hidden tokens, shown as some other word; what is left is shown as it is.
        unit: what is hidden together: single tokens; whole words, as later BERTs; or spans of words
            (SpanBERT: Joshi et al. 2020), whose tokens also are shown alike.
    """

    kind: Literal["masked-lm"]
    unit: Literal["token", "word", "span"] = "token"
    share: Annotated[float, Field(gt=0, lt=1)] = 0.15
    masked: Annotated[float, Field(ge=0, le=1)] = 0.8
    random: Annotated[float, Field(ge=0, le=1)] = 0.1


class Regress(Values):
    """One number for each text: the squared error of the standardised number.

    Attributes:
        kind: "regress".
    """

    kind: Literal["regress"]


class CausalLm(Values):
    """What comes next is told from what came before (Radford et al. 2019).

    Attributes:
        kind: "causal-lm".
    """

    kind: Literal["causal-lm"]


class Contrast(Values):
    """Texts that belong together are found among the others of a batch (Gao et al. 2021).

    A text belongs to itself, seen again through other dropout; where `text` of the data names two
    columns, the first of a pair to the second.

    Attributes:
        kind: "contrast".
        temperature: that the cosines of two texts' vectors are divided by.
    """

    kind: Literal["contrast"]
    temperature: Positive = 0.05


Share = Annotated[float, Field(gt=0, lt=1)]
SpanLength = Annotated[float, Field(ge=1)]


class SpanCorruption(Values):
    """Spans are left out, and told one after the other by a decoder (T5: Raffel et al. 2020).

    Attributes:
        kind: "span-corruption".
        share: of a text's tokens that are left out, anew each time it is seen.
        mean_span: mean length of a span in tokens.
    """

    kind: Literal["span-corruption"]
    share: Share = 0.15
    mean_span: SpanLength = 3.0


class Denoise(Values):
    """A decoder tells a whole text from what damage left of it (BART: Lewis et al. 2020).

    Attributes:
        kind: "denoise".
        share: of a text's tokens that spans hide, anew each time it is seen; each span becomes one
            mask.
        mean_span: mean of the Poisson distribution of a span's length in tokens; one of length 0
            puts a mask in between.
        permute: the sentences in another order first, as BART's own pre-training had them.
    """

    kind: Literal["denoise"]
    share: Share = 0.3
    mean_span: Positive = 3.0
    permute: bool = True


class ReplacedToken(Values):
    """A small generator replaces hidden tokens, and the backbone tells which (ELECTRA: Clark et al.
    2020).

    Attributes:
        kind: "replaced-token".
        share: of the tokens that are hidden, anew each time a text is seen.
        weight: of the backbone's loss beside the generator's.
    """

    kind: Literal["replaced-token"]
    share: Share = 0.15
    weight: Positive = 50.0


TASKS: dict[str, type[Values]] = {
    "classify": Classify,
    "regress": Regress,
    "masked-lm": MaskedLm,
    "causal-lm": CausalLm,
    "contrast": Contrast,
    "span-corruption": SpanCorruption,
    "denoise": Denoise,
    "replaced-token": ReplacedToken,
}
"""Each kind of task with its values."""

LABELLED = ("classify", "regress")
"""Kinds that read labels; the others read texts alone."""


def from_name(value: object) -> object:
    """A bare name stands for the task with its defaults; without a kind it is to classify."""
    if isinstance(value, str):
        return {"kind": value}
    if isinstance(value, dict) and "kind" not in value:
        return {"kind": "classify", **value}
    return value


AnyTask = Annotated[
    Classify | Regress | MaskedLm | CausalLm | Contrast | SpanCorruption | Denoise | ReplacedToken,
    Field(discriminator="kind"),
]
Task = Annotated[AnyTask, BeforeValidator(from_name)]


def reads_labels(task: Any) -> bool:
    """Whether a task's rows need labels; of several, whether those of one do."""
    if task.kind == "several":
        return any(reads_labels(one.task) for one in task.tasks)
    return task.kind in LABELLED
