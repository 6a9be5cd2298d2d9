"""The server's clock is set while records wait. A test cannot do that, so it moves the records and what is known."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack

import pytest

from sockudo_queue.drivers.base import Driver, Retry
from sockudo_queue.drivers.redis import server_clock
from sockudo_queue.drivers.redis.driver import RedisDriver
from sockudo_queue.drivers.redis.server_clock import ANY_MOMENT, NO_MOMENT, STEP_MS, ServerClock
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable
from tests.drivers.conformance import is_idle, settle, take, take_all
from tests.drivers.redis_lists import SOURCES, RedisLists, link_to
from tests.drivers.redis_v2 import RedisV2
from tests.helpers.jobs import job, jobs
from tests.helpers.redis_proxy import RedisProxy

HOUR = 3_600.0
DAY = 24 * HOUR
LEASE_MS = 30_000
Queue = RedisLists | RedisV2


class Monotonic:
    """The clock of this process, in the hands of a test."""

    def __init__(self) -> None:
        self.ms = 1_000_000.0

    def __call__(self) -> float:
        return self.ms


@pytest.fixture
def monotonic(monkeypatch: pytest.MonkeyPatch) -> Monotonic:
    clock = Monotonic()
    monkeypatch.setattr(server_clock, "_monotonic_ms", clock)
    return clock


@pytest.fixture(params=["lists", "v2"])
def queue(request: pytest.FixtureRequest, lists: RedisLists, v2: RedisV2) -> Queue:
    return lists if request.param == "lists" else v2


def set_clock(queue: Queue, driver: RedisDriver, seconds: float) -> None:
    """Bring about what a step of the server's clock does: stored moments, and what is known of it, are off by it."""
    queue.advance(seconds)
    for status in driver._statuses.values():
        known = status.source.clock._ahead_ms
        assert known is not None
        status.source.clock._ahead_ms = known - seconds * 1000


def ready(queue: Queue) -> RedisDriver:
    driver = queue.driver()
    for status in driver._statuses.values():
        status.source.settle_and_claim(None)  # its clock is known then
    return driver


def dues(queue: Queue) -> list[float]:
    """Return in how many seconds what is delayed falls due."""
    seconds, micros = queue.client.time()
    key = queue.key("delayed") if isinstance(queue, RedisV2) else own_key(SOURCES[0], "delayed")
    return [score / 1000 - seconds - micros / 1e6 for _, score in queue.client.zrange(key, 0, -1, withscores=True)]


def delay(queue: Queue, driver: Driver, *seconds: float) -> None:
    queue.push(*jobs(len(seconds)))
    for each, claim in zip(seconds, take_all(driver), strict=True):
        assert settle(driver, claim, Retry(b"{}", round(each * 1000)))


def test_delayed_records_fall_due_on_time_after_the_clock_is_set_back(queue: Queue) -> None:
    driver = ready(queue)
    delay(queue, driver, 5, 20, 50)
    set_clock(queue, driver, -HOUR)
    assert min(dues(queue)) > HOUR

    assert is_idle(driver)
    driver.audit()

    assert dues(queue) == pytest.approx([5, 20, 50], abs=3)
    driver.audit()
    assert dues(queue) == pytest.approx([5, 20, 50], abs=3)


@pytest.mark.parametrize(("step", "due"), [(HOUR, 4 * HOUR), (100 * DAY, 3 * HOUR)])
def test_delay_longer_than_this_daemon_knows_is_never_shortened(queue: Queue, step: float, due: float) -> None:
    driver = ready(queue)
    delay(queue, ready(queue), 3 * HOUR)  # by another daemon
    set_clock(queue, driver, -step)
    assert is_idle(driver)
    driver.audit()
    driver.audit()

    assert dues(queue) == pytest.approx([due], abs=3)


