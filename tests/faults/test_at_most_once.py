"""`queue.redis.delivery = "at-most-once"`: plain pops, with retries and an orderly stop all the same."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest
import redis

from tests.faults.arrivals import Arrivals
from tests.faults.measures import figure, scaled
from tests.faults.queue import LISTS, SLOTS, daemon_on, log_tail, push, records, settled, waiting
from tests.helpers.jobs import job, jobs, numbers
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(180)

AT_MOST_ONCE: Final = {"QUEUE_REDIS_DELIVERY": "at-most-once"}
POP_SECONDS: Final = 1.0  # how long a pop waits, and so a stop for it


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as connected:
        yield connected


def test_jobs_under_both_spellings_arrive_once(
    redis_server: RedisServer, client: redis.Redis, receiver: Receiver
) -> None:
    count = 200
    arrivals = Arrivals()
    receiver.answer(arrivals)
    with daemon_on(redis_server.url, receiver.url(), **AT_MOST_ONCE) as daemon:
        push(client, jobs(count), *LISTS)
        arrivals.wait_for_all(count, 20, log_tail(daemon))
        eventually(lambda: settled(daemon, "completed") == count)
    assert arrivals.duplicates == 0
    assert waiting(client) == 0


def test_refused_delivery_is_retried(redis_server: RedisServer, client: redis.Redis, receiver: Receiver) -> None:
    count = 60
    accepted: Counter[int] = Counter()

    def refuse_twice(request: Request, nth: int) -> Answer:
        if int(request.headers["x-sockudo-attempt"]) < 3:
            return Answer(503)
        accepted.update(numbers(request.body))
        return Answer()

    receiver.answer(refuse_twice)
    settings = {"QUEUE_DELIVERY_RETRY_INITIAL_BACKOFF_MS": "100", "QUEUE_DELIVERY_BREAKER_FAILURES": "1000"}
    with daemon_on(redis_server.url, receiver.url(), **AT_MOST_ONCE, **settings) as daemon:
        push(client, jobs(count), *LISTS)
        eventually(lambda: len(accepted) == count, 20, log_tail(daemon))
        eventually(lambda: waiting(client) == 0)
    assert accepted.total() == count
    assert receiver.count == 3 * count


def test_stops_lose_and_repeat_nothing(redis_server: RedisServer, client: redis.Redis, receiver: Receiver) -> None:
    stops, count, chance = scaled(20, 4), scaled(800, 200), random.Random(6)
    arrivals = Arrivals(0.02, 0.1)
    receiver.answer(arrivals)
    push(client, jobs(count), *LISTS)
    slowest = 0.0
    with daemon_on(redis_server.url, receiver.url(), **AT_MOST_ONCE) as daemon:
        for _ in range(stops):
            daemon.wait_ready()
            time.sleep(chance.uniform(0.0, 0.4))  # the moment is what is random here, nothing is waited for
            daemon.terminate()
            told_at = time.monotonic()
            assert daemon.wait() == 0, daemon.output()
            slowest = max(slowest, time.monotonic() - max(arrivals.answered_at, told_at))
            daemon.start()
        at_last_stop = arrivals.distinct
        arrivals.wait_for_all(count, 60, log_tail(daemon))
        daemon.terminate()
        assert daemon.wait() == 0

    assert at_last_stop < count, "the last stop came too late to mean anything"
    assert (arrivals.duplicates, waiting(client)) == (0, 0)
    assert slowest < POP_SECONDS + 0.5
    figure(f"at most once, stopped {stops} times: {count} jobs, 0 lost, 0 twice, ended at most {slowest:.2f} s after")


def test_unanswered_deliveries_are_put_back(redis_server: RedisServer, client: redis.Redis, receiver: Receiver) -> None:
    receiver.hang()
    push(client, [job(1)])
    with daemon_on(redis_server.url, receiver.url(), QUEUE_SHUTDOWN_TIMEOUT_MS="1000", **AT_MOST_ONCE) as daemon:
        receiver.wait_for(1)
        daemon.terminate()
        assert daemon.wait() == 0
        [kept] = records(client, "delayed")
        assert (kept.attempts, kept.body) == (0, job(1))
        receiver.always(200)
        daemon.start()
        _, second = receiver.wait_for(2)
        eventually(lambda: waiting(client) == 0)
    assert second.headers["x-sockudo-attempt"] == "1"


def test_a_kill_loses_what_was_popped_and_no_more(
    redis_server: RedisServer, client: redis.Redis, receiver: Receiver
) -> None:
    kills, count = scaled(10, 3), scaled(1000, 200)
    arrivals = Arrivals(0.005, 0.05)
    receiver.answer(arrivals)
    push(client, jobs(count), *LISTS)
    with daemon_on(redis_server.url, receiver.url(), **AT_MOST_ONCE) as daemon:
        for _ in range(kills):
            daemon.wait_ready()
            arrivals.wait_for_more(10)
            daemon.kill()
            daemon.start()
        eventually(lambda: waiting(client) == 0, 30, log_tail(daemon))
        daemon.terminate()
        assert daemon.wait() == 0
    assert arrivals.duplicates == 0
    assert arrivals.distinct >= count - SLOTS * kills
    figure(f"at most once, killed {kills} times: {count - arrivals.distinct} of {count} jobs lost, 0 delivered twice")
