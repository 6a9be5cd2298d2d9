"""Servers that limit the size of a request: a settlement or a replay of Queue V2 is not larger than its states."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Final

import pytest

from sockudo_queue.drivers.base import Claim, DeadLetter, Driver, Requeue, Retry, Settlement
from sockudo_queue.drivers.redis.driver import RedisDriver
from sockudo_queue.drivers.redis.source import own_key
from sockudo_queue.errors import BrokerRefused, SettlementRefused, SourceRefused
from tests.drivers.conformance import settle, take, take_all
from tests.drivers.redis_lists import RedisLists, link_to
from tests.drivers.redis_v2 import RedisV2
from tests.helpers.jobs import event, job
from tests.helpers.redis_proxy import RedisProxy

LIMIT: Final = 20_000
"""Bytes of a request; more than any script has."""
LARGE: Final = job(1, events=[event(channel="room-1", data="x" * 30_000)])
FORGED: Final = LARGE[:-1] + b',"sockudo_queue":"forged","sockudo_queue":"twice"}'
"""A job that seems to have a state already, so the server cannot append ours."""


@pytest.fixture
def proxy(v2: RedisV2, cleanup: ExitStack) -> RedisProxy:
    proxy = cleanup.enter_context(RedisProxy(v2.server.port))
    proxy.refuse_larger(LIMIT)
    return proxy


@pytest.fixture
def driver(v2: RedisV2, proxy: RedisProxy) -> RedisDriver:
    return v2.over(link_to(proxy.port))


def parts_of(driver: Driver) -> dict[bytes, bytes]:
    return {claim.state: claim.body for claim in take_all(driver)}


def test_a_large_job_of_several_webhooks_keeps_their_states(v2: RedisV2, driver: RedisDriver) -> None:
    v2.push(LARGE)
    claim = take(driver)
    parts = (Retry(b'{"a":1}', 0), Requeue(b'{"b":"\xc3\xbc\\""}'), DeadLetter(b'{"c":1}', "exhausted"))

    assert driver.settle([Settlement(claim, parts, splits=True)]) == [True]

    assert parts_of(driver) == {b'{"a":1}': claim.body, b'{"b":"\xc3\xbc\\""}': claim.body}
    [dead] = v2.dead_letters()
    assert (dead.state, dead.body) == (b'{"c":1}', claim.body)
    assert json.loads(claim.body)["payload"] == json.loads(LARGE)["payload"]


def test_a_share_is_retried_with_a_new_state_each_time(v2: RedisV2, driver: RedisDriver) -> None:
    v2.push(LARGE)
    claim = take(driver)
    assert settle(driver, claim, Retry(b'{"n":0}', 0))
    for tries in range(1, 4):
        claim = take(driver)
        assert claim.state == b'{"n":%d}' % (tries - 1)
        assert settle(driver, claim, Retry(b'{"n":%d}' % tries, 0))
    assert settle(driver, take(driver), DeadLetter(b'{"n":9}', "exhausted"))

    [dead] = v2.dead_letters()
    assert dead.body == claim.body
    assert json.loads(dead.body)["payload"] == json.loads(LARGE)["payload"]


def test_large_dead_letters_are_replayed(v2: RedisV2, proxy: RedisProxy, driver: RedisDriver) -> None:
    v2.push(*[LARGE] * 8)
    bodies = []
    for claim in take_all(driver):
        bodies.append(claim.body)
        assert settle(driver, claim, DeadLetter(b'{"d":1}', "exhausted"))
    letters = list(driver.dead_letters.letters())

    assert driver.dead_letters.replay(letters, [b'{"again":1}'] * 8) == [True] * 8

    again = take_all(driver)
    assert [claim.state for claim in again] == [b'{"again":1}'] * 8
    assert sorted(claim.body for claim in again) == sorted(bodies)
    assert proxy.refused == 0


def test_a_settlement_that_is_too_large_leaves_the_other_jobs_alone(v2: RedisV2, driver: RedisDriver) -> None:
    v2.push(FORGED, job(2), job(3))
    forged = take(driver)

    with pytest.raises(SettlementRefused, match="max request size exceeded"):
        driver.settle([Settlement(forged, (Retry(b"{}", 0),))])

    second = take(driver)
    with pytest.raises(SettlementRefused):
        driver.next(Settlement(forged, (Retry(b"{}", 0),)))
    assert settle(driver, take(driver))
    assert settle(driver, second)


@pytest.mark.parametrize("cause", ["right", "type"])
def test_refusal_of_every_settlement_is_not_blamed_on_one(
    lists: RedisLists, v2: RedisV2, cleanup: ExitStack, cause: str
) -> None:
    lists.client.execute_command("ACL", "SETUSER", "few", "reset", "on", ">p", "~*", "+@all")
    cleanup.callback(lists.client.execute_command, "ACL", "DELUSER", "few")
    driver = v2.over(link_to(lists.server.port, username="few", password="p"))
    for queue in (lists, v2):
        queue.push(job(1))
        claim = take(driver)
        if cause == "right":
            lists.client.execute_command("ACL", "SETUSER", "few", "-zadd")
        else:
            lists.client.set(own_key(claim.source, "dead"), "x")

        with pytest.raises(SourceRefused) as raised:
            driver.settle([Settlement(claim, (DeadLetter(b"{}", "exhausted"),))])

        assert not isinstance(raised.value, SettlementRefused)
        lists.client.execute_command("ACL", "SETUSER", "few", "+zadd")


def test_a_popped_job_that_may_not_be_kept_is_not_refused_alone(lists: RedisLists) -> None:
    driver = lists.at_most_once()
    lists.push(job(1))
    claim = popped(driver)
    lists.client.set(own_key(claim.source, "dead"), "x")

    with pytest.raises(BrokerRefused, match="WRONGTYPE") as raised:
        driver.settle([Settlement(claim, (DeadLetter(b"{}", "exhausted"),))])

    assert not isinstance(raised.value, SettlementRefused)


def test_a_payload_that_was_replaced_is_not_settled_as_the_old_one(v2: RedisV2) -> None:
    v2.push(job(1))
    driver = v2.driver()
    claim = take(driver)
    v2.client.hset(v2.key("jobs"), claim.id, job(22, events=[]))

    assert not settle(driver, claim, Retry(b"{}", 0))

    assert v2.client.hget(v2.key("jobs"), claim.id) == job(22, events=[])


def test_a_popped_job_that_is_too_large_to_be_kept_blocks_no_other(lists: RedisLists, cleanup: ExitStack) -> None:
    proxy = cleanup.enter_context(RedisProxy(lists.server.port))
    driver = lists.at_most_once(proxy.port)
    lists.push(LARGE, job(2))
    large = popped(driver)
    assert not large.leased
    settle(driver, popped(driver), Retry(b"{}", 3_600_000))
    proxy.refuse_larger(LIMIT)

    with pytest.raises(SettlementRefused):
        driver.settle([Settlement(large, (Retry(b"{}", 0),))])

    lists.push(job(3))
    assert popped(driver).body == job(3)


def popped(driver: Driver) -> Claim:
    """Wait for a job as a worker does."""
    claim = driver.next(None).claim
    assert claim is not None
    return claim
