"""Queue V2 shared by daemons that are killed and by a server's own worker, and an endpoint that is down for minutes."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.measures import SCALE, figure, scaled
from tests.faults.queue import SHORT_LEASE, daemon_on, log_tail, settled
from tests.helpers.configs import webhook
from tests.helpers.jobs import jobs, numbers
from tests.helpers.queue_v2 import DEFAULT_BASE, Lease, Producer, Worker
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(420)

LEASE_MS: Final = int(SHORT_LEASE["QUEUE_LEASE_DURATION_MS"])
KEPT: Final = {"QUEUE_EVENT_RETENTION": "100000", "QUEUE_COMPLETED_RETENTION": "100000"}
DOWN_SECONDS: Final = 200.0
PACE: Final = 1.0 if SCALE >= 1 else 1 / 40
"""How fast time goes in the test of an endpoint that is down."""


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    with redis_server.client() as connected:
        yield connected


class Rival(threading.Thread):
    """A server's own worker: it delivers what it claims, abandons some of it, and gives some back untouched."""

    def __init__(self, client: Any) -> None:
        super().__init__(name="rival")
        self.delivered: Counter[int] = Counter()
        self._worker = Worker(client, lease_ms=LEASE_MS, completed_kept=100_000)
        self._chance = random.Random(5)
        self._done = threading.Event()

    def run(self) -> None:
        while not self._done.wait(0.01):
            for lease in self._worker.claim(limit=4):
                self._work(lease)

    def stop(self) -> None:
        self._done.set()
        self.join()

    def _work(self, lease: Lease) -> None:
        kind = self._chance.random()
        if kind < 0.03:
            self._worker.nack(lease, delay_ms=50)
            return
        self.delivered.update(numbers(lease.payload))
        if kind > 0.06:  # else it has died, and its lease runs out
            self._worker.ack(lease)


def events(client: Any) -> Counter[tuple[str, str]]:
    """Count the events of the stream by what happened and to whom."""
    entries = client.xrange(f"{DEFAULT_BASE}:events")
    return Counter((fields[b"event"].decode(), fields[b"job_id"].decode()) for _, fields in entries)


def enqueue_all(client: Any, count: int) -> None:
    """Enqueue numbered jobs, of ten six plain, one delayed and three packed."""
    producer, bodies = Producer(client, events_kept=100_000), jobs(count)
    for number, body in enumerate(bodies):
        if number % 10 < 7:
            producer.enqueue(body, delay_ms=300 if number % 10 == 0 else 0)
    packed = [body for number, body in enumerate(bodies) if number % 10 >= 7]
    for start in range(0, len(packed), 100):
        producer.enqueue_packed(packed[start : start + 100])


def test_two_daemons_and_a_servers_worker_share_the_jobs(
    redis_server: RedisServer, client: Any, receiver: Receiver
) -> None:
    count, kills, chance = scaled(5000, 600), scaled(20, 3), random.Random(8)
    arrivals = Arrivals(0.001, 0.01)
    receiver.answer(arrivals)
    rival = Rival(redis_server.client())
    environment = SHORT_LEASE | KEPT
    with (
        daemon_on(redis_server.url, receiver.url(), **environment) as first,
        daemon_on(redis_server.url, receiver.url(), **environment) as second,
    ):
        first.wait_ready(60)
        second.wait_ready(60)
        began = time.monotonic()
        rival.start()
        try:
            enqueue_all(client, count)
            for _ in range(kills):
                time.sleep(chance.uniform(0.1, 0.6))  # the moment is what is random here, nothing is waited for
                second.kill()
                second.start().wait_ready(60)
            eventually(lambda: len(arrivals.by_number + rival.delivered) == count, 120, log_tail(first))
            eventually(lambda: not client.zcard(f"{DEFAULT_BASE}:active"), 20, log_tail(first))
        finally:
            rival.stop()
        took = time.monotonic() - began
        for daemon in (first, second):
            daemon.terminate()
            assert daemon.wait() == 0

    happened = events(client)
    lapses = sum(times for (event, _), times in happened.items() if event == "stalled")
    deliveries = arrivals.by_number.total() + rival.delivered.total()
    twice = [own for (event, own), times in happened.items() if event == "completed" and times > 1]
    assert twice == [], "settled under two words"
    assert sum(event == "completed" for event, _ in happened) == count
    assert deliveries <= count + lapses
    assert client.zcard(f"{DEFAULT_BASE}:dlq") == 0
    assert min(arrivals.by_number.total(), rival.delivered.total()) > count // 20, "one side had hardly anything"
    figure(
        f"Queue V2, two daemons ({kills} kills) and a server's worker: {count} jobs, 0 lost, 0 settled twice, "
        f"{deliveries} deliveries, {lapses} lapses, {rival.delivered.total()} by the worker, {took:.1f} s"
    )


def test_endpoint_that_is_down_is_retried_on_our_schedule_without_dead_letters(
    redis_server: RedisServer, client: Any, receiver: Receiver
) -> None:
    """A server's worker looks on all the while: it reclaims, promotes and trims, with no slot free to take a job."""
    count, worker = 30, Worker(client, dlq_kept=0)
    down_until = time.monotonic() + DOWN_SECONDS * PACE
    tries: list[int] = []

    def down(request: Request, nth: int) -> Answer:
        tries.append(int(request.headers["x-sockudo-attempt"]))
        return Answer(503 if time.monotonic() < down_until else 200)

    receiver.answer(down)
    retry = {"initial_backoff_ms": 1_000, "max_backoff_ms": 60_000, "max_elapsed_time_ms": 300_000}
    hook = webhook(receiver.url(), retry={name: round(value * PACE) for name, value in retry.items()})
    # No breaker: what is put off for one is claimed more often still, but is not tried.
    settings = {"QUEUE_DELIVERY_BREAKER_FAILURES": "1000000"}
    producer = Producer(client)
    with daemon_on(redis_server.url, hook, **settings) as daemon:
        daemon.wait_ready(60)
        for body in jobs(count):
            producer.enqueue(body)
        while settled(daemon, "completed") < count:
            assert worker.claim(limit=0) == []
            assert time.monotonic() < down_until + 100 * PACE + 30, daemon.output()
            time.sleep(0.05)
        assert settled(daemon, "dead-letter") == 0
    assert client.zcard(f"{DEFAULT_BASE}:dlq") == 0
    assert max(tries) >= 6, "no job was tried more often than the limit of attempts allows"
    figure(
        f"endpoint down for {DOWN_SECONDS * PACE:g} s: {count} jobs, {len(tries)} tries, at most {max(tries)} for one"
    )
