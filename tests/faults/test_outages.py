"""Redis unavailable, back, flapping and frozen: the daemon recovers, and its probes are correct in time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

import pytest

from tests.faults.arrivals import Arrivals
from tests.faults.measures import figure
from tests.faults.queue import LISTS, daemon_on, log_tail, push
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import jobs
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer
from tests.helpers.waiting import eventually

pytestmark = pytest.mark.timeout(120)

DOWN_SECONDS: Final = 5.0
MAX_PAUSE: Final = 2.0  # between two tries to reach the broker
PROBE_SECONDS: Final = 0.2


@pytest.fixture
def arrivals(receiver: Receiver) -> Arrivals:
    script = Arrivals()
    receiver.answer(script)
    return script


@pytest.fixture
def daemon(own_redis: RedisServer, receiver: Receiver) -> Iterator[DaemonProcess]:
    with daemon_on(own_redis.url, receiver.url(), QUEUE_REDIS_RESPONSE_TIMEOUT_MS="1000") as started:
        yield started.wait_ready()


def probe_seconds(daemon: DaemonProcess, path: str, status: int) -> float:
    """Ask a probe and return how long its answer took."""
    began = time.monotonic()
    assert daemon.get(path) == status
    return time.monotonic() - began


def goes_on(daemon: DaemonProcess, redis_server: RedisServer, arrivals: Arrivals, first: int, within: float) -> float:
    """Push a job to each list and return the seconds until both have arrived."""
    began = time.monotonic()
    with redis_server.client() as client:
        push(client, jobs(2, first=first), *LISTS)
    arrivals.wait_for_all(first + 1, within, log_tail(daemon))
    return time.monotonic() - began


def test_a_daemon_that_starts_before_redis_waits_for_it(receiver: Receiver, arrivals: Arrivals) -> None:
    server = RedisServer()
    with daemon_on(server.url, receiver.url()) as daemon:
        eventually(lambda: daemon.get("/livez") == 200, 10, log_tail(daemon))
        pid = daemon.pid
        assert daemon.get("/readyz") == 503
        eventually(lambda: daemon.events("broker.lost"))
        time.sleep(2.5)  # until every pause between two tries is as long as it gets
        with server:
            took = goes_on(daemon, server, arrivals, 1, MAX_PAUSE + 1)
            eventually(lambda: daemon.get("/readyz") == 200, 1)
            assert daemon.pid == pid
            assert daemon.get("/livez") == 200
            assert len(daemon.events("broker.lost")) == 1
    figure(f"started before Redis: delivered {took:.2f} s after it was there")


def test_a_daemon_outlives_redis(daemon: DaemonProcess, own_redis: RedisServer, arrivals: Arrivals) -> None:
    pid = daemon.pid
    own_redis.kill()
    eventually(lambda: daemon.get("/readyz") == 503, 2, log_tail(daemon))
    until = time.monotonic() + DOWN_SECONDS
    slowest = 0.0
    while time.monotonic() < until:
        slowest = max(slowest, probe_seconds(daemon, "/livez", 200), probe_seconds(daemon, "/readyz", 503))
        time.sleep(0.05)  # between two probes, as a prober would
    own_redis.start()
    took = goes_on(daemon, own_redis, arrivals, 1, MAX_PAUSE + 1)
    eventually(lambda: daemon.get("/readyz") == 200, 1)

    assert daemon.pid == pid
    assert daemon.running
    assert slowest < PROBE_SECONDS
    assert [event["level"] for event in daemon.events("broker.lost")] == ["error"]
    eventually(lambda: daemon.events("broker.resumed"))
    figure(
        f"Redis away for {DOWN_SECONDS:g} s: delivered {took:.2f} s after it was back, slowest probe {slowest:.3f} s"
    )


def test_a_daemon_outlives_a_redis_that_flaps(
    daemon: DaemonProcess, own_redis: RedisServer, arrivals: Arrivals
) -> None:
    pid = daemon.pid
    for flap in range(3):
        own_redis.kill()
        time.sleep(0.4)
        own_redis.start()
        time.sleep(0.4 if flap < 2 else 0.0)
    took = goes_on(daemon, own_redis, arrivals, 1, MAX_PAUSE + 1)
    eventually(lambda: daemon.get("/readyz") == 200, MAX_PAUSE)

    assert (daemon.running, daemon.pid) == (True, pid)
    assert daemon.get("/livez") == 200
    figure(f"Redis flapping three times: delivered {took:.2f} s after the last time")


def test_probes_answer_while_redis_is_frozen(daemon: DaemonProcess, own_redis: RedisServer, arrivals: Arrivals) -> None:
    own_redis.pause()
    ready_again, slowest, statuses = 0.0, 0.0, set()
    until = time.monotonic() + 4.0
    while time.monotonic() < until:
        slowest = max(slowest, probe_seconds(daemon, "/livez", 200))
        began = time.monotonic()
        statuses.add(daemon.get("/readyz"))
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.02)  # between two probes, as a prober would
    assert daemon.get("/readyz") == 503
    own_redis.resume()
    ready_again = goes_on(daemon, own_redis, arrivals, 1, MAX_PAUSE + 1)
    eventually(lambda: daemon.get("/readyz") == 200, MAX_PAUSE)

    assert statuses == {200, 503}  # ready until the first answer was overdue
    assert slowest < PROBE_SECONDS
    figure(f"Redis frozen for 4 s: slowest probe {slowest:.3f} s, delivered {ready_again:.2f} s after it went on")
