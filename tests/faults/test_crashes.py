"""Killing any process at any time loses nothing, and repeats at most the jobs that were in flight."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.measures import figure, scaled
from tests.faults.queue import LISTS, SHORT_LEASE, SLOTS, daemon_on, log_tail, push, settled, waiting
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_proxy import RedisProxy
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(300)

JOBS = scaled(2000, 300)


@pytest.fixture
def arrivals(receiver: Receiver) -> Arrivals:
    script = Arrivals(0.005, 0.05)
    receiver.answer(script)
    return script


@pytest.fixture
def daemon(own_redis: RedisServer, receiver: Receiver) -> Iterator[DaemonProcess]:
    with own_redis.client() as client:
        push(client, jobs(JOBS), *LISTS)
    # Without spare workers there are never more attempts in flight than slots, on however slow a machine. Without
    # batches none of their acks waits; tests/faults/test_batches.py has the kills with batches.
    made = daemon_on(own_redis.url, receiver.url(), QUEUE_DELIVERY_MAX_SLOW="0", QUEUE_CLAIM_BATCH="1", **SHORT_LEASE)
    yield made
    made.close()


def test_nothing_is_lost_when_the_daemon_is_killed(
    daemon: DaemonProcess, own_redis: RedisServer, arrivals: Arrivals
) -> None:
    kills, chance, began = scaled(20, 5), random.Random(1), time.monotonic()
    for _ in range(kills):
        daemon.start().wait_ready()
        arrivals.wait_for_more()
        time.sleep(chance.uniform(0.0, 0.4))  # the moment is what is random here, nothing is waited for
        eventually(lambda: arrivals.in_flight)
        daemon.kill()
    at_last_kill = arrivals.distinct
    daemon.start()
    arrivals.wait_for_all(JOBS, 60, log_tail(daemon))
    with own_redis.client() as client:
        eventually(lambda: waiting(client) == 0, 10)

    assert at_last_kill < JOBS, "the last kill came too late to mean anything"
    assert arrivals.duplicates <= SLOTS * kills
    figure(_figure_line(f"daemon killed {kills} times", arrivals, began))


def test_nothing_is_lost_when_redis_is_killed(
    daemon: DaemonProcess, own_redis: RedisServer, arrivals: Arrivals
) -> None:
    kills, chance, began = scaled(10, 3), random.Random(2), time.monotonic()
    daemon.start().wait_ready()
    pid = daemon.pid
    for _ in range(kills):
        arrivals.wait_for_more(details=log_tail(daemon))
        time.sleep(chance.uniform(0.0, 0.4))
        eventually(lambda: arrivals.in_flight)
        own_redis.kill()
        time.sleep(chance.uniform(0.0, 0.2))
        own_redis.start()
    at_last_kill = arrivals.distinct
    arrivals.wait_for_all(JOBS, 60, log_tail(daemon))
    with own_redis.client() as client:
        eventually(lambda: waiting(client) == 0, 10, log_tail(daemon))

    assert at_last_kill < JOBS, "the last kill came too late to mean anything"
    assert (daemon.running, daemon.pid) == (True, pid)
    assert arrivals.duplicates <= SLOTS * kills
    figure(_figure_line(f"Redis killed {kills} times", arrivals, began))


@pytest.mark.parametrize("silent", [False, True], ids=["the-link-ends", "the-link-falls-silent"])
def test_nothing_is_lost_when_one_reply_in_ten_is(
    own_redis: RedisServer, receiver: Receiver, arrivals: Arrivals, silent: bool
) -> None:
    count = JOBS // 4 if silent else JOBS  # each silence costs a worker the whole response timeout
    settings = SHORT_LEASE | {
        "QUEUE_REDIS_RESPONSE_TIMEOUT_MS": "250",
        "QUEUE_MAX_ATTEMPTS": "50",
        "QUEUE_DELIVERY_SLOW_MS": "10000",  # else a slow machine has jobs put off, and those end more than one claim
    }
    began = time.monotonic()
    with own_redis.client() as client, RedisProxy(own_redis.port) as proxy:
        proxy.drop_replies(probability=0.1, seed=3, commands=["EVALSHA"], keep_open=silent)
        push(client, jobs(count), *LISTS)
        with daemon_on(proxy.url, receiver.url(), **settings) as daemon:
            arrivals.wait_for_all(count, 120, log_tail(daemon))
            eventually(lambda: waiting(client) == 0, 20, log_tail(daemon))
            # The last settlement may have been taken and its reply lost. A job whose claims lapse runs alone, and what
            # others claimed then is put back.
            eventually(lambda: _ended(daemon) == _claims(daemon) >= count, 10, lambda: _counts(daemon))
            completed, unconfirmed = settled(daemon, "completed"), settled(daemon, "unconfirmed")
        lost = len(proxy.dropped)

    assert lost > count // 20
    assert completed <= count <= completed + unconfirmed, "no job is completed twice, or without a settlement"
    assert arrivals.duplicates == 0  # a lost reply costs a lease at most; nothing was sent for it
    figure(_figure_line(f"{lost} replies lost{' in silence' if silent else ''}", arrivals, began))


def _claims(daemon: DaemonProcess) -> int:
    return int(daemon.metric("sockudo_queue_claims_total"))


def _ended(daemon: DaemonProcess) -> int:
    return sum(settled(daemon, outcome) for outcome in ("completed", "unconfirmed", "put-back"))


def _counts(daemon: DaemonProcess) -> str:
    return f"{_ended(daemon)} of {_claims(daemon)} claims ended"


def _figure_line(what: str, arrivals: Arrivals, began: float) -> str:
    took = time.monotonic() - began
    return f"{what}: {arrivals.distinct} jobs, 0 lost, {arrivals.duplicates} delivered twice, {took:.1f} s"
