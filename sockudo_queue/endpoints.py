"""What is known of each endpoint while the daemon runs: in flight, suspicion, breaker, reservations.

An endpoint is a scheme, host and port: what hangs or fails together. It decides for each attempt whether it may start
now, and gives what may not a *reservation*: the endpoint's next free moment. A reservation counts no attempt and holds
no thread, so a dead endpoint costs the others next to nothing, and a backlog for a slow one does not go round.

    healthy   every slot may be used
    slow      usually takes longer than `slow`: runs beside the slots, in its share of the spare workers
    suspect   something is in flight and nothing has succeeded for too long: at most two in flight, until a success
    open      the webhook's breaker: nothing until its period is over, then one probe

Pure but for its locks: the caller says what time it is (seconds, monotonic). Safe from any thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple

from sockudo_queue.outcome import HOLDING_STATUSES, Outcome

SUSPECT_LIMIT: Final = 2
USUAL_FACTOR: Final = 3
"""An attempt is overdue after this many times the usual latency."""
SMOOTHING: Final = 0.1
"""Weight of the newest success in the usual latency."""
LONGEST_RESERVATION: Final = 30.0
"""Seconds; so that a backlog returns soon after its endpoint has recovered."""
SPACING: Final = 1.1
"""Reservations are a little further apart than the endpoint's pace, so that most find their place free."""
ALONE_AFTER: Final = 1.0
"""Seconds without an attempt elsewhere, after which one slow endpoint may use everything."""


class EndpointKey(NamedTuple):
    """What tells endpoints apart."""

    scheme: str
    host: str
    port: int


class BreakerState(StrEnum):
    """The three states of a breaker."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


@dataclass(frozen=True, slots=True)
class Limits:
    """How endpoints are kept apart. Times in seconds; `concurrency` and `max_slow` count threads."""

    concurrency: int
    max_slow: int
    slow: float
    breaker_failures: int
    breaker_period: float
    breaker_longest_period: float


class Admission(NamedTuple):
    """Leave to start an attempt now. `slow` asks for it to run without a slot. Hand it back through `finish`."""

    endpoint: Endpoint
    breaker: Breaker
    token: object
    slow: bool
    is_probe: bool


class Deferral(NamedTuple):
    """Come back after so many seconds; no attempt was made."""

    delay: float
    by_breaker: bool


class Line:
    """Moments given away one after the other. A webhook whose breaker is open has its own: those of its neighbours at
    the same endpoint must not have to queue behind it."""

    __slots__ = ("next_free",)

    def __init__(self) -> None:
        self.next_free = 0.0


class Breaker:
    """Per webhook: opens after failures in a row that are the endpoint's fault. Guarded by its endpoint's lock."""

    __slots__ = ("failures", "limits", "line", "open_until", "period", "probing")

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.line = Line()
        self.failures = 0
        self.open_until = 0.0
        self.period = 0.0
        self.probing = False

    @property
    def is_closed(self) -> bool:
        return self.period == 0.0

    def state(self, now: float) -> BreakerState:
        if self.is_closed:
            return BreakerState.CLOSED
        return BreakerState.OPEN if now < self.open_until else BreakerState.HALF_OPEN

    def record(self, outcome: Outcome, now: float, *, is_probe: bool) -> None:
        """Learn from an attempt; a permanent answer from a live endpoint closes it as a success does."""
        if is_probe:
            self.probing = False
        if outcome.status == 410:
            self._open(self.limits.breaker_longest_period, now)
        elif not outcome.blames_endpoint:
            self._close()
        else:
            # What was under way before it opened says nothing about the endpoint of now: only its probe does.
            self.failures += 1
            if is_probe or (self.is_closed and self.failures >= self.limits.breaker_failures):
                self._open(max(self.limits.breaker_period, 2 * self.period), now)

    def _close(self) -> None:
        self.failures, self.period, self.open_until, self.probing = 0, 0.0, 0.0, False
        self.line.next_free = 0.0

    def _open(self, period: float, now: float) -> None:
        self.period = min(period, self.limits.breaker_longest_period)
        self.open_until = now + self.period


class Endpoint:
    """One endpoint: attempts in flight, usual latency, suspicion, and the next moment that is not yet given away."""

    def __init__(self, limits: Limits, share: Callable[[Endpoint, float], int]) -> None:
        self.lock = threading.Lock()
        self._limits = limits
        self._share = share
        self._in_flight: dict[object, float] = {}  # token -> start; a dict keeps the oldest first
        self._last_success = 0.0
        self._usual: float | None = None
        self._suspect = False
        self._line = Line()
        self._held_until = 0.0

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    @property
    def is_slow(self) -> bool:
        return self._usual is not None and self._usual > self._limits.slow

    @property
    def is_suspect(self) -> bool:
        return self._suspect

    def try_start(self, breaker: Breaker, now: float, *, reserved: bool) -> Admission | Deferral:
        """Start an attempt or reserve a moment for it; call under the lock."""
        closed_until = max(breaker.open_until, self._held_until)
        if now < closed_until:
            line = self._line if breaker.is_closed else breaker.line
            return self._reserve(line, closed_until, now, by_breaker=not breaker.is_closed)
        if breaker.probing:
            return self._reserve(breaker.line, now, now, by_breaker=True)
        limit = self._limit(now)
        if len(self._in_flight) >= limit:
            if reserved:  # it had its place and missed it; sending it to the end of the line would be unfair
                return Deferral(self._service_time(now) / 2, by_breaker=False)
            return self._reserve(self._line, now, now, by_breaker=False)
        if not reserved and self._line.next_free > now and (self.is_slow or self._suspect):
            return self._reserve(self._line, now, now, by_breaker=False)
        is_probe = not breaker.is_closed
        breaker.probing = is_probe
        token = object()
        self._in_flight[token] = now
        return Admission(self, breaker, token, self.is_slow or self._suspect, is_probe)

    def end(self, admission: Admission, outcome: Outcome | None, now: float) -> None:
        """Take note of an attempt's end; None for one that came to nothing (we are being stopped). Under the lock."""
        started = self._in_flight.pop(admission.token, None)
        if started is None:
            return
        if outcome is None or (outcome.status is None and not outcome.blames_endpoint):
            # Nothing was learned of the endpoint: we are being stopped, or the attempt did not get as far as it.
            if admission.is_probe:
                admission.breaker.probing = False
            return
        admission.breaker.record(outcome, now, is_probe=admission.is_probe)
        if outcome.status in HOLDING_STATUSES and outcome.retry_after:
            # Bounded, because it holds the webhooks of other apps too.
            hold = min(outcome.retry_after, self._limits.breaker_longest_period)
            self._held_until = max(self._held_until, now + hold)
        if outcome.blames_endpoint:
            return
        self._suspect = False
        self._last_success = now
        took = now - started
        self._usual = took if self._usual is None else self._usual + SMOOTHING * (took - self._usual)
        if not self.is_slow:
            self._line.next_free = now

    def _limit(self, now: float) -> int:
        if self._in_flight and not self._suspect:
            oldest = next(iter(self._in_flight.values()))
            overdue = max(self._limits.slow, USUAL_FACTOR * (self._usual or 0.0))
            self._suspect = now - max(oldest, self._last_success) > overdue
        if self._suspect:
            return SUSPECT_LIMIT
        if self.is_slow:
            return self._share(self, now)
        return self._limits.concurrency + self._limits.max_slow

    def _service_time(self, now: float) -> float:
        oldest = next(iter(self._in_flight.values()), now)
        return max(self._usual or self._limits.slow, now - oldest if self._suspect else 0.0)

    def _reserve(self, line: Line, earliest: float, now: float, *, by_breaker: bool) -> Deferral:
        step = self._service_time(now) / max(self._limit(now), 1) * SPACING
        moment = max(line.next_free, earliest)
        longest = max(LONGEST_RESERVATION, earliest - now)
        if moment + step - now > longest:
            return Deferral(longest, by_breaker)  # too far ahead to promise; it asks again then
        line.next_free = moment + step
        # The first of a closed time is its probe and comes at once; behind work in flight one step must pass.
        return Deferral((moment if earliest > now else line.next_free) - now, by_breaker)


