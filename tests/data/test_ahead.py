"""Made ahead: the same items in the same order, faults where they belong, and no thread left."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from headstart.data.ahead import Ahead


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "ahead"]


@pytest.fixture(autouse=True)
def none_is_left() -> Iterator[None]:
    assert not threads()
    yield
    soon(lambda: not threads())


def soon(holds: Callable[[], bool]) -> None:
    """Wait for something another thread does."""
    until = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.001)


@pytest.mark.parametrize("depth", [1, 2, 7, 2003])
@pytest.mark.parametrize("count", [0, 1, 2, 1009])
def test_all_items_in_their_order(count, depth):
    assert list(Ahead(range(count), depth)) == list(range(count))


def test_none_is_an_item_like_any_other():
    assert list(Ahead([None, None, 3])) == [None, None, 3]


def test_items_are_made_in_one_thread_that_is_not_ours():
    makers = set(Ahead(threading.get_ident() for _ in range(101)))
    assert len(makers) == 1 and threading.get_ident() not in makers


@pytest.mark.parametrize("depth", [1, 3])
def test_as_many_are_made_ahead_as_were_asked_for(depth):
    made = []
    ahead = Ahead((made.append(i) or i for i in range(101)), depth)
    for used in range(1, 6):
        assert next(ahead) == used - 1
        soon(lambda used=used: len(made) >= used + depth)
        time.sleep(0.02)
        assert len(made) <= used + depth + 1, "one more waits for a place"
    ahead.close()


def test_a_fault_comes_where_its_item_would_have_come():
    def faulty() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("here")

    ahead = Ahead(faulty(), depth=5)
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(KeyError, match="here") as caught:
        next(ahead)
    assert "faulty" in [frame.name for frame in caught.traceback]
    with pytest.raises(StopIteration):
        next(ahead)


def test_a_fault_in_starting_is_told_too():
    class NoRows:
        def __iter__(self) -> Iterator[int]:
            raise ValueError("no rows")

    with pytest.raises(ValueError, match="no rows"):
        next(Ahead(NoRows()))


def endless(closed: list[int]) -> Iterator[int]:
    number = 0
    try:
        while True:
            yield number
            number += 1
    finally:
        closed.append(threading.get_ident())


def test_who_stops_early_ends_the_thread():
    closed: list[int] = []
    for item in Ahead(endless(closed)):
        if item == 5:
            break
    gc.collect()
    soon(lambda: bool(closed))
    assert closed[0] != threading.get_ident(), "a generator is closed by the thread that ran it"


def test_leaving_the_block_ends_the_thread_at_once():
    closed: list[int] = []
    with pytest.raises(RuntimeError), Ahead(endless(closed), depth=1) as ahead:
        assert next(ahead) == 0
        raise RuntimeError
    assert closed and not threads()
    assert list(ahead) == []


def test_closing_twice_is_closing():
    ahead = Ahead(range(7))
    ahead.close()
    ahead.close()
    assert list(ahead) == []
