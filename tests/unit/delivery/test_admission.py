"""Endpoints by the clock of the test: limits, suspicion, breaker, holds and reservations."""

from __future__ import annotations

import heapq
from itertools import pairwise
from typing import Final

import pytest
from msgspec.structs import replace

from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.core.outcome import Failure, Outcome, from_failure, from_status
from sockudo_queue.delivery.admission.circuit_breaker import Breaker, BreakerState
from sockudo_queue.delivery.admission.endpoint import (
    FIRST_RESERVATION,
    FORGOTTEN_AFTER,
    MANY_ENDPOINTS,
    MAX_RESERVATION,
    Admission,
    BreakerKey,
    Deferral,
    EndpointKey,
    EndpointRegistry,
)
from sockudo_queue.delivery.admission.place_schedule import FIRST_PLAN
from sockudo_queue.delivery.admission.thread_budget import FIRST_PLACES, KEPT_FREE, SUSPECT_LIMIT, AdmissionLimits
from sockudo_queue.pipeline import deferrals

LIMITS: Final = AdmissionLimits(
    concurrency=5,
    max_slow=32,
    slow=0.1,
    breaker_failures=5,
    breaker_period=5.0,
    breaker_max_period=60.0,
)
ALL: Final = LIMITS.concurrency + LIMITS.max_slow
KEY: Final = EndpointKey("https", "example.com", 443)
OTHER: Final = EndpointKey("https", "other.example", 443)
OK: Final = from_status(200)
FAILED: Final = from_status(500)
GONE: Final = from_status(410)
TIMEOUT: Final = from_failure(Failure.DEADLINE)


def url_of(key: EndpointKey) -> str:
    return f"{key.scheme}://{key.host}:{key.port}/"


class World:
    """Endpoints with a clock."""

    def __init__(self, limits: AdmissionLimits = LIMITS) -> None:
        self.endpoints = EndpointRegistry(limits)
        self.now = 1000.0
        self.breakers: dict[tuple[str, EndpointKey], Breaker] = {}  # of what has been admitted

    def ask(
        self,
        webhook: str = "hook",
        key: EndpointKey = KEY,
        *,
        reserved: bool = False,
        app: str = "app",
        url: str | None = None,
        budget: float = 300.0,
        max_in_flight: int | None = None,
    ) -> Admission | Deferral:
        owner = BreakerKey(app, webhook, url or url_of(key))
        answer = self.endpoints.admit(key, owner, budget, self.now, reserved=reserved, max_in_flight=max_in_flight)
        if isinstance(answer, Admission):
            self.breakers[webhook, key] = answer.breaker
        return answer

    def start(
        self,
        webhook: str = "hook",
        key: EndpointKey = KEY,
        *,
        reserved: bool = False,
        app: str = "app",
        max_in_flight: int | None = None,
    ) -> Admission:
        answer = self.ask(webhook, key, reserved=reserved, app=app, max_in_flight=max_in_flight)
        assert isinstance(answer, Admission), answer
        return answer

    def defer(self, webhook: str = "hook", key: EndpointKey = KEY, *, reserved: bool = False) -> Deferral:
        answer = self.ask(webhook, key, reserved=reserved)
        assert isinstance(answer, Deferral), answer
        return answer

    def end(self, admission: Admission, outcome: Outcome | None = OK) -> None:
        self.endpoints.finish(admission, outcome, self.now)

    def attempt(
        self,
        outcome: Outcome | None = OK,
        took: float = 0.02,
        webhook: str = "hook",
        key: EndpointKey = KEY,
        app: str = "app",
    ) -> None:
        admission = self.start(webhook, key, app=app)
        self.now += took
        self.end(admission, outcome)

    def state(self, webhook: str = "hook", key: EndpointKey = KEY) -> BreakerState:
        return self.breakers[webhook, key].state(self.now)

    def open_breaker(self, webhook: str = "hook", key: EndpointKey = KEY) -> None:
        for _ in range(LIMITS.breaker_failures):
            self.attempt(FAILED, webhook=webhook, key=key)
        assert self.state(webhook, key) is BreakerState.OPEN

    def make_slow(self, took: float = 0.2, key: EndpointKey = KEY, webhook: str = "hook") -> None:
        for _ in range(3):
            self.attempt(OK, took, webhook, key)


@pytest.fixture
def world() -> World:
    return World()


# In flight


def test_healthy_endpoint_may_use_all_slots(world: World) -> None:
    world.attempt()
    started = [world.start() for _ in range(ALL)]

    assert not any(admission.slow for admission in started)
    assert isinstance(world.ask(), Deferral)


def test_ending_an_attempt_twice_counts_once(world: World) -> None:
    admissions = [world.start(), world.start()]
    world.end(admissions[0])
    world.end(admissions[0], FAILED)
    world.end(admissions[0], None)

    assert admissions[0].endpoint.in_flight == 1
    assert admissions[0].breaker.failures == 0


def test_endpoints_are_distinguished_by_scheme_host_and_port(world: World) -> None:
    world.start(key=KEY)
    for key in (OTHER, EndpointKey("http", "example.com", 443), EndpointKey("https", "example.com", 8443)):
        assert world.start(key=key).endpoint.in_flight == 1


# Suspicion


