"""The state of each endpoint while the daemon runs: attempts in flight, suspicion, breakers, reservations.

An endpoint is a scheme, host and port, because these hang or fail together. The docstring of this package describes the
states and the threads that each may use.

Pure except for its locks: callers pass the time (monotonic seconds). Thread-safe.
"""

from __future__ import annotations

import threading
from typing import Final, NamedTuple

import msgspec

from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.core.outcome import HOLDING_STATUSES, Outcome
from sockudo_queue.delivery.admission.circuit_breaker import (
    MIN_PERIODS_PER_BUDGET,
    PROVEN_FOR,
    SMOOTHING,
    USUAL_FACTOR,
    Breaker,
    ReservationSchedule,
)
from sockudo_queue.delivery.admission.place_schedule import PlaceSchedule
from sockudo_queue.delivery.admission.thread_budget import (
    SHORT,
    SUSPECT_LIMIT,
    AdmissionLimits,
    EndpointStatus,
    Lingering,
    ThreadBudget,
)

MAX_RESERVATION: Final = 30.0
"""Maximum reservation in seconds. If it were longer, a backlog would return late after its endpoint recovers; if
shorter, the backlog would ask more often."""
FIRST_RESERVATION: Final = 2.0
"""The same in seconds while the endpoint's pace is an estimate. The estimate is usually too slow, because the first
answers include the connection setup, so a long reservation would waste capacity of the endpoint."""
KNOWN_AFTER: Final = round(1 / SMOOTHING)
"""Answers after which the pace is no longer an estimate: one more answer then weighs at most `SMOOTHING`."""
SPACING: Final = 1.1
"""Reservations are a little further apart than the endpoint's pace, so that most find a free thread."""
FORGOTTEN_AFTER: Final = 600.0
"""Seconds without use after which an endpoint or a breaker is removed. A breaker must be remembered for longer than its
longest open period; waiting retries return within `pipeline.deferrals.MAX_GUESS`."""
MANY_ENDPOINTS: Final = 10_000
"""Number of endpoints up to which that applies; it bounds memory if URLs change often."""
FORGOTTEN_AFTER_IF_MANY: Final = 10.0
"""Seconds without use after which an endpoint is removed if there are more."""


class EndpointKey(NamedTuple):
    """The identity of an endpoint."""

    scheme: str
    host: str
    port: int


class BreakerKey(msgspec.Struct, frozen=True):
    """The identity of a breaker. It includes the URL, because a changed URL starts with a closed breaker."""

    app: str
    webhook: str
    url: str


class Token(msgspec.Struct, frozen=True, eq=False):
    """One attempt in flight and its app. Compared by identity."""

    app: str


class Admission(msgspec.Struct, frozen=True):
    """Permission to start an attempt now; pass it to `finish` at the end. `slow`: give the slot away first."""

    endpoint: Endpoint
    breaker: Breaker
    token: Token
    slow: bool
    is_probe: bool


class Deferral(NamedTuple):
    """Retry after `delay` seconds; no attempt was made.

    `reserved`: the start time is reserved for this job. `grows`: the delay is an estimate, and each further estimate
    should be longer. `failing_for`: seconds for which the webhook has only failed, if an open breaker is the reason.
    """

    delay: float
    by_breaker: bool
    reserved: bool = True
    grows: bool = False
    failing_for: float = 0.0


