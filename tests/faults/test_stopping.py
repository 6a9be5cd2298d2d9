"""Stopping: what is in flight is finished or put back, in time, and nothing is lost or sent twice for it."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final

import pytest
import redis

from tests.faults.arrivals import Arrivals
from tests.faults.measures import figure, scaled
from tests.faults.queue import (
    DOCUMENTED_LIST,
    LISTS,
    SERVER_LIST,
    SHORT_LEASE,
    daemon_on,
    log_tail,
    push,
    records,
    waiting,
)
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_ID, job, jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(300)

PUT_BACK_SECONDS: Final = 0.5  # beyond the deadline
LAST_TRY_SECONDS: Final = 2.0  # how long putting back may go on when the server does not answer


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as connected:
        yield connected


def seconds_to_end(daemon: DaemonProcess, timeout: float = 30.0) -> float:
    """Wait for its end and return how long that took."""
    began = time.monotonic()
    daemon.wait(timeout)
    return time.monotonic() - began


def test_stops_at_random_moments_lose_and_repeat_nothing(
    redis_server: RedisServer, client: redis.Redis, receiver: Receiver
) -> None:
    stops, count, chance = scaled(50, 8), scaled(2000, 350), random.Random(4)
    arrivals = Arrivals(0.02, 0.2)  # on both sides of what makes an attempt give its slot back
    receiver.answer(arrivals)
    push(client, jobs(count), *LISTS)
    ends: list[float] = []
    with daemon_on(redis_server.url, receiver.url()) as daemon:
        for _ in range(stops):
            daemon.wait_ready()
            time.sleep(chance.uniform(0.0, 0.4))  # the moment is what is random here, nothing is waited for
            daemon.terminate()
            told_at = time.monotonic()
            assert daemon.wait() == 0, daemon.output()
            ends.append(time.monotonic() - max(arrivals.answered_at, told_at))
            assert records(client, "active") == []
            daemon.start()
        at_last_stop = arrivals.distinct
        arrivals.wait_for_all(count, 60, log_tail(daemon))
        eventually(lambda: waiting(client) == 0)
        assert daemon.events("lease.lost") == []

    assert at_last_stop < count, "the last stop came too late to mean anything"
    assert arrivals.duplicates == 0
    assert set(arrivals.attempts) == {"1"}
    assert max(ends) < 1
    figure(f"stopped {stops} times: {count} jobs, 0 lost, 0 twice, ended at most {max(ends):.2f} s after the answer")


def test_stops_during_the_start_lose_and_repeat_nothing(
    redis_server: RedisServer, client: redis.Redis, receiver: Receiver
) -> None:
    stops, chance = scaled(20, 5), random.Random(8)
    count = 20
    arrivals = Arrivals()
    receiver.answer(arrivals)
    push(client, jobs(count), *LISTS)
    codes: Counter[int] = Counter()
    with daemon_on(redis_server.url, receiver.url()) as daemon:
        for _ in range(stops):
            time.sleep(chance.uniform(0.0, 0.8))  # the moment is what is random here, nothing is waited for
            daemon.terminate()
            codes[daemon.wait(5)] += 1
            daemon.start()
        arrivals.wait_for_all(count, 20, log_tail(daemon))
        eventually(lambda: waiting(client) == 0, 10)

    assert set(codes) <= {0, -signal.SIGTERM}, "the interpreter was still starting, or all was put back"
    assert arrivals.duplicates == 0
    figure(f"stopped {stops} times while starting: exit codes {dict(codes)}, {count} jobs, 0 lost, 0 twice")


@pytest.mark.parametrize("deadline_ms", [0, 1000, 2000])
def test_unanswered_deliveries_are_put_back_at_the_deadline(
    redis_server: RedisServer, client: redis.Redis, receiver: Receiver, deadline_ms: int
) -> None:
    receiver.hang()
    push(client, [job(1)])
    settings = {"QUEUE_SHUTDOWN_TIMEOUT_MS": str(deadline_ms)}
    with daemon_on(redis_server.url, receiver.url(), **settings) as daemon:
        receiver.wait_for(1)
        daemon.terminate()
        took = seconds_to_end(daemon)
        assert daemon.wait() == 0
        assert [line["app"] for line in daemon.events("delivery.interrupted")] == [APP_ID]
        [kept] = records(client, "delayed")
        assert (kept.attempts, kept.body) == (0, job(1))
        receiver.always(200)
        daemon.start()
        first, second = receiver.wait_for(2)
        eventually(lambda: waiting(client) == 0, 5, log_tail(daemon))

    assert deadline_ms / 1000 - 0.05 <= took <= deadline_ms / 1000 + PUT_BACK_SECONDS
    assert second.headers["x-sockudo-attempt"] == first.headers["x-sockudo-attempt"] == "1"
    assert second.headers["x-sockudo-job-id"] == first.headers["x-sockudo-job-id"]
    figure(f"stopped with a receiver that never answers, deadline {deadline_ms / 1000:g} s: ended after {took:.2f} s")


def test_only_the_webhook_that_hangs_is_put_back(
    redis_server: RedisServer, client: redis.Redis, receiver: Receiver
) -> None:
    with (
        Receiver() as other,
        daemon_on(redis_server.url, other.url(), receiver.url(), QUEUE_SHUTDOWN_TIMEOUT_MS="1000") as daemon,
    ):
        receiver.hang()
        push(client, [job(1)])
        receiver.wait_for(1)
        other.wait_for(1)
        daemon.terminate()
        assert daemon.wait() == 0
        receiver.always(200)
        daemon.start()
        receiver.wait_for(2)
        eventually(lambda: waiting(client) == 0, 5, log_tail(daemon))
        assert other.count == 1


def test_requeued_jobs_go_first_and_in_order(
    redis_server: RedisServer, client: redis.Redis, receiver: Receiver
) -> None:
    settings = {"QUEUE_SHUTDOWN_TIMEOUT_MS": "0", "QUEUE_WORKERS": "3", "QUEUE_DELIVERY_MAX_SLOW": "0"}
    with daemon_on(redis_server.url, receiver.url(), **settings) as daemon:
        push(client, [job(99)])  # an endpoint that has answered once may use every slot
        receiver.wait_for(1)
        eventually(lambda: waiting(client) == 0)
        receiver.hang()
        push(client, jobs(10))
        receiver.wait_for(4)
        daemon.terminate()
        assert daemon.wait() == 0
    arrivals = Arrivals()
    receiver.answer(arrivals)
    with daemon_on(redis_server.url, receiver.url(), QUEUE_WORKERS="1") as daemon:
        arrivals.wait_for_all(10, 10, log_tail(daemon))

    # Those that were claimed within one millisecond may change places among themselves.
    came = list(arrivals.by_number)
    assert (sorted(came[:3]), came[3:]) == ([1, 2, 3], list(range(4, 11)))


def test_a_second_signal_puts_back_at_once(redis_server: RedisServer, client: redis.Redis, receiver: Receiver) -> None:
    receiver.hang()
    push(client, [job(1)])
    with daemon_on(redis_server.url, receiver.url()) as daemon:
        first, *_ = receiver.wait_for(1)
        daemon.terminate()
        eventually(lambda: daemon.events("daemon.draining"))
        daemon.signal(signal.SIGINT)
        took = seconds_to_end(daemon)
        assert daemon.wait() == 1
        (cut,) = daemon.events("delivery.interrupted")
        assert (cut["job"], cut["app"]) == (first.headers["x-sockudo-job-id"], APP_ID)
        assert cut["webhook"].startswith("127.0.0.1")
        receiver.always(200)
        daemon.start()
        _, second = receiver.wait_for(2, 5)  # long before a lease of 30 s ends
        eventually(lambda: waiting(client) == 0, 5, log_tail(daemon))

    assert took < 1
    assert second.headers["x-sockudo-attempt"] == "1"
    figure(f"second signal: ended after {took:.3f} s")


def test_a_list_that_is_wiped_after_the_stop_takes_nothing_with_it(
    redis_server: RedisServer, client: redis.Redis, receiver: Receiver
) -> None:
    """A Sockudo before 5.0 deletes `PREFIX:queue:*` when it stops, which a pod's containers do at the same moment."""
    rounds, count = scaled(10, 3), 3000
    arrivals = Arrivals(0.005, 0.05)
    receiver.answer(arrivals)
    chance = random.Random(5)
    for number in range(rounds):
        with daemon_on(redis_server.url, receiver.url()) as daemon:
            daemon.wait_ready()
            push(client, jobs(count, first=1 + number * count), *LISTS)
            time.sleep(chance.uniform(0.0, 0.02))
            daemon.terminate()
            assert daemon.wait() == 0
        left = {name: int(client.llen(name)) for name in LISTS}
        client.delete(*LISTS)
        assert left == {SERVER_LIST: 0, DOCUMENTED_LIST: 0}
        assert arrivals.distinct + waiting(client) == (number + 1) * count
    assert arrivals.duplicates == 0


