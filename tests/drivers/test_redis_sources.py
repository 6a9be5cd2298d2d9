"""Two sources side by side, how a list is emptied and waited for, and what a call costs."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import pytest

from sockudo_queue.drivers.base import DeadLetter, Driver, Retry, Settlement
from sockudo_queue.drivers.redis import driver as driver_module
from sockudo_queue.drivers.redis.lists import GATHER_LIMIT
from tests.drivers.conformance import Kept, deliver_all, is_idle, settle, take, take_all
from tests.drivers.redis_lists import SOURCES, RedisLists, link_to
from tests.helpers.jobs import job, jobs
from tests.helpers.waiting import eventually

IN_A_ROW = 64  # claims from one source, while the other has work


def fill_both(lists: RedisLists, count: int) -> None:
    for source in SOURCES:
        lists.client.rpush(source, *jobs(count))


def longest_row(sources: list[str]) -> int:
    return max(len(list(row)) for _, row in groupby(sources))


def drained_by_next(driver: Driver) -> list[str]:
    return [claim.source for claim in deliver_all(driver)]


def drained_apart(driver: Driver) -> list[str]:
    """Settle and claim in two calls, as a worker does whose job others have finished."""
    order = []
    while (claim := driver.next(None).claim) is not None:
        order.append(claim.source)
        assert settle(driver, claim)
    return order


@pytest.mark.parametrize("drained", [drained_by_next, drained_apart])
@pytest.mark.parametrize("first_rung", SOURCES)
def test_neither_source_starves(lists: RedisLists, drained: Any, first_rung: str) -> None:
    fill_both(lists, 300)
    driver = lists.driver()
    driver.wait(first_rung, 0.01)

    order = drained(driver)

    assert {source: order.count(source) for source in SOURCES} == dict.fromkeys(SOURCES, 300)
    # Of 600, the last of one source may stand alone at the end.
    assert longest_row(order[: 300 + 300 // IN_A_ROW]) <= IN_A_ROW


def test_none_of_three_sources_starves_with_many_claims_in_flight(lists: RedisLists) -> None:
    """Each of five workers settles its own job and claims the next one, as with batches of one."""
    sources = (*SOURCES, "sockudo_queue::third")
    for source in sources:
        lists.client.rpush(source, *jobs(300))
    driver = lists.over(link_to(lists.server.port), sources=sources)
    for source in sources:
        driver.wait(source, 0.01)

    held = [driver.next(None).claim for _ in range(5)]
    order = []
    for turn in range(4 * IN_A_ROW):
        claim = held[turn % 5]
        assert claim is not None
        order.append(claim.source)
        held[turn % 5] = driver.next(Settlement(claim)).claim

    assert min(order.count(source) for source in sources) >= IN_A_ROW // 2


def test_the_oldest_of_each_source_is_shown(lists: RedisLists) -> None:
    """Which of them has waited longest stands in the jobs, and those are not for a driver to read."""
    driver = lists.driver()
    for source, body in zip(SOURCES, (b"first", b"second"), strict=True):
        lists.client.rpush(source, body, b"later")
    assert sorted(driver.peek()) == [b"first", b"second"]


def test_neither_source_starves_with_many_workers(lists: RedisLists) -> None:
    fill_both(lists, 600)
    driver = lists.driver()
    order: list[str] = []

    def work() -> None:
        result = driver.next(None)
        while result.claim is not None:
            order.append(result.claim.source)
            result = driver.next(Settlement(result.claim))

    with ThreadPoolExecutor(5) as threads:
        for _ in range(5):
            threads.submit(work)

    assert len(order) == 1200
    assert longest_row(order[:600]) <= 3 * IN_A_ROW  # the workers count together, and not under a lock


def test_a_source_that_refuses_does_not_stop_the_other(lists: RedisLists) -> None:
    lists.client.set(SOURCES[0], "not a list")
    lists.client.rpush(SOURCES[1], *jobs(3))

    claims = [take(lists.driver()) for _ in range(3)]

    assert [claim.body for claim in claims] == jobs(3)


def test_records_of_one_source_do_not_reach_the_other(lists: RedisLists) -> None:
    fill_both(lists, 1)
    driver = lists.driver()
    for claim in take_all(driver):
        settle(driver, claim, Retry(b"s", 0))

    assert {claim.source for claim in take_all(driver)} == set(SOURCES)


def test_a_call_moves_a_bounded_number_of_bodies(lists: RedisLists) -> None:
    lists.push(*[b"x"] * (2 * GATHER_LIMIT + 7))
    driver = lists.driver()

    left = []
    for _ in range(3):
        driver.wait(lists.pushed, 1.0)  # does not wait: there is more
        left.append(lists.client.llen(lists.pushed))

    assert left == [GATHER_LIMIT + 7, 7, 0]


def test_a_call_moves_few_large_bodies(lists: RedisLists) -> None:
    lists.push(*[b"x" * 100_000] * 200)
    driver = lists.driver()
    started = time.monotonic()
    driver.wait(lists.pushed, 1.0)

    assert 0 < lists.client.llen(lists.pushed) < 200
    while lists.client.llen(lists.pushed):
        driver.wait(lists.pushed, 1.0)
    assert time.monotonic() - started < 1.0
    assert len(deliver_all(driver)) == 200


def test_waiting_changes_nothing_in_the_list(lists: RedisLists) -> None:
    driver = lists.driver()
    lists.push(*jobs(3))
    for _ in range(3):
        driver.wait(lists.pushed, 0.01)

    assert [claim.body for claim in take_all(driver)] == jobs(3)
    assert is_idle(driver)


def test_idle_notifier_sends_few_commands(lists: RedisLists) -> None:
    """Once a second where the server can wait for a list, else each 50 ms."""
    driver = lists.driver()
    driver.wait(SOURCES[0], 0.01)
    calls = lists.client.info("commandstats")["cmdstat_evalsha"]["calls"]
    started = time.monotonic()
    waits = 0
    while time.monotonic() - started < 0.4:
        driver.wait(SOURCES[0], 1.0)
        waits += 1

    assert waits <= 9
    assert lists.client.info("commandstats")["cmdstat_evalsha"]["calls"] - calls == waits


def test_a_busy_worker_needs_one_command_for_each_job(lists: RedisLists) -> None:
    lists.push(*jobs(200))
    driver = lists.driver()
    take(driver)  # connects and loads the script
    lists.client.config_resetstat()

    deliver_all(driver)

    calls = {name: figures["calls"] for name, figures in lists.client.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] <= 199 + 199 // IN_A_ROW * 2 + 3
    assert "cmdstat_ping" not in calls


def test_sources_that_are_empty_are_not_asked_after_each_row_of_claims(lists: RedisLists) -> None:
    lists.push(*jobs(1_000))
    driver = lists.driver()
    claims = list(driver.next_batch([], 16).claims)
    lists.client.config_resetstat()

    for _ in range(40):
        claims = list(driver.next_batch([Settlement(claim) for claim in claims], 16).claims)
        assert len(claims) == 16

    assert lists.client.info("commandstats")["cmdstat_evalsha"]["calls"] <= 45


@pytest.mark.parametrize("is_noticed", [True, False], ids=["noticed", "not noticed"])
def test_source_that_was_empty_gets_its_turn(
    lists: RedisLists, monkeypatch: pytest.MonkeyPatch, is_noticed: bool
) -> None:
    """Its notifier finds the job, or else it is asked again after a while."""
    other = next(source for source in SOURCES if source != lists.pushed)
    lists.push(*jobs(1_000))
    driver = lists.driver()
    claims = list(driver.next_batch([], 16).claims)
    for _ in range(8):
        claims = list(driver.next_batch([Settlement(claim) for claim in claims], 16).claims)
    lists.client.rpush(other, job(2_000))

    def takes_from_other() -> bool:
        nonlocal claims
        claims = list(driver.next_batch([Settlement(claim) for claim in claims], 16).claims)
        return other in [claim.source for claim in claims]

    if is_noticed:
        monkeypatch.setattr(driver_module, "EMPTY_FOR", math.inf)
        driver.wait(other, 0.01)
        assert any(takes_from_other() for _ in range(IN_A_ROW // 16 + 1))
    else:
        eventually(takes_from_other, 1.0, pause=0.02)  # the other list would last longer


def test_acks_of_one_source_do_not_end_the_row_of_another(lists: RedisLists) -> None:
    for source in SOURCES:
        lists.client.rpush(source, *jobs(300))
    driver = lists.driver()
    claims = list(driver.next_batch([], 16).claims)
    first, late = claims[0].source, []
    while claims[0].source == first:
        late += claims[:2]  # their acks come during the row of the other source
        claims = list(driver.next_batch([Settlement(claim) for claim in claims[2:]], 16).claims)
    order = [claim.source for claim in claims]

    for claim in late[:-2]:
        order += [each.source for each in driver.next_batch([Settlement(claim)], 16).claims]

    assert order[:IN_A_ROW] == [claims[0].source] * IN_A_ROW
    assert order[IN_A_ROW] == first


def test_connections_stay_few(lists: RedisLists) -> None:
    lists.push(*jobs(100))
    driver = lists.driver()
    before = lists.client.info("stats")["total_connections_received"]
    done = threading.Event()

    def wait_for_work(source: str) -> None:
        while not done.is_set():
            driver.wait(source, 1.0)

    with ThreadPoolExecutor(2) as threads:
        for source in SOURCES:
            threads.submit(wait_for_work, source)
        for _ in range(5):
            deliver_all(driver)
            driver.depth()
        done.set()

    assert lists.client.info("stats")["total_connections_received"] - before <= 5


def test_dead_letters_of_both_sources_are_counted(lists: RedisLists) -> None:
    fill_both(lists, 2)
    driver = lists.driver()
    for claim in take_all(driver):
        settle(driver, claim, DeadLetter(b"d", "exhausted"))

    assert driver.depth()["dead-letter"] == 4
    assert [type(kept) for kept in lists.dead_letters()] == [Kept] * 4
