"""How much each word of a text speaks for a class: several methods, one form.

Scores are in log-odds of the class where a method has a sign: what a word adds to log p / (1 - p).
Which method says what the model really does is measured, see `headstart.explain.faithful`.

Shapes: L tokens of a text, W words, D width, H heads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor

from headstart.errors import UserError, unknown_name
from headstart.explain.attention import rollout, run_watched, within
from headstart.explain.reading import Reading
from headstart.explain.subject import Subject, log_odds
from headstart.models.bridged import BridgedBackbone

STEPS = 50
"""Points on the path of integrated gradients (Gauss-Legendre)."""

INSTALL = "pip install 'headstart[explain]'"
AUTO = "auto"


@dataclass(frozen=True)
class Attribution:
    """What a method says of a text.

    Attributes:
        words: (W,) float64 score of each word.
        rest: what it gives to tokens that are of no word, such as special ones.
    """

    words: np.ndarray
    rest: float


@dataclass(frozen=True)
class Method:
    """A way to say which words matter.

    Attributes:
        title: for readers.
        signed: whether a score below 0 speaks against the class; else scores are 0 or more and say
            only how much a word matters.
        run: maps a model, a text and the number of a class to scores.
        source: the paper it comes from.
        in_parts: whether it needs the blocks of the backbone one by one.
        looks: whether it needs the weights of attention.
    """

    title: str
    signed: bool
    run: Callable[[Subject, Reading, int], Attribution]
    source: str
    in_parts: bool = True
    looks: bool = False


def integrated_gradients(subject: Subject, reading: Reading, target: int) -> Attribution:
    """Gradients along the way from a text of stand-ins to the text (Sundararajan et al. 2017).

    By captum, on what the first block reads. Scores of words and of the rest sum to the log-odds of
    the text less those of the text of stand-ins: the paper's axiom of completeness, up to the error
    of summing over `STEPS` points.

    Raises:
        UserError: captum is not installed.
    """
    need_captum()
    from captum.attr import IntegratedGradients

    method = IntegratedGradients(lambda x: subject.log_odds_of_vectors(x)[:, target])
    values = method.attribute(
        subject.vectors(reading.ids)[None],
        subject.vectors(reading.emptied(subject.stand_in))[None],
        n_steps=STEPS,
        internal_batch_size=subject.at_once(len(reading.ids)),
    )
    return by_word(reading, values[0].sum(-1))


def gradient_x_input(subject: Subject, reading: Reading, target: int) -> Attribution:
    """Gradient times what the first block reads (Shrikumar et al. 2016, arXiv 1605.01713).

    The first-order estimate of what the log-odds would lose without the token's vector.
    """
    vectors = subject.vectors(reading.ids)[None].requires_grad_()
    score = subject.log_odds_of_vectors(vectors)[0, target]
    (gradient,) = torch.autograd.grad(score, vectors)
    return by_word(reading, (gradient * vectors.detach())[0].sum(-1))


def relevance_propagation(subject: Subject, reading: Reading, target: int) -> Attribution:
    """Attention weighed by its gradient, layer after layer (Chefer et al. 2021).

    R <- R + mean over heads of (gradient * attention)+ times R, from the identity on: equations 5
    and 6 of https://arxiv.org/abs/2103.15679. What is read of R are the rows of the tokens that the
    model pools, each by its share, without the identity.
    """
    weights, hidden, score = _traced(subject, reading, target)
    gradients = torch.autograd.grad(score, [hidden, *weights])
    length = len(reading.ids)
    relevance = torch.eye(length, device=subject.device)
    for layer, gradient in zip(weights, gradients[1:], strict=True):
        drawn = within(gradient * layer.detach()).clamp(min=0)[0].mean(0)
        relevance = relevance + drawn @ relevance
    shares = _pooled_shares(gradients[0])
    return by_word(reading, shares @ relevance - shares)


def attention_rollout(subject: Subject, reading: Reading, target: int) -> Attribution:
    """Attention multiplied over layers (Abnar & Zuidema 2020); the same for every class."""
    weights, hidden, score = _traced(subject, reading, target)
    (gradient,) = torch.autograd.grad(score, hidden)
    rolled = rollout([within(layer.detach())[0] for layer in weights])
    return by_word(reading, _pooled_shares(gradient) @ rolled)


def occlusion(subject: Subject, reading: Reading, target: int) -> Attribution:
    """What the log-odds lose when a word alone is hidden (Zeiler & Fergus 2014, section 4.2)."""
    return Attribution(occlusions(subject, reading)[:, target], 0.0)


def occlusions(subject: Subject, reading: Reading) -> np.ndarray:
    """`occlusion` for every class at once, (W, C) float64."""
    hidden = [reading.without([word], subject.stand_in) for word in range(len(reading.words))]
    scores = log_odds(subject.logits([reading.ids, *hidden]).double())
    return (scores[0] - scores[1:]).numpy()


METHODS: dict[str, Method] = {
    "integrated-gradients": Method(
        "integrated gradients", True, integrated_gradients, "Sundararajan et al. 2017"
    ),
    "gradient-x-input": Method(
        "gradient x input", True, gradient_x_input, "Shrikumar et al. 2016"
    ),
    "relevance": Method(
        "relevance propagation", False, relevance_propagation, "Chefer et al. 2021", looks=True
    ),
    "occlusion": Method(
        "occlusion", True, occlusion, "Zeiler & Fergus 2014", in_parts=False
    ),
    "rollout": Method(
        "attention rollout", False, attention_rollout, "Abnar & Zuidema 2020", looks=True
    ),
}  # fmt: skip
"""By the name that `--method` takes."""


def check_method(name: str, place: str = "--method") -> None:
    """Whether a method is known and can run here.

    Raises:
        UserError: it is not known, or needs captum, which is not installed.
    """
    if name != AUTO and name not in METHODS:
        raise UserError(unknown_name(place, "method", name, [AUTO, *METHODS]))
    if name == "integrated-gradients":
        need_captum()


def need_captum() -> None:
    """Check that captum is installed.

    Raises:
        UserError: it is not.
    """
    if find_spec("captum") is None:
        raise UserError(
            f"integrated-gradients: needs captum, which is not installed. {INSTALL}; or choose "
            "another method, such as occlusion."
        )


def candidates(subject: Subject, *, signed_only: bool = False) -> tuple[list[str], list[str]]:
    """The methods that can be tried on a model, and a line for each that cannot.

    Args:
        signed_only: leave out those that do not say what speaks against a class.
    """
    names, notes = [], []
    looks = can_look(subject)
    for name, method in METHODS.items():
        if signed_only and not method.signed:
            continue
        if name == "integrated-gradients" and find_spec("captum") is None:
            notes.append(f"{method.title} was not tried: it needs captum. {INSTALL}")
        elif (method.in_parts and not subject.in_parts) or (method.looks and not looks):
            notes.append(
                f"{method.title} was not tried: a {subject.network.backbone.family} opens by the "
                "bridge to transformers, which does not show what it needs."
            )
        else:
            names.append(name)
    return names, notes


def can_look(subject: Subject) -> bool:
    """Whether the weights of a model's attention can be seen: not those of bridged models."""
    return not isinstance(subject.network.backbone, BridgedBackbone)


