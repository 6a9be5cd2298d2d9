"""An idle daemon uses little CPU, and delivers a new job immediately."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from typing import Any, Final

import psutil
import pytest
import redis

from tests.faults.measures import figure, scaled
from tests.faults.queue import LISTS, daemon_on, push
from tests.helpers.daemon import DaemonProcess
from tests.helpers.jobs import job
from tests.helpers.receiver import Receiver
from tests.helpers.redis_server import RedisServer

pytestmark = pytest.mark.timeout(180)

IDLE_SECONDS: Final = scaled(60, 8)
SETTLING_SECONDS: Final = 2.0  # for what a start still does behind the first readiness
CORE_SHARE: Final = 0.01
ARRIVAL_SECONDS: Final = 0.05
CHANCES: Final = 3
"""Services that ask at the same moment for the first time make one connection more, and do so once; a leak goes on."""


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[redis.Redis]:
    with redis_server.client() as connected:
        yield connected


@pytest.fixture
def daemon(redis_server: RedisServer, receiver: Receiver) -> Iterator[DaemonProcess]:
    with daemon_on(redis_server.url, receiver.url()) as started:
        yield started.wait_ready()


def core_share(daemon: DaemonProcess, seconds: float) -> float:
    """Return the part of one core that the daemon uses."""
    process = psutil.Process(daemon.pid)
    before, began = process.cpu_times(), time.monotonic()
    time.sleep(seconds)  # what is measured is that nothing happens
    after, took = process.cpu_times(), time.monotonic() - began
    return (after.user + after.system - before.user - before.system) / took


def connections(client: redis.Redis) -> tuple[int, int]:
    """Return how many connections Redis has now and has ever had."""
    info: Any = client.info("clients") | client.info("stats")
    return info["connected_clients"], info["total_connections_received"]


def arrival(client: redis.Redis, receiver: Receiver, name: str, number: int) -> float:
    """Push one job and return the seconds until it arrives."""
    known = receiver.count
    began = time.monotonic()
    push(client, [job(number)], name)
    return receiver.wait_for(known + 1)[known].received_at - began


def test_idle_daemon_uses_little_cpu_and_stops_immediately(
    daemon: DaemonProcess, client: redis.Redis, receiver: Receiver
) -> None:
    time.sleep(SETTLING_SECONDS)
    for _ in range(CHANCES):
        before = connections(client)
        share = core_share(daemon, IDLE_SECONDS)
        after = connections(client)
        if after == before:
            break
    times = {name: [arrival(client, receiver, name, number) for number in range(1, 16)] for name in LISTS}

    figure(f"idle for {IDLE_SECONDS} s: {share:.2%} of a core, connections {before} and {after}")
    for name, taken in times.items():
        median, longest = statistics.median(taken), max(taken)
        figure(f"a job under {name} arrives after {median * 1000:.1f} ms (longest {longest * 1000:.1f} ms)")
        assert median < ARRIVAL_SECONDS
    assert share < CORE_SHARE
    assert after == before
    assert [line for line in daemon.log_lines() if line["level"] not in ("info", "debug")] == []
    assert daemon.stderr() == ""
