"""How many bytes of large jobs are worked on at the same time.

In memory a job takes about four times its bytes: as it came, as its events, as the body of a request, and in libcurl. A
slow endpoint gives its worker's slot away, so there may be dozens of jobs in flight. Small ones never add up to much.
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
"""Seconds between two jobs that wait, so that those that find no room again cost little."""
LONGEST_WAIT: Final = 30.0
FIRST_WAIT: Final = 1.0
"""Seconds between two looks of the job that comes next, for which room is kept."""
KEPT: Final = 5.0
"""Seconds for which its room is kept beyond that. It may come late, or be taken by another process."""


class LargeJobs:
    """Room for large jobs. Safe from any thread.

    A job has its room for as long as its claim exists in memory, whatever becomes of it: no path can forget to give
    the room back.
    """

    def __init__(self, most_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._most = most_bytes
        self._clock = clock
        self._lock = threading.RLock()  # a claim may end at any line of the thread that holds it
        self._next = 0.0
        self._first, self._first_size, self._first_until = "", 0, 0.0
        self.bytes = 0

    def wait_ms(self, claim: Claim) -> int:
        """Return 0 where there is room for a job, which it then has, else the milliseconds until it may look again."""
        size = len(claim.body)
        if size <= LARGE:
            return 0
        with self._lock:
            now = self._clock()
            if self._has_room(claim, size, now):
                self.bytes += size
                weakref.finalize(claim, self._ended, size).atexit = False
                return 0
            if self._first == claim.id:
                self._first_until = now + FIRST_WAIT + KEPT
                return round(FIRST_WAIT * 1000)
            self._next = min(max(self._next, now) + SPACING, now + LONGEST_WAIT)
            return round((self._next - now) * 1000)

    def _has_room(self, claim: Claim, size: int, now: float) -> bool:
        """Tell whether a job may begin. The first that may not becomes the next, and room is kept for it."""
        if now > self._first_until:
            self._first = ""
        is_first = self._first in ("", claim.id)
        kept = 0 if is_first else self._first_size
        if (is_first and not self.bytes) or self.bytes + size + kept <= self._most:
            if is_first:
                self._first = ""
            return True
        if not self._first:
            self._first, self._first_size = claim.id, size
            self._first_until = now + FIRST_WAIT + KEPT
        return False

    def _ended(self, size: int) -> None:
        with self._lock:
            self.bytes -= size
