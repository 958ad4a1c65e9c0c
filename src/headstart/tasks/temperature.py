"""How sure a model may be of its answers: one number that its logits are divided by.

Shapes: N rows, C classes.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Temperature:
    """A fitted temperature (Guo et al. 2017, "On Calibration of Modern Neural Networks").

    Answers stay as they are; only how sure they are said to be changes. Above 1 the model was too
    sure, below 1 not sure enough.

    Attributes:
        value: what logits are divided by, above 0.
        low: lower bound of its 95 % interval.
        high: upper bound.
        num_rows: labelled rows that it was fitted on, none of which the model had seen.
        prior: standard deviation of log(value) that was expected before any row was seen; None
            where nothing was expected.
    """

    value: float
    low: float
    high: float
    num_rows: int
    prior: float | None

    def probabilities(self, logits: Tensor) -> Tensor:
        """Probabilities (N, C) from logits (N, C)."""
        return (logits / self.value).softmax(-1)

    def to_values(self) -> dict[str, Any]:
        """As plain values, which a saved model's description holds."""
        return {"kind": "temperature"} | asdict(self)

    @classmethod
    def from_values(cls, values: Any) -> Temperature:
        """What `to_values` gave.

        Raises:
            ValueError: it is something else.
        """
        try:
            found = cls(**{key: value for key, value in values.items() if key != "kind"})
            numbers = (found.value, found.low, found.high)
            sound = values["kind"] == "temperature" and all(map(_is_positive, numbers))
        except (AttributeError, KeyError, TypeError):
            sound = False
        if not sound:
            raise ValueError(f"is no temperature: {values!r}")
        return found


def _is_positive(number: Any) -> bool:
    return isinstance(number, (int, float)) and 0 < number < math.inf
