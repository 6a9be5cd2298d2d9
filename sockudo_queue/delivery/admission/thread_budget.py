"""Divides the daemon's threads among apps and endpoints whose attempts may take long.

An attempt *lingers* if its endpoint is slow, suspect, or has not recently answered fast. Lingering attempts start on
the spare workers and leave the slots' threads free, so an endpoint that answers fast always finds a thread. While no
fast endpoint is in use, slow endpoints may also use most of the slots' threads, because their attempts end within
`SHORT`. Unproven and suspect endpoints may not.

An endpoint has a share of the threads (`of`), and an app has one for all of its endpoints (`has_room_for`). An app may
always add an attempt up to its fair share. Above it, the app leaves threads to the others, so one app cannot take them
all, even with many endpoints.

Times are monotonic seconds. Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, NamedTuple

import msgspec

from sockudo_queue.delivery.admission.circuit_breaker import ReservationSchedule

SUSPECT_LIMIT: Final = 2
"""Maximum attempts in flight at a suspect endpoint: while one waits for its timeout, another tests the endpoint."""
QUIET_AFTER: Final = 1.0
"""Seconds without use of a fast endpoint after which the slots' threads serve slow endpoints. It equals `SHORT`, so
that a lent thread is back before it could be lent again."""
SHORT: Final = 1.0
"""Seconds. An endpoint that usually takes longer is unproven and does not get the slots' threads, because they would
not be free again in time."""
KEPT_FREE: Final = 2
"""Threads that are never lent: one to notice other work, and one to do it meanwhile."""
FIRST_PLACES: Final = 4
"""Threads that a busy endpoint leaves to endpoints without attempts in flight, and that slow endpoints of an app above
its fair share leave to other apps. A new endpoint that answers frees its thread within `slow`, so four threads prove
forty endpoints per second."""
RESERVED_PART: Final = 4
"""One of this many spare workers is not used for busy endpoints of an app above its fair share, nor for endpoints that
hang. With an eighth, two apps with a few dead endpoints each would leave no thread for a third app; a half would cost a
daemon with one app too many of its spare workers."""


class AdmissionLimits(msgspec.Struct, frozen=True):
    """Limits for the isolation of endpoints. Times in seconds; `concurrency` and `max_slow` count threads."""

    concurrency: int
    max_slow: int
    slow: float
    breaker_failures: int
    breaker_period: float
    breaker_max_period: float


class EndpointStatus(Enum):
    """The state of an endpoint whose attempts linger."""

    PROMPT = auto()
    """Answered fast within the last minute, but not recently enough while threads are scarce."""
    SLOW = auto()
    """Usually takes longer than `slow`, but ends within `SHORT`."""
    UNPROVEN = auto()
    """Unknown: no success yet, or none within the last minute. Or it usually takes longer than `SHORT`."""
    SUSPECT = auto()
    """An attempt is in flight and none has succeeded for too long."""


class Lingering(NamedTuple):
    """An endpoint's lingering attempts: all, those that are not expected to end within `SHORT`, and all by app."""

    all: int = 0
    open_ended: int = 0
    by_app: Mapping[str, int] = MappingProxyType({})


class ThreadBudget:
    """The lingering attempts of all endpoints, and the number that one endpoint or app may add."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self._lock = threading.Lock()
        self._total = 0
        self._open_ended = 0
        self._endpoints = 0
        self._by_app: dict[str, int] = {}
        self._lines: dict[str, ReservationSchedule] = {}  # of apps with lingering attempts
        self.prompt_at = float("-inf")
        """Time of the last use of a fast endpoint."""
        self.threads = limits.concurrency + limits.max_slow
        # Without spare workers, slow endpoints can only use slots, and some slots must remain for the others.
        self._spare = max(limits.max_slow, limits.concurrency // 2, 1)
        self._reserve = self._spare // RESERVED_PART
        self._reserve_of_first = self._reserve * 3 // 4
        self._first_places = min(FIRST_PLACES, self._reserve)
        self._lent = max(self.threads - max(KEPT_FREE, limits.concurrency // 4), self._spare)

    @property
    def is_scarce(self) -> bool:
        """Whether attempts that may hang use most of the threads, so that an old success does not justify one more."""
        return self._open_ended * 4 >= self._spare * 3

    def change(self, before: Lingering, after: Lingering) -> None:
        """Replace the counts of an endpoint's lingering attempts."""
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

    def has_room_for(self, app: str, now: float, status: EndpointStatus, *, is_first: bool, uncounted: int = 0) -> bool:
        """Return whether an app may add a lingering attempt. `is_first`: its endpoint has no attempt in flight.

        `uncounted` is the number of attempts in flight that may turn out to linger too. The fair share assumes one more
        app than there are, so that a new app finds a thread while attempts of the others hang.
        """
        apps = len(self._by_app) + (app not in self._by_app) + 1
        if self._by_app.get(app, 0) < max(self._spare // apps, 1):
            return True
        match status:
            case EndpointStatus.PROMPT:  # half of the reserve, even if the same app has its share of hanging endpoints
                return self._spare - self._total > self._reserve // 2
            case EndpointStatus.SLOW:
                return self._threads_for_short(now) - self._total > self._first_places
            case _:  # a busy endpoint leaves the whole reserve to other endpoints, also of its app
                kept = self._reserve_of_first if is_first else self._reserve
                return self._spare - self._open_ended - uncounted > kept

    def line_of(self, app: str) -> ReservationSchedule:
        """Return the queue of reservations for an app that uses all of its threads."""
        with self._lock:
            return self._lines.setdefault(app, ReservationSchedule()) if app in self._by_app else ReservationSchedule()

    def of(self, own: Lingering, in_flight: int, now: float, status: EndpointStatus) -> int:
        """Return how many attempts an endpoint may have in flight.

        `own` is the part of its `in_flight` attempts that is already counted here.
        """
        others = self._total - own.all
        free = self._threads_for_short(now) - others
        if status is not EndpointStatus.SLOW:
            free = min(free, self._spare - (self._open_ended - own.open_ended))
        if not in_flight:
            left = self.threads - KEPT_FREE - others
            if status is EndpointStatus.PROMPT:
                free = left
            elif free <= 0:  # possibly because an app exceeds its share
                free = min(left, self._spare - self._within_shares())
            return max(free, 0 if others > 0 else 1)
        if status is EndpointStatus.SUSPECT:
            return max(min(SUSPECT_LIMIT, free), 1)
        endpoints = self._endpoints + (own.all == 0)
        fair = max((free + others - self._first_places) // endpoints, SUSPECT_LIMIT)
        return max(min(fair, free - self._first_places), 1)

    def _within_shares(self) -> int:
        """Return the lingering attempts, counting each app only up to the maximum for known lingering attempts.

        With many slots an app can have more: attempts at fast endpoints that then all hang.
        """
        limit = self._spare - self._reserve_of_first
        with self._lock:
            return sum(min(count, limit) for count in self._by_app.values())

    def _threads_for_short(self, now: float) -> int:
        """Return how many threads may serve attempts that end within `SHORT`."""
        return self._lent if now - self.prompt_at > QUIET_AFTER else self._spare
