"""Limits the bytes of large jobs in flight, and each app's share of them.

In memory a job takes about four times its bytes: the received body, the parsed events, the request body, and libcurl's
copy. A slow endpoint gives its worker's slot away, so there may be dozens of jobs in flight. Small jobs never use
enough memory to matter.

As with spare workers, an app above its fair share leaves a quarter of the limit to other apps, so that large jobs for a
hanging endpoint do not block large jobs of other apps.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable
from typing import Final

from sockudo_queue.drivers.base import Claim

LARGE: Final = 262_144
"""Size in bytes above which a job counts; a job of 100 typical events has 20,000."""
SPACING: Final = 0.25
"""Seconds between two waiting jobs of an app, so that jobs which still find no room cost little."""
MAX_WAIT: Final = 30.0
FIRST_WAIT: Final = 1.0
"""Retry interval in seconds of the next job, for which room is reserved."""
KEPT: Final = 5.0
"""Seconds for which the reservation lasts beyond that: the job may come late, or another process may claim it."""
LEFT: Final = 0.25
"""The part of the limit that an app above its fair share leaves to other apps."""


class LargeJobs:
    """Admission of large jobs. Thread-safe.

    A job occupies its room for as long as its claim object exists, so no code path can forget to free it.
    """

    def __init__(self, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.RLock()  # the finalizer of a claim may run at any line of this thread
        self._held: dict[str, int] = {}  # app -> bytes in flight; apps without any are not in it
        self._next: dict[str, float] = {}  # app -> start time of its latest waiting job
        self._first, self._first_size, self._first_until = "", 0, 0.0
        self.bytes = 0

    def wait_ms(self, claim: Claim, app: str) -> int:
        """Return 0 if the job may begin, and occupy its room; otherwise return the milliseconds until its retry."""
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
        """Return whether a job may begin. Room is reserved for the first job that does not fit."""
        if now > self._first_until:
            self._first = ""
        is_first = self._first in ("", record)
        if not self._is_within_share(app, size):
            # The job waits for its own app, so a reservation would only take room from other apps.
            self._first = "" if is_first else self._first
            return False
        kept = 0 if is_first else self._first_size
        if (is_first and not self.bytes) or self.bytes + size + kept <= self._max_bytes:
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
        fair = self._max_bytes / (len(self._held) + 1)
        return held + size <= fair or self.bytes + size <= self._max_bytes * (1 - LEFT)

    def _place_in_line(self, app: str, now: float) -> int:
        moment = min(max(self._next.get(app, now), now) + SPACING, now + MAX_WAIT)
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