def test_several_daemons_that_see_one_step_move_the_records_once(queue: Queue) -> None:
    driver, other = ready(queue), ready(queue)
    delay(queue, driver, 30)
    known = {key: status.source.clock._ahead_ms for key, status in other._statuses.items()}
    set_clock(queue, driver, -HOUR)
    for key, ahead_ms in known.items():
        assert ahead_ms is not None
        other._statuses[key].source.clock._ahead_ms = ahead_ms + HOUR * 1000
    for each in (driver, other):
        assert is_idle(each)
        each.audit()

    assert dues(queue) == pytest.approx([30], abs=3)


def test_a_lease_is_no_longer_than_a_lease_after_the_clock_was_set_back(queue: Queue) -> None:
    driver = ready(queue)
    queue.push(job(1))
    claim = take(driver)
    set_clock(queue, driver, -HOUR)
    assert is_idle(driver)
    driver.audit()

    queue.advance(61)
    assert take(queue.driver()).id == claim.id


def test_a_longer_delay_of_a_webhook_is_kept_without_a_step(queue: Queue) -> None:
    driver = ready(queue)
    delay(queue, driver, HOUR)
    assert is_idle(driver)
    driver.audit()

    assert dues(queue) == pytest.approx([HOUR], abs=3)


def test_claim_in_flight_is_not_taken_over_after_the_clock_is_set_forward(queue: Queue) -> None:
    driver = ready(queue)
    queue.push(job(1))
    claim = take(driver)
    set_clock(queue, driver, HOUR)

    assert is_idle(driver)

    assert driver.renew([claim]) == [True]
    assert settle(driver, claim)


def test_expired_leases_are_claimed_without_signs_of_a_clock_step(monotonic: Monotonic) -> None:
    clock = ServerClock(LEASE_MS)
    assert clock.expired_until() == ANY_MOMENT
    clock.record_time(5_000_000, monotonic.ms / 1000)
    monotonic.ms += 60_000
    assert clock.expired_until() == 5_060_000 + STEP_MS
    clock.record_time(5_060_000 - 4_000, monotonic.ms / 1000)  # a reply that took its time
    assert clock.set_back_ms() == 0


def test_a_long_silence_and_a_step_hold_them_back_for_half_a_lease(monotonic: Monotonic) -> None:
    clock = ServerClock(LEASE_MS)
    clock.record_time(5_000_000, monotonic.ms / 1000)
    clock.not_answered()
    monotonic.ms += LEASE_MS / 3 + 1
    clock.not_answered()
    assert clock.expired_until() == NO_MOMENT
    clock.answered()
    assert clock.expired_until() == NO_MOMENT
    monotonic.ms += LEASE_MS / 2 + 1
    assert clock.expired_until() > 0
    clock.record_time(clock.now_ms() + STEP_MS + 1, monotonic.ms / 1000)
    assert clock.expired_until() == NO_MOMENT
    monotonic.ms += LEASE_MS / 2 + 1
    assert clock.expired_until() > 0


def test_short_silence_delays_no_expired_lease(monotonic: Monotonic) -> None:
    clock = ServerClock(LEASE_MS)
    clock.not_answered()
    monotonic.ms += 5_000
    clock.answered()
    assert clock.expired_until() == ANY_MOMENT


def test_steps_back_add_up_until_they_are_made_good(monotonic: Monotonic) -> None:
    clock = ServerClock(LEASE_MS)
    clock.record_time(5_000_000, monotonic.ms / 1000)
    clock.record_time(5_000_000 - 20_000, monotonic.ms / 1000)
    clock.record_time(5_000_000 - 50_000, monotonic.ms / 1000)
    assert clock.set_back_ms() == 50_000
    clock.made_good(50_000)
    assert clock.set_back_ms() == 0


def test_a_reply_from_before_a_step_does_not_count_as_another(monotonic: Monotonic) -> None:
    clock = ServerClock(LEASE_MS)
    clock.record_time(10_000_000, monotonic.ms / 1000)
    asked_before = monotonic.ms / 1000
    monotonic.ms += 20
    clock.record_time(10_000_020 - 3_600_000, monotonic.ms / 1000)
    clock.record_time(10_000_010, asked_before)
    assert clock.expired_until() != NO_MOMENT
    clock.record_time(10_000_020 - 3_600_000, monotonic.ms / 1000)
    assert clock.set_back_ms() == 3_600_000


