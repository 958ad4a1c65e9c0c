"""What goes along with a stage's updates, beside the objective: see `companions`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Companion:
    """Is told of each update; each kind does something at some of these points."""

    def before(self, step: int) -> None:
        """An update, counted from 0, is about to be made."""

    def after(self, step: int) -> None:
        """An update, counted from 0, was made."""

    def finish(self) -> None:
        """All updates were made, and the best weights are back where an epoch was chosen."""

    def state_dict(self) -> dict[str, Any]:
        """What must be known to go on after a stop, as plain values and tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to what `state_dict` gave."""
