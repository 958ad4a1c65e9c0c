"""Where the time went, by part: for `--profile`. Off unless somebody asks, and then free."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar

_RUNNING: ContextVar[Clock | None] = ContextVar("clock", default=None)


class Clock:
    """Seconds by part; a part inside another counts for itself and not for the outer one."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time inside a `with` block for a part."""
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def _count(self) -> None:
        now = time.perf_counter()
        if self._open:
            name = self._open[-1]
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._since
        self._since = now


def part(name: str) -> AbstractContextManager[None]:
    """Count the time inside a `with` block for a part, where a clock is running."""
    clock = _RUNNING.get()
    return nullcontext() if clock is None else clock.part(name)


@contextmanager
def running() -> Iterator[Clock]:
    """A clock that `part` counts on, inside a `with` block."""
    clock = Clock()
    token = _RUNNING.set(clock)
    try:
        yield clock
    finally:
        _RUNNING.reset(token)
