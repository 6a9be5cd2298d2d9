"""The clock of a Redis server as this process knows it by its own monotonic clock: the time, and whether it was set.

An expired lease means that its owner is gone, unless the owner could not renew it: because the server was away or
refused to, or because its clock was set forward. After that, expired leases are left alone for a while, so that their
owners settle or renew them first. Nothing here asks the server.
"""

from __future__ import annotations

import time
from typing import Final

NOISE_MS: Final = 5
"""A difference that does not count: replies take their time, and claims must stay in order."""
STEP_MS: Final = 10_000
"""A larger difference than slow replies make. With the default lease, every renewed claim has more than this left."""
ANY_MOMENT: Final = 2**53
"""Later than every moment of a clock."""
NO_MOMENT: Final = -1


class ServerClock:
    """The clock of the server of one source. Safe from any thread; all times are in milliseconds."""

    def __init__(self, lease_ms: int) -> None:
        self._long_ms = lease_ms / 3  # without an answer for so long, a lease may have expired meanwhile
        self._held_ms = lease_ms / 2  # every owner has renewed by then: the interval is a third of the lease at most
        self._ahead_ms: float | None = None  # of the monotonic clock
        self._silent_since: float | None = None
        self._refused_since: float | None = None
        self._held_until = float("-inf")
        self._set_back_ms = 0.0

    def now_ms(self) -> int:
        """Return the server's time as far as it is known; 0 before the first reply."""
        return 0 if self._ahead_ms is None else round(_monotonic_ms() + self._ahead_ms)

    def expired_until(self) -> int:
        """Return the server's time until which it may hand out records whose lease has expired.

        Beyond it the clock was set, and the script itself, which reads the clock, leaves such records alone.
        """
        now = _monotonic_ms()
        if now < self._held_until or self._is_long(self._silent_since, now) or self._is_long(self._refused_since, now):
            return NO_MOMENT
        return ANY_MOMENT if self._ahead_ms is None else round(now + self._ahead_ms) + STEP_MS

    def heard(self, now_ms: int) -> None:
        """Note the time that a reply holds."""
        self.answered()
        self.accepted()
        now = _monotonic_ms()
        ahead, known = now_ms - now, self._ahead_ms
        if known is not None:
            step = ahead - known
            if -NOISE_MS <= step <= NOISE_MS:
                return
            if step > STEP_MS:
                self._held_until = now + self._held_ms
            elif step < -STEP_MS:
                self._set_back_ms -= step
        self._ahead_ms = ahead

    def answered(self) -> None:
        """Note a reply of any kind."""
        self._hold_after(self._silent_since)
        self._silent_since = None

    def not_answered(self) -> None:
        """Note that a reply did not come."""
        if self._silent_since is None:
            self._silent_since = _monotonic_ms()

    def accepted(self) -> None:
        """Note that the server took a renewal, a settlement or a claim."""
        self._hold_after(self._refused_since)
        self._refused_since = None

    def refused(self) -> None:
        """Note that the server refused one of these. A reply to anything else says nothing about them."""
        if self._refused_since is None:
            self._refused_since = _monotonic_ms()

    def _hold_after(self, since: float | None) -> None:
        """Hold expired leases back if what began at `since` has lasted long."""
        now = _monotonic_ms()
        if self._is_long(since, now):
            self._held_until = now + self._held_ms

    def _is_long(self, since: float | None, now: float) -> bool:
        return since is not None and now - since > self._long_ms

    def take_set_back_ms(self) -> int:
        """Return by how much the clock was set back since the last call; 0 where it was not."""
        taken, self._set_back_ms = self._set_back_ms, 0.0
        return round(taken)


def _monotonic_ms() -> float:
    return time.monotonic() * 1000
