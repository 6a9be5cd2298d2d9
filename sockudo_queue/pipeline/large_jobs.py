"""How many bytes of large jobs are worked on at the same time, and each app's share of them.

In memory a job takes about four times its bytes: as it came, as its events, as the body of a request, and in libcurl. A
slow endpoint gives its worker's slot away, so there may be dozens of jobs in flight. Small ones never add up to much.

As with spare workers, an app above its fair share leaves a quarter of the room to other apps: large jobs for an
endpoint that hangs must not keep those of other apps waiting.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

from sockudo_queue.drivers.base import Claim

LARGE: Final = 262_144
"""Bytes above which a job counts; a job of 100 typical events has 20,000."""
SPACING: Final = 0.25
"""Seconds between two jobs of an app that wait, so that those that find no room again cost little."""
LONGEST_WAIT: Final = 30.0
FIRST_WAIT: Final = 1.0
"""Seconds between two looks of the job that comes next, for which room is kept."""
KEPT: Final = 5.0
"""Seconds for which its room is kept beyond that. It may come late, or be taken by another process."""
LEFT: Final = 0.25
"""Part of the room that an app above its fair share leaves to other apps."""


class LargeJobs:
    """Room for large jobs. Safe from any thread.

    A job has its room for as long as its claim exists in memory, whatever becomes of it: no path can forget to give
    the room back.
    """

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most_bytes
        self._clock = clock
        self._lock = threading.RLock()  # a claim may end at any line of the thread that holds it
        self._held: dict[str, int] = {}  # app -> bytes in flight; apps without any are not in it
        self._next: dict[str, float] = {}  # app -> when its latest waiting job looks again
        self._first, self._first_size, self._first_until = "", 0, 0.0
        self.bytes = 0

    def wait_ms(self, claim: Claim, app: str) -> int:
        """Return 0 where there is room for a job, which it then has, else the milliseconds until it may look again."""
        size = len(claim.body)
        if size <= LARGE:
            return 0
        with self._lock:
            now = self._clock()
            if self._may_begin(claim.id, app, size, now):
                self._held[app] = self._held.get(app, 0) + size
                self.bytes += size
                weakref.finalize(claim, self._ended, app, size).atexit = False
                return 0
            if self._first == claim.id:
                self._first_until = now + FIRST_WAIT + KEPT
                return round(FIRST_WAIT * 1000)
            return self._place_in_line(app, now)

    def _may_begin(self, record: str, app: str, size: int, now: float) -> bool:
        """Tell whether a job may begin. The first that finds no room becomes the next, and room is kept for it."""
        if now > self._first_until:
            self._first = ""
        is_first = self._first in ("", record)
        if not self._is_within_share(app, size):
            # Its own app is what it waits for, and room that is kept for it would be missing for the others.
            self._first = "" if is_first else self._first
            return False
        kept = 0 if is_first else self._first_size
        if (is_first and not self.bytes) or self.bytes + size + kept <= self._most:
            self._first = "" if is_first else self._first
            return True
        if not self._first:
            self._first, self._first_size = record, size
            self._first_until = now + FIRST_WAIT + KEPT
        return False

    def _is_within_share(self, app: str, size: int) -> bool:
        held = self._held.get(app, 0)
        if not held:
            return True
        fair = self._most / (len(self._held) + 1)
        return held + size <= fair or self.bytes + size <= self._most * (1 - LEFT)

    def _place_in_line(self, app: str, now: float) -> int:
        moment = min(max(self._next.get(app, now), now) + SPACING, now + LONGEST_WAIT)
        if app not in self._next:
            self._next = {each: at for each, at in self._next.items() if at > now}
        self._next[app] = moment
        return round((moment - now) * 1000)

    def _ended(self, app: str, size: int) -> None:
        with self._lock:
            self.bytes -= size
            left = self._held[app] - size
            if left:
                self._held[app] = left
            else:
                del self._held[app]
