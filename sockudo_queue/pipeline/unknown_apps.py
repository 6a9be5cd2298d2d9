"""What is done about jobs of apps that are not configured: when they are looked at again, and whether they prevail.

Most jobs being for unknown apps is more likely a wrong configuration than wrong jobs. Then the daemon is not ready, and
the budgets of these jobs stand still, so a wrong file does not turn the queue into dead letters. Jobs of known apps are
never put off for it.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, Final

RECENT: Final = 20
"""Jobs that the verdict rests on. With fewer, a single app that was just removed would look like a wrong file."""
MIN_KNOWN: Final = RECENT // 2
"""With fewer jobs of known apps among the recent ones, unknown apps prevail."""
MIN_KNOWN_TO_RECOVER: Final = RECENT * 3 // 4
"""With as many known ones they no longer prevail. More than `MIN_KNOWN`, to keep readiness stable in mixed traffic."""
SHOWN: Final = 80
"""Characters of an id that are shown; who can queue a job chooses it."""
LOOKS_A_SECOND: Final = 100
"""Jobs that wait for their app and come back within one second, for each process. Each takes a slot for a round trip:
with 200 a second, known jobs lost 18 % of their throughput on a busy machine. 100,000 come round in 17 minutes."""
LATER_LOOKS: Final = 80
"""Of these, those of jobs that have waited before, so that a job just queued is looked at again soon."""
FIRST_MS: Final = 1_000
"""Milliseconds until the second look at a job, where not too many are due by then."""
HORIZON: Final = 1_200
"""Seconds for which looks are scheduled; 120,000 of them. What is beyond comes back at a random time before that."""


class UnknownApps:
    """Learns from each whole job whether its app is known. Safe from any thread."""

    def __init__(self, log: Any, on_change: Callable[[str | None], None]) -> None:
        self.prevail = False
        self._log = log
        self._on_change = on_change
        self._lock = threading.Lock()
        self._recent: deque[bool] = deque(maxlen=RECENT)
        self._unknown = ""  # the last one; a known app can be what tips the scale
        self._any_known = False
        self.is_counting = True
        """Whether a job for a known app changes anything. Mostly it does not, and then `saw` need not be called."""

    def saw(self, app: str, *, known: bool, fresh: bool = True) -> None:
        """Take note of one job for an app.

        A job that comes back for another look is no news, unless no app was known yet since the start: after a restart
        there may be no other jobs.
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
        """Begin anew, because the apps have changed."""
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
    """When jobs that wait for their app come back, so that no second has more than it can bear. Safe from any thread.

    The caller says what time it is, in milliseconds.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due: dict[int, int] = {}  # second -> looks in it
        self._second = 0

    def delay_ms(self, now_ms: int, least_ms: int) -> int:
        """Return the milliseconds until a job comes back: `least_ms`, or more where too many are due by then."""
        most = LOOKS_A_SECOND if least_ms <= FIRST_MS else LATER_LOOKS
        with self._lock:
            self._drop_past(now_ms // 1000)
            wanted = (now_ms + least_ms) // 1000
            second = wanted
            while (due := self._due.get(second, 0)) >= most:
                second += 1
                if second - wanted > HORIZON:
                    return random.randint(HORIZON * 500, HORIZON * 1000)  # noqa: S311 - spreads, guards nothing
            self._due[second] = due + 1
        if second == wanted:
            return least_ms
        return second * 1000 + due * 1000 // LOOKS_A_SECOND - now_ms

    def _drop_past(self, second: int) -> None:
        if second != self._second:
            self._second = second
            for past in [each for each in self._due if each < second]:
                del self._due[past]


def format_reason(app: str) -> str:
    """Say what is wrong, with the unknown one that was seen last."""
    return (
        f"most jobs are for apps that are not in the configuration, such as {app[:SHOWN]!r}; see app_manager.array.apps"
    )