def test_an_endpoint_is_suspect_when_nothing_succeeds_for_too_long(world: World) -> None:
    started = [world.start() for _ in range(3)]
    assert not any(admission.slow for admission in started)
    world.now += 0.11

    assert not world.defer().by_breaker
    for admission in started[1:]:
        world.end(admission, None)
    assert world.start(reserved=True).slow


def test_a_suspect_endpoint_has_two_in_flight_and_runs_beside_the_slots(world: World) -> None:
    first = world.start()
    world.now += 0.2
    second = world.start(reserved=True)

    assert second.slow
    assert first.endpoint.in_flight == SUSPECT_LIMIT == 2
    world.defer()
    world.defer(reserved=True)
    world.end(first, TIMEOUT)
    assert world.start(reserved=True).slow
    world.defer(reserved=True)


def test_a_success_clears_suspicion(world: World) -> None:
    world.start()
    world.now += 0.2
    second = world.start(reserved=True)
    assert second.slow
    world.defer()
    world.end(second)

    assert not world.start().slow


@pytest.mark.parametrize("outcome", [TIMEOUT, FAILED, from_status(429), from_failure(Failure.RESET), None])
def test_only_an_answer_of_the_endpoint_clears_suspicion(world: World, outcome: Outcome | None) -> None:
    first = world.start()
    world.now += 0.2
    world.start(reserved=True)
    world.end(first, outcome)

    assert world.start(reserved=True).slow


def test_usually_slow_endpoint_is_not_suspect_because_it_is_slow(world: World) -> None:
    world.make_slow(0.5)
    world.start()
    world.now += 1.4

    for _ in range(SUSPECT_LIMIT):  # with the first, one more than a suspect endpoint may have in flight
        world.start(reserved=True)
    world.now += 0.2
    world.defer(reserved=True)


# Slow endpoints


def test_a_slow_endpoint_runs_beside_the_slots(world: World) -> None:
    assert not world.start(key=OTHER).slow
    world.make_slow()

    assert world.start().slow


def places(world: World, key: EndpointKey = KEY) -> int:
    """Start attempts until the endpoint takes no more; return how many it has in flight then."""
    while isinstance(started := world.ask(key=key, reserved=True), Admission):
        endpoint = started.endpoint
    return endpoint.in_flight


def dead(number: int) -> EndpointKey:
    return EndpointKey("https", f"dead-{number}.example", 443)


def test_a_slow_endpoint_has_its_share_beside_others_and_more_alone(world: World) -> None:
    world.attempt(key=OTHER)
    world.make_slow()
    world.attempt(key=OTHER, took=0.01)
    beside = places(world)

    alone = World()
    alone.make_slow()
    alone.now += 2.0

    assert beside == LIMITS.max_slow - FIRST_PLACES
    assert places(alone) == ALL - KEPT_FREE - FIRST_PLACES


def test_a_slow_endpoint_alone_never_keeps_others_out(world: World) -> None:
    """Its backlog is long, but deliveries to other endpoints must get a thread: not all slots are lent."""
    world.make_slow()
    world.now += 2.0
    alone = places(world)

    for number in range(KEPT_FREE):
        world.end(world.start(key=EndpointKey("https", f"new-{number}.example", 443)))
    started = world.start(key=OTHER)
    world.now += 0.02
    world.end(started)

    assert not world.start(key=OTHER).slow
    held = list(world.endpoints._endpoints[KEY]._in_flight)
    assert len(held) == alone
    # From now on it has its share again: no attempt is admitted until enough have ended.
    endpoint = world.endpoints._endpoints[KEY]
    while endpoint.in_flight >= LIMITS.max_slow - FIRST_PLACES:
        assert isinstance(world.ask(reserved=True), Deferral)
        endpoint._in_flight.pop(held.pop())
        endpoint._count(world.now)
    world.start(reserved=True)


def test_endpoint_that_takes_seconds_never_uses_the_threads_of_the_slots(world: World) -> None:
    world.make_slow(3.0)
    world.now += 2.0

    assert places(world) <= LIMITS.max_slow


