"""The circuit breaker of one webhook: it stops attempts at an endpoint that keeps failing. Pure; times are seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from sockudo_queue.core.outcome import Outcome, Verdict
from sockudo_queue.delivery.admission.place_schedule import KNOWN_AFTER, PlaceSchedule
from sockudo_queue.runtime.backoff import next_pause

USUAL_FACTOR: Final = 3
"""An attempt is overdue after this many times the usual latency. The latency of a healthy receiver often doubles."""
SMOOTHING: Final = 0.1
"""Weight of the newest success in the usual latency: one outlier changes it little, ten similar values change most of
it."""
MIN_PERIODS_PER_BUDGET: Final = 3
"""The minimum number of breaker periods in a retry budget. Otherwise a job that arrives while the breaker is open could
use up its budget without an attempt."""


PROVEN_FOR: Final = 60.0
"""Seconds for which an answer proves that a webhook or an endpoint answers. If it were shorter, rare traffic would be
unproven at every attempt; if it were longer, more endpoints that hang by now would count as fast."""


class BreakerState(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class ReservationSchedule:
    """A queue of reserved start times.

    The breaker of a webhook has its own queue, so that other webhooks of the same endpoint do not wait behind an open
    breaker.
    """

    __slots__ = ("next_free",)

    def __init__(self) -> None:
        self.next_free = 0.0


class Breaker:
    """Opens after consecutive failures, for a period that doubles up to a maximum.

    Guarded by the lock of its endpoint. `used_at` is the time of the last request for admission. `failing_since` is the
    time of the first failure since the last `close`.
    """

    __slots__ = (
        "_first",
        "attempts",
        "duration",
        "failing_since",
        "failures",
        "in_flight",
        "is_closed",
        "last_answer",
        "last_success",
        "limit",
        "line",
        "max_period",
        "open_until",
        "period",
        "places",
        "probe",
        "used_at",
        "usual",
    )

    def __init__(self, failures: int, first_period: float, max_period: float) -> None:
        self.limit = failures
        self._first = min(first_period, max_period)
        self.max_period = max_period
        self.line = ReservationSchedule()
        self.attempts = 0
        self.duration = 0.0  # usual duration of an attempt with any outcome: a timeout occupies its place too
        self.places: PlaceSchedule | None = None  # of a webhook with a limit of attempts in flight
        self.failures = 0
        self.failing_since = 0.0
        self.open_until = 0.0
        self.is_closed = True
        self.period = 0.0
        self.probe: object | None = None  # token of the attempt that tests whether the endpoint has recovered
        self.used_at = 0.0
        self.in_flight: dict[object, float] = {}  # this webhook's attempts: token -> start, oldest first
        self.last_success = float("-inf")
        self.last_answer = float("-inf")
        self.usual = 0.0

    def state(self, now: float) -> BreakerState:
        if self.is_closed:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.open_until else BreakerState.HALF_OPEN

    def hangs(self, overdue: float, now: float) -> float:
        """Return for how many seconds this webhook's attempts have had no success if that is overdue, else 0.

        Other webhooks at the endpoint may succeed meanwhile.
        """
        if not self.in_flight:
            return 0.0
        silent = now - max(next(iter(self.in_flight.values())), self.last_success)
        return silent if silent > max(overdue, USUAL_FACTOR * self.usual) else 0.0

    def has_answered(self, now: float) -> bool:
        """Return whether the webhook recently got an answer with any status, so that its attempts do not hang."""
        return now - self.last_answer <= PROVEN_FOR

    def record(self, token: object, outcome: Outcome, took: float, now: float) -> None:
        """Record an attempt of `took` seconds.

        A permanent rejection except 410 closes the breaker, as a success does. Every retryable status counts as a
        failure, even one such as 409: retries that are not the endpoint's fault can be as many as others.
        """
        is_probe = self.drop_probe(token)
        self.attempts += 1
        self.duration += (took - self.duration) / min(self.attempts, KNOWN_AFTER)
        if self.places is not None:
            self.places.update(self.attempts, self.duration, now)
        if outcome.status is not None:
            self.last_answer = now
        if not outcome.blames_endpoint:
            self.last_success = now
            self.usual += (took - self.usual) * (SMOOTHING if self.usual else 1.0)
        if outcome.status == 410:
            self._open(self.max_period, now)
        elif outcome.verdict is not Verdict.RETRYABLE:
            self.close()
        else:
            # An attempt that began before the breaker opened says nothing about the current endpoint; only the probe
            # does.
            self.failures += 1
            self.failing_since = self.failing_since or now
            if is_probe or (self.is_closed and self.failures >= self.limit):
                self._open(next_pause(self.period, self._first, self.max_period), now)

    def drop_probe(self, token: object) -> bool:
        """Remove the probe if it is this attempt, so that another one may start. Returns whether it was."""
        if self.probe is not token:
            return False
        self.probe = None
        return True

    def close(self) -> None:
        """Allow attempts again."""
        self.failures, self.failing_since, self.period, self.open_until, self.probe = 0, 0.0, 0.0, 0.0, None
        self.is_closed = True
        self.line.next_free = 0.0

    def _open(self, period: float, now: float) -> None:
        self.failing_since = self.failing_since or now
        self.period = period
        self.is_closed = period == 0.0
        self.open_until = now + self.period
