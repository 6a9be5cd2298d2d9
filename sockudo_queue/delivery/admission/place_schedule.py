"""Plans start times for deliveries above a webhook's limit of attempts in flight (`max_in_flight`).

Pure; times in seconds.

The plan is one line of start times at the webhook's pace. Of the deliveries that find no free place at their start
time, a few ask again when an attempt is expected to end, so that attempts of varying durations leave no place free. The
others go to the end of the line: the early start times of a plan are often wrong, because the pace is not known yet.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

FIRST_PLAN: Final = 2.0
"""Length of a plan in seconds while the pace is an estimate. The first attempts include the connection setup."""
MAX_PLAN_SECONDS: Final = 240.0
"""Length of a plan in seconds once the pace is known. Deliveries beyond it ask again after this time. If it were
shorter, a long backlog would ask more often, and places would stay free whenever too few ask; if longer, a backlog
would return late to an endpoint that has become faster."""
KNOWN_AFTER: Final = 10
"""Attempts after which the pace is no longer an estimate; the newest attempt then has a weight of a tenth."""
SPACING: Final = 1.1
"""Start times are a little further apart than the pace, so that most deliveries find a free place."""
MAX_RETRIES_ABOVE_LIMIT: Final = 2
"""Deliveries that ask again soon are at most as many as the limit and this number. More would cost claims and start
hardly any delivery earlier."""
OUTDATED: Final = 2
"""A plan for attempts that took this many times as long is dropped: new deliveries would wait at its end while places
are free."""


class PlaceSchedule:
    """The planned start times of one webhook. Guarded by the lock of its endpoint."""

    __slots__ = ("_again", "_attempts", "_next_free", "_planned_for", "_usual")

    def __init__(self, attempts: int, usual: float) -> None:
        """`attempts` have taken `usual` seconds each."""
        self._again: list[float] = []  # when deliveries ask again that found no place
        self._attempts = attempts
        self._usual = usual
        self._next_free = 0.0
        self._planned_for = 0.0  # the longest usual duration since the line began

    @property
    def max_delay(self) -> float:
        """The length of a plan."""
        return MAX_PLAN_SECONDS if self._attempts >= KNOWN_AFTER else FIRST_PLAN

    def has_line(self, now: float) -> bool:
        """Return whether deliveries have start times ahead. A new delivery must not take the place of one of them."""
        return self._next_free > now

    def update(self, attempts: int, usual: float, now: float) -> None:
        """Set the number of attempts until now, and their usual duration."""
        self._attempts, self._usual = attempts, usual
        if self._usual * OUTDATED < self._planned_for:
            self._next_free, self._planned_for = now, self._usual

    def retry(self, starts: Collection[float], limit: int, now: float) -> float | None:
        """Return the seconds after which a delivery without a place at its start time asks again, as an attempt ends.

        None if enough deliveries do so already, or if the usual duration is not known yet; such a delivery is planned.
        """
        self._again = [moment for moment in self._again if moment > now]
        waiting = len(self._again)
        if self._attempts < KNOWN_AFTER or waiting >= limit + MAX_RETRIES_ABOVE_LIMIT:
            return None
        ends = sorted(abs(start + self._usual - now) for start in starts)
        delay = max(ends[min(waiting, len(ends) - 1)], self._usual / 2)
        self._again.append(now + delay)
        return delay

    def plan(self, starts: Collection[float], limit: int, estimate: float, now: float) -> float | None:
        """Return the seconds until the next start time, and reserve it; None if the line is full.

        `starts` are the starts of the attempts in flight. `estimate` is the duration of an attempt if none is known.
        """
        usual = self._usual if self._attempts else estimate
        moment = max(self._next_free, now)
        if len(starts) >= limit:
            # An attempt that takes longer than usual is assumed to take as long again, so that few ask while it hangs.
            moment = max(moment, now + min(abs(start + usual - now) for start in starts))
        if moment - now > self.max_delay:
            return None
        self._planned_for = max(self._planned_for, usual) if self.has_line(now) else usual
        self._next_free = moment + usual / limit * SPACING
        return moment - now