class Endpoints:
    """All endpoints and breakers, made on first use."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._endpoints: dict[EndpointKey, Endpoint] = {}
        self._breakers: dict[tuple[str, str], Breaker] = {}
        self._recent: tuple[Endpoint | None, float] = (None, 0.0)
        self._others_at = 0.0

    def admit(self, key: EndpointKey, app: str, webhook: str, now: float, *, reserved: bool) -> Admission | Deferral:
        """Let an attempt start now, or say when to come back. `reserved`: it comes at a moment that it was given."""
        endpoint = self._endpoints.get(key) or self._made(key)
        breaker = self._breakers.get((app, webhook)) or self._breaker(app, webhook)
        with endpoint.lock:
            decision = endpoint.try_start(breaker, now, reserved=reserved)
        if isinstance(decision, Admission):
            last, _ = self._recent
            if last is not endpoint:
                self._others_at = now
            self._recent = (endpoint, now)
        return decision

    def finish(self, admission: Admission, outcome: Outcome | None, now: float) -> None:
        """Report the end of an admitted attempt, with its outcome or without one. Only the first report counts."""
        with admission.endpoint.lock:
            admission.endpoint.end(admission, outcome, now)

    def breaker_state(self, app: str, webhook: str, now: float) -> BreakerState:
        """Tell how a webhook's breaker stands."""
        return self._breaker(app, webhook).state(now)

    def _made(self, key: EndpointKey) -> Endpoint:
        with self._lock:
            return self._endpoints.setdefault(key, Endpoint(self.limits, self._share_of))

    def _breaker(self, app: str, webhook: str) -> Breaker:
        with self._lock:
            return self._breakers.setdefault((app, webhook), Breaker(self.limits))

    def _share_of(self, endpoint: Endpoint, now: float) -> int:
        """The attempts that a slow endpoint may have in flight: everything while it is alone, else a part of the spare
        workers, of which a quarter stays free for endpoints that turn slow."""
        last, _ = self._recent
        if (last is None or last is endpoint) and now - self._others_at > ALONE_AFTER:
            return self.limits.concurrency + self.limits.max_slow
        slow = sum(
            1 for other in list(self._endpoints.values()) if other.in_flight and (other.is_slow or other.is_suspect)
        )
        return max(SUSPECT_LIMIT, self.limits.max_slow * 3 // 4 // max(slow, 1))
