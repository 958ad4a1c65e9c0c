"""What the loader has to know about a family of checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from headstart.models.backbone import Backbone
from headstart.models.keymap import KeyMap


@dataclass(frozen=True)
class Family:
    """One `model_type`.

    Attributes:
        name: the `model_type`.
        build: a backbone, not yet loaded, from the values of a config.json; raises ValueError
            with one line for each value that cannot be honoured.
        dropout: probability in front of the classification head, from the same values.
        keys: their parameter names to ours: the backbone's, `pooler.*` and `head.*`.
        base: architecture of a bare backbone.
        classifier: architecture of a backbone with a pooler and a classification head.
        prefix: what the classifier puts before the names of the backbone and the pooler.
    """

    name: str
    build: Callable[[Mapping[str, Any]], Backbone]
    dropout: Callable[[Mapping[str, Any]], float]
    keys: KeyMap
    base: str
    classifier: str
    prefix: str