@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_a_stop_while_redis_is_away_ends_in_time(own_redis: RedisServer, receiver: Receiver, outage: str) -> None:
    settings = SHORT_LEASE | {"QUEUE_SHUTDOWN_TIMEOUT_MS": "1000"}
    arrivals = Arrivals(0.2, 0.2)
    receiver.answer(arrivals)
    count = 40
    with own_redis.client() as client, daemon_on(own_redis.url, receiver.url(), **settings) as daemon:
        push(client, jobs(count))
        arrivals.wait_for_more(10)
        own_redis.kill() if outage == "killed" else own_redis.pause()
        daemon.terminate()
        took = seconds_to_end(daemon)
        code, held = daemon.wait(), daemon.events("daemon.draining")[0]["held"]
        own_redis.start() if outage == "killed" else own_redis.resume()
        daemon.start()
        arrivals.wait_for_all(count, 20, log_tail(daemon))
        eventually(lambda: waiting(client) == 0, 10)

    assert took < 1 + LAST_TRY_SECONDS + PUT_BACK_SECONDS  # however long a frozen server's answer is waited for
    assert code == 1, "what was held had to wait for the end of its lease"
    assert arrivals.duplicates <= held
    figure(f"stopped while Redis is {outage}: ended after {took:.2f} s, deadline 1 s")


@pytest.mark.parametrize("outage", ["killed", "frozen"])
def test_an_idle_daemon_stops_at_once_while_redis_is_away(
    own_redis: RedisServer, receiver: Receiver, outage: str
) -> None:
    with daemon_on(own_redis.url, receiver.url(), QUEUE_REDIS_RESPONSE_TIMEOUT_MS="500") as daemon:
        daemon.wait_ready()
        own_redis.kill() if outage == "killed" else own_redis.pause()
        eventually(lambda: daemon.get("/readyz") == 503, 5)
        time.sleep(3.0)  # until every pause between two tries is as long as it gets
        daemon.terminate()
        took = seconds_to_end(daemon)
        assert daemon.wait() == 0

    assert took < 2
    figure(f"idle while Redis is {outage}: ended after {took:.2f} s")
