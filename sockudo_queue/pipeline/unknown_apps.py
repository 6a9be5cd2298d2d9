"""Handles jobs of apps that are not configured: schedules their retries, and detects when they are the majority.

If most jobs are for unknown apps, the configuration is more likely wrong than the jobs. Then the daemon is not ready,
and the budgets of these jobs are suspended, so that a wrong file does not turn the queue into dead letters. Jobs of
known apps are never delayed by this.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

RECENT: Final = 20
"""Number of recent jobs that are compared. With fewer, a single app that was just removed would look like a wrong file.
"""
MIN_KNOWN: Final = RECENT // 2
"""With fewer jobs of known apps among the recent ones, unknown apps prevail."""
MIN_KNOWN_TO_RECOVER: Final = RECENT * 3 // 4
"""With this many jobs of known apps they no longer prevail. It is more than `MIN_KNOWN`, to keep readiness stable with
mixed traffic."""
SHOWN: Final = 80
"""Maximum characters of an app id that are logged: any client that can queue a job chooses the id."""
LOOKUPS_PER_SECOND: Final = 100
"""Maximum retries per second and process of jobs that wait for their app. Each takes a slot for a round trip: with 200
a second, known jobs lost 18 % of their throughput on a busy machine. 100,000 jobs take 17 minutes."""
LATER_LOOKUPS_PER_SECOND: Final = 80
"""Maximum of these for jobs that have waited before, so that a fresh job is retried soon."""
FIRST_MS: Final = 1_000
"""Milliseconds until the first retry of a job, unless too many are due by then."""
HORIZON: Final = 1_200
"""Seconds for which retries are scheduled: 120,000 of them. A job beyond that is retried at a random time before the
end."""


class UnknownApps:
    """Counts for each whole job whether its app is known. Thread-safe."""

    def __init__(self, log: Any, on_change: Callable[[str | None], None]) -> None:
        self.prevail = False
        self._log = log
        self._on_change = on_change
        self._lock = threading.Lock()
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._unknown = ""  # the latest unknown app; the job that changes the verdict may be of a known one
        self._any_known = False
        self.is_counting = True
        """Whether a job of a known app can change anything. If not, as usual, callers may skip `record`."""

    def record(self, app: str, *, known: bool, fresh: bool = True) -> None:
        """Count one job of an app.

        Once any app was known, a retried job of an unknown app does not count. Before that it does, because after a
        restart there may be no other jobs.
        """
        if known:
            self._any_known = True
            if not self._recent:
                self.is_counting = False
                return
        elif self._any_known and not fresh:
            return
        with self._lock:
            if not known:
                self._unknown = app
            self._recent.append(known)
            self.is_counting = True
            self._turn(self._verdict())
            if all(self._recent):
                self._recent.clear()

    def forget(self) -> None:
        """Reset the counts, because the apps have changed."""
        with self._lock:
            self._recent.clear()
            self._turn(False)

    def _verdict(self) -> bool:
        known = sum(self._recent)
        if self.prevail:
            return known < MIN_KNOWN_TO_RECOVER
        return len(self._recent) == RECENT and known < MIN_KNOWN

    def _turn(self, prevail: bool) -> None:
        if prevail == self.prevail:
            return
        self.prevail = prevail
        reason = format_reason(self._unknown) if prevail else None
        if reason is not None:
            self._log.error("apps.unknown", app=self._unknown[:SHOWN], text=reason)
        self._on_change(reason)


class LookupSchedule:
    """Schedules the retries of jobs that wait for their app, with a maximum per second. Thread-safe.

    Callers pass the time in milliseconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[int, int] = {}  # second -> retries in it
        self._second = 0

    def delay_ms(self, now_ms: int, min_ms: int) -> int:
        """Return the milliseconds until the retry: `min_ms`, or more if too many are due by then."""
        limit = LOOKUPS_PER_SECOND if min_ms <= FIRST_MS else LATER_LOOKUPS_PER_SECOND
        with self._lock:
            self._drop_past(now_ms // 1000)
            wanted = (now_ms + min_ms) // 1000
            second = wanted
            while (due := self._due.get(second, 0)) >= limit:
                second += 1
                if second - wanted > HORIZON:
                    return random.randint(HORIZON * 500, HORIZON * 1000)  # noqa: S311 - spreads, guards nothing
            self._due[second] = due + 1
        if second == wanted:
            return min_ms
        return second * 1000 + due * 1000 // LOOKUPS_PER_SECOND - now_ms

    def _drop_past(self, second: int) -> None:
        if second != self._second:
            self._second = second
            for past in [each for each in self._due if each < second]:
                del self._due[past]


def format_reason(app: str) -> str:
    """Return the error text, with the latest unknown app as an example."""
    return (
        f"most jobs are for apps that are not in the configuration, such as {app[:SHOWN]!r}; see app_manager.array.apps"
    )
