"""What the loader has to know about a family of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from headstart.models.backbone import Backbone
from headstart.models.keymap import KeyMap
from headstart.models.language import LanguageModel, TextToText, WordHead

POOLER, HEAD, DECODER, LM_HEAD, PAIR = "pooler.", "head.", "decoder.", "lm_head.", "pair."
"""What our names start with: of a pooler's and a head's parameters, of an encoder-decoder's
decoder, of the map to the vocabulary and of what a pair has besides its image tower. A backbone's
start with none of them."""

PARTS = (POOLER, HEAD, DECODER, LM_HEAD, PAIR)

Values = Mapping[str, Any]
"""What a config.json holds."""


@dataclass(frozen=True)
class Classifier:
    """The classification head that transformers gives a family.

    Attributes:
        architecture: name of the class.
        pooler: a new pooler, from the values of a config.json.
        dropout: probability in front of the head, from the same values.
        dropout_key: where a config.json keeps `dropout`; None where it is always 0.
        head_bias: whether the head adds one.
        pooled_widths: how many times the backbone's width a pooled vector is wide.
    """

    architecture: str
    pooler: Callable[[Values], nn.Module]
    dropout: Callable[[Values], float]
    dropout_key: str | None = "classifier_dropout"
    head_bias: bool = True
    pooled_widths: int = 1


@dataclass(frozen=True)
class Language:
    """The class of transformers that says words: GPT-2's, T5's.

    Attributes:
        architecture: name of the class.
        build: the model, not yet loaded, from the values of a config.json; raises ValueError as
            `Family.build`. Our names of its parameters are the backbone's, `decoder.*` and
            `lm_head.*`.
    """

    architecture: str
    build: Callable[[Values], LanguageModel | TextToText]


@dataclass(frozen=True)
class Masked:
    """The class of transformers that tells hidden words: BERT's, RoBERTa's.

    Attributes:
        architecture: name of the class.
        head: a new head from the values of a config.json and the backbone's embeddings of words;
            its `parts` say what our names of its parameters start with.
    """

    architecture: str
    head: Callable[[Values, nn.Embedding], WordHead]


def is_tied(values: Values) -> bool:
    """Whether words are scored by their own embeddings, as all do that say nothing else."""
    return bool(values.get("tie_word_embeddings", True))


def no_ties(values: Values) -> dict[str, str]:
    """No tensor stands for two modules."""
    return {}


def as_written(values: Values, tensors: Mapping[str, Tensor]) -> Values:
    """A config.json says by itself what it means."""
    return values


def nothing_idle(values: Values) -> tuple[str, ...]:
    """Whatever a family may store, it uses."""
    return ()


@dataclass(frozen=True)
class Family:
    """One `model_type`.

    Attributes:
        name: the `model_type`.
        build: a backbone, not yet loaded, from the values of a config.json; raises ValueError
            with one line for each value that cannot be honoured.
        keys: their parameter names to ours: the backbone's, and what starts with one of `PARTS`.
        base: architecture of a bare backbone.
        prefix: what architectures with a head put before the names of the backbone.
        unprefixed: starts of our names before which they put nothing.
        classifier: None where transformers has no classifier on this backbone.
        language: None where the family says no words.
        masked: None where transformers has no class that tells hidden words.
        ties: from the values of a config.json, their module, or parameter, to the one whose tensor
            it is; stored twice, once, or under either name.
        idle: from the values of a config.json, patterns of their full names (prefix taken off) that
            are stored although this very model does not use them; left out.
        default_pooling: where a folder is silent: "family", or "mean" where there is no classifier.
        kind: what a model of it is, in the words of the field.
        settle: the values of a config.json, what they leave open settled by the tensors, which
            come by their names.
    """

    name: str
    build: Callable[[Values], Backbone]
    keys: KeyMap
    base: str
    prefix: str
    unprefixed: tuple[str, ...] = (POOLER, HEAD, LM_HEAD)
    classifier: Classifier | None = None
    language: Language | None = None
    masked: Masked | None = None
    ties: Callable[[Values], Mapping[str, str]] = no_ties
    idle: Callable[[Values], tuple[str, ...]] = nothing_idle
    default_pooling: str = "family"
    kind: str = "text encoder"
    settle: Callable[[Values, Mapping[str, Tensor]], Values] = as_written

    def prefix_of(self, name: str) -> str:
        """What an architecture with a head puts before one of our names."""
        return "" if name.startswith(self.unprefixed) else self.prefix

    def their_name(self, name: str, *, whole: bool) -> str:
        """Their name of one of our parameters, or of what holds it.

        Args:
            name: one of ours.
            whole: in an architecture with a head; not in a bare backbone.
        """
        return self.keys.to_theirs(name, self.prefix_of(name) if whole else "")

    def their_weights(self, tensors: Mapping[str, Tensor], *, whole: bool) -> dict[str, Tensor]:
        """Their tensors out of ours, all parts of what they keep in one.

        Args:
            tensors: by our names.
            whole: in an architecture with a head; not in a bare backbone.
        """
        return self.keys.write(tensors, self.prefix_of if whole else lambda name: "")
