"""Delivery "at-most-once": fresh jobs are popped and no more, retries are kept in our own keys."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from sockudo_queue.drivers.base import DeadLetter, Disposition, RecordAudit, Requeue, Retry, Settlement
from sockudo_queue.drivers.redis.at_most_once import RedisAtMostOnceDriver
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.errors import BrokerRefused, BrokerUnavailable, SourceRefused
from tests.drivers.conformance import BODIES, LEASE_SECONDS, Kept, settle, take
from tests.drivers.redis_lists import SOURCES, RedisLists, full
from tests.helpers.jobs import jobs
from tests.helpers.redis_proxy import RedisProxy


@pytest.fixture
def driver(lists: RedisLists) -> RedisAtMostOnceDriver:
    return lists.at_most_once()


def keys_of(lists: RedisLists) -> set[str]:
    return {key.decode() for key in lists.client.keys("*")}


@pytest.mark.parametrize("source", SOURCES)
def test_a_job_is_popped_and_nothing_is_kept(lists: RedisLists, driver: RedisAtMostOnceDriver, source: str) -> None:
    lists.client.rpush(source, *jobs(3))

    claims = [take(driver) for _ in range(3)]

    assert [claim.body for claim in claims] == jobs(3)
    assert {claim.source for claim in claims} == {source}
    assert len({claim.id for claim in claims}) == 3
    assert abs(claims[0].server_ms - time.time() * 1000) < 2000
    assert lists.is_empty()
    assert driver.settle([Settlement(claim) for claim in claims]) == [True] * 3
    assert lists.is_empty()


def test_driver_has_no_sources_and_waits_in_next(lists: RedisLists, driver: RedisAtMostOnceDriver) -> None:
    assert driver.sources == ()
    started = time.monotonic()

    assert driver.next(None).claim is None

    assert 0.9 < time.monotonic() - started < 2.5


def test_neither_key_starves(lists: RedisLists, driver: RedisAtMostOnceDriver) -> None:
    for source in SOURCES:
        lists.client.rpush(source, *jobs(100))

    sources = [take(driver).source for _ in range(100)]

    assert min(sources.count(source) for source in SOURCES) >= 40


def test_a_claim_of_a_fresh_job_has_no_lease(lists: RedisLists, driver: RedisAtMostOnceDriver) -> None:
    lists.push(b"job")
    claim = take(driver)
    lists.advance(LEASE_SECONDS * 10)

    assert driver.renew([claim]) == [True]
    assert driver.depth() == {"ready": 0, "active": 0, "delayed": 0, "held": 0, "dead-letter": 0}


@pytest.mark.parametrize("name", BODIES)
def test_a_retry_is_kept_and_claimed_under_a_lease(lists: RedisLists, driver: RedisAtMostOnceDriver, name: str) -> None:
    lists.push(BODIES[name])
    claim = take(driver)
    assert settle(driver, claim, Retry(b"tried", 5000))
    assert driver.depth()["delayed"] == 1
    lists.advance(5)

    again = take(driver)

    assert (again.body, again.state, again.id, again.receipt) == (
        BODIES[name],
        b"tried",
        claim.id,
        f"{claim.id}/1",
    )
    assert driver.renew([again, claim]) == [True, True]
    lists.advance(LEASE_SECONDS)
    lapsed = take(driver)
    assert (lapsed.receipt, lapsed.lapses) == (f"{claim.id}/2", 1)
    assert driver.renew([again, lapsed]) == [False, True]
    assert driver.settle([Settlement(again), Settlement(lapsed)]) == [False, True]
    assert lists.is_empty()


def test_a_popped_job_splits_into_shares(lists: RedisLists, driver: RedisAtMostOnceDriver) -> None:
    lists.push(b"job")
    claim = take(driver)

    assert settle(driver, claim, Retry(b"later", 1000), DeadLetter(b"dead", "refused"), Requeue(b"back"), splits=True)

    first = take(driver)
    assert (first.id, first.state, first.body) == (f"{claim.id}.2", b"back", b"job")
    lists.advance(1)
    assert take(driver).id == f"{claim.id}.0"
    assert lists.dead_letters() == [Kept(f"{claim.id}.1", b"job", b"dead")]


def test_a_drain_puts_back_into_our_own_keys_in_the_order_of_the_claims(
    lists: RedisLists, driver: RedisAtMostOnceDriver
) -> None:
    lists.push(*jobs(4))
    claims = [take(driver) for _ in range(3)]

    assert driver.settle([Settlement(claim, (Requeue(),)) for claim in reversed(claims)]) == [True] * 3

    assert lists.client.lrange(lists.pushed, 0, -1) == jobs(4)[3:]
    driver.close()
    another = lists.at_most_once()
    assert [take(another).body for _ in range(4)] == jobs(4)


def test_job_that_crashed_a_worker_counts_as_lapsed(lists: RedisLists, driver: RedisAtMostOnceDriver) -> None:
    lists.push(b"job")
    for lapses in range(3):
        claim = take(driver)
        assert claim.lapses == lapses
        assert settle(driver, claim, Requeue(b"s", lapsed=True))


def test_the_oldest_dead_letters_give_way_and_are_counted(lists: RedisLists, cleanup: ExitStack) -> None:
    driver = lists.at_most_once()
    driver._dead_retention = 1
    lists.push(*jobs(4))
    trimmed = 0
    claims = [take(driver) for _ in range(3)]
    for claim in claims:
        assert settle(driver, claim, DeadLetter(b"d", "x"))
    trimmed += driver.next(None).trimmed

    assert trimmed == 2
    assert driver.depth()["dead-letter"] == 1


def test_repeating_a_settle_keeps_a_record_once(lists: RedisLists) -> None:
    with RedisProxy(lists.server.port) as proxy:
        driver = lists.at_most_once(proxy.port)
        lists.push(b"other", b"job")
        assert settle(driver, take(driver), DeadLetter(b"d", "x"))  # loads the script
        settlement = Settlement(take(driver), (Retry(b"a", 1000), Retry(b"b", 1000)), splits=True)
        proxy.drop_replies(commands=["EVALSHA"], limit=1)
        with pytest.raises(BrokerUnavailable):
            driver.next(settlement)
        lists.advance(1)
        taken = take(driver)

        assert driver.settle([settlement]) == [True]

        assert driver.renew([taken]) == [True]
        assert driver.depth() == {"ready": 0, "active": 1, "delayed": 1, "held": 0, "dead-letter": 1}


@pytest.mark.parametrize("part", [Retry(b"s", 0), Requeue(b"s"), DeadLetter(b"s", "x")])
def test_refused_settlement_leaves_no_copy_and_is_stored_when_it_is_repeated(
    lists: RedisLists, driver: RedisAtMostOnceDriver, part: Disposition
) -> None:
    """A copy without a place would count as stored, and an audit would put it back."""
    lists.push(b"job")
    settlement = Settlement(take(driver), (part,))
    refused = own_key(SOURCES[0], "dead" if isinstance(part, DeadLetter) else "delayed")
    lists.client.set(refused, "of another type")
    for _ in range(3):
        with pytest.raises(BrokerRefused):
            driver.settle([settlement])
    assert keys_of(lists) == {refused}

    lists.client.delete(refused)
    assert driver.settle([settlement]) == [True]
    assert driver.audit() == RecordAudit(0, 0, 0)
    kept = [each.body for each in lists.dead_letters()] if isinstance(part, DeadLetter) else [take(driver).body]
    assert kept == [b"job"]


def test_a_fault_after_the_settle_does_not_hide_it(lists: RedisLists) -> None:
    with RedisProxy(lists.server.port) as proxy:
        driver = lists.at_most_once(proxy.port)
        lists.push(b"job", b"popped in vain")
        claim = take(driver)
        proxy.drop_replies(commands=["BLPOP"], limit=1)

        result = driver.next(Settlement(claim, (Retry(b"s", 60_000),)))

        assert proxy.dropped == ["BLPOP"]
        assert result.accepted
        assert result.claim is None
        assert driver.depth()["delayed"] == 1


def test_nothing_is_asked_between_a_pop_and_its_claim(lists: RedisLists) -> None:
    with RedisProxy(lists.server.port) as proxy:
        driver = lists.at_most_once(proxy.port)
        lists.push(b"connects")
        take(driver)
        lists.push(*jobs(2))
        proxy.drop_replies(when=lambda command: command not in {"EVALSHA", "BLPOP"})

        assert [take(driver).body for _ in range(2)] == jobs(2)


def test_a_full_server_can_be_drained(lists: RedisLists, driver: RedisAtMostOnceDriver) -> None:
    lists.push(*jobs(4))
    claims = [take(driver), take(driver)]
    full(lists.client)

    assert settle(driver, claims[0], Retry(b"s", 60_000))
    assert settle(driver, claims[1], DeadLetter(b"d", "x"), Requeue(b"s"), splits=True)
    assert take(driver).state == b"s"
    assert take(driver).body == jobs(4)[2]

    assert driver.depth() == {"ready": 1, "active": 1, "delayed": 1, "held": 0, "dead-letter": 1}


def test_depth_and_put_see_both_lists(lists: RedisLists, driver: RedisAtMostOnceDriver) -> None:
    driver.put(b"ours")
    lists.client.rpush(SOURCES[1], b"theirs")

    assert driver.depth() == {"ready": 2, "active": 0, "delayed": 0, "held": 0, "dead-letter": 0}
    assert driver.peek() == [b"ours", b"theirs"]
    assert lists.client.lrange(SOURCES[0], 0, -1) == [b"ours"]


def test_records_of_the_other_delivery_mode_are_taken_over(lists: RedisLists) -> None:
    """A change of the setting must not strand what the driver before has kept; `ready` is emptied by the other."""
    lists.push(b"job")
    before = lists.driver()
    settle(before, take(before), Retry(b"s", 0))

    after = lists.at_most_once()

    assert take(after).state == b"s"
    assert keys_of(lists) == {own_key(SOURCES[0], part) for part in ("records", "active")}


@pytest.mark.parametrize("key", [SOURCES[1], own_key(SOURCES[1], "active")])
def test_refused_list_stops_all_and_is_not_blamed_on_one_source(
    lists: RedisLists, driver: RedisAtMostOnceDriver, key: str
) -> None:
    """A refusal of one source would leave the daemon ready while nothing is popped."""
    lists.client.set(key, "of another type")

    with pytest.raises(BrokerRefused) as raised:
        driver.next(None)
    assert not isinstance(raised.value, SourceRefused)
