"""A paused webhook, its daemons and its server: nothing is attempted and nothing is lost, despite crashes."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any, Final, NamedTuple

import psutil
import pytest

from sockudo_queue.core.controls import WebhookKey
from sockudo_queue.drivers.redis.controls import RedisControls
from tests.drivers.redis_lists import PREFIX, link_to
from tests.faults.arrivals import Arrivals
from tests.faults.measures import SCALE, figure, scaled
from tests.faults.queue import LISTS, SHORT_LEASE, SLOTS, daemon_on, log_tail, own_key, push, waiting
from tests.helpers.configs import webhook
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import APP_ID, jobs
from tests.helpers.queue_v2 import DEFAULT_BASE, Producer
from tests.helpers.receiver import Answer, Receiver, Request
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(1800 if SCALE >= 1 else 300)

COUNT: Final = scaled(2_000, 300)
OBEYED: Final = 2.0
"""Seconds within which every daemon obeys."""
HELD: Final = [own_key(source, "held") for source in (*LISTS, DEFAULT_BASE)]


class Operator:
    """Pauses and resumes the webhook of the tests."""

    def __init__(self, server: RedisServer, cleanup: ExitStack) -> None:
        link = link_to(server.port)
        cleanup.callback(link.close)
        self._controls = RedisControls(link, PREFIX)

    def pause(self, name: str = "paused") -> None:
        assert self._controls.pause(WebhookKey(APP_ID, name), "test")

    def resume(self, name: str = "paused") -> None:
        assert self._controls.resume(WebhookKey(APP_ID, name), "test")


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


class Arrived:
    """What comes to the webhook that is paused, and to the other one."""

    def __init__(self, receiver: Receiver) -> None:
        self.paused, self.other = Arrivals(0.0, 0.01), Arrivals(0.0, 0.01)
        receiver.answer(self._answer)

    def _answer(self, request: Request, nth: int) -> Answer:
        return (self.paused if request.path == "/paused" else self.other)(request, nth)


@pytest.fixture
def arrived(receiver: Receiver) -> Arrived:
    return Arrived(receiver)


def daemon(server: RedisServer, receiver: Receiver, **environment: str) -> DaemonProcess:
    hooks = (webhook(receiver.url("/paused"), name="paused"), webhook(receiver.url("/other"), name="other"))
    return daemon_on(server.url, *hooks, **(SHORT_LEASE | environment))


def count_held(client: Any) -> int:
    return sum(client.zcard(key) for key in HELD)


def obey(*daemons: DaemonProcess, event: str, times: int = 1) -> None:
    """Wait until each daemon has logged that it obeys."""
    deadline = time.monotonic() + OBEYED
    for each in daemons:
        eventually(partial(_has_logged, each, event, times), deadline - time.monotonic(), log_tail(each))


def _has_logged(daemon: DaemonProcess, event: str, times: int) -> bool:
    return len(daemon.events(event)) >= times


def put(client: Any, count: int) -> None:
    """Push `count` jobs, in turn to both lists and to Queue V2."""
    bodies = jobs(count)
    push(client, bodies[::2], *LISTS)
    producer = Producer(client)
    for body in bodies[1::2]:
        producer.enqueue(body)


def test_two_daemons_hold_and_resume(
    redis_server: RedisServer, receiver: Receiver, arrived: Arrived, cleanup: ExitStack
) -> None:
    operator, client = Operator(redis_server, cleanup), cleanup.enter_context(redis_server.client())
    # On a loaded machine an endpoint may seem slow. A delivery to it would be deferred, and its job counted as a retry.
    patient = {"QUEUE_DELIVERY_SLOW_MS": "10000"}
    daemons = [cleanup.enter_context(daemon(redis_server, receiver, **patient)) for _ in range(2)]
    for each in daemons:
        each.wait_ready(20)
    operator.pause()
    obey(*daemons, event="webhook.paused")
    put(client, COUNT)

    arrived.other.wait_for_all(COUNT, 60, log_tail(daemons[0]))
    eventually(lambda: count_held(client) == COUNT and not waiting(client), 10, log_tail(daemons[0]))
    assert arrived.paused.distinct == 0
    assert sum(each.metric("sockudo_queue_settlements_total", outcome="held") for each in daemons) == COUNT

    assert sum(each.metric("sockudo_queue_claims_total") for each in daemons) == COUNT, "held ones were claimed again"
    began = time.monotonic()
    operator.resume()
    arrived.paused.wait_for_more(details=log_tail(daemons[0]))
    took = time.monotonic() - began
    obey(*daemons, event="webhook.resumed")
    arrived.paused.wait_for_all(COUNT, 60, log_tail(daemons[0]))
    eventually(lambda: not waiting(client) and not count_held(client), 10, log_tail(daemons[0]))

    assert took < OBEYED
    assert arrived.paused.duplicates == arrived.other.duplicates == 0
    figure(f"{COUNT} held by two daemons, the first went out {took:.2f} s after the resume, 0 twice")


def test_retries_that_wait_are_held_and_keep_what_they_have(
    redis_server: RedisServer, receiver: Receiver, cleanup: ExitStack
) -> None:
    receiver.always(503)
    operator, client = Operator(redis_server, cleanup), cleanup.enter_context(redis_server.client())
    retry = {"max_attempts": 3, "initial_backoff_ms": 1_000, "max_elapsed_time_ms": 6_000}
    hook = webhook(receiver.url("/paused"), name="paused", retry=retry)
    with daemon_on(redis_server.url, hook, **SHORT_LEASE) as one:
        one.wait_ready()
        push(client, jobs(3))
        receiver.wait_for(3)
        operator.pause()
        obey(one, event="webhook.paused")
        eventually(lambda: count_held(client) == 3 and not waiting(client), 10, log_tail(one))
        seen = receiver.count
        assert one.events("job.dead_lettered") == []
        eventually(lambda: one.metric("sockudo_webhook_held", app=APP_ID, webhook="paused") == 3, 10)
        receiver.always(200)
        operator.resume()
        receiver.wait_for(seen + 3, 5)
        eventually(lambda: not waiting(client), 5, log_tail(one))
        assert receiver.count == seen + 3
        assert one.events("job.dead_lettered") == []


def test_kills_while_paused_and_while_resuming_lose_nothing(
    own_redis: RedisServer, receiver: Receiver, arrived: Arrived, cleanup: ExitStack
) -> None:
    operator, chance, kills = Operator(own_redis, cleanup), random.Random(3), scaled(20, 4)
    made = daemon(own_redis, receiver)
    cleanup.callback(made.close)
    operator.pause()
    with own_redis.client() as client:
        put(client, COUNT)
    for kill in range(kills):  # while it is paused: of the daemon, and of the server
        made.start()
        if kill % 2:
            made.wait_ready()
        arrived.other.wait_for_more(details=log_tail(made))
        time.sleep(chance.uniform(0.0, 0.2))  # the moment is what is random here, nothing is waited for
        if kill % 2:
            own_redis.kill()
        made.kill()
        if kill % 2:
            made.start()  # before the server is there
            own_redis.start()
            arrived.other.wait_for_more(details=log_tail(made))
            made.kill()
    made.start().wait_ready()
    arrived.other.wait_for_all(COUNT, 60, log_tail(made))
    with own_redis.client() as client:
        eventually(lambda: count_held(client) == COUNT and not waiting(client), 20, log_tail(made))
    assert arrived.paused.distinct == 0

    operator.resume()
    resumes = 0
    while arrived.paused.distinct < COUNT and resumes < kills:
        before = arrived.paused.by_number.total()
        eventually(lambda before=before: arrived.paused.by_number.total() > before, 10, log_tail(made))  # type: ignore[misc]
        resumes += 1
        made.kill()
        if resumes % 2:
            own_redis.kill()
            own_redis.start()
        made.start()
    arrived.paused.wait_for_all(COUNT, 60, log_tail(made))
    with own_redis.client() as client:
        eventually(lambda: not waiting(client) and not count_held(client), 20, log_tail(made))

    assert arrived.paused.duplicates <= (SLOTS + 32) * resumes
    figure(f"{COUNT} held, killed {kills} times while paused and {resumes} times while resuming, 0 lost")


def test_held_deliveries_cause_no_calls(
    redis_server: RedisServer, receiver: Receiver, arrived: Arrived, cleanup: ExitStack
) -> None:
    """A run at full scale uses the full count and two times five minutes; here the number of calls is sufficient."""
    count, seconds = (100_000, 300) if SCALE >= 1 else (500, 5)
    operator, client = Operator(redis_server, cleanup), cleanup.enter_context(redis_server.client())
    one = cleanup.enter_context(daemon(redis_server, receiver)).wait_ready()
    operator.pause()
    obey(one, event="webhook.paused")
    before = calls_within(client, one, min(seconds, 60))
    push(client, jobs(count), *LISTS)
    arrived.other.wait_for_all(count, 300, log_tail(one))
    eventually(lambda: count_held(client) == count and not waiting(client), 30, log_tail(one))
    after = calls_within(client, one, seconds)

    calls = f"{after.calls:.1f} calls/s ({before.calls:.1f} with none)"
    figure(f"{count} held for {seconds} s: {calls}, {after.core:.2%} of a core ({before.core:.2%})")
    assert after.calls < before.calls * 1.5 + 20
    if SCALE >= 1:
        assert after.core < 0.01
    one.kill()
    one.start().wait_ready()
    if SCALE >= 1:
        again = calls_within(client, one, seconds)
        figure(f"after kill -9 and a start for {seconds} s: {again.calls:.1f} calls/s, {again.core:.2%} of a core")
        assert again.calls < before.calls * 1.5 + 20
        assert again.core < 0.01
    assert arrived.paused.distinct == 0
    assert count_held(client) == count
    operator.resume()
    arrived.paused.wait_for_all(count, 300, log_tail(one))
    eventually(lambda: not waiting(client) and not count_held(client), 30, log_tail(one))


class Cost(NamedTuple):
    calls: float
    core: float


def calls_within(client: Any, daemon: DaemonProcess, seconds: float) -> Cost:
    """Watch an idle daemon for some seconds; return calls per second, and its share of a core."""
    process = psutil.Process(daemon.pid)
    calls, used = _calls(client), sum(process.cpu_times()[:2])
    time.sleep(seconds)  # the time itself is measured
    return Cost((_calls(client) - calls) / seconds, (sum(process.cpu_times()[:2]) - used) / seconds)


def _calls(client: Any) -> int:
    return int(client.info("stats")["total_commands_processed"])