@pytest.mark.parametrize("count", [25, 40, 100])
def test_hanging_endpoints_together_leave_the_slots_free(world: World, count: int) -> None:
    """However many they are, and however often each is asked."""
    world.attempt(key=OTHER)
    for _ in range(20):
        for number in range(count):
            world.ask(key=dead(number), reserved=True)
        world.now += 0.11
        world.attempt(key=OTHER, took=0.01)

    in_flight = sum(endpoint.in_flight for endpoint in world.endpoints._endpoints.values())
    assert in_flight <= LIMITS.max_slow
    assert in_flight >= min(count, LIMITS.max_slow * 3 // 4)
    for _ in range(LIMITS.concurrency):
        assert not world.start(key=OTHER).slow


def test_recently_fast_endpoint_gets_a_thread_while_dozens_hang(world: World) -> None:
    """Also one that is rarely called, whose last success is too old to say that it does not hang with the others."""
    world.attempt(key=OTHER)
    for number in range(50):
        world.ask(key=dead(number))
    world.now += 30

    world.attempt(key=OTHER, took=0.02)


def test_endpoints_that_all_hang_at_once_are_noticed_by_their_attempts(world: World) -> None:
    """All have just answered, so nothing speaks against any of them; those in flight for too long do."""
    for number in range(100):
        world.attempt(key=dead(number), took=0.001)
    started: list[Admission] = []
    for number in range(100):
        answer = world.ask(key=dead(number))
        started += [answer] if isinstance(answer, Admission) else []
        world.now += LIMITS.slow / LIMITS.concurrency
        for admission in started:
            world.endpoints.check_overdue(admission, world.now)

    assert LIMITS.max_slow * 3 // 4 <= len(started) <= LIMITS.max_slow


@pytest.mark.parametrize("max_slow", [0, 1, 2])
def test_without_spare_workers_slow_and_dead_endpoints_leave_a_slot(max_slow: int) -> None:
    world = World(replace(LIMITS, max_slow=max_slow))
    world.make_slow()
    world.attempt(key=OTHER, took=0.01)

    assert 1 <= places(world) <= LIMITS.concurrency // 2
    for number in range(20):
        world.ask(key=dead(number))
    assert isinstance(world.ask(key=OTHER), Admission)


def test_single_slot_serves_every_endpoint() -> None:
    world = World(replace(LIMITS, concurrency=1, max_slow=0))
    for key in (KEY, OTHER):
        world.make_slow(key=key)
        assert world.state() is BreakerState.CLOSED
        world.attempt(key=key, took=0.3)


def test_the_more_slots_the_more_a_slow_endpoint_may_use_alone() -> None:
    world = World(replace(LIMITS, concurrency=128))
    world.make_slow()
    world.now += 2.0

    assert places(world) >= 120


def test_burst_for_a_fast_endpoint_is_not_deferred_beside_a_slow_one(world: World) -> None:
    world.attempt(key=OTHER)
    world.make_slow()
    world.attempt(key=OTHER, took=0.01)
    places(world)
    world.now += 0.5

    assert all(not world.start(key=OTHER).slow for _ in range(5))


def test_slow_endpoints_share_the_spare_threads(world: World) -> None:
    keys = [EndpointKey("https", f"slow-{n}.example", 443) for n in range(4)]
    for key in keys:
        world.make_slow(key=key)
    held = [world.start(key=key, reserved=True) for key in keys]
    counts = dict.fromkeys(keys, 1)
    for key in keys:
        while isinstance(world.ask(key=key, reserved=True), Admission):
            counts[key] += 1

    assert len(held) == 4
    assert max(counts.values()) <= LIMITS.max_slow // 3
    assert sum(counts.values()) <= LIMITS.max_slow
    assert min(counts.values()) >= SUSPECT_LIMIT


def test_slow_endpoint_that_answers_gets_a_thread_while_dozens_hang(world: World) -> None:
    """On a machine that is slow for a moment, this is any endpoint."""
    world.make_slow(0.2)
    for _ in range(5):
        for number in range(40):
            world.ask(key=dead(number))
        world.now += 0.11
        world.attempt(key=KEY, took=0.01)


def test_slow_first_answer_defers_deliveries_only_briefly(world: World) -> None:
    """Forty endpoints hang, and the first answer of another took long, because the machine was busy with them."""
    first = world.start(key=KEY)
    for number in range(40):
        world.ask(key=dead(number))
    world.now += 0.5
    world.end(first)

    answers = [world.ask(key=KEY) for _ in range(200)]

    assert max(answer.delay for answer in answers if isinstance(answer, Deferral)) <= FIRST_RESERVATION


def test_ten_fast_answers_outweigh_a_slow_first_one(world: World) -> None:
    world.attempt(took=0.5)
    for _ in range(9):
        world.attempt(took=0.02)

    assert not world.start().slow


# Apps


def rounds(world: World, app: str, count: int, number: int = 20) -> int:
    """Let an app ask again and again for many endpoints that hang; return how many attempts it has in flight."""
    for _ in range(number):
        for each in range(count):
            world.ask("hook", EndpointKey("https", f"{app}-{each}.example", 443), reserved=True, app=app)
        world.now += 0.11
        for endpoint in list(world.endpoints._endpoints.values()):
            endpoint.check_overdue(world.now)
    return in_flight_of(world, app)


def in_flight_of(world: World, app: str) -> int:
    endpoints = world.endpoints._endpoints.values()
    return sum(token.app == app for endpoint in endpoints for token in endpoint._in_flight)


@pytest.mark.parametrize("count", [1, 20, 45, 200])
def test_endpoints_of_one_app_that_hang_leave_places_to_other_apps(world: World, count: int) -> None:
    world.attempt(key=OTHER, app="known")
    world.now += 61  # so that nothing speaks for it any more

    held = rounds(world, "hostile", count)

    assert held >= min(count, LIMITS.max_slow * 3 // 4) or count == 1
    for key, app in ((KEY, "new"), (OTHER, "known"), (dead(0), "third"), (dead(1), "fourth")):
        assert not world.start(key=key, app=app).slow


def test_second_app_whose_endpoints_hang_takes_no_more_than_its_fair_share(world: World) -> None:
    first = rounds(world, "first", 45, 3)
    second = rounds(world, "second", 45, 3)

    assert first >= LIMITS.max_slow * 3 // 4
    assert first + second == LIMITS.max_slow
    assert second <= LIMITS.max_slow // 3


def test_many_apps_with_one_endpoint_each_that_hangs_leave_the_slots_free(world: World) -> None:
    world.attempt(key=OTHER)
    for number in range(60):
        world.ask(key=dead(number), app=f"app-{number}")
    world.now += 0.11
    world.attempt(key=OTHER, took=0.01)

    for _ in range(LIMITS.concurrency):
        assert not world.start(key=OTHER).slow


def test_quick_endpoints_of_one_app_that_begin_to_hang_leave_threads_to_other_apps(world: World) -> None:
    for number in range(60):
        world.attempt(key=dead(number), took=0.001, app="hostile")
    for _ in range(20):
        for number in range(60):
            world.ask(key=dead(number), app="hostile", reserved=True)
            world.now += LIMITS.slow / LIMITS.concurrency
            for endpoint in world.endpoints._endpoints.values():
                endpoint.check_overdue(world.now)

    assert in_flight_of(world, "hostile") <= ALL - FIRST_PLACES
    for number in range(FIRST_PLACES):
        world.attempt(key=EndpointKey("https", f"new-{number}.example", 443), app="new")


def test_fast_endpoint_with_every_slot_that_begins_to_hang_does_not_block_other_apps() -> None:
    world = World(replace(LIMITS, concurrency=64))
    world.attempt(app="hostile")
    for _ in range(64):
        world.start(app="hostile")
    world.now += 0.11
    world.endpoints._endpoints[KEY].check_overdue(world.now)

    for number in range(FIRST_PLACES):
        world.start(key=dead(number), app="new")
    for number in range(200):
        world.ask(key=dead(number), app=f"app-{number}")
    assert sum(endpoint.in_flight for endpoint in world.endpoints._endpoints.values()) <= 64 + LIMITS.max_slow // 4


def test_busy_endpoint_of_an_app_leaves_a_place_to_the_next_one_of_it(world: World) -> None:
    world.make_slow(3.0)
    assert places(world) == LIMITS.max_slow * 3 // 4

    world.start(key=OTHER)


def test_slow_endpoints_of_one_app_leave_places_to_other_apps(world: World) -> None:
    world.attempt(key=OTHER)
    for number in range(40):
        world.make_slow(0.2, key=dead(number))
    world.attempt(key=OTHER, took=0.01)
    for _ in range(2):
        for number in range(40):
            world.ask(key=dead(number), reserved=True)

    world.start(key=EndpointKey("https", "new.example", 443), app="new")


def test_new_webhooks_of_many_apps_at_hanging_endpoints_leave_the_slots_free(world: World) -> None:
    world.attempt(key=OTHER)
    for number in range(30):
        for _ in range(SUSPECT_LIMIT):
            world.ask(key=dead(number), app=f"app-{number}")
    world.now += 0.11
    world.attempt(key=OTHER, took=0.01)
    for number in range(30):
        world.ask("new", key=dead(number), app=f"new-{number}")

    assert sum(endpoint.in_flight for endpoint in world.endpoints._endpoints.values()) <= LIMITS.max_slow
    for _ in range(LIMITS.concurrency):
        assert not world.start(key=OTHER).slow


def test_backlog_of_an_app_at_its_limit_is_not_retried_immediately(world: World) -> None:
    rounds(world, "hostile", 45, 3)

    delays = [world.ask(key=dead(number), app="hostile") for number in range(3000)]

    assert sum(isinstance(each, Deferral) and (each.grows or each.delay > 1) for each in delays) > 2000


# Webhooks at one endpoint


def test_hanging_webhook_takes_two_threads_even_beside_working_webhooks(world: World) -> None:
    """The successes of others do not clear it: it would take one thread after the other."""
    hanging = 0
    for _ in range(200):
        world.attempt(OK, 0.01, webhook="good")
        world.now += 0.01
        hanging += isinstance(world.ask("bad"), Admission)

    assert hanging <= LIMITS.slow / 0.02 + SUSPECT_LIMIT
    assert world.defer("bad").grows
    world.start("good")


@pytest.mark.parametrize("apps", [1, 40])
def test_many_webhooks_that_hang_beside_one_that_is_answered_leave_the_slots_free(world: World, apps: int) -> None:
    """One host for many tenants: each may have two, and all of them together no more than the spare workers."""
    world.attempt(key=OTHER)
    world.attempt(OK, 0.01, webhook="good")
    for _ in range(5):
        for number in range(40):
            world.ask(f"bad-{number}", reserved=True, app=f"app-{number}" if apps > 1 else "app")
            world.now += LIMITS.slow / LIMITS.concurrency  # until the slot that it took is free again
            world.endpoints._endpoints[KEY].check_overdue(world.now)  # as the supervisor does for what takes long
            world.attempt(OK, 0.001, webhook="good")

    assert world.endpoints._endpoints[KEY].in_flight <= LIMITS.max_slow + LIMITS.concurrency // 2
    world.attempt(key=OTHER, took=0.01)  # one at a time, until it is answered again
    for _ in range(KEPT_FREE):
        assert not world.start(key=OTHER).slow
    world.start("good")


def test_slow_webhook_beside_fast_ones_is_not_treated_as_hanging(world: World) -> None:
    for _ in range(5):
        world.attempt(OK, 0.01, webhook="quick")
    first = world.start("slow")
    for _ in range(30):
        world.attempt(OK, 0.01, webhook="quick")
    world.end(first)
    for _ in range(5):
        world.start("slow")
    for _ in range(60):  # longer than a quick one may take, and within what is usual for this one
        world.attempt(OK, 0.01, webhook="quick")

    world.start("slow")


def test_a_webhook_that_was_answered_lately_starts_beside_those_that_hang(world: World) -> None:
    """The places of a suspect endpoint are always taken by the many that hang there, and it would never come again."""
    world.attempt(OK, 0.01, webhook="good")
    for _ in range(5):  # before it could be known
        world.start("bad")
    world.now += 0.2
    world.defer("bad", reserved=True)

    answered = world.start("good")
    world.defer("good")  # one at a time, until it is answered
    world.now += 0.02
    world.end(answered)

    assert not world.start("good").slow


def test_retries_are_hardly_delayed_by_two_hanging_webhooks_at_the_endpoint(world: World) -> None:
    """It gets answers, if bad ones. On another host than those that hang its retries would be on time."""
    world.attempt(FAILED, 0.01, webhook="failing")
    for _ in range(SUSPECT_LIMIT):
        world.start("bad")
    world.now += 8.0

    first, *others = [world.ask("failing", reserved=True) for _ in range(4)]

    assert isinstance(first, Admission)
    delays = [answer.delay for answer in others if isinstance(answer, Deferral)]
    assert len(delays) == len(others)
    assert max(delays) < 1
    world.now += 0.01
    world.end(first, FAILED)
    for delay in delays:
        world.now += delay
        world.end(world.start("failing", reserved=True), FAILED)


def test_a_webhook_that_was_never_called_starts_beside_two_that_hang_at_its_endpoint(world: World) -> None:
    for _ in range(SUSPECT_LIMIT):
        world.start("bad")
    world.now += 8.0

    world.attempt(OK, 0.01, webhook="new")
    assert not world.start("another").slow


def test_new_webhooks_that_hang_at_a_suspect_endpoint_leave_a_place_to_one_that_answers(world: World) -> None:
    world.attempt(OK, 0.01, webhook="good")
    for _ in range(SUSPECT_LIMIT):
        world.start("bad")
    world.now += 8.0
    for number in range(20):
        world.ask(f"new-{number}")

    assert world.endpoints._endpoints[KEY].in_flight == 2 * SUSPECT_LIMIT - 1
    world.attempt(OK, 0.01, webhook="good")


def test_many_webhooks_of_a_dead_endpoint_get_no_extra_attempts(world: World) -> None:
    for number in range(30):
        world.attempt(OK, 0.001, webhook=f"hook-{number}")
    for _ in range(20):
        for number in range(30):
            world.ask(f"hook-{number}", reserved=True)
        world.now += 0.11

    assert world.endpoints._endpoints[KEY].in_flight <= 30  # those of the first moment, and none since


# The breaker


def test_the_breaker_opens_after_failures_in_a_row(world: World) -> None:
    for _ in range(LIMITS.breaker_failures - 1):
        world.attempt(FAILED)
    world.attempt(OK)
    for _ in range(LIMITS.breaker_failures - 1):
        world.attempt(TIMEOUT)
    assert world.state() is BreakerState.CLOSED

    world.attempt(from_status(429))

    assert world.state() is BreakerState.OPEN
    deferral = world.defer()
    assert deferral.by_breaker
    assert deferral.delay == pytest.approx(LIMITS.breaker_period)


@pytest.mark.parametrize(
    "outcome", [from_status(404), from_status(302), from_failure(Failure.GUARD), from_failure(Failure.INTERNAL), OK]
)
def test_failure_that_is_not_of_the_endpoint_does_not_open_the_breaker(world: World, outcome: Outcome) -> None:
    for _ in range(20):
        world.attempt(outcome)

    assert world.state() is BreakerState.CLOSED


@pytest.mark.parametrize("status", [408, 409, 425])
def test_answers_that_are_retried_in_a_row_open_the_breaker_too(world: World, status: int) -> None:
    """A receiver that answers nothing else would be called as often as its retry policy allows, for a day."""
    for outcome in [from_status(status)] * 4 + [OK] + [from_status(status)] * 4:
        world.attempt(outcome)
    assert world.state() is BreakerState.CLOSED

    world.attempt(from_status(status))

    assert world.state() is BreakerState.OPEN
    world.start("neighbour")


def test_a_half_open_breaker_lets_one_probe_through(world: World) -> None:
    world.open_breaker()
    world.now += LIMITS.breaker_period
    assert world.state() is BreakerState.HALF_OPEN

    probe = world.start()

    assert probe.is_probe
    for reserved in (True, False):
        assert world.defer(reserved=reserved).by_breaker
    world.now += 0.05
    world.end(probe, OK)
    assert world.state() is BreakerState.CLOSED
    assert not world.start().is_probe


def test_a_failed_probe_doubles_the_period_up_to_the_longest(world: World) -> None:
    world.open_breaker()
    waits = []
    for _ in range(6):
        world.now += world.defer().delay
        probe = world.start(reserved=True)
        world.end(probe, FAILED)
        waits.append(probe.breaker.open_until - world.now)

    assert waits == [10, 20, 40, 60, 60, 60]


def test_probe_without_an_outcome_allows_another_probe(world: World) -> None:
    world.open_breaker()
    world.now += LIMITS.breaker_period
    world.end(world.start(), None)

    assert world.start().is_probe


@pytest.mark.parametrize("outcome", [TIMEOUT, FAILED, None])
def test_attempt_started_before_the_breaker_opened_is_not_a_probe(world: World, outcome: Outcome | None) -> None:
    world.attempt()
    old = world.start()
    for _ in range(LIMITS.breaker_failures):
        world.end(world.start(), FAILED)
    world.now += LIMITS.breaker_period
    probe = world.start(reserved=True)
    period = probe.breaker.period

    world.end(old, outcome)

    assert world.state() is BreakerState.HALF_OPEN
    assert probe.breaker.period == period
    assert world.defer(reserved=True).by_breaker  # the probe is still under way
    world.end(probe, TIMEOUT)
    assert world.state() is BreakerState.OPEN
    assert probe.breaker.period == 2 * period


def test_success_of_an_attempt_started_before_the_breaker_opened_closes_it(world: World) -> None:
    world.attempt()
    old = world.start()
    for _ in range(LIMITS.breaker_failures):
        world.end(world.start(), FAILED)
    world.now += LIMITS.breaker_period
    world.start(reserved=True)

    world.end(old, OK)

    assert world.state() is BreakerState.CLOSED
    world.start()


def test_410_opens_the_breaker_immediately_for_the_longest_period(world: World) -> None:
    world.attempt(GONE)

    assert world.state() is BreakerState.OPEN
    assert world.defer().delay == pytest.approx(LIMITS.breaker_max_period)
    world.now += LIMITS.breaker_max_period
    world.end(world.start(), OK)
    assert world.state() is BreakerState.CLOSED


def test_breakers_are_per_webhook_and_app(world: World) -> None:
    world.open_breaker("one")

    world.start("two")
    assert isinstance(world.ask("one", app="another app"), Admission)
    world.defer("one")


@pytest.mark.parametrize("took", [0.02, 0.3])
def test_an_open_breaker_delays_no_other_webhook_of_the_endpoint(world: World, took: float) -> None:
    """Also where the endpoint is slow, as most of the world is."""
    world.make_slow(took, webhook="good")
    world.attempt(GONE, took, webhook="gone")
    world.now += LIMITS.breaker_max_period - 5
    world.attempt(OK, took, webhook="good")
    for _ in range(20):
        assert world.defer("gone").by_breaker

    for _ in range(5):
        world.attempt(OK, took, webhook="good")


def test_probe_of_an_earlier_outage_is_ignored_in_the_next(world: World) -> None:
    world.attempt()
    old = world.start()
    world.open_breaker()
    world.now += LIMITS.breaker_period
    stale = world.start(reserved=True)
    world.end(old, OK)  # closes it
    world.open_breaker()
    world.now += LIMITS.breaker_period
    probe = world.start(reserved=True)
    period = probe.breaker.period

    world.end(stale, TIMEOUT)

    assert probe.breaker.period == period
    assert world.defer(reserved=True).by_breaker  # the probe is still under way


def test_a_new_url_has_a_breaker_of_its_own(world: World) -> None:
    world.open_breaker()

    assert isinstance(world.ask(), Deferral)
    assert isinstance(world.ask(url="https://example.com/mended"), Admission)


def test_short_budget_leaves_time_for_a_probe(world: World) -> None:
    """Else what comes while the breaker is open would be given up without having been tried."""
    for _ in range(LIMITS.breaker_failures):
        admission = world.ask("short", budget=6.0)
        assert isinstance(admission, Admission)
        world.end(admission, FAILED)

    deferral = world.ask("short", budget=6.0)

    assert isinstance(deferral, Deferral)
    assert deferral.delay <= 2.0


# Forgetting


def test_endpoint_idle_for_long_is_forgotten(world: World) -> None:
    world.attempt()
    kept = world.start(key=OTHER)
    world.open_breaker("bad", dead(1))
    world.now += FORGOTTEN_AFTER + LIMITS.breaker_max_period
    world.attempt(key=dead(2))

    world.endpoints.forget_idle(world.now)

    assert set(world.endpoints._endpoints) == {OTHER, dead(2)}
    assert set(world.endpoints._breakers) == {BreakerKey("app", "hook", url_of(key)) for key in (OTHER, dead(2))}
    world.end(kept)


def test_many_idle_endpoints_are_forgotten_sooner(world: World) -> None:
    for number in range(3 * MANY_ENDPOINTS):
        world.attempt(key=dead(number), took=0.001)
        if number % 1000 == 0:
            world.endpoints.forget_idle(world.now)
    world.now += 11
    world.endpoints.forget_idle(world.now)

    assert len(world.endpoints) == 0


# Retry-After


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_holds_the_whole_endpoint(world: World, status: int) -> None:
    world.attempt(from_status(status, retry_after=7.0))

    for webhook in ("hook", "another"):
        deferral = world.defer(webhook)
        assert 7.0 <= deferral.delay <= 8.0
        assert not deferral.by_breaker
    world.now += 7.0
    world.start("another")


@pytest.mark.parametrize("outcome", [from_status(500, retry_after=7.0), from_status(503), from_status(429)])
def test_other_answers_hold_nothing(world: World, outcome: Outcome) -> None:
    world.attempt(outcome)

    world.start("another")


def test_a_hold_is_bounded(world: World) -> None:
    world.attempt(from_status(429, retry_after=10.0**9))

    assert world.defer("another").delay <= LIMITS.breaker_max_period + 1


def test_the_longer_hold_counts(world: World) -> None:
    both = [world.start(), world.start()]
    world.end(both[0], from_status(503, retry_after=9.0))
    world.end(both[1], from_status(503, retry_after=3.0))

    assert world.defer().delay >= 9.0


# Reservations


def test_reservations_are_spaced_by_the_pace_of_the_endpoint(world: World) -> None:
    world.attempt(key=OTHER)
    world.make_slow(0.2)
    world.attempt(key=OTHER, took=0.01)
    share = places(world)

    delays = [world.defer().delay for _ in range(10)]

    steps = [later - earlier for earlier, later in pairwise(delays)]
    assert steps == pytest.approx([0.2 / share * 1.1] * 9)


def test_the_first_of_an_open_breaker_is_its_probe_and_the_others_follow(world: World) -> None:
    world.open_breaker()

    delays = [world.defer().delay for _ in range(5)]

    assert delays[0] == pytest.approx(LIMITS.breaker_period)
    assert delays == sorted(delays)
    assert len(set(delays)) == 5


def test_a_reservation_is_never_further_than_the_longest(world: World) -> None:
    first = world.start()
    world.now += 8.0
    world.start(reserved=True)

    delays = [world.defer().delay for _ in range(50)]

    assert max(delays) <= MAX_RESERVATION
    asked = world.defer()
    assert (asked.reserved, asked.grows) == (False, True)  # that time is not reserved
    world.end(first, TIMEOUT)
    assert world.start(reserved=True).slow  # the endpoint is still suspect
    world.open_breaker("other hook", OTHER)
    assert max(world.defer("other hook", OTHER).delay for _ in range(3000)) <= MAX_RESERVATION


def test_a_burst_for_a_new_endpoint_is_not_held_to_the_pace_of_its_first_moment(world: World) -> None:
    first = world.start()
    world.now += 0.15
    answers = [world.ask() for _ in range(500)]
    assert [answer.slow for answer in answers if isinstance(answer, Admission)] == [True], "the endpoint is suspect"
    delays = [answer.delay for answer in answers if isinstance(answer, Deferral)]
    assert len(delays) > 490
    assert max(delays) <= FIRST_RESERVATION
    world.now += 0.05

    world.end(first)

    while isinstance(answer := world.ask(), Admission):
        pass
    assert answer.delay < 0.1, "it waits for the next free place and not behind the 500"


def test_a_slow_endpoint_that_was_silent_for_a_moment_is_not_held_to_the_pace_of_that_moment(world: World) -> None:
    world.make_slow()
    first = world.start()
    world.now += 1.0
    answers = [world.ask() for _ in range(500)]
    assert sum(isinstance(answer, Admission) for answer in answers) == SUSPECT_LIMIT - 1, "the endpoint is suspect"

    world.end(first)

    assert first.endpoint.is_slow
    while isinstance(answer := world.ask(), Admission):
        pass
    assert answer.delay < 0.1


def test_delivery_with_a_reservation_does_not_queue_again(world: World) -> None:
    first = world.start()
    world.now += 0.4
    world.start(reserved=True)
    for _ in range(20):
        world.defer()

    assert world.defer(reserved=True).delay == pytest.approx(0.2)
    world.end(first, TIMEOUT)
    world.defer()  # a newcomer waits behind those who have a place
    world.start(reserved=True)


def test_recovery_releases_every_reservation(world: World) -> None:
    first = world.start()
    world.now += 0.4
    for _ in range(20):
        world.ask()
    for _ in range(60):  # until it is usually quick again
        world.end(first)
        first = world.start(reserved=True)
        world.now += 0.01

    assert not first.endpoint.is_slow
    for _ in range(10):
        assert not world.start().slow


def test_recovery_closes_the_breaker_and_forgets_its_reservations(world: World) -> None:
    world.open_breaker()
    for _ in range(100):
        world.defer()
    world.now += LIMITS.breaker_period
    world.attempt(OK)

    for _ in range(ALL):
        world.start()


# The limit of a webhook


def test_attempts_in_flight_of_a_webhook_are_limited(world: World) -> None:
    world.attempt(took=0.02)
    first, second = (world.start(max_in_flight=2) for _ in range(2))
    later = world.ask(max_in_flight=2)
    assert isinstance(later, Deferral)
    assert not later.by_breaker
    assert 0 < later.delay < 0.1
    assert isinstance(world.ask("other", max_in_flight=None), Admission)
    world.end(first)
    world.now += later.delay
    assert isinstance(world.ask(reserved=True, max_in_flight=2), Admission)
    world.end(second)


def test_waiting_deliveries_go_before_new_ones_at_the_limit(world: World) -> None:
    world.attempt(took=0.2)
    first = world.start(max_in_flight=1)
    waits = world.ask(max_in_flight=1)
    assert isinstance(waits, Deferral)
    world.now += 0.01
    world.end(first)
    newcomer = world.ask(max_in_flight=1)
    assert isinstance(newcomer, Deferral)
    assert newcomer.delay > waits.delay - 0.01
    world.now += waits.delay
    assert isinstance(world.ask(reserved=True, max_in_flight=1), Admission)


def test_delivery_that_finds_no_place_at_its_time_gets_the_next_time_in_the_line(world: World) -> None:
    world.attempt(took=0.2)
    world.start(max_in_flight=1)
    waits = [world.ask(max_in_flight=1) for _ in range(3)]
    missed = world.ask(reserved=True, max_in_flight=1)
    delays = [answer.delay for answer in (*waits, missed) if isinstance(answer, Deferral)]
    assert delays == pytest.approx([0.2, 0.42, 0.64, 0.86])
    assert isinstance(missed, Deferral)
    assert missed.reserved
    assert not missed.grows


def test_few_deliveries_without_a_place_ask_again_when_an_attempt_ends(world: World) -> None:
    for _ in range(20):
        world.attempt(took=0.2)
    world.start(max_in_flight=1)
    delays = [
        answer.delay for _ in range(6) if isinstance(answer := world.ask(reserved=True, max_in_flight=1), Deferral)
    ]
    assert delays == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.42, 0.64], abs=0.01)


