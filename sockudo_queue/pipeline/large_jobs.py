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
        self.bytes = 0

    def wait_ms(self, claim: Claim) -> int:
        """Return 0 where there is room for a job, which it then has, else the milliseconds until it may look again."""
        size = len(claim.body)
        if size <= LARGE:
            return 0
        with self._lock:
            if not self.bytes or self.bytes + size <= self._most:
                self.bytes += size
                weakref.finalize(claim, self._ended, size).atexit = False
                return 0
            now = self._clock()
            self._next = min(max(self._next, now) + SPACING, now + LONGEST_WAIT)
            return round((self._next - now) * 1000)

    def _ended(self, size: int) -> None:
        with self._lock:
            self.bytes -= size
