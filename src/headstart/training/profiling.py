"""`--profile`: where the time of a run went, by part and by operation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from headstart import clock
from headstart.data.atomic import write_atomically

SKIPPED, TRACED = 2, 20
"""Updates of the first stage that are left out of the trace (they warm up), and that are in it."""

PARTS = {
    "tokens": "texts to tokens",
    "frozen": "the frozen part, once",
    "data": "waiting for batches",
    "forward": "forward",
    "backward": "backward",
    "optimiser": "clipping and optimiser",
    "evaluation": "validation and test",
    "saving": "saving and proving",
}
"""Parts in the order of a run, each with what it is."""


class Tracer:
    """Traces a few updates by operation, for a trace viewer."""

    def __init__(self) -> None:
        self._profiler: Any = None
        self._done = False
        self._steps = 0

    def step(self) -> None:
        """Tell that an update is over."""
        from torch.profiler import ProfilerActivity, profile

        if self._done:
            return
        self._steps += 1
        if self._steps == SKIPPED:
            self._profiler = profile(activities=[ProfilerActivity.CPU, *_accelerator()])
            self._profiler.start()
        elif self._steps == SKIPPED + TRACED:
            self._end()

    def write(self, file: Path) -> bool:
        """Write the trace. Returns whether there is one: there were updates enough."""
        if self._profiler is None:
            return False
        if not self._done:
            self._end()
        self._profiler.export_chrome_trace(str(file))
        return True

    def _end(self) -> None:
        self._profiler.stop()
        self._done = True


def _accelerator() -> list[Any]:
    import torch
    from torch.profiler import ProfilerActivity

    return [ProfilerActivity.CUDA] if torch.cuda.is_available() else []


_TRACER: list[Tracer] = []


def stepped() -> None:
    """Tell a running tracer that an update is over."""
    for tracer in _TRACER:
        tracer.step()


@contextmanager
def profiled(folder: Path | None) -> Iterator[list[str]]:
    """Count and trace what happens inside a `with` block.

    Args:
        folder: where trace.json is written; None: nothing is counted.

    Yields:
        Lines that tell where the time went, there once the block is left.
    """
    lines: list[str] = []
    if folder is None:
        yield lines
        return
    tracer = Tracer()
    _TRACER.append(tracer)
    try:
        with clock.running() as counted:
            yield lines
        lines += table(counted.seconds)
        if tracer.write(folder / "trace.json"):
            lines.append(f"{folder / 'trace.json'}: {TRACED} updates; chrome://tracing opens it")
        with write_atomically(folder / "profile.txt") as file:
            file.write(("\n".join(lines) + "\n").encode())
    finally:
        _TRACER.remove(tracer)


def table(seconds: dict[str, float]) -> list[str]:
    """Seconds and share of each part, as lines."""
    total = sum(seconds.values())
    known = [name for name in PARTS if name in seconds]
    rows = [(PARTS[name], seconds[name]) for name in known]
    rows += [(name, spent) for name, spent in seconds.items() if name not in PARTS]
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}} {spent:>9.2f} s {spent / total:>6.1%}" for name, spent in rows]
