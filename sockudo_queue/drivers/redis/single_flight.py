"""Coalesces concurrent look-ups into one; pure except for a lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SharedLookup(Generic[T]):
    """Runs a function for one caller; callers that arrive while it runs wait and share its result or its error.

    When a server is down, every thread notices at the same moment. Sequential look-ups would make the last thread wait
    for all the others, and concurrent ones would repeat the same request.
    """

    def __init__(self, lookup: Callable[[], T]) -> None:
        self._lookup = lookup
        self._lock = threading.Lock()
        self._answered_at = float("-inf")
        self._answer: T | Exception

    def __call__(self) -> T:
        """Return the result of a call that ended after this one began. Raises what that call raised."""
        came_at = time.monotonic()
        with self._lock:
            if self._answered_at < came_at:
                try:
                    self._answer = self._lookup()
                except Exception as error:  # noqa: BLE001 - it is for all who wait, and raised below
                    self._answer = error
                self._answered_at = time.monotonic()
            answer = self._answer
        if isinstance(answer, Exception):
            raise answer
        return answer
