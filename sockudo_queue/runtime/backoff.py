"""Growing pauses between retries, in seconds."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final

FACTOR: Final = 2.0
"""The factor between a pause and the previous one."""


def next_pause(before: float, first: float, max_pause: float, factor: float = FACTOR) -> float:
    """Return the pause after `before`: `first` after none (0), then longer ones up to `max_pause`."""
    return min(max(before * factor, first), max_pause)


class Backoff:
    """Pauses that double from `first` to `max_pause`. For one thread at a time.

    `jitter` is the maximum share of a pause that is randomly taken off, so that retries of several callers spread out.
    """

    def __init__(
        self, first: float, max_pause: float, *, jitter: float = 0.0, chance: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._max_pause = max_pause
        self._jitter = jitter
        self._chance = chance
        self._pause = 0.0

    def next(self) -> float:
        """Return the seconds until the next retry."""
        self._pause = next_pause(self._pause, self._first, self._max_pause)
        return self._pause * (1 - self._jitter * self._chance())

    def wait(self, stop: threading.Event) -> bool:
        """Wait for the next pause, or until the event is set; return whether it is set."""
        return stop.wait(self.next())

    def reset(self) -> None:
        """Restart with the first pause, after a success."""
        self._pause = 0.0