def test_a_step_forward_makes_an_earlier_one_good(monotonic: Monotonic) -> None:
    clock = ServerClock(LEASE_MS)
    for now_ms in (10_000_000, 6_400_000, 10_000_000):
        monotonic.ms += 1
        clock.record_time(now_ms, monotonic.ms / 1000)
    assert clock.set_back_ms() == pytest.approx(0, abs=2)


def test_a_process_that_is_stopped_before_it_reads_a_reply_sees_no_step(monotonic: Monotonic) -> None:
    clock = ServerClock(LEASE_MS)
    clock.record_time(10_000_000, monotonic.ms / 1000)
    asked_at = monotonic.ms / 1000
    monotonic.ms += 12_000
    clock.record_time(10_000_000, asked_at)
    clock.record_time(10_012_000, monotonic.ms / 1000)
    assert clock.set_back_ms() == 0
    assert clock.expired_until() == 10_012_000 + STEP_MS


def test_a_set_back_that_could_not_be_made_good_is_tried_again(lists: RedisLists, cleanup: ExitStack) -> None:
    proxy = cleanup.enter_context(RedisProxy(lists.server.port))
    driver = lists.over(link_to(proxy.port), sources=SOURCES[:1])
    assert is_idle(driver)
    delay(lists, driver, 30)
    set_clock(lists, driver, -HOUR)
    assert is_idle(driver)
    proxy.refuse()
    proxy.cut()
    with pytest.raises(BrokerUnavailable):
        driver.audit()
    proxy.heal()

    driver.audit()

    assert dues(lists) == pytest.approx([30], abs=3)


def test_a_long_refusal_holds_expired_leases_back_like_a_silence(monotonic: Monotonic) -> None:
    clock = ServerClock(LEASE_MS)
    clock.refused()
    monotonic.ms += LEASE_MS / 3 + 1
    clock.answered()  # a look is answered all the while
    clock.refused()
    assert clock.expired_until() == NO_MOMENT
    clock.record_time(5_000_000, monotonic.ms / 1000)
    assert clock.expired_until() == NO_MOMENT
    monotonic.ms += LEASE_MS / 2 + 1
    assert clock.expired_until() > 0


@pytest.mark.parametrize("call", ["renew", "settle", "look"])
def test_leases_that_expire_while_writes_are_refused_are_left_to_their_owners(
    monotonic: Monotonic, queue: Queue, cleanup: ExitStack, call: str
) -> None:
    driver, other = ready(queue), ready(queue)
    queue.push(job(1))
    claim = take(driver)
    asks: dict[str, Callable[[], object]] = {
        "renew": lambda: driver.renew([claim]),
        "settle": lambda: settle(driver, claim),
        "look": lambda: other.wait(claim.source, 0),
    }
    queue.client.config_set("min-replicas-to-write", 1)
    cleanup.callback(queue.client.config_set, "min-replicas-to-write", 0)
    if queue.server.kind == "redis-6.0":  # it takes scripts all the same, so its leases can be kept
        assert driver.renew([claim]) == [True]
        return
    refusing = other if call == "look" else driver
    for _ in range(2):
        with pytest.raises(BrokerRefused, match="NOREPLICAS"):
            asks[call]()
        monotonic.ms += 25_000  # of a lease of 60 s
    monotonic.ms += 25_000
    queue.client.config_set("min-replicas-to-write", 0)
    advance_all(queue, refusing, 75)

    assert refusing.next(None).claim is None
    assert driver.renew([claim]) == [True]
    assert settle(driver, claim)


def advance_all(queue: Queue, driver: RedisDriver, seconds: float) -> None:
    """Let leases expire; the clock of this process, which a test holds, has gone on as well."""
    queue.advance(seconds)
    for status in driver._statuses.values():
        known = status.source.clock._ahead_ms
        assert known is not None
        status.source.clock._ahead_ms = known - seconds * 1000