def attribute(subject: Subject, reading: Reading, method: str, target: int) -> Attribution:
    """Score the words of a text.

    Args:
        subject: the model.
        reading: the text, as the model reads it.
        method: a name in `METHODS`.
        target: number of the class that is explained.

    Raises:
        UserError: the method needs what is not installed.
        CheckpointError: the model does not show what the method needs.
    """
    return METHODS[method].run(subject, reading, target)


def attribute_all(
    subject: Subject, reading: Reading, method: str, targets: Collection[int]
) -> np.ndarray:
    """Scores (W, len(targets)) float64 for several classes; of two classes, one tells the other."""
    wanted = list(targets)
    if method == "occlusion":
        return occlusions(subject, reading)[:, wanted]
    if len(subject.classes) == 2 and METHODS[method].signed:
        first = attribute(subject, reading, method, 0).words
        return np.stack([first if target == 0 else -first for target in wanted], 1)
    return np.stack([attribute(subject, reading, method, t).words for t in wanted], 1)


def by_word(reading: Reading, tokens: Tensor) -> Attribution:
    """Scores (L,) of tokens to those of words: summed."""
    values = tokens.detach().double().cpu().numpy()
    words = np.array([values[list(word.tokens)].sum() for word in reading.words])
    return Attribution(words, float(values.sum() - words.sum()))


def _traced(subject: Subject, reading: Reading, target: int) -> tuple[list[Tensor], Tensor, Tensor]:
    """The attention of each block (1, H, L, L), what is pooled (L, D), and the log-odds."""
    network, vectors = subject.network, subject.vectors(reading.ids).requires_grad_()
    row = subject.ragged(reading.ids).replace(vectors)
    last, weights = run_watched(network.backbone, row)
    hidden = network.backbone.finish(last.values)
    logits = network.head(network.pool(row.replace(hidden)))
    return weights, hidden, log_odds(logits)[0, target]


def _pooled_shares(gradient: Tensor) -> Tensor:
    """How much of what is pooled comes from each token, (L,), from the gradient (L, D) there.

    All from one token where one speaks for the text, equal shares where the mean does.
    """
    size = gradient.norm(dim=-1)
    return size / size.sum().clamp(min=torch.finfo(size.dtype).tiny)
