"""Growing pauses between tries, in seconds; it does not know what is tried."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from typing import Final

FACTOR: Final = 2.0
"""How many times longer a pause is than the one before."""


def longer(before: float, first: float, longest: float, factor: float = FACTOR) -> float:
    """Return the pause that follows `before`: `first` after none (0), then ever longer up to `longest`."""
    return min(max(before * factor, first), longest)


class Backoff:
    """Pauses that double from `first` to `longest`. For one thread at a time.

    `jitter` is the share of a pause that chance may take off, so that those who failed together do not try together.
    """

    def __init__(
        self, first: float, longest: float, *, jitter: float = 0.0, chance: Callable[[], float] = random.random
    ) -> None:
        self._first = first
        self._longest = longest
        self._jitter = jitter
        self._chance = chance
        self._pause = 0.0

    def next(self) -> float:
        """Return the seconds until the next try."""
        self._pause = longer(self._pause, self._first, self._longest)
        return self._pause * (1 - self._jitter * self._chance())

    def wait(self, stop: threading.Event) -> bool:
        """Wait for the next pause, or until the event is set; True where it is."""
        return stop.wait(self.next())

    def reset(self) -> None:
        """Start again with the first pause, because a try has succeeded."""
        self._pause = 0.0
