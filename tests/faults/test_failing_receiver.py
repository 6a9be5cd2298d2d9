"""A receiver that fails for a while: attempt numbers and due times survive restarts, and others are not affected."""

from __future__ import annotations

import itertools
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Final

import pytest
import redis

from tests.faults.measures import SCALE, figure
from tests.faults.queue import SHORT_LEASE, daemon_on, log_tail, push, records, waiting
from tests.helpers.configs import webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import job, jobs, numbers
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(180)

JOBS: Final = 20
FIRST_BACKOFF_MS: Final = 2500 if SCALE >= 1 else 1000
"""Tries fall at 0, 1, 3 and 7 times this: long enough to stop and start between two of them."""
JITTER: Final = 0.2
SETTINGS: Final = {
    "QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": str(FIRST_BACKOFF_MS),
    "QUEUE_RETRY_JITTER": str(JITTER),
    "QUEUE_DELIVERY_BREAKER_FAILURES": "1000",
}


def test_attempt_numbers_and_due_times_outlive_restarts(redis_server: RedisServer, receiver: Receiver) -> None:
    receiver.always(503)
    ends: tuple[Callable[[DaemonProcess], None], ...] = (DaemonProcess.terminate, DaemonProcess.kill)
    with redis_server.client() as client, daemon_on(redis_server.url, receiver.url(), **SETTINGS) as daemon:
        push(client, jobs(JOBS))
        for attempt, end in enumerate(ends, 1):
            _wait_until_tried(client, attempt, daemon)
            end(daemon)
            daemon.wait()
            before = records(client, "delayed")
            assert [kept.attempts for kept in before] == [attempt] * JOBS
            daemon.start().wait_ready()
            after, now_ms = records(client, "delayed"), time.time() * 1000
            # On a slow machine a restart may take until the first of them are due, and those are tried again by now.
            assert [kept for kept in after if kept.attempts == attempt] == [kept for kept in before if kept in after]
            assert [kept for kept in before if kept.score > now_ms and kept not in after] == []
        _wait_until_tried(client, 3, daemon)
        receiver.always(200)
        eventually(lambda: waiting(client) == 0, 30, log_tail(daemon))

    _check_schedule(receiver)
    began, ended = receiver.requests[0].received_at, receiver.requests[-1].received_at
    figure(f"receiver failing through two restarts: {JOBS} jobs, each delivered at try 4, after {ended - began:.1f} s")


def test_webhooks_that_are_not_owed_are_left_alone(redis_server: RedisServer, receiver: Receiver) -> None:
    """A job for three webhooks of which one fails for a while, through a stop and a kill."""
    settings = SETTINGS | SHORT_LEASE | {"QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "300"}
    count = 10
    receiver.always(503)
    with Receiver() as first, Receiver() as last, redis_server.client() as client:
        hooks = [webhook(each.url(), name=name) for each, name in ((first, "a"), (receiver, "b"), (last, "c"))]
        with daemon_on(redis_server.url, *hooks, **settings) as daemon:
            push(client, [job(number) for number in range(1, count + 1)])
            for attempt, end in ((1, DaemonProcess.terminate), (2, DaemonProcess.kill)):
                receiver.wait_for(attempt * count, 20)
                end(daemon)
                daemon.wait()
                daemon.start()
            receiver.always(200)
            eventually(lambda: waiting(client) == 0, 40, log_tail(daemon))
        for other in (first, last):
            posted = sorted(number for request in other.requests for number in numbers(request.body))
            assert posted == list(range(1, count + 1))

    assert {number for request in receiver.requests for number in numbers(request.body)} == set(range(1, count + 1))


def _wait_until_tried(client: redis.Redis, attempt: int, daemon: DaemonProcess) -> None:
    def tried() -> bool:
        kept = records(client, "delayed")
        return len(kept) == JOBS and all(each.attempts == attempt for each in kept)

    eventually(tried, 30, log_tail(daemon))


def _check_schedule(receiver: Receiver) -> None:
    """Each job was tried four times, numbered 1 to 4, and never before its time."""
    tries: dict[int, list[tuple[str, float]]] = defaultdict(list)
    for request in receiver.requests:
        [number] = numbers(request.body)
        tries[number].append((request.headers["x-sockudo-attempt"], request.received_at))
    assert len(tries) == JOBS
    for each in tries.values():
        assert [attempt for attempt, _ in each] == ["1", "2", "3", "4"]
        for nth, ((_, earlier), (_, later)) in enumerate(itertools.pairwise(each)):
            backoff = FIRST_BACKOFF_MS / 1000 * 2**nth
            assert backoff * (1 - JITTER) - 0.05 <= later - earlier <= backoff * (1 + JITTER) + 2
