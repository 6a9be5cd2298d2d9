"""Plans start times for deliveries above a webhook's limit of attempts in flight (`max_in_flight`).

Pure; times in seconds.

The plan is one line of start times at the webhook's pace. A delivery that finds no free place at its start time goes to
the end of the line. The early start times of a plan are often wrong, because the pace is not known yet. If such a
delivery asked again soon instead, it would take the place of the next one in the line, and so on; if it waited longer
each time, places would stay free meanwhile.
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
OUTDATED: Final = 2
"""A plan for attempts that took this many times as long is dropped: new deliveries would wait at its end while places
are free."""


class PlaceSchedule:
    """The planned start times of one webhook. Guarded by the lock of its endpoint."""

    __slots__ = ("_attempts", "_next_free", "_planned_for", "_usual")

    def __init__(self) -> None:
        self._attempts = 0
        self._usual = 0.0
        self._next_free = 0.0
        self._planned_for = 0.0  # the longest usual duration since the line began

    @property
    def max_delay(self) -> float:
        """The length of a plan."""
        return MAX_PLAN_SECONDS if self._attempts >= KNOWN_AFTER else FIRST_PLAN

    def has_line(self, now: float) -> bool:
        """Return whether deliveries have start times ahead. A new delivery must not take the place of one of them."""
        return self._next_free > now

    def record(self, took: float, now: float) -> None:
        """Record an attempt of `took` seconds, with any outcome: a timeout occupies its place too."""
        self._attempts += 1
        self._usual += (took - self._usual) / min(self._attempts, KNOWN_AFTER)
        if self._usual * OUTDATED < self._planned_for:
            self._next_free, self._planned_for = now, self._usual

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
