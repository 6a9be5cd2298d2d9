"""Turns at running Python: how many at a time, in which order, and what becomes of one that is given up for a wait."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from sockudo_queue.runtime.interpreter_lock import PythonGate
from tests.helpers.waiting import eventually

CONCURRENCY: Final = 2


class Crowd:
    """Threads that each begin a turn, record it, and end it on request."""

    def __init__(self, gate: PythonGate) -> None:
        self.began: list[int] = []
        self._gate = gate
        self._may_end = [threading.Event() for _ in range(8)]
        self._threads: list[threading.Thread] = []

    def come(self) -> None:
        """Let one more thread come, and wait until it has its turn or is in the line."""
        known = len(self.began) + len(self._gate._queue)
        thread = threading.Thread(target=self._work, args=(len(self._threads),))
        self._threads.append(thread)
        thread.start()
        eventually(lambda: len(self.began) + len(self._gate._queue) > known)

    def end(self, number: int) -> None:
        self._may_end[number].set()

    def leave(self) -> None:
        for event in self._may_end:
            event.set()
        for thread in self._threads:
            thread.join(5)
            assert not thread.is_alive()

    def _work(self, number: int) -> None:
        self._gate.enter()
        self.began.append(number)
        self._may_end[number].wait(10)
        self._gate.leave()


@contextmanager
def crowd(gate: PythonGate) -> Iterator[Crowd]:
    people = Crowd(gate)
    try:
        yield people
    finally:
        people.leave()


def test_turns_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    gate = PythonGate(CONCURRENCY)
    with crowd(gate) as people:
        for _ in range(6):
            people.come()
        assert people.began == [0, 1]
        people.end(1)
        eventually(lambda: people.began == [0, 1, 2])
        people.end(0)
        eventually(lambda: people.began == [0, 1, 2, 3])
        people.end(3)
        eventually(lambda: people.began == [0, 1, 2, 3, 4])
        people.end(2)
        eventually(lambda: people.began == [0, 1, 2, 3, 4, 5])


def refuse() -> None:
    raise ConnectionError


@pytest.mark.parametrize("wait", [lambda: None, refuse], ids=["ends", "raises"])
def test_released_section_takes_no_turn_and_ends_with_one(wait: Callable[[], None]) -> None:
    gate = PythonGate(1)

    def wait_for_others() -> None:
        with crowd(gate) as people:  # each of them needs the only turn
            people.come()
            assert people.began == [0]
        wait()

    gate.enter()
    if wait is refuse:
        with pytest.raises(ConnectionError):
            gate.released(wait_for_others)
    else:
        gate.released(wait_for_others)
    with crowd(gate) as people:
        people.come()
        assert people.began == []  # it is ours again
        gate.leave()
        eventually(lambda: people.began == [0])
