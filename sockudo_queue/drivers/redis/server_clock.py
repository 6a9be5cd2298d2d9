"""Estimates a Redis server's clock from our monotonic clock: the time, and whether it was set.

An expired lease means that its owner is gone, unless the owner could not renew it: the server was unavailable or
refused the renewal, or its clock was set forward. After such an event, expired leases are not claimed for a while, so
that their owners can settle or renew them first. Nothing here queries the server.
"""

from __future__ import annotations

import threading
import time
from typing import Final

NOISE_MS: Final = 5
"""A difference that is ignored: replies take time, and claims must stay in order."""
STEP_MS: Final = 10_000
"""A larger difference counts as a clock step. With the default lease, every renewed claim has more than this left."""
ANY_MOMENT: Final = 2**53
"""Later than any clock value."""
NO_MOMENT: Final = -1


class ServerClock:
    """The clock of the server of one source. Safe from any thread; all times are in milliseconds."""

    def __init__(self, lease_ms: int) -> None:
        self._lock = threading.Lock()
        self._long_ms = lease_ms / 3  # after this long without an answer, a lease may have expired
        self._held_ms = lease_ms / 2  # by then every owner has renewed: the interval is at most a third of the lease
        self._ahead_ms: float | None = None  # relative to the monotonic clock
        self._stepped_at = float("-inf")
        self._silent_since: float | None = None
        self._refused_since: float | None = None
        self._held_until = float("-inf")
        self._set_back_ms = 0.0

    def now_ms(self) -> int:
        """Return the estimated server time; 0 before the first reply."""
        ahead = self._ahead_ms
        return 0 if ahead is None else round(_monotonic_ms() + ahead)

    def expired_until(self) -> int:
        """Return the server time until which expired records may be claimed.

        If the server's clock passes it, the clock was set; the script, which reads the clock, then claims no expired
        records.
        """
        now = _monotonic_ms()
        with self._lock:
            if now < self._held_until or self._is_long(self._silent_since, now):
                return NO_MOMENT
            if self._is_long(self._refused_since, now):
                return NO_MOMENT
            return ANY_MOMENT if self._ahead_ms is None else round(now + self._ahead_ms) + STEP_MS

    def record_time(self, now_ms: int, asked_at: float) -> None:
        """Record the time in a reply. The server read its clock after the command was sent and before now.

        `asked_at` is `time.monotonic()` before the command was sent, so neither a slow reply nor a process that was
        suspended before this call looks like a clock step.
        """
        now, asked_at = _monotonic_ms(), asked_at * 1000
        with self._lock:
            self._end_silence(now)
            self._end_refusals(now)
            if self._ahead_ms is None:
                self._ahead_ms = now_ms - now
            elif asked_at >= self._stepped_at:  # an older reply may hold the time before the last step
                self._correct(now_ms - now, now_ms - asked_at, self._ahead_ms, now)

    def answered(self) -> None:
        """Record a reply of any kind."""
        with self._lock:
            self._end_silence(_monotonic_ms())

    def not_answered(self) -> None:
        """Record a missing reply."""
        with self._lock:
            if self._silent_since is None:
                self._silent_since = _monotonic_ms()

    def accepted(self) -> None:
        """Record that the server accepted a renewal, a settlement or a claim."""
        with self._lock:
            self._end_refusals(_monotonic_ms())

    def refused(self) -> None:
        """Record that the server refused one of these. Replies to other commands say nothing about them."""
        with self._lock:
            if self._refused_since is None:
                self._refused_since = _monotonic_ms()

    def set_back_ms(self) -> int:
        """Return by how much the clock was set back, minus the amounts passed to `made_good`."""
        with self._lock:
            return round(self._set_back_ms)

    def made_good(self, set_back_ms: int) -> None:
        """Record that the stored times were moved by `set_back_ms`."""
        with self._lock:
            self._set_back_ms = max(self._set_back_ms - set_back_ms, 0.0)

    def _correct(self, minimum: float, maximum: float, known: float, now: float) -> None:
        """Clamp the known value to the range that a reply allows."""
        step = min(max(known, minimum), maximum) - known
        if abs(step) <= NOISE_MS:
            return
        if step > STEP_MS:
            self._held_until = now + self._held_ms
        if abs(step) > STEP_MS:
            self._stepped_at = now
            self._set_back_ms = max(self._set_back_ms - step, 0.0)
        self._ahead_ms = known + step

    def _end_silence(self, now: float) -> None:
        if self._is_long(self._silent_since, now):
            self._held_until = now + self._held_ms
        self._silent_since = None

    def _end_refusals(self, now: float) -> None:
        if self._is_long(self._refused_since, now):
            self._held_until = now + self._held_ms
        self._refused_since = None

    def _is_long(self, since: float | None, now: float) -> bool:
        return since is not None and now - since > self._long_ms


def _monotonic_ms() -> float:
    return time.monotonic() * 1000
