"""The breaker of one webhook: it stops calling an endpoint that fails again and again. Pure; times are seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sockudo_queue.core.outcome import Outcome, Verdict
from sockudo_queue.runtime.backoff import longer

USUAL_FACTOR: Final = 3
"""An attempt is overdue after this many times the usual latency: the latency of a sound receiver often doubles."""
SMOOTHING: Final = 0.1
"""Weight of the newest success in the usual latency: an odd one changes little, ten of a kind change most."""
CHANCES: Final = 3
"""A budget for retries holds at least so many periods of a breaker; else what comes while it is open is never tried."""


PROVEN_FOR: Final = 60.0
"""Seconds for which an answer shows that a webhook or an endpoint answers. Shorter, and rare traffic would be unproven
at every attempt; longer, and more endpoints that hang by now would be taken for quick ones."""


class BreakerState(StrEnum):
    """The three states of a breaker."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class ReservationSchedule:
    """Moments given away one after the other. A webhook whose breaker is open has its own: those of its neighbours at
    the same endpoint must not have to queue behind it."""

    __slots__ = ("next_free",)

    def __init__(self) -> None:
        self.next_free = 0.0


class Breaker:
    """Opens after failures in a row without a success, for a period that doubles up to the longest.

    Guarded by its endpoint's lock. `used_at` is when it was last asked, `failing_since` when it began to hear nothing
    but failures.
    """

    __slots__ = (
        "_first",
        "failing_since",
        "failures",
        "in_flight",
        "is_closed",
        "last_answer",
        "last_success",
        "limit",
        "line",
        "longest",
        "open_until",
        "period",
        "places",
        "probe",
        "used_at",
        "usual",
    )

    def __init__(self, failures: int, first_period: float, longest_period: float) -> None:
        self.limit = failures
        self._first = min(first_period, longest_period)
        self.longest = longest_period
        self.line = ReservationSchedule()
        self.places = ReservationSchedule()  # for those above the limit of attempts in flight
        self.failures = 0
        self.failing_since = 0.0
        self.open_until = 0.0
        self.is_closed = True
        self.period = 0.0
        self.probe: object | None = None  # the token of the attempt that is to tell whether the endpoint is back
        self.used_at = 0.0
        self.in_flight: dict[object, float] = {}  # this webhook's own attempts: token -> start, the oldest first
        self.last_success = float("-inf")
        self.last_answer = float("-inf")
        self.usual = 0.0

    def state(self, now: float) -> BreakerState:
        if self.is_closed:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.open_until else BreakerState.HALF_OPEN

    def hangs(self, overdue: float, now: float) -> float:
        """Return for how long nothing has come of this webhook's attempts if that is too long, else 0.

        Its neighbours at the endpoint may succeed all the while.
        """
        if not self.in_flight:
            return 0.0
        silent = now - max(next(iter(self.in_flight.values())), self.last_success)
        return silent if silent > max(overdue, USUAL_FACTOR * self.usual) else 0.0

    def has_answered(self, now: float) -> bool:
        """Tell whether the webhook got an answer lately, with whatever status: its attempts do not hang."""
        return now - self.last_answer <= PROVEN_FOR

    def record(self, token: object, outcome: Outcome, took: float, now: float) -> None:
        """Learn from an attempt of `took` seconds; a permanent answer from a live endpoint closes it as a success does.

        Every status that is tried again counts, also 409 and the like: retries for which the endpoint is not to blame
        can be as many as those for which it is.
        """
        is_probe = self.drop_probe(token)
        if outcome.status is not None:
            self.last_answer = now
        if not outcome.blames_endpoint:
            self.last_success = now
            self.usual += (took - self.usual) * (SMOOTHING if self.usual else 1.0)
        if outcome.status == 410:
            self._open(self.longest, now)
        elif outcome.verdict is not Verdict.RETRYABLE:
            self.close()
        else:
            # What was under way before it opened says nothing about the endpoint of now: only its probe does.
            self.failures += 1
            self.failing_since = self.failing_since or now
            if is_probe or (self.is_closed and self.failures >= self.limit):
                self._open(longer(self.period, self._first, self.longest), now)

    def drop_probe(self, token: object) -> bool:
        """Make room for another probe if this attempt was the one under way; tell whether it was."""
        if self.probe is not token:
            return False
        self.probe = None
        return True

    def close(self) -> None:
        """Let attempts go out again."""
        self.failures, self.failing_since, self.period, self.open_until, self.probe = 0, 0.0, 0.0, 0.0, None
        self.is_closed = True
        self.line.next_free = 0.0

    def _open(self, period: float, now: float) -> None:
        self.failing_since = self.failing_since or now
        self.period = period
        self.is_closed = period == 0.0
        self.open_until = now + self.period
