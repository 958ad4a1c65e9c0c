"""What the loader has to know about a family of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headstart.models.backbone import Backbone
from headstart.models.keymap import KeyMap
from headstart.models.network import Pooler

POOLER, HEAD = "pooler.", "head."
"""What our names of a pooler's and a head's parameters start with."""


@dataclass(frozen=True)
class Family:
    """One `model_type`.

    Attributes:
        name: the `model_type`.
        build: a backbone, not yet loaded, from the values of a config.json; raises ValueError
            with one line for each value that cannot be honoured.
        dropout: probability in front of the classification head, from the same values.
        pooler: a new pooler, from the same values.
        keys: their parameter names to ours: the backbone's, `pooler.*` and `head.*`.
        base: architecture of a bare backbone.
        classifier: architecture of a backbone with a pooler and a classification head.
        prefix: what the classifier puts before the names of the backbone.
        unprefixed: starts of our names before which the classifier puts nothing.
        dropout_key: where a config.json keeps `dropout`.
    """

    name: str
    build: Callable[[Mapping[str, Any]], Backbone]
    dropout: Callable[[Mapping[str, Any]], float]
    pooler: Callable[[Mapping[str, Any]], Pooler]
    keys: KeyMap
    base: str
    classifier: str
    prefix: str
    unprefixed: tuple[str, ...] = (POOLER, HEAD)
    dropout_key: str = "classifier_dropout"

    def their_name(self, name: str, *, whole: bool) -> str:
        """Their name of one of our parameters.

        Args:
            name: one of ours.
            whole: in a classifier, or any other architecture that prefixes; not in a bare backbone.
        """
        prefixed = whole and not name.startswith(self.unprefixed)
        return self.keys.to_theirs(name, self.prefix if prefixed else "")
