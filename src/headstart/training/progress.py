"""What a run says while it works: bars on a terminal, a line now and then elsewhere, or nothing."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars


class Bar(Protocol):
    """One piece of work of known length."""

    def advance(self, steps: int = 1, tokens: int = 0, note: str = "") -> None:
        """Report steps done, the tokens they held, and a short note such as the loss."""
        ...


class Progress(Protocol):
    """Where bars and messages go."""

    def bar(self, title: str, total: int, done: int = 0) -> AbstractContextManager[Bar]:
        """Open a bar of `total` steps of which `done` were done before."""
        ...

    def say(self, message: str) -> None:
        """Write one line."""
        ...


class Silent:
    """Says nothing."""

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """A bar that is not shown."""
        yield _NoBar()

    def say(self, message: str) -> None:
        """Drop the message."""


class _NoBar:
    def advance(self, steps: int = 1, tokens: int = 0, note: str = "") -> None:
        """Do nothing."""


class OnConsole:
    """Writes to standard error, so that standard output holds results alone."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)

    def say(self, message: str) -> None:
        """Write one line, wrapped by the terminal alone."""
        self.console.print(message, markup=False, soft_wrap=True)

    @contextmanager
    def bar(self, title: str, total: int, done: int = 0) -> Iterator[Bar]:
        """A live bar on a terminal, else a line every ten seconds and one at the end."""
        if not self.console.is_terminal:
            line = _LineBar(self, title, total, done)
            yield line
            line.finish()
            return
        columns = (
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
        )
        with Bars(*columns, console=self.console, transient=False) as bars:
            yield _LiveBar(bars, title, total, done)


class _Rate:
    """Tokens a second since the bar opened."""

    def __init__(self) -> None:
        self.start, self.tokens = time.perf_counter(), 0

    def text(self, tokens: int) -> str:
        self.tokens += tokens
        seconds = time.perf_counter() - self.start
        return f"{self.tokens / max(seconds, 1e-9):,.0f} tokens/s" if self.tokens else ""


class _LiveBar:
    def __init__(self, bars: Bars, title: str, total: int, done: int) -> None:
        self.bars, self.rate = bars, _Rate()
        self.task = bars.add_task(title, total=total, completed=done, rate="", note="")

    def advance(self, steps: int = 1, tokens: int = 0, note: str = "") -> None:
        """Move the bar."""
        self.bars.update(self.task, advance=steps, rate=self.rate.text(tokens), note=note)


class _LineBar:
    """A log line every `every` seconds, with the time left."""

    every = 10.0

    def __init__(self, progress: OnConsole, title: str, total: int, done: int) -> None:
        self.progress, self.title, self.total, self.done = progress, title, total, done
        self.rate, self.before = _Rate(), done
        self.said = self.rate.start
        self.note = self.speed = ""

    def advance(self, steps: int = 1, tokens: int = 0, note: str = "") -> None:
        """Count, and say so now and then."""
        self.done += steps
        self.note, self.speed = note, self.rate.text(tokens)
        now = time.perf_counter()
        if now - self.said >= self.every and self.done < self.total:
            self.said = now
            left = (now - self.rate.start) / (self.done - self.before) * (self.total - self.done)
            self._line(f"{left:.0f} s left")

    def finish(self) -> None:
        """Say how it ended."""
        self._line(f"{time.perf_counter() - self.rate.start:.1f} s")

    def _line(self, end: str) -> None:
        parts = (f"{self.done}/{self.total}", self.speed, self.note, end)
        self.progress.say(f"{self.title}: " + ", ".join(p for p in parts if p))
        sys.stderr.flush()