class Endpoint:
    """One endpoint: attempts in flight, usual latency, suspicion, and the next free reservation."""

    def __init__(self, limits: AdmissionLimits, thread_budget: ThreadBudget) -> None:
        self.lock = threading.Lock()
        self.used_at = 0.0
        self.is_slow = False
        self._overdue = limits.slow  # seconds after which an attempt is overdue
        self._limits = limits
        self._thread_budget = thread_budget
        self._in_flight: dict[Token, float] = {}  # token -> start, oldest first
        self._beside: set[Token] = set()  # tokens of attempts that began beside hanging ones
        self._lingering = Lingering()  # as counted in the thread budget
        self._last_success = float("-inf")
        self._usual: float | None = None
        self._answers = 0
        self._suspect = False
        self._line = ReservationSchedule()
        self._held_until = 0.0

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def has(self, admission: Admission) -> bool:
        """Return whether an attempt is still in flight."""
        return admission.token in self._in_flight

    def try_start(
        self, breaker: Breaker, app: str, now: float, *, reserved: bool, max_in_flight: int | None = None
    ) -> Admission | Deferral:
        """Start an attempt of an app or reserve a start time. Caller holds the lock.

        `max_in_flight` is the webhook's limit of attempts in flight.
        """
        self.used_at = breaker.used_at = now
        closed_until = max(breaker.open_until, self._held_until)
        if now < closed_until:
            if breaker.is_closed:
                return self._reserve(self._line, closed_until, now, by_breaker=False)
            deferral = self._reserve(breaker.line, closed_until, now, by_breaker=True)
            return deferral._replace(failing_for=now - breaker.failing_since)
        if breaker.probe is not None:
            under_way = now - breaker.in_flight.get(breaker.probe, now)
            return Deferral(max(under_way, self._limits.slow), by_breaker=True, grows=True)
        if (
            max_in_flight is not None
            and (place := self._over(max_in_flight, breaker, now, reserved=reserved)) is not None
        ):
            return place
        self.check_overdue(now)
        silent = 0.0 if self._suspect or not breaker.in_flight else breaker.hangs(self._overdue, now)
        if (silent and len(breaker.in_flight) >= SUSPECT_LIMIT) or not self._may_join(breaker, app, silent, now):
            # Other webhooks get answers, so the endpoint is not suspect; but this webhook could take every thread.
            return Deferral(max(silent / 2, self._limits.slow), by_breaker=False, reserved=False, grows=True)
        lingers = self._lingers(now)
        is_beside = self._is_beside(breaker, now)
        if not is_beside and len(self._in_flight) >= (self._share(now) if lingers else self._thread_budget.threads):
            if self._suspect and breaker.has_answered(now):
                # It starts beside the hanging attempts, one at a time, without waiting for their end.
                return self._reserve(breaker.line, now, now, by_breaker=False, step=self._limits.slow)
            return self._wait_in(self._line, now, reserved=reserved)
        if not reserved and not is_beside and self._line.next_free > now and (self.is_slow or self._suspect):
            return self._reserve(self._line, now, now, by_breaker=False)
        if lingers and not self._has_room_for(app, now, is_beside=is_beside):
            # Not in the endpoint's queue: the endpoint has a free place that another app may use.
            return self._wait_in(self._thread_budget.line_of(app), now, reserved=reserved)
        token = Token(app)
        is_probe = not breaker.is_closed
        if is_probe:
            breaker.probe = token
        self._in_flight[token] = breaker.in_flight[token] = now
        if is_beside:
            self._beside.add(token)
        if lingers:
            self._count(now)
        else:
            self._thread_budget.prompt_at = now
        return Admission(self, breaker, token, self.is_slow or self._suspect, is_probe)

    def _over(self, max_in_flight: int, breaker: Breaker, now: float, *, reserved: bool) -> Deferral | None:
        """Return a deferral if the webhook has reached its limit of attempts in flight, else None.

        Deliveries with a start time go first: a new one would take the place that was planned for one of them.
        """
        places = breaker.places
        if places is None:
            places = breaker.places = PlaceSchedule(breaker.attempts, breaker.duration)
        if len(breaker.in_flight) < max_in_flight and (reserved or not places.has_line(now)):
            return None
        starts = breaker.in_flight.values()
        delay = places.retry(starts, max_in_flight, now) if reserved else None
        if delay is None:
            delay = places.plan(starts, max_in_flight, self._service_time(now), now)
        if delay is None:
            return Deferral(places.max_delay, by_breaker=False, reserved=False, grows=True)
        return Deferral(delay, by_breaker=False)

    def end(self, admission: Admission, outcome: Outcome | None, now: float) -> None:
        """Record the end of an attempt; an `outcome` of None does not count (during a stop). Caller holds the lock."""
        started = self._in_flight.pop(admission.token, None)
        if started is None:
            return
        admission.breaker.in_flight.pop(admission.token, None)
        self._beside.discard(admission.token)
        if outcome is None or (outcome.status is None and not outcome.blames_endpoint):
            # This says nothing about the endpoint: the daemon is stopping, or the attempt did not reach the endpoint.
            admission.breaker.drop_probe(admission.token)
        else:
            self._learn(admission, outcome, now, now - started)
        self._count(now)

    def check_overdue(self, now: float) -> None:
        """Check whether attempts in flight are overdue. Caller holds the lock."""
        if self._in_flight and not self._suspect:
            oldest = next(iter(self._in_flight.values()))
            self._suspect = now - max(oldest, self._last_success) > self._overdue
            if now - oldest > self._overdue:
                self._count(now)

    def is_idle(self, since: float, now: float) -> bool:
        """Return whether the endpoint can be removed without losing information. Caller holds the lock."""
        return self.used_at < since and not self._in_flight and now >= max(self._held_until, self._line.next_free)

    def _may_join(self, breaker: Breaker, app: str, silent: float, now: float) -> bool:
        """Return whether a webhook may start at an endpoint that answers while some of its attempts are overdue.

        A webhook whose own attempts recently succeeded may start. Any other may hang too, so it needs the same room as
        an attempt at an unproven endpoint.
        """
        if self._suspect or not self._lingering.all or self._lingers(now):
            return True
        if not silent and now - breaker.last_success <= PROVEN_FOR:
            return True
        # All attempts in flight, because some hang and which ones is not known yet.
        uncounted = len(self._in_flight) - self._lingering.all
        if not self._thread_budget.has_room_for(app, now, EndpointStatus.UNPROVEN, is_first=False, uncounted=uncounted):
            return False
        return len(self._in_flight) < self._thread_budget.of(self._lingering, 0, now, EndpointStatus.UNPROVEN)

    def _is_beside(self, breaker: Breaker, now: float) -> bool:
        """Return whether a webhook may start beside hanging attempts, at an endpoint that is suspect.

        The webhook must have answered recently or have no failures. Its success clears the suspicion; without this
        exception the many hanging attempts would keep it out.
        """
        if not self._suspect or breaker.in_flight:
            return False
        if breaker.has_answered(now):
            limit = SUSPECT_LIMIT
        elif not breaker.failures:
            limit = SUSPECT_LIMIT - 1  # the last place is for webhooks that have answered
        else:
            return False
        return len(self._beside) < limit and self._lingering.all < self._thread_budget.of(
            self._lingering, 0, now, EndpointStatus.SUSPECT
        )

    def _learn(self, admission: Admission, outcome: Outcome, now: float, took: float) -> None:
        admission.breaker.record(admission.token, outcome, took, now)
        if outcome.status in HOLDING_STATUSES and outcome.retry_after:
            # Bounded, because it also delays webhooks of other apps.
            hold = min(outcome.retry_after, self._limits.breaker_max_period)
            self._held_until = max(self._held_until, now + hold)
        if outcome.blames_endpoint:
            return
        was_suspect, self._suspect = self._suspect, False
        self._last_success = now
        self._answers += 1
        weight = 1 / self._answers if self._answers < KNOWN_AFTER else SMOOTHING
        usual = self._usual or 0.0
        self._usual = usual + (took - usual) * weight
        self.is_slow = self._usual > self._limits.slow
        self._overdue = max(self._limits.slow, USUAL_FACTOR * self._usual)
        if was_suspect or not self.is_slow:
            self._line.next_free = now  # reservations made under suspicion are far apart
        if not self.is_slow:
            self._thread_budget.prompt_at = now

    def _lingers(self, now: float) -> bool:
        """Return whether an attempt here may occupy its thread for long."""
        if self._suspect or self._usual is None or self.is_slow:
            return True
        since = now - self._last_success
        if since <= self._overdue and since <= PROVEN_FOR:
            return False
        return since > (self._overdue if self._thread_budget.is_scarce else PROVEN_FOR)

    def _status(self, now: float) -> EndpointStatus:
        if self._suspect:
            return EndpointStatus.SUSPECT
        if self._usual is None or self._usual > SHORT or now - self._last_success > PROVEN_FOR:
            return EndpointStatus.UNPROVEN
        return EndpointStatus.SLOW if self.is_slow else EndpointStatus.PROMPT

    def _has_room_for(self, app: str, now: float, *, is_beside: bool) -> bool:
        status = EndpointStatus.PROMPT if is_beside else self._status(now)
        return self._thread_budget.has_room_for(app, now, status, is_first=not self._in_flight)

    def _count(self, now: float) -> None:
        tokens = self._in_flight if self._lingers(now) else self._overdue_tokens(now)
        if not tokens and not self._lingering.all:
            return  # the usual case
        count, by_app = len(tokens), dict[str, int]()
        for token in tokens:
            by_app[token.app] = by_app[token.app] + 1 if token.app in by_app else 1
        lingering = Lingering(count, 0 if self._status(now) is EndpointStatus.SLOW else count, by_app)
        if lingering != self._lingering:
            self._thread_budget.change(self._lingering, lingering)
            self._lingering = lingering

    def _overdue_tokens(self, now: float) -> list[Token]:
        tokens = []
        for token, start in self._in_flight.items():
            if now - start <= self._overdue:
                break
            tokens.append(token)
        return tokens

    def _share(self, now: float) -> int:
        return self._thread_budget.of(self._lingering, len(self._in_flight), now, self._status(now))

    def _service_time(self, now: float) -> float:
        """Return the estimated duration of an attempt."""
        usual = self._usual or 0.0
        if self._lingers(now):
            usual = max(usual, self._limits.slow)
        oldest = next(iter(self._in_flight.values()), now)
        return max(usual, now - oldest if self._suspect else 0.0)

    def _wait_in(self, line: ReservationSchedule, now: float, *, reserved: bool) -> Deferral:
        if reserved:  # it missed its reserved place; moving it to the end of the queue would be unfair
            return Deferral(self._service_time(now) / 2, by_breaker=False, grows=True)
        return self._reserve(line, now, now, by_breaker=False)

    def _reserve(
        self, line: ReservationSchedule, earliest: float, now: float, *, by_breaker: bool, step: float | None = None
    ) -> Deferral:
        if step is None:
            limit = self._share(now) if self._lingers(now) else self._thread_budget.threads
            step = self._service_time(now) / max(limit, 1) * SPACING
        moment = max(line.next_free, earliest)
        is_guess = self._answers < KNOWN_AFTER and earliest <= now
        max_delay = max(FIRST_RESERVATION if is_guess else MAX_RESERVATION, earliest - now)
        if moment + step - now > max_delay:  # too far ahead for a reservation; the job asks again then
            return Deferral(max_delay, by_breaker, reserved=False, grows=True)
        line.next_free = moment + step
        # The first one after an open period is the probe and starts immediately; behind attempts in flight one step
        # must pass.
        return Deferral((moment if earliest > now else line.next_free) - now, by_breaker)