def test_few_deliveries_ask_while_the_attempts_of_a_limited_webhook_hang(world: World) -> None:
    for _ in range(20):
        world.attempt(took=0.02)
    world.start(max_in_flight=1)
    asked, began = 0, world.now
    waiting = [world.now] * 3
    while world.now < began + 10:
        world.now = min(waiting)
        waiting.remove(world.now)
        answer = world.ask(reserved=True, max_in_flight=1)
        assert isinstance(answer, Deferral)
        waiting.append(world.now + answer.delay)
        asked += 1
    assert asked < 60


@pytest.mark.parametrize(
    ("seconds", "max_in_flight", "count"), [(0.05, 3, 200), (0.3, 2, 40), (0.3, 2, 400), (3.0, 2, 40), (0.05, 8, 1_000)]
)
@pytest.mark.parametrize("is_known", [True, False])
def test_webhook_at_its_limit_keeps_most_of_its_throughput(
    world: World, seconds: float, max_in_flight: int, count: int, is_known: bool
) -> None:
    """A backlog keeps the places of a limited webhook taken, without an attempt above the limit, by few claims."""
    for _ in range(20 if is_known else 0):
        world.attempt(took=seconds)
    began = world.now
    asked = drain(world, seconds, max_in_flight, count)
    took, ideal = world.now - began, count * seconds / max_in_flight
    assert took < ideal * 1.3 + (0 if is_known else FIRST_PLAN / 2)
    assert asked / count < 7


