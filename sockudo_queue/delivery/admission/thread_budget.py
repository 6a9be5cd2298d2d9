"""How the daemon's threads are shared among endpoints that may keep one for long, so that the others always find one.

An attempt *lingers* when its endpoint is slow, suspect, or has not shown lately that it answers at once. All lingering
attempts together may use the spare workers, never the threads of the slots, so an endpoint that answers at once finds
a thread whatever the others do. Only while nobody answers at once may they use most of the slots' threads, too.

Times are seconds, monotonic. Safe from any thread.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, NamedTuple

SUSPECT_LIMIT: Final = 2
"""Attempts in flight at one endpoint at which nothing succeeds."""
QUIET_AFTER: Final = 1.0
"""Seconds without use of an endpoint that answers at once, after which the slots' threads serve slow endpoints."""
SHORT: Final = 1.0
"""Seconds; what usually takes longer stays off the slots' threads: they could not be had back in time."""
KEPT_FREE: Final = 2
"""Threads that are never lent: they find out whether others have come."""
FIRST_PLACES: Final = 4
"""Places that stay free for endpoints with nothing in flight, so that the busy ones cannot keep out the next one."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How endpoints are kept apart. Times in seconds; `concurrency` and `max_slow` count threads."""

    concurrency: int
    max_slow: int
    slow: float
    breaker_failures: int
    breaker_period: float
    breaker_longest_period: float


class Standing(Enum):
    """What is known of an endpoint whose attempts linger."""

    PROMPT = auto()
    """Answered at once not long ago. Its next attempt will show whether it still does."""
    SLOW = auto()
    """Usually takes longer than `slow`, but ends within `SHORT`."""
    UNPROVEN = auto()
    """Nobody knows, or it takes long."""
    SUSPECT = auto()
    """Something is in flight and nothing has succeeded for too long."""


class Lingering(NamedTuple):
    """An endpoint's lingering attempts: all of them, and those that nobody knows to end within `SHORT`."""

    all: int = 0
    open_ended: int = 0


class Shares:
    """The lingering attempts of all endpoints, and what one endpoint may add to them."""

    def __init__(self, limits: Limits) -> None:
        self._lock = threading.Lock()
        self._total = 0
        self._open_ended = 0
        self._endpoints = 0
        self._prompt_at = float("-inf")
        self.threads = limits.concurrency + limits.max_slow
        # Without spare workers slow endpoints can only use slots, and somebody has to be left for the others.
        self._spare = max(limits.max_slow, limits.concurrency // 2, 1)
        self._lent = max(self.threads - max(KEPT_FREE, limits.concurrency // 4), self._spare)

    @property
    def are_scarce(self) -> bool:
        """Tell whether most places are taken by what may hang, so that no old success is good for one."""
        return self._open_ended * 4 >= self._spare * 3

    def note_prompt(self, now: float) -> None:
        """Note that an endpoint which answers at once is in use."""
        self._prompt_at = now

    def change(self, before: Lingering, after: Lingering) -> None:
        """Count an endpoint's lingering attempts anew."""
        with self._lock:
            self._total += after.all - before.all
            self._open_ended += after.open_ended - before.open_ended
            self._endpoints += (after.all > 0) - (before.all > 0)

    def of(self, own: Lingering, in_flight: int, now: float, standing: Standing) -> int:
        """Return how many attempts an endpoint may have in flight.

        `own` is what of its `in_flight` attempts is counted here already.
        """
        others = self._total - own.all
        is_quiet = now - self._prompt_at > QUIET_AFTER
        free = (self._lent if is_quiet else self._spare) - others
        if standing is not Standing.SLOW:
            free = min(free, self._spare - (self._open_ended - own.open_ended))
        if not in_flight:
            if standing is Standing.PROMPT:
                free = self.threads - KEPT_FREE - others
            return max(free, 0 if others > 0 else 1)
        endpoints = self._endpoints + (own.all == 0)
        first_places = min(FIRST_PLACES, self._spare // 4)
        fair = max((free + others - first_places) // endpoints, SUSPECT_LIMIT)
        if standing is Standing.SUSPECT:
            # Hanging attempts together leave a quarter to endpoints that are slow but answer.
            fair, first_places = SUSPECT_LIMIT, self._spare // 4
        return max(min(fair, free - first_places), 1)