class EndpointRegistry:
    """All endpoints and breakers, created on first use."""

    def __init__(self, limits: AdmissionLimits) -> None:
        self.limits = limits
        self._lock = threading.Lock()
        self._thread_budget = ThreadBudget(limits)
        self._endpoints: dict[EndpointKey, Endpoint] = {}
        self._breakers: dict[BreakerKey, Breaker] = {}
        self._homes: dict[BreakerKey, EndpointKey] = {}  # the endpoint whose lock guards a breaker

    def __len__(self) -> int:
        return len(self._endpoints)

    def admit(
        self,
        key: EndpointKey,
        owner: BreakerKey,
        budget: float,
        now: float,
        *,
        reserved: bool,
        max_in_flight: int | None = None,
    ) -> Admission | Deferral:
        """Admit an attempt now, or return when to retry.

        `budget` is the webhook's retry budget in seconds. `reserved`: the job comes at its reserved time.
        `max_in_flight` is the webhook's limit of attempts in flight.
        """
        endpoint = self._endpoints.get(key) or self._made(key)
        breaker = self._breakers.get(owner) or self._breaker(owner, key, budget)
        with endpoint.lock:
            return endpoint.try_start(breaker, owner.app, now, reserved=reserved, max_in_flight=max_in_flight)

    def close_breakers(self, webhook: WebhookKey, now: float) -> float | None:
        """Close the breakers of a webhook. Returns for how many seconds it has failed, or None if none was open."""
        failing: float | None = None
        for owner, breaker in list(self._breakers.items()):
            key = self._homes.get(owner)
            if (owner.app, owner.webhook) != webhook or key is None:
                continue
            with self._made(key).lock:
                if not breaker.is_closed:
                    failing = max(failing or 0.0, now - breaker.failing_since)
                breaker.close()
        return failing

    def finish(self, admission: Admission, outcome: Outcome | None, now: float) -> None:
        """Report the end of an admitted attempt, with its outcome if it has one. Only the first report counts."""
        with admission.endpoint.lock:
            admission.endpoint.end(admission, outcome, now)

    def close(self, admission: Admission, now: float) -> None:
        """End an admission without an outcome, unless its end was already reported."""
        if admission.endpoint.has(admission):
            self.finish(admission, None, now)

    def check_overdue(self, admission: Admission, now: float) -> None:
        """Check whether a running attempt is overdue, so that its endpoint becomes suspect before others start."""
        with admission.endpoint.lock:
            admission.endpoint.check_overdue(now)

    def forget_idle(self, now: float) -> None:
        """Remove endpoints and breakers that were not used for a while, to bound memory."""
        since = now - (FORGOTTEN_AFTER_IF_MANY if len(self._endpoints) > MANY_ENDPOINTS else FORGOTTEN_AFTER)
        for key, endpoint in list(self._endpoints.items()):
            with endpoint.lock:
                if endpoint.is_idle(since, now):
                    self._endpoints.pop(key, None)
        for owner, breaker in list(self._breakers.items()):
            if breaker.used_at < since and breaker.open_until < now and not breaker.in_flight:
                self._breakers.pop(owner, None)
                self._homes.pop(owner, None)

    def _made(self, key: EndpointKey) -> Endpoint:
        with self._lock:
            return self._endpoints.setdefault(key, Endpoint(self.limits, self._thread_budget))

    def _breaker(self, owner: BreakerKey, key: EndpointKey, budget: float) -> Breaker:
        limits = self.limits
        # The budget of a job that arrives while the breaker is open starts then; it must cover a probe or two.
        max_period = min(limits.breaker_max_period, budget / MIN_PERIODS_PER_BUDGET)
        with self._lock:
            self._homes[owner] = key
            return self._breakers.setdefault(owner, Breaker(limits.breaker_failures, limits.breaker_period, max_period))