def drain(world: World, seconds: float, max_in_flight: int, count: int) -> int:
    """Deliver a backlog to a limited webhook. Returns how often its deliveries asked for admission."""
    done = asked = 0
    waiting = [(world.now, number, False, 0) for number in range(count)]
    running: list[tuple[float, int, Admission]] = []
    while done < count:
        world.now = max(world.now, min(each[0][0] for each in (waiting, running) if each))
        while running and running[0][0] <= world.now:
            world.end(heapq.heappop(running)[2])
            done += 1
        while waiting and waiting[0][0] <= world.now:
            _, number, reserved, guesses = heapq.heappop(waiting)
            answer = world.ask(reserved=reserved, max_in_flight=max_in_flight)
            asked += 1
            if isinstance(answer, Admission):
                heapq.heappush(running, (world.now + seconds, number, answer))
                continue
            due = world.now + deferrals.delay_ms(answer, guesses) / 1000
            heapq.heappush(waiting, (due, number, answer.reserved, guesses + 1 if answer.grows else 0))
        assert len(running) <= max_in_flight
    return asked


def test_new_deliveries_do_not_wait_behind_the_plan_for_a_slower_endpoint(world: World) -> None:
    world.attempt(took=1.0)
    for _ in range(20):
        world.attempt(took=3.0)
    world.start(max_in_flight=1)
    for _ in range(30):
        world.ask(max_in_flight=1)
    for _ in range(30):
        admission = world.start(reserved=True, max_in_flight=2)
        world.now += 0.05
        world.end(admission)
    world.start(max_in_flight=2)


# What an operator closes


def test_operator_closes_the_breakers_of_one_webhook(world: World) -> None:
    world.open_breaker("hook")
    world.open_breaker("other")
    failing = world.endpoints.close_breakers(WebhookKey("app", "hook"), world.now + 4)
    assert failing is not None
    assert failing >= 4
    assert world.state("hook") is BreakerState.CLOSED
    assert world.state("other") is BreakerState.OPEN
    world.attempt(webhook="hook")
    assert world.endpoints.close_breakers(WebhookKey("app", "hook"), world.now) is None
    assert world.endpoints.close_breakers(WebhookKey("app", "nobody"), world.now) is None


def test_breaker_that_is_closed_by_an_operator_opens_again_after_as_many_failures(world: World) -> None:
    world.open_breaker()
    world.endpoints.close_breakers(WebhookKey("app", "hook"), world.now)
    world.open_breaker()
