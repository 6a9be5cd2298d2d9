"""Few workers at a time run Python; the others wait for the network, or here for their turn.

Python's lock has no line of its own that anybody could jump: where a hundred workers want it, a probe waits behind all
of them, several times an answer. Waiting for a turn costs nothing, so with turns a probe has a handful before it, and
the work takes as long as before (`docs/performance.md` has the figures).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

AT_ONCE: Final = 2
"""One runs, and one is on its way to or from the network or is being woken. More only hinder each other."""


class Turns:
    """Turns at running Python, in the order in which they were asked for. Safe from any thread.

    What may wait for others is done aside, or those who wait would keep everybody from working.
    """

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._lock = threading.Lock()
        self._free = at_once
        self._line: deque[threading.Lock] = deque()

    def begin(self) -> None:
        """Wait for a turn, for as long as others take; each of them ends its own before it waits."""
        with self._lock:
            if self._free:
                self._free -= 1
                return
            called = threading.Lock()
            called.acquire()
            self._line.append(called)
        called.acquire()

    def end(self) -> None:
        """Give the turn to whoever has waited longest."""
        with self._lock:
            if self._line:
                self._line.popleft().release()
            else:
                self._free += 1

    def aside(self, wait: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Do what may wait, and let somebody else have this thread's turn meanwhile."""
        self.end()
        try:
            return wait(*args, **kwargs)
        finally:
            self.begin()
