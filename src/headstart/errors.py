"""Everything headstart raises on purpose.

    HeadstartError           something went wrong; exit code 1
    ├── TrainingError        a stage cannot go on (loss not finite, ...)
    ├── InterruptedRunError  SIGINT or SIGTERM; the work so far is saved
    └── UserError            what was asked for cannot be; exit code 2
        ├── RecipeError      in a recipe or in the arguments of a command
        ├── DataError        in a file or a table
        └── CheckpointError  in a backbone or a saved model

A user error holds every fault found, one line each: the place (file, row, key), what was found,
what is allowed, the nearest right name, the remedy.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from difflib import get_close_matches


class HeadstartError(Exception):
    """Base of all errors raised on purpose."""

    exit_code = 1


class TrainingError(HeadstartError):
    """A stage cannot go on."""


class InterruptedRunError(HeadstartError):
    """SIGINT or SIGTERM arrived; the work so far is saved."""

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class UserError(HeadstartError):
    """What was asked for cannot be. `faults` holds one message for each thing wrong."""

    exit_code = 2

    def __init__(self, faults: str | Sequence[str]) -> None:
        self.faults = (faults,) if isinstance(faults, str) else tuple(faults)
        super().__init__("\n".join(self.faults))


class RecipeError(UserError):
    """A recipe, or the arguments of a command, cannot be carried out."""


class DataError(UserError):
    """A file or a table cannot be used."""


class CheckpointError(UserError):
    """A backbone or a saved model cannot be opened or written."""


def nearest(name: str, known: Collection[str]) -> str:
    """Return " Did you mean 'x'?" for the closest known name, or "" where none is close."""
    lower = {candidate.lower(): candidate for candidate in known}
    close = get_close_matches(name.lower(), lower, n=1)
    return f" Did you mean {lower[close[0]]!r}?" if close else ""


def unknown_name(place: str, kind: str, name: str, known: Collection[str]) -> str:
    """Word the fault of a name that is not among the known ones."""
    listed = ", ".join(sorted(known)) or "none"
    return f"{place}: no {kind} is called {name!r}.{nearest(name, known)} Known: {listed}."
