"""How the daemon's threads are shared among apps and endpoints that may keep one for long.

An attempt *lingers* when its endpoint is slow, suspect, or has not shown lately that it answers at once. Lingering
attempts start on the spare workers and leave the slots' threads free, so an endpoint that answers at once finds a
thread whatever the others do. While no endpoint that answers at once is in use, slow endpoints may use most of the
slots' threads, too, because their attempts end within `SHORT`. Unproven and suspect endpoints may not.

An endpoint has a share of the places (`of`), and an app has one over all of its endpoints (`has_room_for`). Up to its
fair share an app may always add an attempt. Beyond that it leaves places to the others, so one app cannot take them
all, however many endpoints it has.

Times are seconds, monotonic. Safe from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, NamedTuple

from sockudo_queue.delivery.admission.circuit_breaker import ReservationSchedule

SUSPECT_LIMIT: Final = 2
"""Attempts in flight at one endpoint at which nothing succeeds: one waits for its timeout, another finds out more."""
QUIET_AFTER: Final = 1.0
"""Seconds without use of an endpoint that answers at once, after which the slots' threads serve slow endpoints. As long
as `SHORT`: a thread that is lent is back by the time that it has to be lent again."""
SHORT: Final = 1.0
"""Seconds. An endpoint that usually takes longer is unproven, and does not get the slots' threads: they would not be
free again in time."""
KEPT_FREE: Final = 2
"""Threads that are never lent: one that finds out that other work has come, and one that does it meanwhile."""
FIRST_PLACES: Final = 4
"""Places that a busy endpoint leaves to those with nothing in flight, and slow ones of an app above its fair share to
other apps. A new endpoint that answers frees its place within `slow`, so four let forty a second prove themselves."""
RESERVED_PART: Final = 4
"""One of this many spare workers is not for the busy endpoints of an app that is above its fair share, and not for
those that hang. With an eighth, two apps with a few dead endpoints each would leave nothing to a third; a half would
cost a daemon with one app too many of its spare workers."""


@dataclass(frozen=True, slots=True)
class AdmissionLimits:
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
    """Not known: there was no success yet, or none within the last minute. Or it usually takes longer than `SHORT`."""
    SUSPECT = auto()
    """Something is in flight and nothing has succeeded for too long."""


class Lingering(NamedTuple):
    """An endpoint's lingering attempts: all, those that are not known to end within `SHORT`, and all by app."""

    all: int = 0
    open_ended: int = 0
    by_app: Mapping[str, int] = MappingProxyType({})


class ThreadBudget:
    """The lingering attempts of all endpoints, and what one endpoint or one app may add to them."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._lock = threading.Lock()
        self._total = 0
        self._open_ended = 0
        self._endpoints = 0
        self._by_app: dict[str, int] = {}
        self._lines: dict[str, ReservationSchedule] = {}  # of the apps that have lingering attempts
        self.prompt_at = float("-inf")
        """When an endpoint that answers at once was in use last."""
        self.threads = limits.concurrency + limits.max_slow
        # Without spare workers slow endpoints can only use slots, and some have to be left for the others.
        self._spare = max(limits.max_slow, limits.concurrency // 2, 1)
        self._reserve = self._spare // RESERVED_PART
        self._reserve_of_first = self._reserve * 3 // 4
        self._first_places = min(FIRST_PLACES, self._reserve)
        self._lent = max(self.threads - max(KEPT_FREE, limits.concurrency // 4), self._spare)

    @property
    def are_scarce(self) -> bool:
        """Tell whether most places are taken by what may hang, so that no old success is good for one."""
        return self._open_ended * 4 >= self._spare * 3

    def change(self, before: Lingering, after: Lingering) -> None:
        """Count an endpoint's lingering attempts anew."""
        with self._lock:
            self._total += after.all - before.all
            self._open_ended += after.open_ended - before.open_ended
            self._endpoints += (after.all > 0) - (before.all > 0)
            for app, count in after.by_app.items():
                self._by_app[app] = self._by_app.get(app, 0) + count
            for app, count in before.by_app.items():
                self._by_app[app] -= count
                if not self._by_app[app]:
                    del self._by_app[app]
                    self._lines.pop(app, None)

    def has_room_for(self, app: str, now: float, standing: Standing, *, is_first: bool, uncounted: int = 0) -> bool:
        """Tell whether an app may add a lingering attempt; `is_first`: its endpoint has none in flight.

        `uncounted` attempts in flight may turn out to linger, too.
        The fair share counts one app more than there are, so one that comes later finds a place while the attempts of
        the others still hang.
        """
        apps = len(self._by_app) + (app not in self._by_app) + 1
        if self._by_app.get(app, 0) < max(self._spare // apps, 1):
            return True
        match standing:
            case Standing.PROMPT:  # half of the reserve, also where hanging endpoints of the same app have their share
                return self._spare - self._total > self._reserve // 2
            case Standing.SLOW:
                return self._for_short(now) - self._total > self._first_places
            case _:  # all of it for a busy endpoint, so that the next one of the same app finds a place, too
                kept = self._reserve_of_first if is_first else self._reserve
                return self._spare - self._open_ended - uncounted > kept

    def line_of(self, app: str) -> ReservationSchedule:
        """Return the line in which an app waits that has all the places it may have."""
        with self._lock:
            return self._lines.setdefault(app, ReservationSchedule()) if app in self._by_app else ReservationSchedule()

    def of(self, own: Lingering, in_flight: int, now: float, standing: Standing) -> int:
        """Return how many attempts an endpoint may have in flight.

        `own` is what of its `in_flight` attempts is counted here already.
        """
        others = self._total - own.all
        free = self._for_short(now) - others
        if standing is not Standing.SLOW:
            free = min(free, self._spare - (self._open_ended - own.open_ended))
        if not in_flight:
            left = self.threads - KEPT_FREE - others
            if standing is Standing.PROMPT:
                free = left
            elif free <= 0:  # because of an app that has more than it may have, perhaps
                free = min(left, self._spare - self._within_shares())
            return max(free, 0 if others > 0 else 1)
        if standing is Standing.SUSPECT:
            return max(min(SUSPECT_LIMIT, free), 1)
        endpoints = self._endpoints + (own.all == 0)
        fair = max((free + others - self._first_places) // endpoints, SUSPECT_LIMIT)
        return max(min(fair, free - self._first_places), 1)

    def _within_shares(self) -> int:
        """Return the lingering attempts, but of each app no more than it may have while it knows that they linger.

        With many slots an app can have more at endpoints that answered at once, and then all hang.
        """
        most = self._spare - self._reserve_of_first
        with self._lock:
            return sum(min(count, most) for count in self._by_app.values())

    def _for_short(self, now: float) -> int:
        """Return how many threads may serve attempts that end within `SHORT`."""
        return self._lent if now - self.prompt_at > QUIET_AFTER else self._spare
