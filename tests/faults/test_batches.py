"""Daemons that claim several jobs in one call: killed, stopped, frozen, slowed down and joined by others meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.measures import figure, scaled
from tests.faults.queue import LISTS, SERVER_LIST, SLOTS, daemon_on, log_tail, own_key, push, records, settled, waiting
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs, numbers
from tests.helpers.queue_v2 import DEFAULT_BASE, Producer
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(300)

LEASE: Final = {"QUEUE_LEASE_DURATION_MS": "1000", "QUEUE_LEASE_RENEW_INTERVAL_MS": "300"}
JOBS: Final = scaled(10_000, 2_500)
LIMIT: Final = "sockudo_queue_crash_duplicates_limit"


class Lists:
    """A backlog on the list that servers write."""

    active = own_key(SERVER_LIST, "active")

    @staticmethod
    def push(client: Any, count: int) -> None:
        push(client, jobs(count))


class V2:
    """A backlog on Queue V2."""

    active = f"{DEFAULT_BASE}:active"

    @staticmethod
    def push(client: Any, count: int) -> None:
        Producer(client).enqueue_payloads([(f"{number:032x}", body) for number, body in enumerate(jobs(count))])


@pytest.fixture(params=[Lists, V2], ids=["lists", "queue-v2"])
def form(request: pytest.FixtureRequest) -> type[Lists] | type[V2]:
    chosen: type[Lists] | type[V2] = request.param
    return chosen


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as connected:
        yield connected


@pytest.fixture
def arrivals(receiver: Receiver) -> Arrivals:
    script = Arrivals()
    receiver.answer(script)
    return script


def wait_for_batch(client: Any, form: type[Lists] | type[V2], daemon: DaemonProcess) -> None:
    """Wait until a daemon holds more claims than it has workers."""
    eventually(lambda: client.zcard(form.active) > SLOTS, 20, log_tail(daemon))


def test_killed_daemon_with_full_batch_loses_nothing_and_repeats_at_most_the_limit(
    redis_server: RedisServer, client: Any, receiver: Receiver, arrivals: Arrivals, form: type[Lists] | type[V2]
) -> None:
    kills = scaled(20, 3)
    form.push(client, JOBS)
    with closing(daemon_on(redis_server.url, receiver.url(), **LEASE)) as daemon:
        for _ in range(kills):
            limit = int(daemon.start().wait_ready().metric(LIMIT))
            wait_for_batch(client, form, daemon)
            daemon.kill()
        at_last_kill = arrivals.distinct
        daemon.start()
        arrivals.wait_for_all(JOBS, 60, log_tail(daemon))
        eventually(lambda: client.zcard(form.active) == 0, 10, log_tail(daemon))

    assert at_last_kill < JOBS, "the last kill came too late to mean anything"
    assert arrivals.duplicates <= kills * limit
    figure(f"killed {kills} times with a full batch: {JOBS} jobs, 0 lost, {arrivals.duplicates} twice, limit {limit}")


def stop_with_full_batch(daemon: DaemonProcess, client: Any, form: type[Lists] | type[V2]) -> None:
    """Start a daemon, and stop it as soon as it holds more claims than it has workers."""
    daemon.start().wait_ready()
    wait_for_batch(client, form, daemon)
    daemon.terminate()
    assert daemon.wait(5) == 0, daemon.output()


def test_stopped_daemon_with_full_batch_loses_and_repeats_nothing(
    redis_server: RedisServer, client: Any, receiver: Receiver, arrivals: Arrivals, form: type[Lists] | type[V2]
) -> None:
    stops = scaled(50, 3)
    form.push(client, JOBS)
    with closing(daemon_on(redis_server.url, receiver.url())) as daemon:
        for _ in range(stops):
            stop_with_full_batch(daemon, client, form)
            assert client.zcard(form.active) == 0
        at_last_stop = arrivals.distinct
        daemon.start()
        arrivals.wait_for_all(JOBS, 60, log_tail(daemon))
        eventually(lambda: client.zcard(form.active) == 0, 10, log_tail(daemon))
        assert daemon.events("lease.lost") == []

    assert at_last_stop < JOBS, "the last stop came too late to mean anything"
    assert arrivals.duplicates == 0
    assert set(arrivals.attempts) == {"1"}
    figure(f"stopped {stops} times with a full batch: {JOBS} jobs, 0 lost, 0 twice")


def test_daemon_stopped_without_a_deadline_loses_nothing(
    redis_server: RedisServer, client: Any, receiver: Receiver, arrivals: Arrivals, form: type[Lists] | type[V2]
) -> None:
    """Workers still take jobs of a batch while the daemon gives back what it holds."""
    stops = scaled(30, 5)
    form.push(client, JOBS)
    settings = {"QUEUE_WORKERS": "16", "QUEUE_CLAIM_BATCH": "50", "QUEUE_SHUTDOWN_TIMEOUT_MS": "0"}
    with closing(daemon_on(redis_server.url, receiver.url(), **settings)) as daemon:
        for _ in range(stops):
            stop_with_full_batch(daemon, client, form)
        daemon.start()
        arrivals.wait_for_all(JOBS, 60, log_tail(daemon))
    figure(f"stopped {stops} times at once with a full batch: {JOBS} jobs, 0 lost, {arrivals.duplicates} twice")


def test_frozen_owner_of_full_batch_settles_nothing_past_its_lease(
    redis_server: RedisServer, client: Any, receiver: Receiver, arrivals: Arrivals, form: type[Lists] | type[V2]
) -> None:
    form.push(client, JOBS)
    with (
        daemon_on(redis_server.url, receiver.url(), **LEASE) as owner,
        daemon_on(redis_server.url, receiver.url(), **LEASE) as other,
    ):
        owner.wait_ready()
        limit = int(owner.metric(LIMIT))
        wait_for_batch(client, form, owner)
        owner.pause()
        held = client.zcard(form.active)
        other.wait_ready()
        arrivals.wait_for_all(JOBS, 60, log_tail(other))
        eventually(lambda: client.zcard(form.active) == 0, 10, log_tail(other))
        came = arrivals.by_number.total()
        owner.resume()
        eventually(lambda: owner.get("/readyz") == 200, 10, log_tail(owner))
        eventually(lambda: settled(owner, "completed") + settled(other, "completed") == JOBS, 10, log_tail(owner))
        lost = settled(owner, "lease-lost")

    assert lost <= held
    assert arrivals.by_number.total() - came <= SLOTS, "a job that had only been claimed was started after its lease"
    assert arrivals.duplicates <= limit


def test_replica_that_joins_a_busy_queue_has_its_share_within_a_second(
    redis_server: RedisServer, client: Any, receiver: Receiver, arrivals: Arrivals
) -> None:
    with (
        daemon_on(redis_server.url, receiver.url()) as first,
        daemon_on(redis_server.url, receiver.url()) as second,
    ):
        first.wait_ready()
        second.wait_ready().pause()
        push(client, jobs(4 * JOBS))
        wait_for_batch(client, Lists, first)
        before = claims(first)
        second.resume()
        began = time.monotonic()
        eventually(lambda: 50 < claims(second) >= (claims(first) - before) / 2, 5, log_tail(second))
        took = time.monotonic() - began
        assert waiting(client) > JOBS, "the queue was not busy any more"
        first.kill()
        second.kill()

    assert took < 1
    figure(f"a replica that joins a busy queue claims a third of the jobs after {took:.2f} s")


def claims(daemon: DaemonProcess) -> int:
    return int(daemon.metric("sockudo_queue_claims_total"))


def test_jobs_that_wait_are_given_back_when_all_workers_turn_slow(
    redis_server: RedisServer, client: Any, receiver: Receiver
) -> None:
    rounds = (give_back_once(redis_server, client, receiver) for _ in range(10))
    given_back, took = next(each for each in rounds if each[0])  # in some, no job waits when the workers turn slow
    figure(f"{given_back} jobs were given back {took * 1000:.0f} ms after all workers had turned slow")


def give_back_once(redis_server: RedisServer, client: Any, receiver: Receiver) -> tuple[int, float]:
    """Turn all workers slow; return how many jobs were given back in the queue's order, and the seconds it took."""
    turned_slow = threading.Event()
    slow: list[int] = []

    def answer(request: Request, nth: int) -> Answer:
        if not turned_slow.is_set():
            return Answer()
        slow.extend(numbers(request.body))
        return Answer(delay=5.0)

    client.flushall()
    receiver.answer(answer)
    push(client, jobs(20_000))  # more than are delivered until the workers turn slow
    # No spare worker takes a slot, and no attempt is deferred because the endpoint hangs.
    settings = {"QUEUE_DELIVERY_MAX_SLOW": "0", "QUEUE_DELIVERY_SLOW_MS": "10000"}
    with daemon_on(redis_server.url, receiver.url(), **settings) as daemon:
        daemon.wait_ready()
        eventually(lambda: daemon.metric("sockudo_queue_claims_total") > 100, 10, log_tail(daemon))
        turned_slow.set()
        eventually(lambda: len(slow) == SLOTS, 5, log_tail(daemon))
        began = time.monotonic()
        eventually(lambda: sorted(numbers_of(client, "active")) == sorted(slow), 0.9, log_tail(daemon))
        took = time.monotonic() - began
        # Earlier jobs there were begun, and delayed because the endpoint was new.
        given_back = [number for number in numbers_of(client, "delayed") if number > max(slow)]
        daemon.kill()

    assert given_back == list(range(max(slow) + 1, max(slow) + 1 + len(given_back))), "in the order of the queue"
    [next_waiting] = numbers(client.lindex(own_key(SERVER_LIST, "ready"), 0) or client.lindex(SERVER_LIST, 0))
    assert next_waiting == max(slow) + len(given_back) + 1
    return len(given_back), took


def numbers_of(client: Any, part: str) -> list[int]:
    """Return the numbers of the jobs in a set, in its order."""
    return [number for record in records(client, part) for number in numbers(record.body)]


def test_batches_share_workers_fairly_between_two_queues(
    redis_server: RedisServer, client: Any, receiver: Receiver, arrivals: Arrivals
) -> None:
    push(client, jobs(JOBS), *LISTS)
    with daemon_on(redis_server.url, receiver.url()) as daemon:
        arrivals.wait_for_all(JOBS, 60, log_tail(daemon))
        eventually(lambda: waiting(client) == 0, 10, log_tail(daemon))

    first = list(arrivals.by_number)[: JOBS // 2]
    odd = sum(number % 2 for number in first)
    assert 0.35 * len(first) < odd < 0.65 * len(first)
    assert arrivals.duplicates == 0
