"""Things made ahead of their use, in a thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from queue import Empty, Full, Queue
from types import TracebackType
from typing import Any, Generic, TypeVar

T = TypeVar("T")
PATIENCE = 0.1
"""Seconds until a maker whose place is full looks whether it is still wanted."""


class Ahead(Iterator[T], Generic[T]):
    """The items of an iterable, in their order, the next few made while one is in use.

    One thread makes them, so the order is that of the iterable, and what it makes is what it would
    have made without a thread; it must not draw from the global random state, which the user of the
    items may be drawing from meanwhile. What goes wrong in the thread is raised where the item
    would have come. Who stops early need not say so: the thread ends when the iterator is let go.

        with Ahead(take(store, rows) for rows in plan) as batches:
            for batch in batches: ...

    Args:
        items: what makes them.
        depth: how many are made ahead at most.
    """

    def __init__(self, items: Iterable[T], depth: int = 2) -> None:
        assert depth > 0, f"depth must be 1 or more, got {depth}"
        self._made: Queue[tuple[str, Any]] = Queue(maxsize=depth)
        stop = threading.Event()
        # The thread knows nothing of self, so that letting go of self can end it.
        self._thread = threading.Thread(
            target=_make, args=(items, self._made, stop), name="ahead", daemon=True
        )
        self._stop = weakref.finalize(self, stop.set)
        self._over = False
        self._thread.start()

    def __next__(self) -> T:
        """The next item, waited for if need be."""
        if self._over:
            raise StopIteration
        kind, item = self._made.get()
        if kind == "item":
            return item
        self.close()
        if kind == "error":
            raise item
        raise StopIteration

    def close(self) -> None:
        """End the thread, and wait until it has; there are no more items then."""
        self._over = True
        self._stop()
        while self._thread.is_alive():
            try:
                self._made.get_nowait()
            except Empty:
                self._thread.join(PATIENCE)

    def __enter__(self) -> Ahead[T]:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def _make(items: Iterable[Any], made: Queue[tuple[str, Any]], stop: threading.Event) -> None:
    """Fill the queue until there is nothing more to make or nobody to make it for."""
    made_all: Iterator[Any] = iter(())
    try:
        made_all = iter(items)
        for item in made_all:
            if not _put(made, ("item", item), stop):
                return
        _put(made, ("end", None), stop)
    except BaseException as error:  # whatever it is, it belongs to who asks for the next item
        _put(made, ("error", error), stop)
    finally:
        close = getattr(made_all, "close", None)
        if close is not None:
            close()  # a generator's own clean-up, in the thread that ran it


def _put(made: Queue[tuple[str, Any]], what: tuple[str, Any], stop: threading.Event) -> bool:
    """Put something into the queue as soon as there is a place. Returns whether it is wanted."""
    while not stop.is_set():
        try:
            made.put(what, timeout=PATIENCE)
            return True
        except Full:
            continue
    return False
