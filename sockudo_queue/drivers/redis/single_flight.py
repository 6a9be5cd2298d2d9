"""One question for everybody who asks at the same time; pure but for a lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedLookup(Generic[T]):
    """Calls a function for one caller; those who come while it runs wait, and share its answer or its error.

    When a server is gone, every thread finds that out at once. Asking one after the other would make the last of them
    wait for all the others, and asking together would be many times the same.
    """

    def __init__(self, look: Callable[[], T]) -> None:
        self._look = look
        self._lock = threading.Lock()
        self._answered_at = float("-inf")
        self._answer: T | Exception

    def __call__(self) -> T:
        """Return the answer of a call that has ended after this one began. Raises what that call raised."""
        came_at = time.monotonic()
        with self._lock:
            if self._answered_at < came_at:
                try:
                    self._answer = self._look()
                except Exception as error:  # noqa: BLE001 - it is for all who wait, and raised below
                    self._answer = error
                self._answered_at = time.monotonic()
            answer = self._answer
        if isinstance(answer, Exception):
            raise answer
        return answer
